package main

import (
	"context"
	"net/netip"

	"tcptrace/prober"
	"tcptrace/prober/path"
	"tcptrace/tracer/verdict"
)

// findPaths looks for the way to each of the targets, which were not reached, and tells it in the middle of the stream that
// m began.
func (c *connectCommand) findPaths(ctx context.Context, a *app, m meta, ns *prober.NetNS, targets []target, rec *recording) error {
	m.Subject, m.Single = aboutPaths, len(targets) == 1
	tr, err := a.traceProbes(&m, &c.kernel, pathTrace(), false)
	if err != nil {
		return err
	}
	if tr != nil {
		defer tr.Close()
	}
	plan := pathPlan{targets: targets, resolver: prober.Resolver{NetNS: ns}, options: path.Options{Probe: prober.Options{
		Source: c.options.Source, Interface: c.options.Interface, Mark: c.options.Mark, MarkSet: c.options.MarkSet, NetNS: ns,
	}}}
	return plan.run(ctx, tr, newPathSession(m, a.pathSinks(m, &c.output, &c.detail, rec)...))
}

// missedSink remembers the addresses that were not reached, in the order of their verdicts.
type missedSink struct {
	silent
	seen    map[netip.AddrPort]bool
	targets []target
}

func (m *missedSink) Verdict(v verdict.Verdict, about told) {
	if about.probe == nil || v.Outcome != verdict.OutcomeFailed || !v.Remote.IsValid() || m.seen[v.Remote] {
		return
	}
	if m.seen == nil {
		m.seen = make(map[netip.AddrPort]bool)
	}
	m.seen[v.Remote] = true
	m.targets = append(m.targets, target{text: v.Remote.String(), host: v.Remote.Addr().String(), port: v.Remote.Port()})
}
