package lab

import (
	"context"
	"io"
	"math"
	"net"
	"net/netip"

	"tcptrace/prober"
)

// oldLabs are about a SYN that meets the server's old connection on the same ports.
var oldLabs = []Lab{
	{
		Name:    "old-connection-in-the-way",
		Summary: "The client has crashed and connects again from the same port: the server still has the old connection.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The client connects from port 50000 and crashes: its connection is gone without a word. The server's is not (half-open).",
			"The client connects from port 50000 again. To the server its SYN is nonsense within an established connection, and it answers with a bare ACK (a challenge ACK).",
			"Look at the client's reset that answers this ACK, and at its second SYN two ticks later: the reset has cleared the old connection away, and the SYN is taken.",
		},
		Expect: "old_connection_in_the_way",
		Build:  builder(buildOldHalfOpen).on(siteV4),
		ipv6:   builder(buildOldHalfOpen).on(siteV6),
	},
	{
		Name:    "old-connection-in-the-way-for-good",
		Summary: "The old connection's ACK comes back for every SYN, but a firewall drops the reset that would clear it away.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link, on which a NAT gives several clients one address.",
			"One of them connects from port 50000, and the server closes first: it keeps the ports in TIME_WAIT for a minute.",
			"Then the NAT gives port 50000 to another client, whose sequence numbers and timestamps are lower. It connects, with TCP_SYNCNT 1 so that its kernel gives up after 2 to 3 seconds.",
			"The server takes its SYN for an old duplicate and answers with an ACK that is about the old connection. The client's reset would end that, but the NAT drops what does not fit.",
			"Look at what comes back for each SYN: an ACK, no SYN-ACK. It is neither silence nor a refusal.",
		},
		Expect: "old_connection_in_the_way",
		Build:  builder(buildOldForGood).on(siteV4),
		ipv6:   builder(buildOldForGood).on(siteV6),
	},
	{
		Name:    "old-connection-in-the-way-time-wait",
		Summary: "A NAT gives the ports of a connection that the server has in TIME_WAIT to another client.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link, on which a NAT gives several clients one address.",
			"One of them connects from port 50000, and the server closes first: it keeps the ports in TIME_WAIT for a minute.",
			"Then the NAT gives port 50000 to another client, whose sequence numbers and timestamps are lower. It connects.",
			"The server takes its SYN for an old duplicate (PAWS) and answers with an ACK that is about the old connection.",
			"Look at the client's reset that answers this ACK, and at its second SYN two ticks later, which is taken. With tcp_rfc1337 on the server it would not be.",
		},
		Expect: "old_connection_in_the_way",
		Build:  builder(buildOldTimeWait).on(siteV4),
		ipv6:   builder(buildOldTimeWait).on(siteV6),
	},
}

func buildOldHalfOpen(ctx context.Context, n *Network, s site) (*Scene, error) {
	client, server, wire, err := s.wired(ctx, n)
	if err != nil {
		return nil, err
	}
	service, err := server.Discard(s.service())
	if err != nil {
		return nil, err
	}
	old, err := client.dialFrom(ctx, s.clientEnd(), s.service())
	if err != nil {
		return nil, err
	}
	if err := service.Settle(ctx); err != nil {
		return nil, err
	}
	// A crash sends nothing; this sends a reset, which is lost.
	wire.Relay(loseResets(client, 1))
	if err := abort(old); err != nil {
		return nil, err
	}
	options := prober.Options{SourcePort: clientPort}
	return &Scene{Client: client, Crowded: true, Targets: []string{s.service().String()}, Options: options}, nil
}

// loseResets has the first resets from a host lost, so many of them.
func loseResets(from *Host, times int) Relay {
	return func(c Crossing) {
		if c.From == from && c.Flags&FlagRST != 0 && times > 0 {
			times--
			return
		}
		c.Pass()
	}
}

func buildOldForGood(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildReusedPort(ctx, n, s, math.MaxInt, prober.Options{SYNRetries: 1})
}

func buildOldTimeWait(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildReusedPort(ctx, n, s, 0, prober.Options{})
}

// buildReusedPort leaves a TIME_WAIT on the server, and has the wire make another client of the client, of which it loses
// so many resets.
func buildReusedPort(ctx context.Context, n *Network, s site, lose int, options prober.Options) (*Scene, error) {
	client, server, wire, err := s.wired(ctx, n)
	if err != nil {
		return nil, err
	}
	if _, err := server.serve(s.service(), 0, answerOnce); err != nil {
		return nil, err
	}
	if err := wire.leaveTimeWait(ctx, client, s.clientEnd(), s.service()); err != nil {
		return nil, err
	}
	wire.Relay(disguise(client, loseResets(client, lose)))
	options.SourcePort = clientPort
	return &Scene{Client: client, Crowded: true, Targets: []string{s.service().String()}, Options: options}, nil
}

// answerOnce answers one request and closes, as servers of old protocols do.
func answerOnce(conn *net.TCPConn) {
	request := make([]byte, 1<<10)
	if n, err := conn.Read(request); err == nil {
		_, _ = conn.Write(request[:n])
	}
}

// leaveTimeWait makes a connection that the other end of the wire closes first, and returns when both ends have closed
// it: that one is in TIME_WAIT then.
func (w *Wire) leaveTimeWait(ctx context.Context, client *Host, from, to netip.AddrPort) error {
	over := make(chan struct{})
	w.Relay(tellLastACK(client, over))
	conn, err := client.dialFrom(ctx, from, to)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write(question); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		return err
	}
	if err := conn.Close(); err != nil {
		return err
	}
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// tellLastACK closes over once a host's FIN was acknowledged, and lets everything pass.
func tellLastACK(from *Host, over chan<- struct{}) Relay {
	var end uint32
	sent, told := false, false
	return func(c Crossing) {
		c.Pass()
		switch {
		case c.From == from && c.Flags&FlagFIN != 0:
			sent, end = true, c.Seq+c.length()
		case c.From != from && sent && !told && c.Ack == end:
			told = true
			close(over)
		}
	}
}
