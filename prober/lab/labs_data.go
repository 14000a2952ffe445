package lab

import (
	"context"
	"time"

	"tcptrace/prober"
	"tcptrace/tracer/event"
)

// dataLabs are about data that is not acknowledged.
var dataLabs = []Lab{
	{
		Name:    "broken-pipe",
		Summary: "The peer has closed, the application does not look and writes, and writes again: EPIPE.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The server accepts the connection and closes it at once.",
			"The client does not read, so it does not notice, and writes. Its kernel takes that: one side may well be closed.",
			"The server has no socket any more and answers with a reset.",
			"The client writes again. Look at the errno: EPIPE, and SIGPIPE for those who do not ask to be spared.",
		},
		Expect: "broken_pipe",
		Build:  builder(buildBrokenPipe).on(siteV4),
		ipv6:   builder(buildBrokenPipe).on(siteV6),
	},
	{
		Name:    "retransmission-timeout",
		Summary: "Data is never acknowledged, until tcp_retries2 is used up.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"On the client tcp_retries2 is 3 instead of 15. The kernel makes a time of it: 3 seconds from the first retransmission, instead of 15 minutes.",
			"The client connects and the server's firewall begins to drop silently what comes for port 443. Then the client sends.",
			"Look at the first retransmission: a tail loss probe, which does not count. The others come each after twice the time of the one before, and the first timer after those 3 seconds finds that they have passed: ETIMEDOUT, and no reset.",
		},
		Expect: "retransmission_timeout",
		Build:  builder(buildRetransmissionTimeout).on(siteV4),
		ipv6:   builder(buildRetransmissionTimeout).on(siteV6),
	},
	{
		Name:    "retransmission-timeout-kept-here",
		Summary: "Data never leaves the host that sends it, until tcp_retries2 is used up.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"On the client tcp_retries2 is 3 instead of 15.",
			"The client connects, and its own firewall begins to drop what goes to port 443. Then the client sends.",
			"Look at what the kernel makes of it: nothing was sent, so nothing is sent again. It tries on the timer that otherwise probes a shut window, though the server's is open, and gives up after as many tries as tcp_retries2 has.",
		},
		Expect: "retransmission_timeout",
		Build:  builder(buildKeptHere).on(siteV4),
		ipv6:   builder(buildKeptHere).on(siteV6),
	},
	{
		Name:    "user-timeout-in-flight",
		Summary: "Data is never acknowledged, until TCP_USER_TIMEOUT has passed.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The client connects with TCP_USER_TIMEOUT 2000 and the server's firewall begins to drop silently what comes for port 443.",
			"Then the client sends.",
			"Look at the retransmissions, and at the end 2 seconds after the first of them: the last timer is cut to that.",
		},
		Expect: "user_timeout",
		Build:  builder(buildUserTimeoutInFlight).on(siteV4),
		ipv6:   builder(buildUserTimeoutInFlight).on(siteV6),
	},
}

func buildBrokenPipe(ctx context.Context, n *Network, s site) (*Scene, error) {
	client, server, err := s.direct(ctx, n)
	if err != nil {
		return nil, err
	}
	if _, err := server.HangUp(s.service()); err != nil {
		return nil, err
	}
	options := prober.Options{Then: []prober.Step{
		prober.Await{State: event.StateCloseWait},
		prober.Write{Data: question},
		prober.Await{State: event.StateClose},
		prober.Write{Data: question},
	}}
	return &Scene{Client: client, Targets: []string{s.service().String()}, Options: options}, nil
}

func buildRetransmissionTimeout(ctx context.Context, n *Network, s site) (*Scene, error) {
	scene, err := buildUnacknowledged(ctx, n, s, prober.Options{})
	if err != nil {
		return nil, err
	}
	return scene, scene.Client.Sysctl("net/ipv4/tcp_retries2", "3")
}

func buildKeptHere(ctx context.Context, n *Network, s site) (*Scene, error) {
	scene, err := buildLost(ctx, n, s, prober.Options{}, func(client, _ *Host) error {
		_, err := client.DropOutput(Drop{Port: servicePort})
		return err
	})
	if err != nil {
		return nil, err
	}
	return scene, scene.Client.Sysctl("net/ipv4/tcp_retries2", "3")
}

func buildUserTimeoutInFlight(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildUnacknowledged(ctx, n, s, prober.Options{UserTimeout: 2 * time.Second})
}

// buildUnacknowledged has the server vanish just before the client sends.
func buildUnacknowledged(ctx context.Context, n *Network, s site, options prober.Options) (*Scene, error) {
	return buildLost(ctx, n, s, options, func(_, server *Host) error {
		_, err := server.DropInput(Drop{Port: servicePort})
		return err
	})
}

// buildLost has what the client sends get lost, from just before that on.
func buildLost(ctx context.Context, n *Network, s site, options prober.Options, lose func(client, server *Host) error) (*Scene, error) {
	client, server, err := s.direct(ctx, n)
	if err != nil {
		return nil, err
	}
	service, err := server.Discard(s.service())
	if err != nil {
		return nil, err
	}
	settled := func(ctx context.Context) error {
		if err := service.Settle(ctx); err != nil {
			return err
		}
		return lose(client, server)
	}
	options.Then = []prober.Step{prober.Call(settled), prober.Write{Data: question}, prober.Hold{}}
	return &Scene{Client: client, Targets: []string{s.service().String()}, Options: options}, nil
}
