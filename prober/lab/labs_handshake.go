package lab

import (
	"context"
	"net/netip"
	"time"

	"tcptrace/prober"
)

// handshakeLabs are about what comes back for a SYN and is not what it should be, or not from whom it seems.
var handshakeLabs = []Lab{
	{
		Name:    "connected-after-late-answer",
		Summary: "The server takes 1.3 seconds to answer: the SYN is sent again although nothing was lost.",
		Steps: []string{
			"A client (192.0.2.1) is joined to a network, somewhere behind which is a server (192.0.2.10).",
			"The server answers each SYN, but only after 1.3 seconds.",
			"The client connects. After a second its kernel sends the SYN again; 300 ms later the first one is answered.",
			"Look at when the answer comes: too late for the first SYN, too early for the second. Nothing was lost; the way, or the server, is slow.",
		},
		Expect: "connected_after_retries",
		Build:  builder(buildLateAnswer).on(siteV4),
		ipv6:   builder(buildLateAnswer).on(siteV6),
	},
	{
		Name:    "handshake-incomplete",
		Summary: "The client's final ACK is lost on the way, and all that follows: the server's SYN-ACK is never acknowledged.",
		Steps: []string{
			"A client (192.0.2.1) and a server (198.51.100.10) are joined by a router.",
			"The router passes the client's SYN on, and drops whatever else the client sends to port 443, as a firewall does that sees one direction only.",
			"On the server tcp_synack_retries is 1: its kernel sends the SYN-ACK again after a second, and forgets the request after 3 seconds instead of a minute.",
			"The client connects and waits for 3.5 seconds for the server to speak first.",
			"Look at both ends: the client is connected and answers each SYN-ACK, the server never hears it. Its application never learns of the connection.",
		},
		Expect: "handshake_incomplete",
		Build:  builder(buildHandshakeIncomplete).on(siteV4),
		ipv6:   builder(buildHandshakeIncomplete).on(siteV6),
	},
	{
		Name:    "handshake-incomplete-forged",
		Summary: "A SYN comes from an address that never sent it: the server alone sees what becomes of it.",
		Steps: []string{
			"A server (192.0.2.10) listens on port 443. On it tcp_synack_retries is 1.",
			"A SYN arrives whose source address is forged (192.0.2.1), as in a SYN flood. Nobody answers the SYN-ACK.",
			"Look at the request: the SYN-ACK is sent again after a second, and the request forgotten after 3 seconds. One costs little; many of them fill the SYN queue.",
		},
		Expect: "handshake_incomplete",
		Build:  builder(buildForgedSYN).on(siteV4),
		ipv6:   builder(buildForgedSYN).on(siteV6),
	},
	{
		Name:    "md5-or-ao-mismatch",
		Summary: "The server demands signed segments (TCP MD5, as BGP routers do), the client does not sign.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The server listens on port 443, with a TCP_MD5SIG key for the client's address. The client has none.",
			"The client connects, with TCP_SYNCNT 1 so that its kernel gives up after 3 seconds.",
			"Look at who drops its SYNs: the server's TCP, without a word (TCPMD5NotFound). To the client it looks silent.",
		},
		Expect:  "md5_or_ao_mismatch",
		Blindly: "no_answer",
		Needs:   "a kernel that knows TCP MD5 signatures (CONFIG_TCP_MD5SIG)",
		Build:   builder(buildMD5Mismatch).on(siteV4),
		ipv6:    builder(buildMD5Mismatch).on(siteV6),
	},
	{
		Name:    "refused-after-retries",
		Summary: "The first SYN is lost, the second is answered with a reset.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link. Nothing listens on the server's port 443.",
			"The client connects. Its first SYN is lost on the way.",
			"Look at the time: the refusal is as final as ever, but came a second late.",
		},
		Expect: "refused",
		Build:  builder(buildRefusedAfterRetries).on(siteV4),
		ipv6:   builder(buildRefusedAfterRetries).on(siteV6),
	},
	{
		Name:    "refused-by-middlebox",
		Summary: "Something on the way resets the connection in the server's name, although the server would take it.",
		Steps: []string{
			"A client (192.0.2.1) is joined to a network, somewhere behind which is a server (192.0.2.10).",
			"The server answers the SYN after 30 ms, and its packets arrive with a TTL of 57.",
			"A middlebox nearby has answered after 1 ms, with a reset whose source address is the server's. It arrives with a TTL of 254.",
			"Look at the reset's TTL, and at the SYN-ACK that comes after it, to a socket that is gone.",
		},
		Expect: "refused",
		Build:  builder(buildRefusedByMiddlebox).on(siteV4),
		ipv6:   builder(buildRefusedByMiddlebox).on(siteV6),
	},
	{
		Name:    "simultaneous-open",
		Summary: "Both ends connect to each other at the same time, and nobody listens: one connection comes of it.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link. Nothing listens on the server's port 443.",
			"The client connects to it from port 50000. While its SYN is on the way, the server connects from port 443 to that port.",
			"The two SYNs cross. Each side takes the other's for what it is, and answers with a SYN-ACK.",
			"Look at the states: SYN_SENT, SYN_RECV, ESTABLISHED, on both sides. What would have been refused a moment earlier is connected.",
		},
		Expect: "connected",
		Build:  builder(buildSimultaneousOpen).on(siteV4),
		ipv6:   builder(buildSimultaneousOpen).on(siteV6),
	},
	{
		Name:    "wrong-acknowledgement",
		Summary: "Every SYN is answered by a SYN-ACK that acknowledges what was never sent.",
		Steps: []string{
			"A client (192.0.2.1) is joined to a network, somewhere behind which is a server (192.0.2.10).",
			"Something on the way changes sequence numbers in one direction only, so that the SYN-ACK acknowledges another number than that of the SYN.",
			"The client connects, with TCP_SYNCNT 1 so that its kernel gives up after 3 seconds.",
			"Look at the resets: the client's kernel answers each such SYN-ACK with one. After the first it sends its SYN again at once, in case an old connection was in the way.",
		},
		Expect: "wrong_acknowledgement",
		Build:  builder(buildWrongAcknowledgement).on(siteV4),
		ipv6:   builder(buildWrongAcknowledgement).on(siteV6),
	},
}

