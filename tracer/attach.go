package tracer

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"tcptrace/tracer/event"
	"tcptrace/tracer/host"
)

// Hook is how one event kind is seen on this kernel.
type Hook struct {
	Kind      event.Kind
	Mechanism Mechanism // empty: not at all
	Programs  []string
	Partial   string   // what this way of seeing it misses
	Refused   []string // why the better ways could not be had, a sentence each
	Missing   string   // what users lose, where Mechanism is empty
}

// attacher loads and attaches programs, each alone, so that one that the kernel refuses costs only itself.
type attacher struct {
	spec    *ebpf.CollectionSpec
	shared  *ebpf.Collection // the maps
	kernel  *kernel
	allowed []Mechanism // nil: all

	programs map[instance]error // every program tried; nil: attached
	ready    map[instance]*loading
	links    []attachment
	single   map[string]*ebpf.Program // those attached once, which may miss something
	missed   uint64                   // by those that are detached
	// denied remembers that the kernel has a mechanism refused altogether, so that it is asked once.
	denied map[Mechanism]error
}

// newAttacher makes the maps, which are all that its programs share, but for the constants: they are what has to be known of
// the kernel. The error is [ErrPrivilege] where that is the reason.
func newAttacher(spec *ebpf.CollectionSpec, allowed []Mechanism) (*attacher, error) {
	shared, err := makeMaps(spec, func(name string) bool { return name != constants })
	if err != nil {
		return nil, err
	}
	return &attacher{
		spec: spec, shared: shared, allowed: allowed, programs: make(map[instance]error),
		ready: make(map[instance]*loading), single: make(map[string]*ebpf.Program), denied: make(map[Mechanism]error),
	}, nil
}

// setKernel says what to attach to, once the constants are set. Nothing can be attached before.
func (a *attacher) setKernel(kernel *kernel) error {
	made, err := makeMaps(a.spec, func(name string) bool { return name == constants })
	if err != nil {
		return err
	}
	a.shared.Maps[constants] = made.DetachMap(constants)
	kernel.adapt(a.spec.Programs)
	a.kernel = kernel
	return nil
}

// constants is the section of what is set before programs are loaded.
const constants = ".rodata"

// makeMaps makes those of the maps that are wanted, with the variables in them.
func makeMaps(spec *ebpf.CollectionSpec, wanted func(name string) bool) (*ebpf.Collection, error) {
	some := &ebpf.CollectionSpec{
		Maps: maps.Clone(spec.Maps), Variables: maps.Clone(spec.Variables), Types: spec.Types, ByteOrder: spec.ByteOrder,
	}
	maps.DeleteFunc(some.Maps, func(name string, _ *ebpf.MapSpec) bool { return !wanted(name) })
	maps.DeleteFunc(some.Variables, func(_ string, v *ebpf.VariableSpec) bool { return !wanted(v.SectionName) })
	low := allowLockedMemory()
	made, err := ebpf.NewCollection(some)
	if errors.Is(err, os.ErrPermission) {
		return nil, cmp.Or(low, ErrPrivilege)
	}
	if err != nil {
		return nil, fmt.Errorf("make the maps: %w", err)
	}
	return made, nil
}

// instance is one of the copies in which a program is attached.
type instance struct {
	program string
	copy    int // from 0
}

// instances numbers the copies of programs that a way names more than once.
func instances(programs []string) []instance {
	copies := make(map[string]int)
	all := make([]instance, len(programs))
	for i, name := range programs {
		all[i] = instance{name, copies[name]}
		copies[name]++
	}
	return all
}

// choose takes the first way of h that holds.
func (a *attacher) choose(h hook) Hook {
	chosen := Hook{Kind: h.kind}
	for _, w := range h.ways {
		err := a.take(w)
		if err == nil {
			chosen.Mechanism, chosen.Partial = w.mechanism, w.partial
			chosen.Programs = slices.Compact(slices.Sorted(slices.Values(w.programs)))
			return chosen
		}
		refusal := fmt.Sprintf("%s: %v", w.mechanism, err)
		if !slices.Contains(chosen.Refused, refusal) {
			chosen.Refused = append(chosen.Refused, refusal)
		}
	}
	chosen.Missing = h.cost
	return chosen
}

