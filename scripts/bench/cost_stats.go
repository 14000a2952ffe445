package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// spent is what a BPF program took, by the kernel's own statistics (kernel.bpf_stats_enabled).
type spent struct {
	program string
	runs    uint64
	time    time.Duration
}

// programsOf are the numbers of the BPF programs that a process holds.
func programsOf(pid int) ([]ebpf.ProgramID, error) {
	dir := fmt.Sprintf("/proc/%d/fdinfo", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var ids []ebpf.ProgramID
	for _, entry := range entries {
		info, err := os.ReadFile(dir + "/" + entry.Name())
		if err != nil || !bytes.Contains(info, []byte("prog_type:")) {
			continue // closed meanwhile, or a link
		}
		for line := range strings.Lines(string(info)) {
			if value, ok := strings.CutPrefix(line, "prog_id:"); ok {
				id, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
				if err != nil {
					return nil, err
				}
				ids = append(ids, ebpf.ProgramID(id))
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// statistics are what each of a process's programs has taken since statistics are kept.
func statistics(pid int) (map[ebpf.ProgramID]spent, error) {
	ids, err := programsOf(pid)
	if err != nil {
		return nil, err
	}
	all := make(map[ebpf.ProgramID]spent, len(ids))
	for _, id := range ids {
		s, err := statisticsOf(id)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("statistics of program %d: %w", id, err)
		}
		all[id] = s
	}
	return all, nil
}

func statisticsOf(id ebpf.ProgramID) (spent, error) {
	program, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return spent{}, err
	}
	defer program.Close()
	info, err := program.Info()
	if err != nil {
		return spent{}, err
	}
	stats, err := program.Stats()
	if err != nil {
		return spent{}, err
	}
	return spent{info.Name, stats.RunCount, stats.Runtime}, nil
}

// between is what was spent from one reading to the next, by name, the most first.
func between(before, after map[ebpf.ProgramID]spent) []spent {
	byName := make(map[string]spent)
	for id, a := range after {
		b := before[id]
		s := byName[a.program]
		byName[a.program] = spent{a.program, s.runs + a.runs - b.runs, s.time + a.time - b.time}
	}
	var all []spent
	for _, s := range byName {
		if s.runs > 0 {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b spent) int { return cmp.Or(-cmp.Compare(a.time, b.time), cmp.Compare(a.program, b.program)) })
	return all
}

func total(all []spent) (time time.Duration) {
	for _, s := range all {
		time += s.time
	}
	return time
}

func runs(all []spent) (runs uint64) {
	for _, s := range all {
		runs += s.runs
	}
	return runs
}

// emptyProgram attaches a program that does nothing to changes of state: what a run of it takes is the kernel's own, most of it
// for the measuring.
func emptyProgram() (*ebpf.Program, link.Link, error) {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: "inet_sock_set_state", License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return nil, nil, err
	}
	attached, err := link.AttachTracing(link.TracingOptions{Program: program})
	if err != nil {
		return nil, nil, errors.Join(err, program.Close())
	}
	return program, attached, nil
}

// emptyRun is what each run of that takes, under the load.
func (b *costBench) emptyRun(ctx context.Context) (each time.Duration, err error) {
	program, attached, err := emptyProgram()
	if err != nil {
		return 0, fmt.Errorf("attach an empty program: %w", err)
	}
	defer func() { err = errors.Join(err, attached.Close(), program.Close()) }()
	if _, err := b.load(ctx, 0); err != nil {
		return 0, err
	}
	stats, err := program.Stats()
	if err != nil {
		return 0, err
	}
	if stats.RunCount == 0 {
		return 0, errors.New("an empty program did not run")
	}
	return stats.Runtime / time.Duration(stats.RunCount), nil
}
