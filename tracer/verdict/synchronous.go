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
		advice:  say("see who forbids it: bpftool cgroup tree, and the audit log of SELinux or AppArmor (dmesg, ausearch -m avc)"),
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
		doubts:     say("an address or a scope that connect() does not take gives the same errno"),
		summary:    atOnce("no route, a blackhole route it seems"),
		advice:     routeAdvice,
	},
	{
		cause:      PortsExhausted,
		match:      failsAtOnce(event.EADDRNOTAVAIL),
		outcome:    OutcomeFailed,
		confidence: Likely,
		endedBy:    endedBy(EndedByKernel),
		shows:      []event.Kind{event.Error},
		doubts:     say("a source address that this host does not have gives the same errno, where one was asked for"),
		summary:    atOnce("no free source port"),
		advice: say("count what holds the ports: ss -tan state time-wait | wc -l, ss -tan | wc -l; the range is " +
			"sysctl net.ipv4.ip_local_port_range"),
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

// atOnce tells a synchronous failure.
func atOnce(what string) func(*story) string {
	return func(s *story) string {
		return fmt.Sprintf("%s: connect() to %s failed at once with %s, no SYN was sent", what, s.remote(), s.errno)
	}
}

func routeAdvice(s *story) []string {
	return []string{"ask the kernel which route it takes: ip route get " + address(s.remote()) + "; look at ip route and ip rule"}
}
