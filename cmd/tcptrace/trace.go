package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"tcptrace/tracer"
	"tcptrace/tracer/event"
)

// kernelFlags are those of commands that open a trace, about the trace itself.
type kernelFlags struct {
	BTF            string
	RingBytes      int
	MaxConnections int
}

func (f *kernelFlags) addTo(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Var(newValue(&f.BTF, "FILE", nonEmpty("a file name")), "btf", "types of the running kernel, where it has none itself (as BTFHub ships them)")
	flags.Var(newValue(&f.RingBytes, "N", parseBetween("a size", 1, 1<<30)), "ring-bytes", "size of the ring buffer that events come through (default 64 MiB)")
	flags.Var(newValue(&f.MaxConnections, "N", parseBetween("a count", 1, 1<<24)), "max-connections", "how many connections can be followed at a time (default 65536)")
}

// apply sets what the flags, and the environment, say of a trace.
func (f *kernelFlags) apply(opts *tracer.Options) error {
	mechanisms, err := tracer.ParseMechanisms(os.Getenv(tracer.MechanismsVariable))
	if err != nil {
		return usageErrorf("%w", err)
	}
	opts.Mechanisms, opts.BTF, opts.RingBytes, opts.MaxConnections = mechanisms, f.BTF, f.RingBytes, f.MaxConnections
	return nil
}

// openTracer starts a trace; its error ends the command with the status of a trace that could not be.
func openTracer(flags *kernelFlags, opts tracer.Options) (*tracer.Tracer, error) {
	if err := flags.apply(&opts); err != nil {
		return nil, err
	}
	tr, err := tracer.Open(opts)
	if errors.Is(err, tracer.ErrTooManyValues) {
		return nil, usageErrorf("%w", err)
	}
	if err != nil {
		return nil, noTraceErrorf("%w", err)
	}
	return tr, nil
}

// describeTrace adds to m how events are seen, and what it means that others, or some of a kind, are not.
func describeTrace(m *meta, tr *tracer.Tracer) {
	m.HZ = tr.HZ()
	m.Hooks = make(map[event.Kind]string)
	m.Costs = make(map[event.Kind]string)
	for _, h := range tr.Hooks() {
		if h.Mechanism != "" {
			m.Hooks[h.Kind] = string(h.Mechanism)
		}
		if cost := cmp.Or(h.Missing, h.Partial); cost != "" {
			m.Costs[h.Kind] = cost
		}
	}
}

// noticeTrouble tells what is amiss with a trace beyond single hooks.
func (a *app) noticeTrouble(tr *tracer.Tracer) {
	for _, trouble := range tr.Trouble() {
		a.notice("%s", trouble)
	}
}

// whyUntraced is the clause that an answer without the kernel's events gives as its reason.
func whyUntraced(err error) string {
	if errors.Is(err, tracer.ErrPrivilege) {
		return "that needs root, or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN: run it with sudo"
	}
	return fmt.Sprint(err)
}
