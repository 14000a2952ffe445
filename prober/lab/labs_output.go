package lab

import (
	"context"
	"errors"

	"tcptrace/prober"
)

// outputLabs are about SYNs that the client itself drops.
var outputLabs = []Lab{
	{
		Name:    "dropped-by-local-output",
		Summary: "The client's own firewall drops its SYNs: to the application it looks like a silent peer.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The server listens on port 443, but the client's own firewall drops what goes out to that port (nft, hook output).",
			"The client connects, with TCP_SYNCNT 1 so that its kernel gives up after 3 seconds.",
			"Look at what the kernel makes of it: it goes on as if the SYNs had left, until ETIMEDOUT. connect() never gets the firewall's error.",
		},
		Expect: "dropped_by_local_output",
		Build:  builder(buildDroppedByLocalOutput).on(siteV4),
		ipv6:   builder(buildDroppedByLocalOutput).on(siteV6),
	},
	{
		Name:    "dropped-by-local-output-legacy",
		Summary: "The same by the legacy tables of iptables, which nft list ruleset does not show.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The server listens on port 443, but a rule in the client's legacy filter table drops TCP on its way out.",
			"The client connects, with TCP_SYNCNT 1 so that its kernel gives up after 3 seconds.",
			"Look at where the SYNs were dropped: iptables-legacy -L OUTPUT -v shows the rule that nft does not.",
		},
		Expect: "dropped_by_local_output",
		Needs:  "a kernel with the legacy tables of iptables, loaded",
		Build:  builder(buildDroppedByLocalOutputLegacy).on(siteV4),
	},
	{
		Name:    "dropped-by-local-output-queue",
		Summary: "The queue of the client's device refuses its SYNs: the kernel tries every half second, and gives up within seconds.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link, and know each other's link-layer addresses.",
			"The server listens on port 443, but the client's device has a queue without any room (pfifo, limit 0).",
			"The client connects, with TCP_SYNCNT 3, which is 15 seconds of patience with a peer that is silent.",
			"Look at when the SYNs are sent again: what a queue refuses is tried again after half a second, and counts. A filter of the device's egress that drops them does the same.",
		},
		Expect: "dropped_by_local_output",
		Build:  builder(buildRefusedByQueue).on(siteV4),
		ipv6:   builder(buildRefusedByQueue).on(siteV6),
	},
}

func buildRefusedByQueue(ctx context.Context, n *Network, s site) (*Scene, error) {
	client, server, err := s.serving(ctx, n)
	if err != nil {
		return nil, err
	}
	// What asks for the server's address would be refused as well.
	if err := errors.Join(client.learn(server, s.link.server.Addr()), client.RefuseAll("eth0")); err != nil {
		return nil, err
	}
	return &Scene{Client: client, Targets: []string{s.service().String()}, Options: prober.Options{SYNRetries: 3}}, nil
}

func buildDroppedByLocalOutput(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildUnsent(ctx, n, s, func(client *Host) error {
		_, err := client.DropOutput(Drop{Port: servicePort})
		return err
	})
}

func buildDroppedByLocalOutputLegacy(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildUnsent(ctx, n, s, (*Host).dropOutputLegacy)
}

// buildUnsent has the client drop what it sends.
func buildUnsent(ctx context.Context, n *Network, s site, drop func(client *Host) error) (*Scene, error) {
	client, _, err := s.serving(ctx, n)
	if err != nil {
		return nil, err
	}
	if err := drop(client); err != nil {
		return nil, err
	}
	return &Scene{Client: client, Targets: []string{s.service().String()}, Options: prober.Options{SYNRetries: 1}}, nil
}
