package lab

import (
	"context"
	"net/netip"
	"time"

	"tcptrace/prober"
)

// localLabs are about connects that fail before their SYN has left the host.
var localLabs = []Lab{
	{
		Name:    "conntrack-full",
		Summary: "The client's connection tracking table is full: new connections are dropped, old ones work.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The client tracks connections, as a host with a stateful firewall does. nf_conntrack_max is 8, and 8 connections are open.",
			"The client connects, with TCP_SYNCNT 1 so that its kernel gives up after 3 seconds.",
			"Look at the SYNs: each is dropped on the client itself, before any firewall rule is asked. The kernel's log says: nf_conntrack: table full, dropping packet.",
		},
		Expect: "conntrack_full",
		Needs:  "a machine that exists for tests: the maximum of connection tracking is one for all of it",
		Build:  builder(buildConntrackFull).on(siteV4),
	},
	{
		Name:    "denied-by-policy",
		Summary: "A BPF program on the client's cgroup forbids the connect: EPERM, and nothing is sent.",
		Steps: []string{
			"A client (203.0.113.1) and a server (203.0.113.10) are joined by one link.",
			"A BPF program on the cgroup forbids to connect to port 443 of that server, as a container's policy does.",
			"The client connects. Look at the errno: EPERM at once, from connect() itself. A firewall never gives that to TCP.",
		},
		Expect: "denied_by_policy",
		Needs:  "a cgroup v2 hierarchy",
		Build:  builder(buildDeniedByPolicy).on(policyV4),
		ipv6:   builder(buildDeniedByPolicy).on(policyV6),
	},
	{
		Name:    "neighbour-unresolved",
		Summary: "No host on the link has the address: nobody answers ARP or neighbour discovery.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The client connects to 192.0.2.20, which should be on that link, but no host has it.",
			"Its SYNs wait for the neighbour's hardware address. Look at the end: the kernel asks 3 times, a second each, and then reports host unreachable to itself.",
		},
		Expect: "neighbour_unresolved",
		Build:  builder(buildNeighbourUnresolved).on(siteV4),
		ipv6:   builder(buildNeighbourUnresolved).on(siteV6),
	},
	{
		Name:    "neighbour-unresolved-by-application",
		Summary: "The same, and the application waits for 2 seconds only: no errno tells, and no ICMP error.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The client connects to 192.0.2.20, which no host has, and has patience for 2 seconds.",
			"Look at the SYN that is to be sent again: it cannot be, EBUSY, for the first one still waits in this host. No SYN has left it.",
		},
		Expect: "neighbour_unresolved",
		Build:  builder(buildNeighbourUnresolvedByApplication).on(siteV4),
		ipv6:   builder(buildNeighbourUnresolvedByApplication).on(siteV6),
	},
	{
		Name:    "neighbour-unresolved-no-carrier",
		Summary: "The cable is out: nobody on the link can answer.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The server's end of the link is set down: the client's has no carrier any more (ip link: NO-CARRIER).",
			"The client connects to the server. It still has its address and its route, and asks for the neighbour in vain.",
			"Look at the end: the same errno, and the same time, as of a host that is not there.",
		},
		Expect: "neighbour_unresolved",
		Build:  builder(buildNoCarrier).on(siteV4),
		ipv6:   builder(buildNoCarrier).on(siteV6),
	},
	{
		Name:    "neighbour-unresolved-quick",
		Summary: "The same with retrans_time_ms 250: it ends before the first SYN would be sent again.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"On the client's interface retrans_time_ms is 250 instead of 1000.",
			"The client connects to 192.0.2.20, which no host has.",
			"Look at the end, after 3 × 250 ms: the schedule of SYNs has no part in it.",
		},
		Expect: "neighbour_unresolved",
		Build:  builder(buildNeighbourUnresolvedQuick).on(siteV4),
		ipv6:   builder(buildNeighbourUnresolvedQuick).on(siteV6),
	},
	{
		Name:    "no-route",
		Summary: "The client has no route to the target: ENETUNREACH at once.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The client has no route but to that link, and connects to 198.51.100.10.",
			"Look at what is missing: connect() itself fails, no SYN was sent.",
		},
		Expect: "no_route",
		Build:  builder(buildNoRoute).on(siteV4),
		ipv6:   builder(buildNoRoute).on(siteV6),
	},
	{
		Name:    "no-route-blackhole",
		Summary: "The client's route to the target is a blackhole: EINVAL at once.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The client's default route is a blackhole, and it connects to 198.51.100.10.",
			"Look at the errno, which misleads: EINVAL is not about what the application said. What is forwarded would vanish silently.",
		},
		Expect: "no_route",
		Build:  builder(buildNoRouteBlackhole).on(siteV4),
		ipv6:   builder(buildNoRouteBlackhole).on(siteV6),
	},
	{
		Name:    "no-route-prohibit",
		Summary: "The client's route to the target is a prohibit route: EACCES at once.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The client's default route is a prohibit route, and it connects to 198.51.100.10.",
			"Look at the errno: EACCES, as if a security module had forbidden it. The route tells them apart: ip route get.",
		},
		Expect: "no_route",
		Build:  builder(buildNoRouteProhibit).on(siteV4),
		ipv6:   builder(buildNoRouteProhibit).on(siteV6),
	},
	{
		Name:    "no-route-unreachable",
		Summary: "The client's route to the target is an unreachable route: EHOSTUNREACH at once.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The client's default route is an unreachable route, and it connects to 198.51.100.10.",
			"Look at the errno and the time: EHOSTUNREACH from connect() itself. A router's ICMP error, or a neighbour that does not answer, gives the same later.",
		},
		Expect: "no_route",
		Build:  builder(buildNoRouteUnreachable).on(siteV4),
		ipv6:   builder(buildNoRouteUnreachable).on(siteV6),
	},
	{
		Name:    "ports-exhausted",
		Summary: "Every source port is in use towards the target: EADDRNOTAVAIL at once.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"On the client ip_local_port_range is 40000 to 40001, and both ports have a connection to the server's port 443.",
			"The client connects there again. Look at the errno: EADDRNOTAVAIL, from connect() itself. To another port or address of the server it would work.",
		},
		Expect: "ports_exhausted",
		Build:  builder(buildPortsExhausted).on(siteV4),
		ipv6:   builder(buildPortsExhausted).on(siteV6),
	},
	{
		Name:    "ports-exhausted-time-wait",
		Summary: "Every source port is held by a TIME_WAIT: EADDRNOTAVAIL, though no connection is open.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"On the client ip_local_port_range is 40000 to 40001, and tcp_tw_reuse is 0.",
			"The client has made two connections to the server's port 443, and closed them first. Their TIME_WAIT holds the ports for a minute.",
			"The client connects there again. Look at the errno, and at what holds the ports: ss -tan state time-wait.",
		},
		Expect: "ports_exhausted",
		Build:  builder(buildPortsExhaustedTimeWait).on(siteV4),
		ipv6:   builder(buildPortsExhaustedTimeWait).on(siteV6),
	},
}

