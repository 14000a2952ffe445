package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"sync"

	"tcptrace/prober"
	"tcptrace/prober/scan"
)

// targetFlags say what to scan.
type targetFlags struct {
	files    []string
	excluded []string
	shuffle  bool
	seed     uint64
	seeded   bool
}

// targetList is what they come to.
type targetList struct {
	targets    []scan.Target
	wrong      int // lines that are no target
	unresolved int // names without an address
	duplicates int
	excluded   int
}

// gather reads the targets of the arguments, files and standard input. A line that is wrong, or a name that does not
// resolve, is told and passed over.
func (f *targetFlags) gather(ctx context.Context, a *app, args []string, family prober.Family, resolver *prober.Resolver) (*targetList, error) {
	exclusions, err := f.exclusions(a)
	if err != nil {
		return nil, err
	}
	list := new(targetList)
	var found pile
	var named []scan.Spec
	add := func(where string, spec scan.Spec, err error) {
		switch {
		case err != nil:
			list.wrong++
			a.notice("%s: %v", where, err)
		case spec.Host != "":
			named = append(named, spec)
		default:
			for target := range spec.Targets() {
				found.add(target)
			}
		}
	}
	for _, arg := range args {
		if arg == "-" {
			f.files = append(f.files, arg)
			continue
		}
		spec, err := scan.ParseSpec(arg)
		add("TARGET", spec, err)
	}
	for _, name := range f.files {
		if err := readTargets(a, name, &found, add); err != nil {
			return nil, err
		}
	}
	list.resolve(ctx, a, named, family, resolver, &found)
	list.targets = found.all()
	list.tidy(exclusions, family)
	if f.shuffle {
		scan.Shuffle(list.targets, f.seed)
	}
	return list, nil
}

func (f *targetFlags) exclusions(a *app) (*scan.Exclusions, error) {
	exclusions := new(scan.Exclusions)
	for _, name := range f.excluded {
		file, err := openList(a, name)
		if err != nil {
			return nil, usageErrorf("--exclude %q: %w", name, err)
		}
		err = exclusions.Read(file)
		file.Close()
		if err != nil {
			return nil, usageErrorf("--exclude %q: %w", name, withoutPath(err))
		}
	}
	return exclusions, nil
}

func readTargets(a *app, name string, to *pile, add func(where string, spec scan.Spec, err error)) error {
	file, err := openList(a, name)
	if err != nil {
		return usageErrorf("--file %q: %w", name, err)
	}
	defer file.Close()
	to.expect(countLines(file))
	for spec, err := range scan.ReadList(file) {
		add(name, spec, withoutPath(err))
	}
	return nil
}

// openList opens a file, or standard input for "-".
func openList(a *app, name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(a.stdin), nil
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, withoutPath(err)
	}
	return file, nil
}

// countLines says how many lines a file has that can be read twice; 0: it cannot.
func countLines(list io.Reader) int {
	file, ok := list.(*os.File)
	if !ok {
		return 0
	}
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return 0
	}
	lines, piece := 0, make([]byte, 32<<10)
	for {
		n, err := file.Read(piece)
		lines += bytes.Count(piece[:n], []byte("\n"))
		if err != nil {
			break // what is wrong with the file, its reader will tell
		}
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return 0
	}
	return lines + 1 // the last may lack its end
}

// lookups is how many names are resolved at a time.
const lookups = 64

// resolve adds the targets that names stand for, in the order of the names.
func (l *targetList) resolve(ctx context.Context, a *app, named []scan.Spec, family prober.Family, resolver *prober.Resolver, to *pile) {
	found := make([][]scan.Target, len(named))
	reasons := make([]string, len(named))
	var group sync.WaitGroup
	free := make(chan struct{}, lookups)
	for i := range named {
		free <- struct{}{}
		group.Go(func() {
			defer func() { <-free }()
			r := resolver.Resolve(ctx, named[i].Host, family)
			found[i], reasons[i] = slices.Collect(named[i].Resolved(r.Addresses)), r.Err
		})
	}
	group.Wait()
	for i := range named {
		if reasons[i] != "" {
			l.unresolved++
			a.notice("%s: %s", named[i].Host, reasons[i])
		}
		for _, target := range found[i] {
			to.add(target)
		}
	}
}

// pile holds targets of which nobody knows how many there will be. It never moves what it holds: a slice that grows leaves
// behind pieces, of sizes that nothing else has a use for, and together as large as itself.
type pile struct {
	full [][]scan.Target
	last []scan.Target
}

// pileStep is how many targets a pile makes room for at a time.
const pileStep = 1024

func (p *pile) add(target scan.Target) {
	if len(p.last) == cap(p.last) {
		p.expect(pileStep)
	}
	p.last = append(p.last, target)
}

// expect makes room for so many more.
func (p *pile) expect(n int) {
	if cap(p.last)-len(p.last) >= n {
		return
	}
	if len(p.last) > 0 {
		p.full = append(p.full, p.last)
	}
	p.last = make([]scan.Target, 0, n)
}

// all is what the pile holds, in the order in which it was added.
func (p *pile) all() []scan.Target {
	if len(p.full) == 0 {
		return p.last
	}
	return slices.Concat(append(p.full, p.last)...)
}

// tidy leaves each address and port once, and none that is excluded or of another family.
func (l *targetList) tidy(exclusions *scan.Exclusions, family prober.Family) {
	l.targets = slices.DeleteFunc(l.targets, func(t scan.Target) bool { return !family.Contains(t.Addr.Addr()) })
	before := len(l.targets)
	l.targets = slices.DeleteFunc(l.targets, func(t scan.Target) bool { return exclusions.Has(t.Addr) })
	l.excluded = before - len(l.targets)
	l.targets, l.duplicates = scan.Merge(l.targets)
	l.targets = slices.Clip(l.targets)
}

// status is the exit status that the list itself asks for, whatever becomes of its targets.
func (l *targetList) status() int {
	switch {
	case l.wrong > 0:
		return exitUsage
	case l.unresolved > 0:
		return exitFailed
	}
	return exitOK
}

var errNoTargets = errors.New("there is nothing to scan")