// lateBy is longer than the kernel waits for a SYN-ACK (TCP_TIMEOUT_INIT), and shorter than it waits for a second one.
const lateBy = 1300 * time.Millisecond

func buildLateAnswer(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildDistant(ctx, n, s, prober.Options{}, func(segment Segment) []Reply {
		replies := agreeable(segment)
		if segment.isSYN() {
			replies[0].After = lateBy
		}
		return replies
	})
}

// agreeable answers as a server does that accepts connections, acknowledges everything, and closes when its peer does. It
// remembers nothing, as it has nothing to say.
func agreeable(segment Segment) []Reply {
	switch {
	case segment.Flags&FlagRST != 0:
		return nil
	case segment.isSYN():
		return []Reply{{Packet: answer(segment, FlagSYN)}}
	case segment.Flags&FlagFIN != 0:
		return []Reply{{Packet: answer(segment, FlagFIN)}}
	case len(segment.Data) > 0:
		return []Reply{{Packet: answer(segment, 0)}}
	}
	return nil
}

func answer(segment Segment, flags TCPFlags) *Segment {
	a := segment.Answer(flags)
	return &a
}

// buildDistant has respond play the server, and the network on the way to it.
func buildDistant(ctx context.Context, n *Network, s site, options prober.Options, respond Responder) (*Scene, error) {
	client, err := n.AddHost("client")
	if err != nil {
		return nil, err
	}
	if err := client.Tunnel(ctx, []netip.Prefix{s.link.client}, respond); err != nil {
		return nil, err
	}
	return &Scene{Client: client, Targets: []string{s.service().String()}, Options: options}, nil
}

