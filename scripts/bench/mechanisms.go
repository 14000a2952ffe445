package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"tcptrace/tracer"
)

// benchMechanisms prints what it costs to watch connections by each mechanism, on a kernel that has them all.
func benchMechanisms(ctx context.Context, binary string, connections int) error {
	b := &costBench{connections: connections}
	if _, err := b.load(ctx, 0); err != nil { // what is done for the first time takes longer
		return err
	}
	took, err := b.load(ctx, 0)
	if err != nil {
		return err
	}
	untraced := b.round(took)
	fmt.Printf("%d connections with both ends here, watch -o json; for each, in µs (in brackets: of what fentry takes)\n", connections)
	fmt.Printf("  %-12s %16s %16s %16s %16s %6s %10s\n", "", "cpu", "in tracer", "runs", "in programs", "lost", "attached")
	fmt.Printf("  %-12s %16.1f\n", "untraced", micros(untraced.cpu))
	var first costRound
	for i, mechanism := range []tracer.Mechanism{tracer.Fentry, tracer.Kprobe, tracer.Tracepoint} {
		round, err := b.byMechanism(ctx, binary, mechanism)
		if err != nil {
			return fmt.Errorf("%s: %w", mechanism, err)
		}
		round.cpu -= untraced.cpu
		if i == 0 {
			first = round
		}
		fmt.Printf("  %-12s %16s %16s %16s %16s %6d %8dms\n", mechanism, "+"+beside(micros(round.cpu), micros(first.cpu)),
			beside(micros(round.tracer), micros(first.tracer)), beside(b.runs(round), b.runs(first)),
			beside(micros(round.bpf), micros(first.bpf)), round.lost, round.attached.Milliseconds())
	}
	return nil
}

// byMechanism measures once without the kernel's statistics, which take time themselves, and once for what they say.
func (b *costBench) byMechanism(ctx context.Context, binary string, mechanism tracer.Mechanism) (costRound, error) {
	if err := os.Setenv(tracer.MechanismsVariable, string(mechanism)); err != nil {
		return costRound{}, err
	}
	args := []string{binary, "watch", "-o", "json"}
	round, err := b.measure(ctx, args)
	if err != nil {
		return round, err
	}
	enabled, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return round, fmt.Errorf("have the kernel keep statistics: %w", err)
	}
	counted, err := b.measure(ctx, args)
	round.bpf, round.programs = counted.bpf, counted.programs
	return round, errors.Join(err, enabled.Close())
}

// runs is how often programs ran for a connection.
func (b *costBench) runs(r costRound) float64 {
	var all uint64
	for _, s := range r.programs {
		all += s.runs
	}
	return float64(all) / float64(b.connections)
}

func beside(value, other float64) string { return fmt.Sprintf("%.1f (%.2f)", value, value/other) }
