package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
)

// What tracing costs: a process connects to itself on loopback as fast as it can, untraced and under each tracer in
// turn, so that what else the machine does is the same for all.

// traced is one way to trace, and what it came to in each round.
type traced struct {
	name   string
	args   []string // nil: untraced
	rounds []costRound
}

// costRound is what one load came to. All but the last three are for each connection.
type costRound struct {
	wall, cpu time.Duration // of the load
	tracer    time.Duration // CPU time of the tracer
	bpf       time.Duration // in BPF programs; only where the kernel keeps statistics
	programs  []spent       // not for each connection
	lines     float64

	lost          int64
	attached      time.Duration
	own, inKernel int64 // memory: the tracer's own, and what it shares with the kernel
}

type costBench struct {
	connections int
	rounds      int
	tracers     []*traced
}

func waysToTrace(binary string) []*traced {
	watch := func(more ...string) []string { return append([]string{binary, "watch"}, more...) }
	return []*traced{
		{name: "untraced"},
		{name: "watch -o json", args: watch("-o", "json")},
		{name: "watch", args: watch()},
		{name: "watch --problems", args: watch("--problems", "-o", "json")},
		{name: "watch --comm (no match)", args: watch("--comm", "nobody", "-o", "json")},
		{name: "watch --port (no match)", args: watch("--port", "1", "-o", "json")},
		{name: "bpftrace", args: bpftraceArgs()},
	}
}

// benchCost prints what tracing costs; where only is not empty, of the ways to trace whose names it matches.
func benchCost(ctx context.Context, binary, only string, connections, rounds int) error {
	chosen, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	b := &costBench{connections: connections, rounds: rounds}
	for _, t := range waysToTrace(binary) {
		if t.args != nil && !chosen.MatchString(t.name) {
			continue
		}
		if t.name == "bpftrace" {
			if _, err := exec.LookPath(t.name); err != nil {
				fmt.Printf("(%s is not there: %v)\n", t.name, err)
				continue
			}
		}
		b.tracers = append(b.tracers, t)
	}
	for range rounds {
		for _, t := range b.tracers {
			round, err := b.measure(ctx, t.args)
			if err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
			t.rounds = append(t.rounds, round)
		}
	}
	b.print()
	if only != "" {
		return b.statistics(ctx)
	}
	return errors.Join(b.statistics(ctx), b.syscalls(ctx, binary), b.fastest(ctx, binary), b.idle(ctx, binary))
}

// measure runs the load once under a tracer, or under none.
func (b *costBench) measure(ctx context.Context, args []string) (costRound, error) {
	if args == nil {
		took, err := b.load(ctx, 0)
		return b.round(took), err
	}
	r, err := startTracer(ctx, args)
	if err != nil {
		return costRound{}, err
	}
	pid := r.cmd.Process.Pid
	r.rest()
	lines, used := r.lines.Load(), processTime(pid)
	before, err := statistics(pid)
	if err != nil {
		return costRound{}, errors.Join(err, stopped(r))
	}
	took, err := b.load(ctx, 0)
	if err != nil {
		return costRound{}, errors.Join(err, stopped(r))
	}
	r.rest()
	after, err := statistics(pid)
	round := b.round(took)
	round.attached = r.attached
	round.tracer = (processTime(pid) - used) / time.Duration(b.connections)
	round.lines = float64(r.lines.Load()-lines) / float64(b.connections)
	round.programs = between(before, after)
	round.bpf = total(round.programs) / time.Duration(b.connections)
	var memoryErr, stopErr error
	round.own, round.inKernel, memoryErr = r.memory()
	round.lost, stopErr = r.stop()
	return round, errors.Join(err, memoryErr, stopErr)
}

func stopped(r *running) error {
	_, err := r.stop()
	return err
}

func (b *costBench) round(took loadResult) costRound {
	return costRound{wall: took.Wall / time.Duration(b.connections), cpu: took.CPU / time.Duration(b.connections)}
}

// load runs the load in a network namespace of its own.
func (b *costBench) load(ctx context.Context, cpu int) (loadResult, error) {
	return inNamespace(ctx, "-load", strconv.Itoa(b.connections), "-cpu", strconv.Itoa(cpu))
}