// take attaches every program of w, or says why not. What it had attached when one is refused stays: it sees the
// same event, and its records would only be half of it, so they are detached at once.
func (a *attacher) take(w way) error {
	if err := a.ruledOut(w); err != nil {
		return err
	}
	before := len(a.links)
	var added []instance // those that no other event is seen by
	for _, in := range instances(w.programs) {
		_, tried := a.programs[in]
		if err := a.attach(in); err != nil {
			a.detachFrom(before)
			for _, undone := range added {
				delete(a.programs, undone)
			}
			return err
		}
		if !tried {
			added = append(added, in)
		}
	}
	return nil
}

// ruledOut says why w cannot be had, if that is known without trying.
func (a *attacher) ruledOut(w way) error {
	if a.allowed != nil && !slices.Contains(a.allowed, w.mechanism) {
		return fmt.Errorf("left out by %s", MechanismsVariable)
	}
	if err := a.denied[w.mechanism]; err != nil {
		return err
	}
	for _, met := range w.requires {
		if err := met(a.kernel); err != nil {
			return err
		}
	}
	return nil
}

// finish forgets what only attaching needs, above all the kernel's types: nothing more can be attached.
func (a *attacher) finish() {
	a.dropReady()
	a.spec, a.kernel = nil, nil
}

func (a *attacher) detachFrom(first int) {
	for _, l := range a.links[first:] {
		l.Close()
	}
	a.links = a.links[:first]
}

// attach loads and attaches one copy of a program, once.
func (a *attacher) attach(in instance) error {
	if err, tried := a.programs[in]; tried {
		return err
	}
	err := a.attachNew(in)
	a.programs[in] = err
	return err
}

func (a *attacher) attachNew(in instance) error {
	spec := a.spec.Programs[in.program]
	if spec.Type == ebpf.Tracing && !a.kernel.describesItself {
		return errOnlyFromFile
	}
	program, err := a.loaded(in)
	if err != nil {
		return a.explain(spec, err)
	}
	l, err := attachProgram(program, spec)
	if err != nil {
		program.Close()
		return a.explain(spec, err)
	}
	a.links = append(a.links, attachment{l, program, in.copy})
	if in.copy == 0 {
		a.single[in.program] = program
	} else {
		delete(a.single, in.program)
	}
	return nil
}

// attachment is a link and the program that it runs.
type attachment struct {
	link    io.Closer
	program *ebpf.Program
	copy    int // of the program, from 0
}

func (a attachment) Close() error { return errors.Join(a.link.Close(), a.program.Close()) }

// skipped is how often the kernel came by a kprobe while its CPU was busy with another, and passed on: the program was
// not even about to run (kprobe_ftrace_handler counts nmissed, of which a link tells since 6.7).
func (a attachment) skipped() uint64 {
	l, ok := a.link.(link.Link)
	if !ok {
		return 0
	}
	info, err := l.Info()
	if err != nil || info.PerfEvent() == nil || info.PerfEvent().Kprobe() == nil {
		return 0
	}
	return info.PerfEvent().Kprobe().Missed
}

// misses is how often the kernel did not run a program because it was running one already, without another copy to
// make up for it. Kernels do not count that before 5.12, when they skip only kprobes; nor those before 6.7.
func (a *attacher) misses() uint64 {
	all := a.missed
	for _, program := range a.single {
		if stats, err := program.Stats(); err == nil {
			all += stats.RecursionMisses
		}
	}
	for _, l := range a.links {
		all += l.skipped()
	}
	return all
}

