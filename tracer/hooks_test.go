package tracer

import (
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"tcptrace/tracer/event"
)

func embedded(t *testing.T) *ebpf.CollectionSpec {
	t.Helper()
	return programsOf(t, loadBpf)
}

func programsOf(t *testing.T, load func() (*ebpf.CollectionSpec, error)) *ebpf.CollectionSpec {
	t.Helper()
	spec, err := load()
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// programsInUse are those that a hook, the housekeeping, the handshakes or the list of sockets name.
func programsInUse() map[string]bool {
	used := make(map[string]bool)
	for _, h := range append(slices.Clone(hooks), handshakeHook, ttlOfEach) {
		for _, w := range h.ways {
			for _, p := range w.programs {
				used[p] = true
			}
		}
	}
	for _, h := range housekeeping {
		used[h.program] = true
	}
	for _, p := range iterators {
		used[p] = true
	}
	return used
}

func TestEveryProgramHasARow(t *testing.T) {
	used := programsInUse()
	spec := embedded(t)
	for name := range spec.Programs {
		if !used[name] {
			t.Errorf("program %s is in no row of hooks.go", name)
		}
	}
	for name := range used {
		if spec.Programs[name] == nil {
			t.Errorf("hooks.go names program %s, which bpf/ does not have", name)
		}
	}
}

func TestEveryHookSaysWhatIsLostWithoutIt(t *testing.T) {
	for _, h := range hooks {
		if h.cost == "" {
			t.Errorf("%s has no cost", h.kind)
		}
		if len(h.ways) == 0 {
			t.Errorf("%s has no way to be seen", h.kind)
		}
	}
	for _, h := range housekeeping {
		if h.cost == "" {
			t.Errorf("%s has no cost", h.program)
		}
	}
}

func TestEveryHookCanBeSeenByEveryMechanism(t *testing.T) {
	for _, h := range hooks {
		for _, mechanism := range []Mechanism{Fentry, Kprobe, Tracepoint} {
			if !slices.ContainsFunc(h.ways, func(w way) bool { return w.mechanism == mechanism }) {
				t.Errorf("%s cannot be seen by %s", h.kind, mechanism)
			}
		}
	}
}

func TestProgramsAreNamedByTheirMechanism(t *testing.T) {
	suffixes := map[string]string{
		"fentry/": "fentry", "fexit/": "fexit", "kprobe/": "kprobe", "kretprobe/": "kretprobe",
		"tp_btf/": "tracepoint", "tracepoint/": "tracepoint", "iter/": "iterator", "sockops": "sockops", "cgroup_skb/": "cgroup",
	}
	for name, program := range embedded(t).Programs {
		for section, suffix := range suffixes {
			if strings.HasPrefix(program.SectionName, section) && !strings.Contains(name, "_"+suffix) {
				t.Errorf("program %s is a %s: its name should say so", name, suffix)
			}
		}
	}
}

// TestKindsAgree compares enum event_kind with package event, in both directions.
func TestKindsAgree(t *testing.T) {
	numbers := map[event.Kind]bpfEventKind{
		event.Connect: bpfEventKindEVENT_CONNECT, event.SYNSent: bpfEventKindEVENT_SYN_SENT,
		event.SYNReceived: bpfEventKindEVENT_SYN_RECEIVED, event.SYNRetransmit: bpfEventKindEVENT_SYN_RETRANSMIT,
		event.SYNACKRetransmit: bpfEventKindEVENT_SYNACK_RETRANSMIT, event.SYNACKDuplicate: bpfEventKindEVENT_SYNACK_DUPLICATE,
		event.Established: bpfEventKindEVENT_ESTABLISHED, event.Accept: bpfEventKindEVENT_ACCEPT,
		event.StateChange: bpfEventKindEVENT_STATE, event.OptionsChanged: bpfEventKindEVENT_OPTIONS_CHANGED,
		event.Retransmit: bpfEventKindEVENT_RETRANSMIT, event.KeepaliveProbe: bpfEventKindEVENT_KEEPALIVE_PROBE,
		event.KeepaliveAnswer: bpfEventKindEVENT_KEEPALIVE_ANSWER, event.WindowProbe: bpfEventKindEVENT_WINDOW_PROBE,
		event.ResetSent: bpfEventKindEVENT_RESET_SENT, event.ResetReceived: bpfEventKindEVENT_RESET_RECEIVED,
		event.ICMPError: bpfEventKindEVENT_ICMP_ERROR, event.AcceptQueueFull: bpfEventKindEVENT_ACCEPT_QUEUE_FULL,
		event.SYNQueueFull: bpfEventKindEVENT_SYN_QUEUE_FULL, event.SYNACKTimeout: bpfEventKindEVENT_SYNACK_TIMEOUT,
		event.Drop: bpfEventKindEVENT_DROP, event.Error: bpfEventKindEVENT_ERROR, event.Close: bpfEventKindEVENT_CLOSE,
	}
	for _, kind := range event.Kinds() {
		if number, ok := numbers[kind]; !ok || uint32(number) != uint32(kind) {
			t.Errorf("%s is %d in package event and %d in bpf/event.h", kind, kind, number)
		}
	}
	if len(event.Kinds())+1 != int(bpfEventKindEVENT_KINDS) {
		t.Errorf("package event has %d kinds, bpf/event.h %d", len(event.Kinds()), bpfEventKindEVENT_KINDS-1)
	}
}

func TestRolesAgree(t *testing.T) {
	for role, number := range map[event.Role]bpfRole{
		event.RoleUnknown: bpfRoleROLE_UNKNOWN, event.RoleClient: bpfRoleROLE_CLIENT,
		event.RoleServer: bpfRoleROLE_SERVER, event.RoleListener: bpfRoleROLE_LISTENER,
	} {
		if uint32(role) != uint32(number) {
			t.Errorf("role %q is %d in package event and %d in bpf/event.h", role, role, number)
		}
	}
}

// The object must be accepted by kernels that have not got what a newer one has, so nothing but CO-RE may decide.
func TestObjectHasNoVersionChecks(t *testing.T) {
	for name := range embedded(t).Variables {
		if strings.Contains(strings.ToLower(name), "version") {
			t.Errorf("variable %s: nothing branches on a kernel version", name)
		}
	}
}