func buildHandshakeIncomplete(ctx context.Context, n *Network, s site) (*Scene, error) {
	client, router, server, err := s.routed(ctx, n)
	if err != nil {
		return nil, err
	}
	if err := server.Sysctl("net/ipv4/tcp_synack_retries", "1"); err != nil {
		return nil, err
	}
	if err := server.Listen(s.farService()); err != nil {
		return nil, err
	}
	if _, err := router.DropForward(Drop{Port: servicePort, AfterSYN: true}); err != nil {
		return nil, err
	}
	options := prober.Options{Then: []prober.Step{prober.Hold{For: 3500 * time.Millisecond}}}
	return &Scene{Client: client, Targets: []string{s.farService().String()}, Options: options}, nil
}

func buildForgedSYN(ctx context.Context, n *Network, s site) (*Scene, error) {
	server, err := n.AddHost("server")
	if err != nil {
		return nil, err
	}
	tunnel, err := server.tunnel(ctx, []netip.Prefix{s.link.server}, func(Segment) []Reply { return nil })
	if err != nil {
		return nil, err
	}
	if err := server.Sysctl("net/ipv4/tcp_synack_retries", "1"); err != nil {
		return nil, err
	}
	if err := server.Listen(s.service()); err != nil {
		return nil, err
	}
	forged := &Segment{
		Source: s.clientEnd(), Destination: s.service(),
		Seq: 1 << 30, Flags: FlagSYN, Window: 0xffff,
	}
	return &Scene{Client: server, Act: func(ctx context.Context) error {
		if err := tunnel.inject(forged); err != nil {
			return err
		}
		// The SYN-ACK and the one after a second, and the 2 seconds until the request is forgotten.
		return pause(ctx, 3500*time.Millisecond)
	}}, nil
}

// pause waits, unless the ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func buildMD5Mismatch(ctx context.Context, n *Network, s site) (*Scene, error) {
	client, server, err := s.direct(ctx, n)
	if err != nil {
		return nil, err
	}
	queue, err := server.ListenQueue(s.service(), shortBacklog)
	if err != nil {
		return nil, err
	}
	if err := queue.RequireSignature(s.link.client.Addr(), "secret"); err != nil {
		return nil, err
	}
	return &Scene{Client: client, Targets: []string{s.service().String()}, Options: prober.Options{SYNRetries: 1}}, nil
}

func buildRefusedAfterRetries(ctx context.Context, n *Network, s site) (*Scene, error) {
	client, _, wire, err := s.wired(ctx, n)
	if err != nil {
		return nil, err
	}
	syns := 0
	wire.Relay(func(c Crossing) {
		if c.isSYN() {
			if syns++; syns == 1 {
				return
			}
		}
		c.Pass()
	})
	return &Scene{Client: client, Targets: []string{s.service().String()}}, nil
}

func buildRefusedByMiddlebox(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildDistant(ctx, n, s, prober.Options{}, func(segment Segment) []Reply {
		if !segment.isSYN() {
			return nil
		}
		reset, accept := answer(segment, FlagRST), answer(segment, FlagSYN)
		reset.HopLimit, accept.HopLimit = 254, 57
		return []Reply{{Packet: reset, After: time.Millisecond}, {Packet: accept, After: 30 * time.Millisecond}}
	})
}

func buildWrongAcknowledgement(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildDistant(ctx, n, s, prober.Options{SYNRetries: 1}, func(segment Segment) []Reply {
		if !segment.isSYN() {
			return nil
		}
		accept := answer(segment, FlagSYN)
		accept.Ack += 1 << 20
		return []Reply{{Packet: accept}}
	})
}

func buildSimultaneousOpen(ctx context.Context, n *Network, s site) (*Scene, error) {
	client, server, wire, err := s.wired(ctx, n)
	if err != nil {
		return nil, err
	}
	other, err := newCaller(server)
	if err != nil {
		return nil, err
	}
	var held *Crossing
	met := false
	wire.Relay(func(c Crossing) {
		switch {
		case met || !c.isSYN():
			c.Pass()
		case c.From == client && held == nil:
			held = &c
			other.call(s.service(), c.Source)
		case c.From == server && held != nil:
			met = true
			held.Pass()
			c.Pass()
		}
	})
	options := prober.Options{SourcePort: clientPort}
	return &Scene{Client: client, Crowded: true, Targets: []string{s.service().String()}, Options: options}, nil
}
