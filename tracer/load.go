package tracer

import (
	"runtime"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
)

// loading is a program that is loaded by whoever comes first, and is to be loaded once.
type loading struct {
	once    sync.Once
	program *ebpf.Program
	err     error
}

func (l *loading) load(load func() (*ebpf.Program, error)) (*ebpf.Program, error) {
	l.once.Do(func() { l.program, l.err = load() })
	return l.program, l.err
}

// drop is for what nobody wants any more. It waits for who is loading it.
func (l *loading) drop() {
	l.once.Do(func() {})
	if l.program != nil {
		l.program.Close()
	}
}

// preload begins to load programs on the other CPUs, those first that are needed last. Nothing depends on it: who attaches
// a program that is not loaded yet loads it itself.
//
// Half of the time in which a trace begins is the verifier's, which looks at several programs at a time: since 5.2 it has a
// lock only for those without privilege (bpf_check in kernel/bpf/verifier.c).
func (a *attacher) preload(needed []instance) {
	others := runtime.GOMAXPROCS(0) - 1
	if others == 0 {
		return
	}
	type task struct {
		program string
		*loading
	}
	queue := make(chan task, len(needed))
	for _, in := range slices.Backward(needed) {
		if _, tried := a.programs[in]; !tried && a.ready[in] == nil {
			a.ready[in] = new(loading)
			queue <- task{in.program, a.ready[in]}
		}
	}
	close(queue)
	for range others {
		go func() {
			for t := range queue {
				_, _ = t.load(func() (*ebpf.Program, error) { return a.load(t.program) }) // kept for who asks
			}
		}()
	}
}

// likely are the programs of the first way of h that is not known to fail.
func (a *attacher) likely(h hook) []instance {
	for _, w := range h.ways {
		if a.ruledOut(w) == nil {
			return instances(w.programs)
		}
	}
	return nil
}

// loaded gives a copy of a program to who is going to attach it.
func (a *attacher) loaded(in instance) (*ebpf.Program, error) {
	l := a.ready[in]
	if l == nil {
		return a.load(in.program)
	}
	delete(a.ready, in)
	return l.load(func() (*ebpf.Program, error) { return a.load(in.program) })
}

// dropReady gives back what was loaded and not needed after all.
func (a *attacher) dropReady() {
	for _, l := range a.ready {
		l.drop()
	}
	clear(a.ready)
}

// load loads one program with the maps that all share. It may be called by several goroutines at a time.
func (a *attacher) load(name string) (*ebpf.Program, error) {
	spec := &ebpf.CollectionSpec{
		Maps:      make(map[string]*ebpf.MapSpec),
		Programs:  map[string]*ebpf.ProgramSpec{name: a.spec.Programs[name]},
		Types:     a.spec.Types,
		ByteOrder: a.spec.ByteOrder,
	}
	shared := make(map[string]*ebpf.Map)
	for _, used := range mapsOf(a.spec.Programs[name]) {
		spec.Maps[used], shared[used] = a.spec.Maps[used], a.shared.Maps[used]
	}
	collection, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		Programs:        ebpf.ProgramOptions{KernelTypes: a.kernel.types},
		MapReplacements: shared,
		Cache:           a.kernel.cache,
	})
	if err != nil {
		return nil, err
	}
	program := collection.DetachProgram(name)
	collection.Close()
	return program, nil
}

// mapsOf names the maps that a program uses, some more than once.
func mapsOf(program *ebpf.ProgramSpec) []string {
	var all []string
	for _, ins := range program.Instructions {
		if ins.IsLoadFromMap() {
			all = append(all, ins.Reference())
		}
	}
	return all
}