// inNamespace runs this program there with other arguments.
func inNamespace(ctx context.Context, args ...string) (result loadResult, err error) {
	network := new(lab.Network)
	defer func() { err = errors.Join(err, network.Close()) }()
	host, err := network.AddHost("load")
	if err != nil {
		return result, err
	}
	self, err := os.Executable()
	if err != nil {
		return result, err
	}
	var out []byte
	err = host.Do(func() (err error) {
		cmd := exec.CommandContext(ctx, self, args...)
		cmd.Stderr = os.Stderr
		out, err = cmd.Output()
		return err
	})
	if err != nil {
		return result, err
	}
	return result, json.Unmarshal(out, &result)
}

func (b *costBench) print() {
	fmt.Printf("\n%d connections with both ends here, one after the other: for each, in µs (medians of %d; added: to that round's untraced)\n",
		b.connections, b.rounds)
	fmt.Printf("  %-26s %8s %8s %10s %10s %8s %10s %6s %18s %10s\n",
		"", "wall", "cpu", "added cpu", "in tracer", "lines", "lines/s", "lost", "memory + ring", "attached")
	for _, t := range b.tracers {
		fmt.Printf("  %-26s %8.1f %8.1f %10.1f %10.1f %8.1f %10.0f %6.0f %10.1f + %4.0fM %8.0fms\n", t.name,
			t.median(func(r costRound) float64 { return micros(r.wall) }),
			t.median(func(r costRound) float64 { return micros(r.cpu) }),
			b.added(t),
			t.median(func(r costRound) float64 { return micros(r.tracer) }),
			t.median(func(r costRound) float64 { return r.lines }),
			t.median(func(r costRound) float64 { return r.lines / r.wall.Seconds() }),
			t.median(func(r costRound) float64 { return float64(r.lost) }),
			t.median(func(r costRound) float64 { return mib(r.own) }),
			t.median(func(r costRound) float64 { return mib(r.inKernel) }),
			t.median(func(r costRound) float64 { return float64(r.attached.Milliseconds()) }))
	}
	b.compareWithBpftrace()
}

// added is what the load took more than in the same round untraced.
func (b *costBench) added(t *traced) float64 {
	var more []float64
	for i := range t.rounds {
		more = append(more, micros(t.rounds[i].cpu-b.tracers[0].rounds[i].cpu))
	}
	return median(more)
}

func (b *costBench) compareWithBpftrace() {
	last := b.tracers[len(b.tracers)-1]
	if last.name != "bpftrace" {
		return
	}
	for _, t := range b.tracers[1 : len(b.tracers)-1] {
		var ratios []float64
		for i := range t.rounds {
			untraced := b.tracers[0].rounds[i].cpu
			ratios = append(ratios, (t.rounds[i].cpu-untraced+t.rounds[i].tracer).Seconds()/
				(last.rounds[i].cpu-untraced+last.rounds[i].tracer).Seconds())
		}
		fmt.Printf("  %-26s takes %.2f of what bpftrace does, in all\n", t.name, median(ratios))
	}
}

func (t *traced) median(of func(costRound) float64) float64 {
	var numbers []float64
	for _, r := range t.rounds {
		numbers = append(numbers, of(r))
	}
	return median(numbers)
}

// statistics runs each tracer once more with the kernel measuring BPF programs, which costs some by itself: see emptyRun.
func (b *costBench) statistics(ctx context.Context) error {
	enabled, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return fmt.Errorf("have the kernel measure BPF programs: %w", err)
	}
	defer enabled.Close()
	empty, err := b.emptyRun(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("\nIn BPF programs, by the kernel's statistics: ns for each connection, runs for each connection, ns a run; empty programs take %d a run\n",
		empty.Nanoseconds())
	for _, t := range b.tracers[1:] {
		round, err := b.measure(ctx, t.args)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		often := float64(runs(round.programs)) / float64(b.connections)
		fmt.Printf("  %-26s %8.0f %8.2f, of which as many empty ones take %.0f ns\n", t.name, float64(round.bpf), often, often*float64(empty))
		for _, s := range round.programs {
			each := float64(s.time) / float64(b.connections)
			if each < 10 {
				continue
			}
			fmt.Printf("    %-24s %8.0f %8.2f %8.0f\n", s.program, each, float64(s.runs)/float64(b.connections), float64(s.time)/float64(s.runs))
		}
	}
	return nil
}

