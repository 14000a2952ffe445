package lab

import (
	"context"
	"net/netip"

	"tcptrace/prober"
)

// queueLabs are about listeners whose queues are full.
var queueLabs = []Lab{
	{
		Name:    "accept-queue-full",
		Summary: "The server's application does not accept connections: its accept queue is full, and SYNs are dropped.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The server's application listens on port 443 with a backlog of 1, and hangs: it never calls accept().",
			"Two connections wait to be accepted. That is as many as the queue holds: one more than the backlog.",
			"The client connects, with TCP_SYNCNT 1 so that its kernel gives up after 3 seconds.",
			"Look at who drops its SYNs: no firewall, but the listener (ListenOverflows). To the client the server looks silent.",
		},
		Expect: "accept_queue_full",
		Build:  builder(buildAcceptQueueFull).on(siteV4),
		ipv6:   builder(buildAcceptQueueFull).on(siteV6),
	},
	{
		Name:    "accept-queue-full-at-ack",
		Summary: "The accept queue fills up during the handshake: the client is connected, the server is not.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The server's application listens on port 443 with a backlog of 1, and never calls accept(). One connection waits: there is room for another.",
			"The client connects. While its final ACK is on the way, another connection takes the room.",
			"The server's kernel drops the final ACK, and sends its SYN-ACK again after a second; tcp_synack_retries is 1, so that it forgets the request after 3 seconds instead of a minute.",
			"The client is connected and sends. Look at its data: dropped, too, and sent again, until the server has forgotten the request and answers with a reset.",
		},
		Expect: "accept_queue_full_at_ack",
		Build:  builder(buildAcceptQueueFullAtACK).on(siteV4),
		ipv6:   builder(buildAcceptQueueFullAtACK).on(siteV6),
	},
	{
		Name:    "accept-queue-full-then-room",
		Summary: "The accept queue is full, the application accepts one connection, and the next SYN is taken.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The server's application listens on port 443 with a backlog of 1, and hangs. Two connections wait to be accepted: the queue is full.",
			"The client connects, and its first SYN is dropped.",
			"Just before its second SYN arrives, the application accepts a connection.",
			"Look at the second that it took: the delay is the retry schedule's, its reason the queue that was full when it began.",
		},
		Expect: "connected_after_retries",
		Build:  builder(buildAcceptQueueFullThenRoom).on(siteV4),
		ipv6:   builder(buildAcceptQueueFullThenRoom).on(siteV6),
	},
	{
		Name:    "reset-by-overflow",
		Summary: "The accept queue fills up during the handshake, and tcp_abort_on_overflow is 1: a reset.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"On the server tcp_abort_on_overflow is 1. Its application listens on port 443 with a backlog of 1, and never calls accept(). One connection waits: there is room for another.",
			"The client connects. While its final ACK is on the way, another connection takes the room.",
			"Look at the answer to the final ACK: a reset. The client was connected for a moment, and gets ECONNRESET, as if the application had crashed.",
		},
		Expect: "reset_by_overflow",
		Build:  builder(buildResetByOverflow).on(siteV4),
		ipv6:   builder(buildResetByOverflow).on(siteV6),
	},
	{
		Name:    "syn-cookie-sent",
		Summary: "The SYN queue is full of handshakes that nobody completes: the SYN is answered by a cookie, which loses options.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The server listens on port 443 with a backlog of 1. Two handshakes have begun, and are never completed: its SYN queue is full. tcp_syncookies is 1.",
			"On the client tcp_timestamps is 0, so that its SYN has no timestamp in which a cookie could keep the other options.",
			"The client connects. Look at the counters TCPReqQFullDoCookies and SyncookiesSent, and at the connection: it works, but without window scaling and SACK.",
		},
		Expect: "syn_cookie_sent",
		Build:  builder(buildSYNCookieSent).on(siteV4),
		ipv6:   builder(buildSYNCookieSent).on(siteV6),
	},
	{
		Name:    "syn-queue-full",
		Summary: "The SYN queue is full of handshakes that nobody completes, and SYN cookies are off: SYNs are dropped.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The server listens on port 443 with a backlog of 1. Two handshakes have begun, and are never completed: its SYN queue is full. tcp_syncookies is 0.",
			"The client connects, with TCP_SYNCNT 1 so that its kernel gives up after 3 seconds.",
			"Look at who drops its SYNs: the listener (TCPReqQFullDrop). The accept queue has room, and ss shows nothing wrong with it.",
		},
		Expect: "syn_queue_full",
		Build:  builder(buildSYNQueueFull).on(siteV4),
		ipv6:   builder(buildSYNQueueFull).on(siteV6),
	},
}

