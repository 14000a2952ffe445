package tracer

import (
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"tcptrace/tracer/event"
)

// signatures are the numbers of arguments of what differs between kernels, and that hooks.go asks for. Those of a
// tracepoint do not count its own data.
type signatures struct {
	tcpRetransmitSKB int // tracepoint
	tcpSendReset     int // tracepoint
	kfreeSKB         int // tracepoint
	inetCSKAccept    int // function
}

// kernelLines are what Debian's kernels say in their BTF.
var kernelLines = map[string]signatures{
	"5.10": {2, 2, 2, 4},
	"6.1":  {2, 2, 3, 4},
	"6.12": {2, 3, 4, 2},
	"6.18": {3, 3, 4, 2},
	"7.2":  {3, 3, 4, 2},
}

// A fallback is a kernel that can be had only by a way that stands behind another.
type fallback struct {
	why       string
	line      string
	mechanism Mechanism // the only one that this kernel has; empty: it has all
	refuses   []string  // programs
	kind      event.Kind
	want      []string // programs
	partial   bool
}

// fallbacks name a kernel for each way that is not the only one of its mechanism: take it out of hooks.go, and that
// kernel sees less, or nothing.
var fallbacks = []fallback{
	{
		"tcp_connect is announced to sockops", "6.12", Tracepoint, nil,
		event.Connect, programs(bpfProgHandshakeSockops), false,
	},
	{
		"no cgroup2 to attach sockops to", "6.12", Tracepoint, programs(bpfProgHandshakeSockops),
		event.Connect, programs(bpfProgStateTracepoint), true,
	},
	{
		"__tcp_retransmit_skb calls its tracepoint only for what was sent", "5.10", Tracepoint, nil,
		event.SYNRetransmit, programs(bpfProgRetransmitTracepoint), true,
	},
	{
		"and so until 6.16", "6.12", Tracepoint, nil,
		event.SYNRetransmit, programs(bpfProgRetransmitTracepoint), true,
	},
	{
		"since 6.17 the tracepoint has the result", "6.18", Tracepoint, nil,
		event.SYNRetransmit, programs(bpfProgRetransmitTracepointResult), false,
	},
	{
		"inet_csk_accept has flags, error and kern", "5.10", Fentry, nil,
		event.Accept, programs(bpfProgAcceptFexit4args), false,
	},
	{
		"and so in 6.1", "6.1", "", nil,
		event.Accept, programs(bpfProgAcceptFexit4args), false,
	},
	{
		"inet_csk_accept has one struct proto_accept_arg", "6.12", "", nil,
		event.Accept, programs(bpfProgAcceptFexit), false,
	},
	{
		"the tracepoint is called for sockets only, so functions see more", "6.1", "", nil,
		event.ResetSent, programs(bpfProgResetSentV4Fentry, bpfProgResetSentV6Fentry, bpfProgResetSentActiveFentry), true,
	},
	{
		"where functions cannot be hooked, some RSTs are better than none", "6.1", Tracepoint, nil,
		event.ResetSent, programs(bpfProgResetSentTracepoint), true,
	},
	{
		"since 6.12 the tracepoint has all of them, with the reason", "6.12", "", nil,
		event.ResetSent, programs(bpfProgResetSentTracepointReason), false,
	},
	{
		"a kprobe alone does not see the result", "6.1", Kprobe, nil,
		event.SYNRetransmit, programs(bpfProgRetransmitKprobe, bpfProgRetransmitKretprobe), true,
	},
	{
		"the tracepoint shows a loss probe that was sent", "5.10", Fentry, nil,
		event.Retransmit, programs(bpfProgRetransmitFexit, bpfProgLossProbeTracepoint), true,
	},
	{
		"and since 6.17 one that was not", "6.18", "", nil,
		event.Retransmit, programs(bpfProgRetransmitFexit, bpfProgLossProbeTracepointResult), false,
	},
	{
		"kprobes do not see loss probes either", "6.1", Kprobe, nil,
		event.Retransmit, programs(bpfProgRetransmitKprobe, bpfProgRetransmitKretprobe, bpfProgLossProbeTracepoint), true,
	},
	{
		"and get the result since 6.17", "7.2", Kprobe, nil,
		event.Retransmit, programs(bpfProgRetransmitKprobe, bpfProgRetransmitKretprobe, bpfProgLossProbeTracepointResult), true,
	},
	{
		"the tracepoint alone sees all that was sent", "6.12", Tracepoint, nil,
		event.Retransmit, programs(bpfProgRetransmitTracepoint), true,
	},
	{
		"and since 6.17 all that was to be", "6.18", Tracepoint, nil,
		event.Retransmit, programs(bpfProgRetransmitTracepointResult), false,
	},
	{
		"btf_distill_func_proto knows no arguments that are structs", "5.10", Fentry, programs(bpfProgOptionsFexit),
		event.OptionsChanged,
		programs(bpfProgOptionsEnterTracepoint, bpfProgOptionsExitTracepoint, bpfProgOptionsKeepaliveFentry), true,
	},
	{
		"and since 6.1 it does", "6.1", "", nil,
		event.OptionsChanged, programs(bpfProgOptionsFexit, bpfProgOptionsKeepaliveFentry), false,
	},
	{
		"a kprobe at each segment would cost more than what it sees beyond the tracepoint", "6.12", "",
		programs(bpfProgAnswerFentry),
		event.KeepaliveAnswer, programs(bpfProgAnswerTracepoint), true,
	},
	{
		"kfree_skb has the socket since 6.12", "6.12", "", nil,
		event.SYNACKDuplicate, programs(bpfProgSynackDuplicateTracepointSock), false,
	},
	{
		"before that a drop does not tell whose it is", "6.1", Tracepoint, nil,
		event.SYNACKDuplicate, programs(bpfProgSynackDuplicateTracepoint), true,
	},
	{
		"since 6.3 icmpv6_rcv consumes what it has used", "6.12", Tracepoint, nil,
		event.ICMPError, programs(bpfProgIcmpErrorConsumedTracepoint), false,
	},
	{
		"before that it freed it as if it were dropped", "6.1", Tracepoint, nil,
		event.ICMPError, programs(bpfProgIcmpErrorConsumedTracepoint, bpfProgIcmpErrorFreedTracepoint), false,
	},
	{
		"since 6.10 it is said who was to receive what is dropped", "6.12", "", nil,
		event.Drop, programs(bpfProgDropTracepointReceiver), false,
	},
	{
		"since 5.17 there are reasons", "6.1", "", nil,
		event.Drop, programs(bpfProgDropTracepointReason), true,
	},
	{
		"before, the function that dropped it has to do", "5.10", "", nil,
		event.Drop, programs(bpfProgDropTracepoint), true,
	},
	{
		"a kretprobe needs no count of arguments", "6.1", Kprobe, nil,
		event.Accept, programs(bpfProgAcceptKretprobe), true,
	},
}

