package main

import (
	"cmp"
	"context"
	"errors"
	"os"

	"github.com/spf13/cobra"

	"tcptrace/prober"
	"tcptrace/prober/path"
	"tcptrace/tracer"
)

// pathCommand is what the flags of path say.
type pathCommand struct {
	output  outputFlags
	detail  detailFlags
	trace   traceFlags
	kernel  kernelFlags
	options path.Options
	compare uint16 // the other port; 0: none
	numeric bool
}

func newPathCommand(a *app) *cobra.Command {
	var c pathCommand
	cmd := &cobra.Command{
		Use:   "path [flags] HOST:PORT...",
		Short: "How far does my SYN get? Which router, or firewall, drops it?",
		Long: `Connect with SYNs that may pass only one router, then two, and so on: each router that such a SYN cannot pass says so,
and the destination answers as it answers any SYN. These are ordinary sockets, so firewalls and NAT see what they would
see of an application, and no root is needed; with it, round trips are measured by the kernel's clock.

Hops are asked at once, each from a source port of its own. With --sequential they are asked one after the other from
one port, so that routers with several paths of equal cost take the same for all. The kernel's own repetitions of a SYN
are not counted as queries.`,
		Example: `  # where are my SYNs dropped?
  tcptrace path db.example.com:5432

  # does a firewall on the way filter by port?
  tcptrace path --compare-port 80 192.0.2.10:443

  # from within a container, hop by hop from one port, for a script
  sudo tcptrace path --netns 4211 --sequential -n -o json api:80`,
		Args: someArguments("HOST:PORT, such as example.com:443"),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd.Context(), a, args) },
	}
	c.output.addTo(cmd)
	cmd.Flags().BoolVarP(&c.detail.Quiet, "quiet", "q", false, "print only the verdicts")
	c.trace.addScopeTo(cmd)
	c.addTo(cmd)
	c.kernel.addTo(cmd)
	return cmd
}

func (c *pathCommand) addTo(cmd *cobra.Command) {
	flags, o := cmd.Flags(), &c.options
	flags.Var(newValue(&o.FirstHop, "N", parseBetween("a hop", 1, path.MaxHops)), "first-hop", "begin at hop N (default 1)")
	flags.Var(newValue(&o.MaxHops, "N", parseBetween("a hop", 1, path.MaxHops)), "max-hops", "go no further than hop N (default 30)")
	flags.Var(newValue(&o.Queries, "N", parseBetween("a number of queries", 1, path.MaxQueries)), "queries", "ask each hop N times (default 3)")
	flags.Var(newValue(&o.Wait, "DUR", parseDuration), "wait", "wait so long for each answer (default 900ms, before the kernel repeats the SYN)")
	flags.BoolVar(&o.Sequential, "sequential", false, "ask one hop after the other, all from one source port")
	flags.Var(newValue(&c.compare, "PORT", parsePort), "compare-port", "ask for that port beside it: a firewall that filters by port shows as the difference")
	flags.BoolVarP(&c.numeric, "numeric", "n", false, "do not look up the names of addresses")
	flags.Var(newValue(&o.Probe.Source, "ADDR", parseAddr), "source", "connect from that address")
	flags.Var(newValue(&o.Probe.SourcePort, "PORT", parsePort), "source-port", "connect from that port (implies --sequential)")
	flags.Var(newValue(&o.Probe.Interface, "NAME", nonEmpty("an interface")), "interface", "connect by that interface only (SO_BINDTODEVICE)")
	flags.Var(&markValue{&o.Probe}, "mark", "SO_MARK (needs CAP_NET_ADMIN)")
}

func (c *pathCommand) run(ctx context.Context, a *app, args []string) (err error) {
	plan, err := c.plan(args)
	if err != nil {
		return err
	}
	defer plan.resolver.NetNS.Close()
	rec, err := c.trace.openRecorder()
	if err != nil {
		return err
	}
	if rec != nil {
		defer func() { err = errors.Join(err, rec.Close()) }()
	}
	m := a.describeRun()
	m.Subject, m.Single = aboutPaths, len(plan.targets) == 1 && plan.targets[0].isLiteral()
	tr, err := a.traceProbes(&m, &c.kernel, pathTrace(), c.trace.RequireTrace)
	if err != nil {
		return err
	}
	if tr != nil {
		defer tr.Close()
	}
	return c.trace.within(ctx, func(ctx context.Context, interrupted func() bool) error {
		s := newPathSession(m, a.pathSinks(m, &c.output, &c.detail, rec)...)
		s.begin()
		err := plan.run(ctx, tr, s)
		sum := s.finish(interrupted())
		return cmp.Or(err, exitStatus(sum.ExitStatus))
	})
}

// plan turns flags and arguments into what to do, or says in one sentence what is wrong with them.
func (c *pathCommand) plan(args []string) (pathPlan, error) {
	targets, err := parseTargets(args, c.options.Probe.Interface)
	if err != nil {
		return pathPlan{}, err
	}
	if err := c.options.Validate(); err != nil {
		return pathPlan{}, usageErrorf("%w", err)
	}
	plan := pathPlan{targets: targets, options: c.options, family: c.trace.family(), compare: c.compare, numeric: c.numeric}
	for _, t := range targets {
		if t.port == c.compare {
			return pathPlan{}, usageErrorf("--compare-port %d is the port of %s itself: name another", c.compare, t.text)
		}
	}
	if c.trace.NetNS != "" {
		ns, err := prober.OpenNetNS(c.trace.NetNS)
		if err != nil {
			return pathPlan{}, usageErrorf("%w", err)
		}
		plan.options.Probe.NetNS, plan.resolver.NetNS = ns, ns
	}
	return plan, nil
}

// pathTrace follows this process's own connects, from the moment when their SYN leaves.
func pathTrace() tracer.Options {
	return tracer.Options{
		Filter:  tracer.Filter{PIDs: []int{os.Getpid()}},
		Packets: true,
		NewOnly: true,
	}
}