// shortBacklog is that of listeners whose queues are soon full.
const shortBacklog = 1

func buildAcceptQueueFull(ctx context.Context, n *Network, s site) (*Scene, error) {
	client, server, err := s.direct(ctx, n)
	if err != nil {
		return nil, err
	}
	if _, err := server.fullQueue(ctx, s.service()); err != nil {
		return nil, err
	}
	options := prober.Options{SYNRetries: 1}
	return &Scene{Client: client, Crowded: true, Targets: []string{s.service().String()}, Options: options}, nil
}

// fullQueue is a service of the host that takes no connection any more. Those that wait are the host's own.
func (h *Host) fullQueue(ctx context.Context, service netip.AddrPort) (*Queue, error) {
	queue, err := h.ListenQueue(service, shortBacklog)
	if err != nil {
		return nil, err
	}
	for range shortBacklog + 1 {
		if err := h.occupy(ctx, service); err != nil {
			return nil, err
		}
	}
	return queue, nil
}

func buildAcceptQueueFullThenRoom(ctx context.Context, n *Network, s site) (*Scene, error) {
	client, server, wire, err := s.wired(ctx, n)
	if err != nil {
		return nil, err
	}
	queue, err := server.fullQueue(ctx, s.service())
	if err != nil {
		return nil, err
	}
	syns := 0
	wire.Relay(func(c Crossing) {
		if c.isSYN() {
			if syns++; syns == 2 && queue.Accept() != nil {
				return
			}
		}
		c.Pass()
	})
	return &Scene{Client: client, Crowded: true, Targets: []string{s.service().String()}}, nil
}

func buildAcceptQueueFullAtACK(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildOvertaken(ctx, n, s, "net/ipv4/tcp_synack_retries", prober.Write{Data: question}, prober.Hold{})
}

func buildResetByOverflow(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildOvertaken(ctx, n, s, "net/ipv4/tcp_abort_on_overflow", prober.Hold{})
}

// buildOvertaken has another connection take the accept queue's last place while the client's final ACK is on the way.
// One of the server's sysctls is 1.
func buildOvertaken(ctx context.Context, n *Network, s site, sysctl string, then ...prober.Step) (*Scene, error) {
	client, server, wire, err := s.wired(ctx, n)
	if err != nil {
		return nil, err
	}
	if err := server.Sysctl(sysctl, "1"); err != nil {
		return nil, err
	}
	if _, err := server.ListenQueue(s.service(), shortBacklog); err != nil {
		return nil, err
	}
	for range shortBacklog {
		if err := server.occupy(ctx, s.service()); err != nil {
			return nil, err
		}
	}
	overtaken := false
	wire.Relay(func(c Crossing) {
		if c.From == client && !c.isSYN() && !overtaken {
			overtaken = server.occupy(ctx, s.service()) == nil
		}
		c.Pass()
	})
	options := prober.Options{Then: then}
	return &Scene{Client: client, Crowded: true, Targets: []string{s.service().String()}, Options: options}, nil
}

func buildSYNCookieSent(ctx context.Context, n *Network, s site) (*Scene, error) {
	client, server, err := s.direct(ctx, n)
	if err != nil {
		return nil, err
	}
	if err := client.Sysctl("net/ipv4/tcp_timestamps", "0"); err != nil {
		return nil, err
	}
	if err := server.fullSYNQueue(ctx, s.service()); err != nil {
		return nil, err
	}
	return &Scene{Client: client, Crowded: true, Targets: []string{s.service().String()}}, nil
}

func buildSYNQueueFull(ctx context.Context, n *Network, s site) (*Scene, error) {
	client, server, err := s.direct(ctx, n)
	if err != nil {
		return nil, err
	}
	if err := server.fullSYNQueue(ctx, s.service()); err != nil {
		return nil, err
	}
	if err := server.Sysctl("net/ipv4/tcp_syncookies", "0"); err != nil {
		return nil, err
	}
	options := prober.Options{SYNRetries: 1}
	return &Scene{Client: client, Crowded: true, Targets: []string{s.service().String()}, Options: options}, nil
}

// fullSYNQueue is a service of the host whose SYN queue is full, and the accept queue empty. Linux 5.10 takes one request
// less than later kernels (inet_csk_reqsk_queue_is_full), and answers the next SYN with a cookie.
func (h *Host) fullSYNQueue(ctx context.Context, service netip.AddrPort) error {
	if err := h.Sysctl("net/ipv4/tcp_syncookies", "1"); err != nil {
		return err
	}
	if _, err := h.ListenQueue(service, shortBacklog); err != nil {
		return err
	}
	return h.halfOpen(ctx, service, shortBacklog+1)
}