// The policy's sites: of the addresses that are reserved for documentation, those that no other lab connects to.
var (
	policyV4 = site{link: subnet{netip.MustParsePrefix("203.0.113.1/24"), netip.MustParsePrefix("203.0.113.10/24")}}
	policyV6 = site{link: subnet{netip.MustParsePrefix("2001:db8:3::1/64"), netip.MustParsePrefix("2001:db8:3::10/64")}}
)

// conntrackLimit leaves room for what other labs track meanwhile, in tables of their own but with the same maximum.
const conntrackLimit = 8

func buildConntrackFull(ctx context.Context, n *Network, s site) (*Scene, error) {
	client, _, err := s.serving(ctx, n)
	if err != nil {
		return nil, err
	}
	if err := client.trackConnections(); err != nil {
		return nil, err
	}
	if err := n.limitConntrack(conntrackLimit); err != nil {
		return nil, err
	}
	if err := client.fillConntrack(ctx, s.service(), conntrackLimit); err != nil {
		return nil, err
	}
	return &Scene{Client: client, Targets: []string{s.service().String()}, Options: prober.Options{SYNRetries: 1}}, nil
}

func buildDeniedByPolicy(ctx context.Context, n *Network, s site) (*Scene, error) {
	client, _, err := s.serving(ctx, n)
	if err != nil {
		return nil, err
	}
	return &Scene{Client: client, Targets: []string{s.service().String()}}, n.denyConnect(s.service())
}