func attachProgram(program *ebpf.Program, spec *ebpf.ProgramSpec) (io.Closer, error) {
	switch spec.Type {
	case ebpf.Tracing:
		if spec.AttachType == ebpf.AttachTraceIter {
			return runIterator(program)
		}
		return link.AttachTracing(link.TracingOptions{Program: program, AttachType: spec.AttachType})
	case ebpf.RawTracepoint:
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: spec.AttachTo, Program: program})
	case ebpf.Kprobe:
		if strings.HasPrefix(spec.SectionName, "kretprobe/") {
			return link.Kretprobe(spec.AttachTo, program, nil)
		}
		return link.Kprobe(spec.AttachTo, program, nil)
	case ebpf.TracePoint:
		group, name, _ := strings.Cut(spec.AttachTo, "/")
		return link.Tracepoint(group, name, program, nil)
	case ebpf.SockOps, ebpf.CGroupSKB:
		root, err := cgroupFor(spec.Type)
		if err != nil {
			return nil, err
		}
		defer root.Close()
		path := fmt.Sprintf("/proc/self/fd/%d", root.Fd())
		return link.AttachCgroup(link.CgroupOptions{Path: path, Attach: spec.AttachType, Program: program})
	}
	return nil, fmt.Errorf("no way to attach a program of type %s", spec.Type)
}

// cgroupFor opens the cgroup to whose sockets a program is attached: the root of all, for what sockops do not see would be
// taken for what did not happen. A TTL that is not seen is not known, and no more; so those of the part that a cgroup
// namespace shows are better than none.
func cgroupFor(program ebpf.ProgramType) (*os.File, error) {
	root, err := host.OpenRootCgroup()
	if err == nil || program == ebpf.SockOps {
		return root, err
	}
	part, partErr := host.CgroupRoot()
	if partErr != nil {
		return nil, partErr
	}
	return os.Open(part)
}

// runIterator lets an iterator go over everything once.
func runIterator(program *ebpf.Program) (io.Closer, error) {
	iterator, err := link.AttachIter(link.IterOptions{Program: program})
	if err != nil {
		return nil, err
	}
	defer iterator.Close()
	walk, err := iterator.Open()
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, walk)
	return walk, errors.Join(err)
}

// explain makes a sentence of a refusal, and remembers those that hold for a whole mechanism.
func (a *attacher) explain(spec *ebpf.ProgramSpec, err error) error {
	target := spec.AttachTo
	switch {
	case spec.Type == ebpf.Tracing && spec.AttachType != ebpf.AttachTraceRawTp && errors.Is(err, os.ErrPermission):
		err = errors.New("the kernel refuses fentry and fexit programs (EPERM)")
		if spec.AttachType == ebpf.AttachTraceFEntry || spec.AttachType == ebpf.AttachTraceFExit {
			a.denied[Fentry] = err
		}
		return err
	case spec.Type == ebpf.Kprobe && !kprobesBuilt():
		a.denied[Kprobe] = errors.New("this kernel is built without kprobes")
		return a.denied[Kprobe]
	case errors.Is(err, btf.ErrNotFound), errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("the kernel has no %s to attach to", target)
	case errors.Is(err, ebpf.ErrNotSupported):
		return fmt.Errorf("the kernel cannot attach to %s in this way", target)
	}
	var verifier *ebpf.VerifierError
	if errors.As(err, &verifier) {
		// Its last line says why; the whole log is for developers.
		return fmt.Errorf("the verifier refuses %s: %v", spec.Name, verifier)
	}
	return fmt.Errorf("attach to %s: %w", target, err)
}

func kprobesBuilt() bool {
	for _, sign := range []string{"/sys/bus/event_source/devices/kprobe", tracefs + "/kprobe_events", "/sys/kernel/debug/tracing/kprobe_events"} {
		if _, err := os.Stat(sign); err == nil {
			return true
		}
	}
	return false
}

// closers is how many links wait at a time. Each takes a thread, of which a container may not have many.
const closers = 8

// close detaches everything. Each link waits for the kernel's grace period, so they wait together.
func (a *attacher) close() error {
	a.dropReady()
	a.missed, a.single = a.misses(), nil
	errs := make([]error, len(a.links))
	var all sync.WaitGroup
	for first := range min(closers, len(a.links)) {
		all.Go(func() {
			for i := first; i < len(a.links); i += closers {
				errs[i] = a.links[i].Close()
			}
		})
	}
	all.Wait()
	a.links = nil
	return errors.Join(errs...)
}
