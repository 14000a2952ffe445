package tracer

import (
	"slices"

	"tcptrace/tracer/event"
)

// A hook is an event and the ways to see it, best first.
type hook struct {
	kind event.Kind
	ways []way
	// cost says what users lose where no way can be had. It ends up in doctor and in the doubts of verdicts.
	cost string
}

// A way of seeing an event: programs that must all be attached.
type way struct {
	mechanism Mechanism
	programs  []string
	requires  []requirement
	// partial says what this way cannot see that the others can; empty when it sees everything.
	partial string
}

// hooks is the table of all events that this release sees. An event is added here, in bpf/tcptrace.bpf.c, in
// bpf/event.h and in package event; tests name the place that was forgotten.
//
// A tracepoint stands first where it exists on every kernel and says the most: it is the kernel's own interface, and
// the cheapest.
var hooks = []hook{
	{
		kind: event.Connect,
		ways: []way{
			{Fentry, twice(bpfProgConnectFentry), nil, ""},
			{Kprobe, programs(bpfProgConnectKprobe), nil, kprobesSkip},
			{Tracepoint, programs(bpfProgHandshakeSockops), nil, ""},
			{Tracepoint, twice(bpfProgStateTracepoint), nil,
				"a connection's source port and first sequence number are not known at its connect, but only later"},
		},
		cost: "connections are not seen to begin, so the verdict has no schedule to compare with",
	},
	{
		kind: event.SYNSent,
		ways: []way{
			{Tracepoint, twice(bpfProgSynSentTracepoint), nil, ""},
			{Fentry, twice(bpfProgSynSentFentry), nil, ""},
			{Kprobe, programs(bpfProgSynSentKprobe), nil, kprobesSkip},
		},
		cost: "it is not known whether the SYN left this host, or by which device",
	},
	{
		kind: event.SYNReceived,
		ways: []way{
			{Fentry, twice(bpfProgSynReceivedFentry), nil, ""},
			{Kprobe, programs(bpfProgSynReceivedKprobe), nil, kprobesSkip},
			{Tracepoint, programs(bpfProgHandshakeSockops), nil, ""},
		},
		cost: "a server's connection is seen only when its handshake is complete",
	},
	{
		kind: event.SYNRetransmit,
		ways: []way{
			{Fentry, twice(bpfProgRetransmitFexit), nil, ""},
			{Kprobe, programs(bpfProgRetransmitKprobe, bpfProgRetransmitKretprobe), nil, kprobesSkip},
			{Tracepoint, twice(bpfProgRetransmitTracepointResult), requirements(tracepointHas("tcp_retransmit_skb", 3)), ""},
			{Tracepoint, twice(bpfProgRetransmitTracepoint), nil,
				"a SYN retry that this host itself refused to send is not seen"},
		},
		cost: "SYN retries are not seen, so silence cannot be told from a slow answer",
	},
	{
		kind: event.SYNACKRetransmit,
		ways: []way{
			{Tracepoint, twice(bpfProgSynackRetransmitTracepoint), nil, ""},
			{Fentry, twice(bpfProgSynackRetransmitFexit), nil, ""},
			{Kprobe, programs(bpfProgSynackRetransmitKprobe, bpfProgSynackRetransmitKretprobe), nil, kprobesSkip},
		},
		cost: "a server's repeated SYN-ACKs are not seen",
	},
	{
		kind: event.Established,
		ways: stateWays,
		cost: "no state changes are seen",
	},
	{
		kind: event.Accept,
		ways: []way{
			{Fentry, twice(bpfProgAcceptFexit), requirements(functionHas("inet_csk_accept", 2)), ""},
			{Fentry, twice(bpfProgAcceptFexit4args), requirements(functionHas("inet_csk_accept", 4)), ""},
			{Kprobe, programs(bpfProgAcceptKretprobe), nil, kprobesSkip},
			{Tracepoint, programs(bpfProgAcceptTracepoint, bpfProgAccept4Tracepoint), nil,
				"connections accepted through io_uring keep their listener's owner"},
		},
		cost: "a server's connection keeps its listener's owner, and its wait in the accept queue is unknown",
	},
	{
		kind: event.StateChange,
		ways: stateWays,
		cost: "no state changes are seen",
	},
	{
		kind: event.OptionsChanged,
		ways: []way{
			{Fentry, twice(bpfProgOptionsFexit, bpfProgOptionsKeepaliveFentry), nil, ""},
			// Until 6.0 functions cannot be hooked that have a struct for an argument.
			{Fentry, append(twice(bpfProgOptionsKeepaliveFentry), bpfProgOptionsEnterTracepoint, bpfProgOptionsExitTracepoint), nil,
				"an option other than SO_KEEPALIVE that a 32-bit program sets is noticed only at the next probe or timeout"},
			{Kprobe, programs(bpfProgOptionsKprobe, bpfProgOptionsKretprobe, bpfProgOptionsKeepaliveKprobe), nil, kprobesSkip},
			{Tracepoint, programs(bpfProgOptionsEnterTracepoint, bpfProgOptionsExitTracepoint), nil,
				"an option that is set through io_uring, or by a 32-bit program, is noticed only at the next probe or timeout"},
		},
		cost: "an option that is set on a living connection is noticed only at the next probe or timeout",
	},
	{
		kind: event.Retransmit,
		ways: []way{
			// A loss probe does not pass by the function that all other retransmissions do.
			{Fentry, twice(bpfProgRetransmitFexit, bpfProgLossProbeTracepointResult),
				requirements(tracepointHas("tcp_retransmit_skb", 3)), ""},
			{Fentry, twice(bpfProgRetransmitFexit, bpfProgLossProbeTracepoint), nil, lossProbesRefused},
			{Kprobe, append(twice(bpfProgLossProbeTracepointResult), bpfProgRetransmitKprobe, bpfProgRetransmitKretprobe),
				requirements(tracepointHas("tcp_retransmit_skb", 3)), kprobesSkip},
			{Kprobe, append(twice(bpfProgLossProbeTracepoint), bpfProgRetransmitKprobe, bpfProgRetransmitKretprobe), nil,
				lossProbesRefused + ", and " + kprobesSkip},
			{Tracepoint, twice(bpfProgRetransmitTracepointResult), requirements(tracepointHas("tcp_retransmit_skb", 3)), ""},
			{Tracepoint, twice(bpfProgRetransmitTracepoint), nil,
				"a retransmission that this host itself refused to send is not seen"},
		},
		cost: "data that is sent again is not seen, so a dead connection cannot be told from an idle one",
	},
	{
		kind: event.KeepaliveProbe,
		ways: []way{
			{Fentry, programs(bpfProgProbeFexit), nil, ""},
			{Kprobe, programs(bpfProgProbeKprobe, bpfProgProbeKretprobe), nil, kprobesSkip},
			{Tracepoint, programs(bpfProgProbeEntryTracepoint, bpfProgProbeExitTracepoint), nil,
				"whether this host itself refused to send a keepalive probe is not known"},
		},
		cost: "keepalive probes are not seen",
	},
	{
		kind: event.KeepaliveAnswer,
		ways: []way{
			{Fentry, programs(bpfProgAnswerFentry), nil, ""},
			{Tracepoint, programs(bpfProgAnswerTracepoint), nil,
				"once either end has sent its FIN, an answer to a keepalive probe is noticed only at the next probe or at the end"},
			{Kprobe, programs(bpfProgAnswerKprobe), nil, kprobesSkip},
		},
		cost: "an answer to a keepalive probe is noticed only at the next probe or at the end",
	},
	{
		kind: event.WindowProbe,
		ways: []way{
			{Fentry, programs(bpfProgProbeFexit), nil, ""},
			{Kprobe, programs(bpfProgProbeKprobe, bpfProgProbeKretprobe), nil, kprobesSkip},
			{Tracepoint, programs(bpfProgProbeEntryTracepoint, bpfProgProbeExitTracepoint), nil,
				"a window probe that was put off because the application was using the socket is not seen, and whether this host " +
					"itself refused to send one is not known"},
		},
		cost: "probes of a closed window are not seen",
	},
	{
		kind: event.ResetSent,
		ways: []way{
			{Tracepoint, programs(bpfProgResetSentTracepointReason), requirements(tracepointHas("tcp_send_reset", 3)), ""},
			{Fentry, programs(bpfProgResetSentV4Fentry, bpfProgResetSentV6Fentry, bpfProgResetSentActiveFentry), nil,
				"the kernel's reason for a RST is not known"},
			{Kprobe, programs(bpfProgResetSentV4Kprobe, bpfProgResetSentV6Kprobe, bpfProgResetSentActiveKprobe), nil,
				"the kernel's reason for a RST is not known, and " + kprobesSkip},
			{Tracepoint, programs(bpfProgResetSentTracepoint), nil,
				"a RST that answers a segment for no socket is not seen, and the kernel's reason for the others is not known"},
		},
		cost: "a RST that this host sends is not seen",
	},
	{
		kind: event.ResetReceived,
		ways: []way{
			{Tracepoint, programs(bpfProgResetReceivedTracepoint), nil, ""},
			{Fentry, programs(bpfProgResetReceivedFentry), nil, ""},
			{Kprobe, programs(bpfProgResetReceivedKprobe), nil, kprobesSkip},
		},
		cost: "a RST from the peer is not told from other errors",
	},
	{
		kind: event.AcceptQueueFull,
		ways: []way{
			{Fentry, programs(bpfProgConnRequestFentry, bpfProgConnRequestFexit, bpfProgCheckReqFentry, bpfProgCheckReqFexit,
				bpfProgCookieSockFentry, bpfProgCookieSockFexit), requirements(countersKnown), ""},
			{Kprobe, programs(bpfProgConnRequestKprobe, bpfProgConnRequestKretprobe, bpfProgCheckReqKprobe, bpfProgCheckReqKretprobe,
				bpfProgCookieSockKprobe, bpfProgCookieSockKretprobe), requirements(countersKnown), kprobesSkip},
			{Tracepoint, programs(bpfProgRefusedSynTracepoint, bpfProgRefusedAckTracepoint), requirements(countersKnown), sharedPorts},
		},
		cost: "what a full accept queue refuses is not seen, so it cannot be told from what is lost on the way",
	},
	{
		kind: event.SYNQueueFull,
		ways: []way{
			{Fentry, programs(bpfProgConnRequestFentry, bpfProgConnRequestFexit), requirements(countersKnown), ""},
			{Kprobe, programs(bpfProgConnRequestKprobe, bpfProgConnRequestKretprobe), requirements(countersKnown), kprobesSkip},
			{Tracepoint, programs(bpfProgRefusedSynTracepoint), requirements(countersKnown), sharedPorts},
		},
		cost: "what a full SYN queue refuses is not seen, nor that it is answered by SYN cookies",
	},
	{
		kind: event.SYNACKTimeout,
		ways: []way{
			{Fentry, programs(bpfProgSynackTimeoutFentry, bpfProgSynackTimeoutFexit), nil, ""},
			{Kprobe, programs(bpfProgSynackTimeoutKprobe, bpfProgSynackTimeoutKretprobe), nil, kprobesSkip},
			{Tracepoint, programs(bpfProgSynackTimeoutEntryTracepoint, bpfProgSynackTimeoutExitTracepoint), nil, ""},
		},
		cost: "a half-open request is not seen to expire, only its SYN-ACKs to stop",
	},
	{
		kind: event.SYNACKDuplicate,
		ways: []way{
			// Drops are few; the others see much or all of what comes in.
			{Tracepoint, programs(bpfProgSynackDuplicateTracepointSock), requirements(tracepointHas("kfree_skb", 4)), ""},
			{Fentry, programs(bpfProgSynackDuplicateFentry), nil, ""},
			{Kprobe, programs(bpfProgSynackDuplicateKprobe), nil, kprobesSkip},
			{Tracepoint, programs(bpfProgSynackDuplicateTracepoint), nil,
				"a repeated SYN-ACK is not seen once the client has sent its FIN"},
		},
		cost: "a client does not notice that the server has not taken its final ACK",
	},
	{
		kind: event.ICMPError,
		ways: []way{
			{Fentry, twice(bpfProgIcmpErrorV4Fentry, bpfProgIcmpErrorV6Fentry), nil, ""},
			{Kprobe, twice(bpfProgIcmpErrorV4Kprobe, bpfProgIcmpErrorV6Kprobe), nil, kprobesSkip},
			// By the kernels that tell kfree_skb the receiver (6.10), ICMPv6 had long been consumed, and not freed as if it were
			// dropped (6.3).
			{Tracepoint, twice(bpfProgIcmpErrorConsumedTracepoint), requirements(tracepointHas("kfree_skb", 4)), ""},
			{Tracepoint, twice(bpfProgIcmpErrorConsumedTracepoint, bpfProgIcmpErrorFreedTracepoint), nil, ""},
		},
		cost: "ICMP errors are not seen: neither who sent one, nor that there was one which the application did not wait for",
	},
	{
		kind: event.Drop,
		ways: slices.Concat(dropWays(Tracepoint), dropWays(Fentry), dropWays(Kprobe)),
		cost: "packets that this host itself dropped (firewall, rp_filter, full queues) are not seen",
	},
	{
		kind: event.Error,
		ways: []way{
			{Fentry, programs(bpfProgErrorV4Fexit, bpfProgErrorV6Fexit), nil, ""},
			{Kprobe, programs(bpfProgErrorV4Kprobe, bpfProgErrorV4Kretprobe, bpfProgErrorV6Kprobe, bpfProgErrorV6Kretprobe), nil, kprobesSkip},
			{Tracepoint, programs(bpfProgErrorEnterTracepoint, bpfProgErrorExitTracepoint), nil,
				"a connect that fails at once is not seen when it was made through io_uring or by a Fast Open send"},
		},
		cost: "a connect that fails at once (no route, no free port, forbidden) is not seen",
	},
	{
		kind: event.Close,
		ways: stateWays,
		cost: "no state changes are seen",
	},
}

