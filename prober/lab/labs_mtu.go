package lab

import (
	"bytes"
	"context"

	"tcptrace/prober"
)

// mtuLabs are about packets that are too big for the way.
var mtuLabs = []Lab{
	{
		Name:    "large-segments-lost",
		Summary: "A path MTU black hole: the handshake and small data pass, full-size segments never arrive.",
		Steps: []string{
			"A client (192.0.2.1) and a server (198.51.100.10) are joined by a router, whose link to the server takes packets of 1300 bytes, not 1500.",
			"The router's firewall drops the ICMP errors by which it would say so, as overcautious ones do. On the client tcp_mtu_probing is 0.",
			"The client connects, asks something small and gets its answer. Then it sends 8000 bytes.",
			"tcp_retries2 is 3 on the client, so that its kernel gives up after some 3 to 6 seconds instead of 15 minutes.",
			"Look at the sizes: whatever was small was acknowledged, every full-size segment is sent again and again. A smaller MSS, or tcp_mtu_probing 1, would help.",
		},
		Expect: "large_segments_lost",
		Build:  builder(buildLargeSegmentsLost).on(siteV4),
		ipv6:   builder(buildLargeSegmentsLost).on(siteV6),
	},
}

// narrowMTU is less than Ethernet's, and more than what IPv6 demands (1280).
const narrowMTU = 1300

func buildLargeSegmentsLost(ctx context.Context, n *Network, s site) (*Scene, error) {
	client, router, server, err := s.routed(ctx, n)
	if err != nil {
		return nil, err
	}
	if _, err := server.Echo(s.farService()); err != nil {
		return nil, err
	}
	// Only this end of the link: the server's own MSS would tell the client if it were the other.
	if err := router.setMTU("eth1", narrowMTU); err != nil {
		return nil, err
	}
	if err := router.StaySilentOnSize(); err != nil {
		return nil, err
	}
	for _, sysctl := range []struct{ name, value string }{
		{"net/ipv4/tcp_mtu_probing", "0"},
		{"net/ipv4/tcp_retries2", "3"},
	} {
		if err := client.Sysctl(sysctl.name, sysctl.value); err != nil {
			return nil, err
		}
	}
	options := prober.Options{Send: question, Expect: question, Then: []prober.Step{
		prober.Write{Data: bytes.Repeat([]byte{'x'}, 8000)},
		prober.Hold{},
	}}
	return &Scene{Client: client, Targets: []string{s.farService().String()}, Options: options}, nil
}
