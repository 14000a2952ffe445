package lab

import (
	"context"
	"time"

	"tcptrace/prober"
)

// idleLabs are about connections that nobody sends on.
var idleLabs = []Lab{
	{
		Name:    "dropped-while-idle",
		Summary: "A router forgets the idle connection; what the client then sends vanishes.",
		Steps: []string{
			"A client (192.0.2.1) and a server (198.51.100.10) are joined by a router.",
			"The router tracks connections, as a NAT or a firewall does, and forgets those that were idle for 2 seconds. It drops what it does not know.",
			"The client connects, gets an answer, and is idle for 3.5 seconds. Nobody tells it that it has been forgotten.",
			"It sends again, with tcp_retries2 2 so that its kernel gives up after some 3 seconds instead of 15 minutes.",
			"Look at what is missing: every retransmission leaves, nothing comes back, though the server is there. Keepalive within the 2 seconds would have helped.",
		},
		Expect: "dropped_while_idle",
		Build:  builder(buildDroppedWhileIdle).on(siteV4),
		ipv6:   builder(buildDroppedWhileIdle).on(siteV6),
	},
	{
		Name:    "keepalive-timeout",
		Summary: "The peer vanishes while the connection is idle: keepalive finds out.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The client connects with TCP_KEEPIDLE 1, TCP_KEEPINTVL 1 and TCP_KEEPCNT 3, and sends nothing.",
			"From then on the server's firewall silently drops what comes for port 443.",
			"Look at the probes after 1, 2 and 3 seconds. At idle + count × interval, after 4 seconds, the kernel gives up: ETIMEDOUT, and a reset to a peer that may still be there.",
		},
		Expect: "keepalive_timeout",
		Build:  builder(buildKeepaliveTimeout).on(siteV4),
		ipv6:   builder(buildKeepaliveTimeout).on(siteV6),
	},
	{
		Name:    "recv-blocked-keepalive",
		Summary: "A client is blocked in recv, the server's firewall drops everything: keepalive ends it.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The client connects with TCP_KEEPIDLE 2, TCP_KEEPINTVL 3 and TCP_KEEPCNT 3, asks something, gets its answer, and calls recv.",
			"From then on the server's firewall silently drops what comes for port 443.",
			"Look at the probes 2, 5 and 8 seconds after the answer, and at the end after 11: recv fails with ETIMEDOUT. Without keepalive it would block for ever.",
		},
		Expect: "keepalive_timeout",
		Build:  builder(buildRecvBlockedKeepalive).on(siteV4),
		ipv6:   builder(buildRecvBlockedKeepalive).on(siteV6),
	},
	{
		Name:    "recv-blocked-user-timeout",
		Summary: "The same with TCP_USER_TIMEOUT, which overrides the count of keepalive probes.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The client connects with TCP_KEEPIDLE 2, TCP_KEEPINTVL 3, TCP_KEEPCNT 3 and TCP_USER_TIMEOUT 8000, asks something, gets its answer, and calls recv.",
			"From then on the server's firewall silently drops what comes for port 443.",
			"Look at the probes 2 and 5 seconds after the answer, and at the end after 8, where the third would be due: TCP_KEEPCNT is ignored.",
		},
		Expect: "user_timeout",
		Build:  builder(buildRecvBlockedUserTimeout).on(siteV4),
		ipv6:   builder(buildRecvBlockedUserTimeout).on(siteV6),
	},
	{
		Name:    "reset-while-idle",
		Summary: "A router forgets the idle connection, and answers what the client then sends with a reset.",
		Steps: []string{
			"A client (192.0.2.1) and a server (198.51.100.10) are joined by a router.",
			"The router tracks connections, as a load balancer does, and forgets those that were idle for 1 second. What it does not know it resets.",
			"The client connects, gets an answer, is idle for 2.5 seconds, and sends again.",
			"Look at the reset: it comes at once, with the server's address, but the server knows nothing of it.",
		},
		Expect: "dropped_while_idle",
		Build:  builder(buildResetWhileIdle).on(siteV4),
		ipv6:   builder(buildResetWhileIdle).on(siteV6),
	},
	{
		Name:    "still-open",
		Summary: "One keepalive probe is lost, the next is answered: nothing is wrong.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The client connects with TCP_KEEPIDLE 1, TCP_KEEPINTVL 1 and TCP_KEEPCNT 3, and sends nothing.",
			"The server's firewall drops the next packet from the client, which is the first probe, and none after it.",
			"Look at the second probe, which is answered: one lost probe is not a death, and the count begins anew.",
			"After 3.5 seconds the client has seen enough and closes.",
		},
		Expect: "still_open",
		Build:  builder(buildStillOpen).on(siteV4),
		ipv6:   builder(buildStillOpen).on(siteV6),
	},
	{
		Name:    "user-timeout",
		Summary: "TCP_USER_TIMEOUT on an idle connection: it overrides the count of keepalive probes, rounded up to the next.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The client connects with TCP_KEEPIDLE 1, TCP_KEEPINTVL 1, TCP_KEEPCNT 9 and TCP_USER_TIMEOUT 2500, and sends nothing.",
			"From then on the server's firewall silently drops what comes for port 443.",
			"Look at the end: not after 10 seconds, as the count would have it, nor after 2.5, but after 3, when the next probe is due.",
		},
		Expect: "user_timeout",
		Build:  builder(buildUserTimeout).on(siteV4),
		ipv6:   builder(buildUserTimeout).on(siteV6),
	},
}