func TestKernelsThatNeedAFallbackHaveIt(t *testing.T) {
	for _, f := range fallbacks {
		t.Run(f.line+" "+string(f.mechanism)+" "+f.kind.String()+": "+f.why, func(t *testing.T) {
			got := f.choose(t)
			slices.Sort(f.want)
			if diff := cmp.Diff(f.want, got.Programs); diff != "" {
				t.Errorf("programs (-want +got):\n%s%v", diff, got.Refused)
			}
			if partial := got.Partial != ""; partial != f.partial {
				t.Errorf("what it does not see: %q", got.Partial)
			}
		})
	}
}

// A way that no kernel needs is dead, and one that only a kernel in somebody's mind needs is untested.
func TestEveryAlternativeIsSomeKernelsFallback(t *testing.T) {
	taken := make(map[event.Kind][][]string)
	for _, f := range fallbacks {
		taken[f.kind] = append(taken[f.kind], f.choose(t).Programs)
	}
	for _, h := range hooks {
		ways := make(map[Mechanism]int)
		for _, w := range h.ways {
			ways[w.mechanism]++
		}
		for _, w := range h.ways {
			own := slices.Compact(slices.Sorted(slices.Values(w.programs)))
			chosen := slices.ContainsFunc(taken[h.kind], func(programs []string) bool { return slices.Equal(programs, own) })
			if ways[w.mechanism] > 1 && !chosen {
				t.Errorf("%s by %v: which kernel needs it?", h.kind, own)
			}
		}
	}
}

