package lab

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"tcptrace/prober"
)

// icmpLabs are about SYNs that an ICMP error answers.
var icmpLabs = []Lab{
	{
		Name:    "rejected-by-icmp",
		Summary: "A router on the way answers the SYN with an ICMP error: administratively prohibited.",
		Steps: []string{
			"A client (192.0.2.1) is joined to a router. Behind that are other routers, on the way to a server (198.51.100.10).",
			"The client connects. One of the routers behind (203.0.113.1) answers after 30 ms: communication administratively prohibited.",
			"Look at who sent it: neither the server nor the client's own router. During a handshake any ICMP error is the end, at once.",
		},
		Expect: "rejected_by_icmp",
		Build:  builder(buildRejectedByICMP).on(siteV4),
		ipv6:   builder(buildRejectedByICMP).on(siteV6),
	},
	{
		Name:    "rejected-by-icmp-after-retries",
		Summary: "Two SYNs are met with silence, the third with an ICMP error: host unreachable.",
		Steps: []string{
			"A client (192.0.2.1) is joined to a router. Behind that are other routers, on the way to a server (198.51.100.10).",
			"The client connects. Nothing answers its first two SYNs, and the third gets a host unreachable from one of the routers behind (203.0.113.1).",
			"Look at the time: the way to the server broke while the client was trying. The delay is the schedule's, the end is the router's.",
		},
		Expect: "rejected_by_icmp",
		Build:  builder(buildRejectedByICMPAfterRetries).on(siteV4),
		ipv6:   builder(buildRejectedByICMPAfterRetries).on(siteV6),
	},
	{
		Name:    "rejected-by-icmp-inside-connect",
		Summary: "The ICMP error is there before connect() has returned: the kernel waits for a second one.",
		Steps: []string{
			"A client (192.0.2.1) and a server (198.51.100.10) are joined by a router.",
			"The router's firewall rejects what goes to port 443. Within one machine that is so quick that the error arrives while connect() still holds the socket.",
			"The kernel then only remembers it (sk_err_soft, LockDroppedIcmps). Look at the end: it is the second SYN's ICMP error, a second later.",
		},
		Expect: "rejected_by_icmp",
		Build:  builder(buildRejectedByICMPInsideConnect).on(siteV4),
		ipv6:   builder(buildRejectedByICMPInsideConnect).on(siteV6),
	},
	{
		Name:    "rejected-by-icmp-then-silence",
		Summary: "One ICMP error inside connect(), then silence: the errno at the end is not ETIMEDOUT.",
		Steps: []string{
			"A client (192.0.2.1) and a server (198.51.100.10) are joined by a router.",
			"The router's firewall rejects the first SYN for port 443, while connect() still holds the socket. The server's firewall silently drops all others.",
			"The client connects, with TCP_SYNCNT 1 so that its kernel gives up after 3 seconds.",
			"Look at the errno: it is what the kernel remembered of the ICMP error, where nothing but silence followed.",
		},
		Expect: "rejected_by_icmp",
		Build:  builder(buildRejectedByICMPThenSilence).on(siteV4),
		ipv6:   builder(buildRejectedByICMPThenSilence).on(siteV6),
	},
}

// rejectAfter is how long a distant router's error takes.
const rejectAfter = 30 * time.Millisecond

func buildRejectedByICMP(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildDistantError(ctx, n, s, 0, adminProhibited)
}

func buildRejectedByICMPAfterRetries(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildDistantError(ctx, n, s, 2, hostUnreachable)
}

// buildDistantError has a distant router answer SYNs with an ICMP error, after so many that nothing answers.
func buildDistantError(ctx context.Context, n *Network, s site, unanswered int32, say func(from netip.Addr, about Segment) *ICMPError) (*Scene, error) {
	var seen atomic.Int32
	client, _, err := s.tunnelled(ctx, n, func(segment Segment) []Reply {
		if seen.Add(1) <= unanswered {
			return nil
		}
		return []Reply{{Packet: say(s.beyond, segment), After: rejectAfter}}
	})
	if err != nil {
		return nil, err
	}
	return &Scene{Client: client, Targets: []string{s.farService().String()}}, nil
}

// Types and codes of errors (RFC 792, RFC 1812, RFC 4443).
const (
	icmpv4Unreachable        = 3
	icmpv4HostUnreachable    = 1
	icmpv4AdminProhibited    = 13
	icmpv6Unreachable        = 1
	icmpv6AdminProhibited    = 1
	icmpv6AddressUnreachable = 3
	icmpv6PacketTooBig       = 2
)

// adminProhibited is the error of a router whose firewall forbids a segment.
func adminProhibited(from netip.Addr, about Segment) *ICMPError {
	if from.Is4() {
		return &ICMPError{From: from, Type: icmpv4Unreachable, Code: icmpv4AdminProhibited, About: about}
	}
	return &ICMPError{From: from, Type: icmpv6Unreachable, Code: icmpv6AdminProhibited, About: about}
}

// hostUnreachable is the error of the last router, which cannot reach the host.
func hostUnreachable(from netip.Addr, about Segment) *ICMPError {
	if from.Is4() {
		return &ICMPError{From: from, Type: icmpv4Unreachable, Code: icmpv4HostUnreachable, About: about}
	}
	return &ICMPError{From: from, Type: icmpv6Unreachable, Code: icmpv6AddressUnreachable, About: about}
}

func buildRejectedByICMPInsideConnect(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildFirewalledRouter(ctx, n, s, Drop{Port: servicePort}, prober.Options{})
}

func buildRejectedByICMPThenSilence(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildFirewalledRouter(ctx, n, s, Drop{Port: servicePort, FirstSYNs: 1}, prober.Options{SYNRetries: 1})
}

// buildFirewalledRouter has the router reject some packets, and the server silently drop the others.
func buildFirewalledRouter(ctx context.Context, n *Network, s site, rejected Drop, options prober.Options) (*Scene, error) {
	client, router, server, err := s.routed(ctx, n)
	if err != nil {
		return nil, err
	}
	if _, err := router.reject(rejected); err != nil {
		return nil, err
	}
	if _, err := server.DropInput(Drop{Port: servicePort}); err != nil {
		return nil, err
	}
	return &Scene{Client: client, Targets: []string{s.farService().String()}, Options: options}, nil
}