// syscalls measures what the tracepoints of some system calls cost all the others: the kernel takes the slow way into
// and out of each as long as any is traced.
func (b *costBench) syscalls(ctx context.Context, binary string) error {
	const calls = 2_000_000
	var with, without []float64
	for range b.rounds {
		took, err := inNamespace(ctx, "-calls", strconv.Itoa(calls))
		if err != nil {
			return err
		}
		without = append(without, float64(took.CPU)/calls)
		r, err := startTracer(ctx, []string{binary, "watch", "--comm", "nobody", "-o", "json"})
		if err != nil {
			return err
		}
		took, err = inNamespace(ctx, "-calls", strconv.Itoa(calls))
		if err := errors.Join(err, stopped(r)); err != nil {
			return err
		}
		with = append(with, float64(took.CPU)/calls)
	}
	fmt.Printf("\nA system call that has nothing to do with it (getppid): %.0f ns untraced, %.0f ns traced\n", median(without), median(with))
	return nil
}

// fastest has as many loads as there are CPUs run at once, with the tracer having to find its time between them.
func (b *costBench) fastest(ctx context.Context, binary string) error {
	cpus, err := usableCPUs()
	if err != nil {
		return err
	}
	r, err := startTracer(ctx, []string{binary, "watch", "-o", "json"})
	if err != nil {
		return err
	}
	began := time.Now()
	results := make(chan error, len(cpus))
	for _, cpu := range cpus {
		go func() {
			_, err := b.load(ctx, cpu)
			results <- err
		}()
	}
	for range cpus {
		err = errors.Join(err, <-results)
	}
	took := time.Since(began)
	r.rest()
	lost, stopErr := r.stop()
	if err := errors.Join(err, stopErr); err != nil {
		return err
	}
	all := len(cpus) * b.connections
	fmt.Printf("\nAs fast as %d CPUs can, watch -o json among them: %d connections, %.0f a second, %d events lost\n",
		len(cpus), all, float64(all)/took.Seconds(), lost)
	return nil
}

func usableCPUs() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, err
	}
	var cpus []int
	for cpu := 0; len(cpus) < set.Count(); cpu++ {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}

// idle measures a tracer that sees nothing happen.
func (b *costBench) idle(ctx context.Context, binary string) error {
	const long = 5 * time.Second
	// The host's own connections are none of the tracer's business here.
	r, err := startTracer(ctx, []string{binary, "watch", "--comm", "nobody", "-o", "json"})
	if err != nil {
		return err
	}
	r.rest()
	used := processTime(r.cmd.Process.Pid)
	time.Sleep(long)
	used = processTime(r.cmd.Process.Pid) - used
	fmt.Printf("\nWatching while nothing happens: %.0f µs of CPU time a second\n", micros(used)/long.Seconds())
	return stopped(r)
}

// benchMemory prints what of a tracer is in memory as connections come and go.
func benchMemory(ctx context.Context, binary string, connections int) error {
	const steps = 4
	b := &costBench{connections: connections / steps}
	r, err := startTracer(ctx, []string{binary, "watch", "-o", "json"})
	if err != nil {
		return err
	}
	fmt.Printf("\nMemory of watch -o json\n")
	for step := range steps {
		if _, err := b.load(ctx, 0); err != nil {
			return errors.Join(err, stopped(r))
		}
		r.rest()
		own, shared, err := r.memory()
		if err != nil {
			return errors.Join(err, stopped(r))
		}
		fmt.Printf("  after %9d connections: %5.1f MiB, and %.0f MiB that it shares with the kernel\n",
			(step+1)*b.connections, mib(own), mib(shared))
	}
	lost, err := r.stop()
	fmt.Printf("  %d events lost\n", lost)
	return err
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
func mib(bytes int64) float64        { return float64(bytes) / (1 << 20) }