// question is what clients ask of an echo service, and its answer.
var question = []byte("anybody there?")

// everySecond is keepalive with probes every second.
func everySecond(count int) prober.Options {
	return prober.Options{KeepaliveIdle: time.Second, KeepaliveInterval: time.Second, KeepaliveCount: count}
}

func buildKeepaliveTimeout(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildSilence(ctx, n, s, everySecond(3))
}

func buildUserTimeout(ctx context.Context, n *Network, s site) (*Scene, error) {
	options := everySecond(9)
	options.UserTimeout = 2500 * time.Millisecond
	return buildSilence(ctx, n, s, options)
}

func buildRecvBlockedKeepalive(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildRecvBlocked(ctx, n, s, 0)
}

func buildRecvBlockedUserTimeout(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildRecvBlocked(ctx, n, s, 8*time.Second)
}

func buildRecvBlocked(ctx context.Context, n *Network, s site, userTimeout time.Duration) (*Scene, error) {
	return buildSilence(ctx, n, s, prober.Options{
		KeepaliveIdle:     2 * time.Second,
		KeepaliveInterval: 3 * time.Second,
		KeepaliveCount:    3,
		UserTimeout:       userTimeout,
		Send:              question,
		Expect:            question,
	})
}

// buildSilence has the server vanish as soon as the connection is idle, and the client wait.
func buildSilence(ctx context.Context, n *Network, s site, options prober.Options) (*Scene, error) {
	client, server, err := s.direct(ctx, n)
	if err != nil {
		return nil, err
	}
	service, err := server.Echo(s.service())
	if err != nil {
		return nil, err
	}
	options.Then = []prober.Step{prober.Call(cut(server, service)), prober.Hold{}}
	return &Scene{Client: client, Targets: []string{s.service().String()}, Options: options}, nil
}

func buildStillOpen(ctx context.Context, n *Network, s site) (*Scene, error) {
	client, server, err := s.direct(ctx, n)
	if err != nil {
		return nil, err
	}
	service, err := server.Echo(s.service())
	if err != nil {
		return nil, err
	}
	options := everySecond(3)
	options.Then = []prober.Step{
		prober.Call(dropNext(server, service, Drop{Port: servicePort, First: 1})),
		prober.Hold{For: 3500 * time.Millisecond},
	}
	return &Scene{Client: client, Targets: []string{s.service().String()}, Options: options}, nil
}

func buildDroppedWhileIdle(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildForgotten(ctx, n, s, 2*time.Second, ForgetSilently)
}

func buildResetWhileIdle(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildForgotten(ctx, n, s, time.Second, ForgetWithReset)
}

// forgetMargin is how much longer than a router remembers it a connection is idle.
const forgetMargin = 1500 * time.Millisecond

func buildForgotten(ctx context.Context, n *Network, s site, after time.Duration, then Forget) (*Scene, error) {
	client, router, server, err := s.routed(ctx, n)
	if err != nil {
		return nil, err
	}
	if _, err := server.Echo(s.farService()); err != nil {
		return nil, err
	}
	if _, err := router.ForgetIdle(after, then); err != nil {
		return nil, err
	}
	if err := client.Sysctl("net/ipv4/tcp_retries2", "2"); err != nil {
		return nil, err
	}
	options := prober.Options{Send: question, Expect: question, Then: []prober.Step{
		prober.Hold{For: after + forgetMargin},
		prober.Exchange{Send: question, Expect: question},
	}}
	return &Scene{Client: client, Targets: []string{s.farService().String()}, Options: options}, nil
}