func buildNeighbourUnresolved(ctx context.Context, n *Network, s site) (*Scene, error) {
	client, _, err := s.direct(ctx, n)
	if err != nil {
		return nil, err
	}
	return &Scene{Client: client, Targets: []string{netip.AddrPortFrom(s.nobody, servicePort).String()}}, nil
}

func buildNeighbourUnresolvedByApplication(ctx context.Context, n *Network, s site) (*Scene, error) {
	scene, err := buildNeighbourUnresolved(ctx, n, s)
	if err != nil {
		return nil, err
	}
	scene.Options.Timeout = 2 * time.Second
	return scene, nil
}

func buildNoCarrier(ctx context.Context, n *Network, s site) (*Scene, error) {
	client, server, err := s.direct(ctx, n)
	if err != nil {
		return nil, err
	}
	if err := server.setDown("eth0"); err != nil {
		return nil, err
	}
	return &Scene{Client: client, Targets: []string{s.service().String()}}, client.awaitDown(ctx, "eth0")
}

func buildNeighbourUnresolvedQuick(ctx context.Context, n *Network, s site) (*Scene, error) {
	scene, err := buildNeighbourUnresolved(ctx, n, s)
	if err != nil {
		return nil, err
	}
	const pause = 250 * time.Millisecond
	return scene, scene.Client.retransmitSolicitations("eth0", pause, s.nobody)
}

func buildNoRoute(ctx context.Context, n *Network, s site) (*Scene, error) {
	client, _, err := s.direct(ctx, n)
	if err != nil {
		return nil, err
	}
	return &Scene{Client: client, Targets: []string{s.farService().String()}}, nil
}

func buildNoRouteBlackhole(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildDeadRoute(ctx, n, s, RouteBlackhole)
}

func buildNoRouteProhibit(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildDeadRoute(ctx, n, s, RouteProhibit)
}

func buildNoRouteUnreachable(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildDeadRoute(ctx, n, s, RouteUnreachable)
}

func buildDeadRoute(ctx context.Context, n *Network, s site, kind RouteType) (*Scene, error) {
	scene, err := buildNoRoute(ctx, n, s)
	if err != nil {
		return nil, err
	}
	return scene, scene.Client.AddDeadRoute(s.any, kind)
}

func buildPortsExhausted(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildTwoPorts(ctx, n, s, (*Host).occupy)
}

func buildPortsExhaustedTimeWait(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildTwoPorts(ctx, n, s, (*Host).timeWait)
}

// buildTwoPorts leaves the client two source ports, and has take take both.
func buildTwoPorts(ctx context.Context, n *Network, s site, take func(*Host, context.Context, netip.AddrPort) error) (*Scene, error) {
	client, _, err := s.serving(ctx, n)
	if err != nil {
		return nil, err
	}
	for _, sysctl := range []struct{ name, value string }{
		{"net/ipv4/ip_local_port_range", "40000 40001"},
		{"net/ipv4/tcp_tw_reuse", "0"},
	} {
		if err := client.Sysctl(sysctl.name, sysctl.value); err != nil {
			return nil, err
		}
	}
	for range 2 {
		if err := take(client, ctx, s.service()); err != nil {
			return nil, err
		}
	}
	return &Scene{Client: client, Crowded: true, Targets: []string{s.service().String()}}, nil
}
