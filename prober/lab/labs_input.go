package lab

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"tcptrace/prober"
)

// inputLabs are about answers that do not reach the client, or that it drops itself.
var inputLabs = []Lab{
	{
		Name:    "dropped-by-local-input",
		Summary: "The server answers every SYN; the client's own firewall drops the answers.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The server listens on port 443, but the client's own firewall drops the TCP packets that come in (nft, hook input).",
			"The client connects, with TCP_SYNCNT 1 so that its kernel gives up after 3 seconds.",
			"Look at what came back: SYN-ACKs, which the application never hears of. To it the server looks silent.",
		},
		Expect: "dropped_by_local_input",
		Build:  builder(buildDroppedByLocalInput).on(siteV4),
		ipv6:   builder(buildDroppedByLocalInput).on(siteV6),
	},
	{
		Name:    "dropped-by-local-input-bad-checksum",
		Summary: "The answers arrive damaged: their TCP checksum is wrong, and the client drops them.",
		Steps: []string{
			"A client (192.0.2.1) is joined to a router, behind which is a server (198.51.100.10).",
			"The server answers each SYN, but the checksum of its SYN-ACKs is wrong, as broken offloading on the way makes it.",
			"The client connects, with TCP_SYNCNT 1 so that its kernel gives up after 3 seconds.",
			"Look at the drops, and at the counter that only they move: InCsumErrors.",
		},
		Expect:  "dropped_by_local_input",
		Blindly: "no_answer",
		Build:   builder(buildBadChecksum).on(siteV4),
		ipv6:    builder(buildBadChecksum).on(siteV6),
	},
	{
		Name:    "dropped-by-local-input-rp-filter",
		Summary: "The answers come in by another link than the SYNs left by: rp_filter drops them.",
		Steps: []string{
			"A client (192.0.2.1, 198.51.100.1) and a server (192.0.2.10, 198.51.100.10) are joined by two links.",
			"The client's SYNs leave by the first link. The server's route to 192.0.2.1 goes by the second one.",
			"On the client rp_filter is 1: a packet may come in only where its answer would go out.",
			"The client connects, with TCP_SYNCNT 1 so that its kernel gives up after 3 seconds.",
			"Look at the drops, and at the counter IPReversePathFilter. No firewall rule shows them. With rp_filter 2 it would work.",
		},
		Expect: "dropped_by_local_input",
		Build:  buildRPFilter,
	},
	{
		Name:    "dropped-by-local-input-xdp",
		Summary: "The server answers every SYN; an XDP program of the client's device discards the answers.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"On the client's end of it an XDP program discards TCP, as a load balancer or a filter against floods may.",
			"The client connects, with TCP_SYNCNT 1 so that its kernel gives up after 3 seconds.",
			"Look at the drops. No firewall rule shows them, no counter of TCP's, and not tcpdump either.",
		},
		Expect: "dropped_by_local_input",
		Build:  builder(buildXDP).on(siteV4),
		ipv6:   builder(buildXDP).on(siteV6),
	},
	{
		Name:    "no-answer-way-back",
		Summary: "The server answers every SYN; its answers are lost on the way back.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The server listens on port 443, but its neighbour entry for the client has a link-layer address that nobody has.",
			"The client connects, with TCP_SYNCNT 1 so that its kernel gives up after 3 seconds. To it the server looks silent.",
			"Look at the server: it takes the SYN, and sends its SYN-ACK again on its timer, and whenever the SYN comes again.",
		},
		Expect: "no_answer",
		Build:  builder(buildLostAnswers).on(siteV4),
		ipv6:   builder(buildLostAnswers).on(siteV6),
	},
}

func buildLostAnswers(ctx context.Context, n *Network, s site) (*Scene, error) {
	client, server, err := s.serving(ctx, n)
	if err != nil {
		return nil, err
	}
	// What the server answers to a neighbour solicitation is lost as well, so the client has to know its address.
	nobodys := net.HardwareAddr{0x02, 0, 0, 0, 0, 0xff}
	if err := errors.Join(client.learn(server, s.link.server.Addr()), server.setNeighbour(s.link.client.Addr(), nobodys)); err != nil {
		return nil, err
	}
	return &Scene{Client: client, Targets: []string{s.service().String()}, Options: prober.Options{SYNRetries: 1}}, nil
}

func buildDroppedByLocalInput(ctx context.Context, n *Network, s site) (*Scene, error) {
	client, _, err := s.serving(ctx, n)
	if err != nil {
		return nil, err
	}
	if _, err := client.DropInput(Drop{}); err != nil {
		return nil, err
	}
	return &Scene{Client: client, Targets: []string{s.service().String()}, Options: prober.Options{SYNRetries: 1}}, nil
}

func buildBadChecksum(ctx context.Context, n *Network, s site) (*Scene, error) {
	client, _, err := s.tunnelled(ctx, n, func(segment Segment) []Reply {
		answer := segment.Answer(FlagSYN)
		answer.BadChecksum = true
		return []Reply{{Packet: &answer}}
	})
	if err != nil {
		return nil, err
	}
	return &Scene{Client: client, Targets: []string{s.farService().String()}, Options: prober.Options{SYNRetries: 1}}, nil
}

func buildXDP(ctx context.Context, n *Network, s site) (*Scene, error) {
	client, _, err := s.serving(ctx, n)
	if err != nil {
		return nil, err
	}
	if err := n.dropByXDP(client, "eth0"); err != nil {
		return nil, err
	}
	return &Scene{Client: client, Targets: []string{s.service().String()}, Options: prober.Options{SYNRetries: 1}}, nil
}

func buildRPFilter(ctx context.Context, n *Network) (*Scene, error) {
	client, server, err := clientAndServer(ctx, n, linkV4)
	if err != nil {
		return nil, err
	}
	back := subnet{netip.MustParsePrefix("198.51.100.1/24"), netip.MustParsePrefix("198.51.100.10/24")}
	if err := n.Connect(ctx, End{client, []netip.Prefix{back.client}}, End{server, []netip.Prefix{back.server}}); err != nil {
		return nil, err
	}
	if err := server.Listen(serviceV4); err != nil {
		return nil, err
	}
	if err := server.AddRoute(netip.PrefixFrom(linkV4.client.Addr(), 32), back.client.Addr()); err != nil {
		return nil, err
	}
	// rp_filter is about ARP requests, too. So the server is to ask from its address on the second link (arp_announce 2).
	if err := server.Sysctl("net/ipv4/conf/all/arp_announce", "2"); err != nil {
		return nil, err
	}
	// The strictest of what is said for all interfaces and for the one counts.
	if err := client.Sysctl("net/ipv4/conf/all/rp_filter", "1"); err != nil {
		return nil, err
	}
	return &Scene{Client: client, Targets: []string{serviceV4.String()}, Options: prober.Options{SYNRetries: 1}}, nil
}