// kprobesSkip is what all kprobes miss: a CPU that comes by one in the middle of another passes on (kprobe_running), and
// trace_call_bpf runs one BPF program of this kind a CPU at a time.
const kprobesSkip = "what happens on a CPU in the middle of another probe is not seen (it is counted as lost since Linux 6.7)"

// lossProbesRefused is what the tracepoint of tcp_retransmit_skb hides before 6.17 from those who hook the function.
const lossProbesRefused = "a loss probe that this host itself refused to send is not seen"

// sharedPorts is what is hard to tell without the function that gets the listener as its argument.
const sharedPorts = "which of several listeners on one port was full is concluded from their counters, and marked as ambiguous " +
	"where these do not tell"

// stateWays see every change of state; three kinds of event come from them.
var stateWays = []way{
	{Tracepoint, twice(bpfProgStateTracepoint), nil, ""},
	{Fentry, twice(bpfProgStateFentry, bpfProgListenFentry), nil, ""},
	{Kprobe, programs(bpfProgStateKprobe, bpfProgListenKprobe), nil, kprobesSkip},
}

// dropWays are by the tracepoint, whatever stands beside it: the functions that call it differ from kernel to kernel, are
// inlined into each other, and do not know whose packet they free. All kernels have it, and each that we run on attaches
// programs to tracepoints. A packet's network namespace is that of its device or of its route; tcp_add_backlog has it lose
// both, so only who is told the receiver knows whose backlog was full.
func dropWays(m Mechanism) []way {
	return []way{
		{m, twice(bpfProgDropTracepointReceiver), requirements(tracepointHas("kfree_skb", 4)), ""},
		{m, twice(bpfProgDropTracepointReason), requirements(tracepointHas("kfree_skb", 3)),
			"data that was dropped for want of memory or window is not seen, nor what a socket's backlog had no room for"},
		{m, twice(bpfProgDropTracepoint), requirements((*kernel).showsSymbols),
			"what TCP itself refuses (checksum, MD5, memory, window, a full backlog) is not seen, and the kernel has no reasons " +
				"for what is"},
	}
}