// choose has the table choose for that kernel. Nothing is loaded: an attacher tries no program again.
func (f fallback) choose(t *testing.T) Hook {
	t.Helper()
	a := &attacher{
		kernel:   kernelLines[f.line].kernel(t),
		programs: make(map[instance]error),
		denied:   make(map[Mechanism]error),
	}
	for _, mechanism := range []Mechanism{Fentry, Kprobe, Tracepoint} {
		if f.mechanism != "" && mechanism != f.mechanism {
			a.denied[mechanism] = errors.New("this kernel has none")
		}
	}
	for _, h := range hooks {
		for _, w := range h.ways {
			for _, in := range instances(w.programs) {
				a.programs[in] = nil
				if slices.Contains(f.refuses, in.program) {
					a.programs[in] = errors.New("refused")
				}
			}
		}
	}
	for _, h := range hooks {
		if h.kind == f.kind {
			return a.choose(h)
		}
	}
	t.Fatalf("no hook for %s", f.kind)
	return Hook{}
}

// kernel describes these signatures in BTF, as a kernel does.
func (s signatures) kernel(t *testing.T) *kernel {
	t.Helper()
	k := newKernel(specOf(t, []btf.Type{
		tracepointType("tcp_retransmit_skb", s.tcpRetransmitSKB),
		tracepointType("tcp_send_reset", s.tcpSendReset),
		tracepointType("kfree_skb", s.kfreeSKB),
		&btf.Func{Name: "inet_csk_accept", Type: functionType(s.inetCSKAccept), Linkage: btf.GlobalFunc},
	}), nil)
	k.describesItself, k.code.quietCount = true, 1
	return k
}

func tracepointType(name string, arguments int) btf.Type {
	return &btf.Typedef{Name: "btf_trace_" + name, Type: &btf.Pointer{Target: functionType(arguments + 1)}}
}

func functionType(arguments int) btf.Type {
	prototype := &btf.FuncProto{Return: &btf.Void{}}
	for range arguments {
		prototype.Params = append(prototype.Params, btf.FuncParam{Type: &btf.Pointer{Target: &btf.Void{}}})
	}
	return prototype
}

// The lines stand for real kernels: the one that this runs on is like one of them.
func TestRunningKernelIsLikeOneOfTheLines(t *testing.T) {
	k, err := loadKernel("")
	if errors.Is(err, ErrNoBTF) && os.Getenv("TCPTRACE_KERNEL_TESTS") != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	for line, s := range kernelLines {
		like := []requirement{
			exactly(tracepointHas, "tcp_retransmit_skb", s.tcpRetransmitSKB),
			exactly(tracepointHas, "tcp_send_reset", s.tcpSendReset),
			exactly(tracepointHas, "kfree_skb", s.kfreeSKB),
			functionHas("inet_csk_accept", s.inetCSKAccept),
		}
		if !slices.ContainsFunc(like, func(met requirement) bool { return met(k) != nil }) {
			t.Logf("like %s", line)
			return
		}
	}
	t.Error("hooks.go asks for arguments that this kernel has in another combination: add it to the lines, and see what it needs")
}

// exactly makes "at least so many" into "so many".
func exactly(has func(string, int) requirement, name string, arguments int) requirement {
	return func(k *kernel) error {
		if has(name, arguments+1)(k) == nil {
			return errors.New("more")
		}
		return has(name, arguments)(k)
	}
}
