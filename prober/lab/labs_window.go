package lab

import (
	"context"
	"time"

	"tcptrace/prober"
)

// windowLabs are about a receive window that is shut.
var windowLabs = []Lab{
	{
		Name:    "user-timeout-zero-window",
		Summary: "The peer's window stays shut, and TCP_USER_TIMEOUT ends it though the peer answers every probe.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The server's application hangs: it accepts the connection and never reads.",
			"The client connects with TCP_USER_TIMEOUT 2000 and sends until the server's window is shut.",
			"Look at the window probes, and at the end 2 seconds after the first of them. Without TCP_USER_TIMEOUT the kernel would go on for ever, as the peer lives.",
		},
		Expect: "user_timeout",
		Build:  builder(buildUserTimeoutZeroWindow).on(siteV4),
		ipv6:   builder(buildUserTimeoutZeroWindow).on(siteV6),
	},
	{
		Name:    "zero-window-timeout",
		Summary: "The peer's window is shut, and then the peer stops answering.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The server's application hangs: it accepts the connection and never reads.",
			"The client connects and sends until the server's window is shut. Then the server's firewall begins to drop silently what comes for port 443.",
			"On the client tcp_retries2 is 3 instead of 15: so many window probes may go unanswered.",
			"Look at the window probes, each after twice the time, and at the end when a fourth would be due.",
		},
		Expect: "zero_window_timeout",
		Build:  builder(buildZeroWindowTimeout).on(siteV4),
		ipv6:   builder(buildZeroWindowTimeout).on(siteV6),
	},
}

func buildZeroWindowTimeout(ctx context.Context, n *Network, s site) (*Scene, error) {
	client, server, service, err := stalled(ctx, n, s)
	if err != nil {
		return nil, err
	}
	if err := client.Sysctl("net/ipv4/tcp_retries2", "3"); err != nil {
		return nil, err
	}
	options := prober.Options{Then: []prober.Step{
		prober.Fill{},
		prober.Call(cut(server, service)),
		prober.Hold{},
	}}
	return &Scene{Client: client, Targets: []string{s.service().String()}, Options: options}, nil
}

func buildUserTimeoutZeroWindow(ctx context.Context, n *Network, s site) (*Scene, error) {
	client, _, _, err := stalled(ctx, n, s)
	if err != nil {
		return nil, err
	}
	options := prober.Options{
		UserTimeout: 2 * time.Second,
		Then:        []prober.Step{prober.Fill{}, prober.Hold{}},
	}
	return &Scene{Client: client, Targets: []string{s.service().String()}, Options: options}, nil
}

// stalled are a client and a server whose service never reads.
func stalled(ctx context.Context, n *Network, s site) (client, server *Host, service *Service, err error) {
	client, server, err = s.direct(ctx, n)
	if err != nil {
		return nil, nil, nil, err
	}
	// The server delays its last acknowledgment before the window shuts. A tail loss probe would not wait for it, and be
	// a retransmission in a story that is about none.
	if err := client.Sysctl("net/ipv4/tcp_early_retrans", "0"); err != nil {
		return nil, nil, nil, err
	}
	service, err = server.Stall(s.service())
	return client, server, service, err
}