// housekeeping programs see no event of their own, so no mechanism is chosen for them. cost says what goes wrong
// without them.
var housekeeping = []struct {
	program string
	copies  int // see twice
	cost    string
	when    func(*Options) bool
}{
	{bpfProgDestroyTracepoint, 2, "connections whose end is missed take up room until tcptrace ends", always},
	{bpfProgForkTracepoint, 1, "a command's children are not followed", (*Options).followsForks},
	{bpfProgExitTracepoint, 1, "a process that gets the number of one that ended may be taken for it", (*Options).followsForks},
	{bpfProgOpenFilesIterator, 1, "sockets older than the trace have no owner", (*Options).wantsOlderSockets},
}

func always(*Options) bool { return true }

func programs(names ...string) []string { return names }

// twice attaches each program a second time. The kernel skips a program that it is running already on that CPU
// (prog->active, since 5.12), so a softirq that interrupts it would go unseen, and on preemptible kernels another process
// that takes the CPU from the first; of two copies, one is all but always free. Where neither is (3 in 1,000 changes of state
// on Linux 7.3, one emulated CPU and seven busy processes), the connection's next change tells. To have programs not be
// preempted gains nothing: the CPU is taken when they allow it again, at their end, with the mark still set.
//
// The copies' handlers see by the connection whether the other has done the work. It is for hooks that softirqs come by,
// and for connect and accept, without which little else of a connection is understood; kprobes gain nothing, as there all
// programs of a CPU share one such mark.
func twice(names ...string) []string { return append(names, names...) }

func requirements(all ...requirement) []requirement { return all }
