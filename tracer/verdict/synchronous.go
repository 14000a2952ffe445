package verdict

import (
	"fmt"
	"slices"

	"tcptrace/tracer/event"
)

// synchronousRules are about a connect() that failed before any SYN: tcp_v4_connect, tcp_v6_connect or what the kernel
// asks before them.
var synchronousRules = []rule{
	{
		cause:   DeniedByPolicy,
		match:   failsAtOnce(event.EPERM),
		outcome: OutcomeFailed,
		endedBy: endedBy(EndedByKernel),
		shows:   []event.Kind{event.Error},
		summary: atOnce("denied by a cgroup BPF program or a security module"),
		advice:  policyAdvice,
	},
	{
		cause:   NoRoute,
		match:   (*story).lacksZone,
		outcome: OutcomeFailed,
		endedBy: endedBy(EndedByKernel),
		shows:   []event.Kind{event.Error},
		summary: atOnce("no route: a link-local address, and no interface"),
		advice:  zoneAdvice,
	},
	{
		cause: NoRoute,
		match: func(s *story) bool {
			return s.syncError && s.errno != 0 && s.route() != nil && s.route().Errno == s.errno
		},
		outcome: OutcomeFailed,
		endedBy: endedBy(EndedByKernel),
		shows:   []event.Kind{event.Error},
		summary: func(s *story) string { return atOnce("no route" + routeKinds[s.errno])(s) },
		advice:  routeAdvice,
	},
	{
		cause:      DeniedByPolicy,
		match:      func(s *story) bool { return failsAtOnce(event.EACCES)(s) && s.route() != nil && s.route().Errno == 0 },
		outcome:    OutcomeFailed,
		confidence: Likely,
		endedBy:    endedBy(EndedByKernel),
		shows:      []event.Kind{event.Error},
		doubts:     say("the route was asked for afterwards, and there is one; a prohibit route that has gone since gives the same errno"),
		summary:    atOnce("denied by a security module or a cgroup BPF program"),
		advice:     policyAdvice,
	},
	{
		// A prohibit route gives EACCES, and so does a security module.
		cause:      NoRoute,
		match:      failsAtOnce(event.EACCES),
		outcome:    OutcomeFailed,
		confidence: Likely,
		endedBy:    endedBy(EndedByKernel),
		shows:      []event.Kind{event.Error},
		doubts:     say("a security module or a cgroup program gives the same errno: then it is denied_by_policy"),
		summary:    atOnce("no route, a prohibit route it seems"),
		advice:     routeAdvice,
	},
	{
		cause:   NoRoute,
		match:   failsAtOnce(event.ENETUNREACH, event.EHOSTUNREACH),
		outcome: OutcomeFailed,
		endedBy: endedBy(EndedByKernel),
		shows:   []event.Kind{event.Error},
		doubts:  (*story).routeSince,
		summary: atOnce("no route"),
		advice:  routeAdvice,
	},
	{
		cause:      NoRoute,
		match:      failsAtOnce(event.EINVAL),
		outcome:    OutcomeFailed,
		confidence: Likely,
		endedBy:    endedBy(EndedByKernel),
		shows:      []event.Kind{event.Error},
		doubts:     (*story).blackholeDoubts,
		summary:    atOnce("no route, a blackhole route it seems"),
		advice:     routeAdvice,
	},
	{
		cause:   PortsExhausted,
		match:   func(s *story) bool { return failsAtOnce(event.EADDRNOTAVAIL)(s) && s.sourcePorts().full() },
		outcome: OutcomeFailed,
		endedBy: endedBy(EndedByKernel),
		shows:   []event.Kind{event.Error},
		summary: func(s *story) string {
			return atOnce("no free source port: " + s.portsTaken())(s)
		},
		advice: portsAdvice,
	},
	{
		cause:      PortsExhausted,
		match:      failsAtOnce(event.EADDRNOTAVAIL),
		outcome:    OutcomeFailed,
		confidence: Likely,
		endedBy:    endedBy(EndedByKernel),
		shows:      []event.Kind{event.Error},
		doubts:     (*story).portsDoubts,
		summary:    atOnce("no free source port"),
		advice:     portsAdvice,
	},
	{
		cause:      MD5OrAOMismatch,
		match:      failsAtOnce(event.EKEYREJECTED),
		outcome:    OutcomeFailed,
		confidence: Likely,
		endedBy:    endedBy(EndedByKernel),
		shows:      []event.Kind{event.Error},
		doubts:     say("the keys themselves were not seen"),
		summary:    atOnce("the socket's TCP MD5 and AO keys do not fit this peer"),
	},
	{
		cause:      Unexplained,
		match:      func(s *story) bool { return s.syncError },
		outcome:    OutcomeFailed,
		confidence: Possible,
		endedBy:    endedBy(EndedByKernel),
		shows:      []event.Kind{event.Error},
		summary:    atOnce("failed for a reason that no rule knows"),
	},
}

