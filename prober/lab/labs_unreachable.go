package lab

import (
	"context"
	"net/netip"

	"tcptrace/prober"
)

// unreachableLabs are about ICMP errors for established connections.
var unreachableLabs = []Lab{
	{
		Name:    "unreachable-while-connected",
		Summary: "The way to the server breaks while data is in flight, and a router says so: EHOSTUNREACH in the end, not ETIMEDOUT.",
		Steps: []string{
			"A client (192.0.2.1) and a server (198.51.100.10) are joined by a router.",
			"The client connects. Then the router loses its route to the server, and the client sends.",
			"The router answers with ICMP errors: host unreachable. On an established connection that is no death: the kernel remembers it (sk_err_soft), and goes on.",
			"On the client tcp_retries2 is 3, so that its kernel gives up after some 3 to 6 seconds instead of 15 minutes.",
			"Look at the errno: what the router had said last. Had one retransmission been acknowledged, it would be forgotten.",
		},
		Expect: "unreachable_while_connected",
		Build:  builder(buildUnreachable).on(siteV4),
		ipv6:   builder(buildUnreachable).on(siteV6),
	},
}

func buildUnreachable(ctx context.Context, n *Network, s site) (*Scene, error) {
	client, router, server, err := s.routed(ctx, n)
	if err != nil {
		return nil, err
	}
	service, err := server.Discard(s.farService())
	if err != nil {
		return nil, err
	}
	if err := client.Sysctl("net/ipv4/tcp_retries2", "3"); err != nil {
		return nil, err
	}
	lost := netip.PrefixFrom(s.far.server.Addr(), s.far.server.Addr().BitLen())
	options := prober.Options{Then: []prober.Step{
		prober.Call(service.Settle),
		prober.Call(func(context.Context) error { return router.AddDeadRoute(lost, RouteUnreachable) }),
		prober.Write{Data: question},
		prober.Hold{},
	}}
	return &Scene{Client: client, Targets: []string{s.farService().String()}, Options: options}, nil
}