func failsAtOnce(errnos ...event.Errno) func(*story) bool {
	return func(s *story) bool { return s.syncError && slices.Contains(errnos, s.errno) }
}

// lacksZone says that nobody said on which link the address is: tcp_v6_connect keeps the interface that it is given, before it
// looks for a route.
func (s *story) lacksZone() bool {
	o := s.options()
	return failsAtOnce(event.EINVAL)(s) && event.IsOfALink(s.remote().Addr()) && o != nil && o.Device == 0
}

func zoneAdvice(s *story) []string {
	addr := s.remote().Addr()
	return []string{fmt.Sprintf("have it connect by an interface (sin6_scope_id), as in [%v%%eth0]:%d; ip -6 neigh show %v tells where it was met",
		addr, s.remote().Port(), addr)}
}

// atOnce tells a synchronous failure.
func atOnce(what string) func(*story) string {
	return func(s *story) string {
		return fmt.Sprintf("%s: connect() to %s failed at once with %s, no SYN was sent", what, s.remote(), s.errno)
	}
}

// routeKinds are the routes that refuse, by the errno that connect() gets from them (fib_props).
var routeKinds = map[event.Errno]string{
	event.EACCES:       ": a prohibit route",
	event.EINVAL:       ": a blackhole route",
	event.EHOSTUNREACH: ": an unreachable route",
}

// routeSince is about a route that was there when the host was asked.
func (s *story) routeSince() []string {
	r := s.route()
	if r == nil || r.Errno != 0 {
		return nil
	}
	by := ""
	if r.Device != "" {
		by = ", by " + r.Device
	}
	return []string{"the route was asked for afterwards, and there is one" + by + ": it has come since, or the kernel refuses the address itself"}
}

func (s *story) blackholeDoubts() []string {
	return append(s.routeSince(), "an address or a scope that connect() does not take gives the same errno")
}

// noRouteAnyMore tells of repeated SYNs that had no route.
func (s *story) noRouteAnyMore() string {
	return fmt.Sprintf("no route any more: %s could not be sent (%s)", count(s.failed, "repeated SYN"), s.last(event.SYNRetransmit).Errno)
}

func policyAdvice(s *story) []string {
	who := "see who forbids it: bpftool cgroup tree, and the audit log of SELinux or AppArmor (dmesg, ausearch -m avc)"
	if s.errno == event.EPERM {
		who += "; or an IPsec policy that blocks it: ip xfrm policy"
	}
	return []string{
		who,
		"it is decided per process: try it outside the container, service or profile of " + s.writer(),
	}
}

// portsTaken tells how full the range of source ports is.
func (s *story) portsTaken() string {
	p := s.sourcePorts()
	return fmt.Sprintf("all %s of %d-%d towards it are taken, %d in TIME_WAIT", count(p.Last-p.First+1, "port"), p.First, p.Last, p.TimeWait)
}

// portsDoubts are about ports that were not all taken when the host was asked, or of which it was not.
func (s *story) portsDoubts() []string {
	doubts := []string{"a source address that this host does not have gives the same errno, where one was asked for"}
	if p := s.sourcePorts(); p != nil {
		doubts = append(doubts, fmt.Sprintf("the ports were counted afterwards: %d of %s of %d-%d towards it were taken",
			p.InUse, count(p.Last-p.First+1, "port"), p.First, p.Last))
	}
	return doubts
}

func portsAdvice(s *story) []string {
	limit := "sysctl net.ipv4.ip_local_port_range"
	if p := s.sourcePorts(); p != nil {
		limit += fmt.Sprintf(" (%d %d)", p.First, p.Last)
	}
	return []string{
		fmt.Sprintf("count what holds the ports: ss -tan state time-wait dst %s | wc -l, ss -tan dst %s | wc -l", address(s.remote()), address(s.remote())),
		"keep connections instead of making new ones, or widen " + limit + "; net.ipv4.tcp_tw_reuse=1 takes ports in TIME_WAIT again after a second",
	}
}

func routeAdvice(s *story) []string {
	return []string{"ask the kernel which route it takes: " + s.routeGet() + "; look at ip route" + s.ofVRF() + " and ip rule"}
}
