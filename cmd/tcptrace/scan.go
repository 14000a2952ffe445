package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"tcptrace/prober"
	"tcptrace/prober/scan"
	"tcptrace/tracer"
	"tcptrace/tracer/event"
)

// scanCommand is what the flags of scan say.
type scanCommand struct {
	sessionFlags
	kernel    kernelFlags
	targets   targetFlags
	options   scan.Options
	refreshes []time.Duration // one round each; empty: one round without
	interval  time.Duration   // between the beginnings of rounds; 0: each is run once
	rounds    int             // with interval; 0: for ever
	reset     bool            // close connections by a reset
	untraced  bool
	dryRun    bool
	plot      string
	compare   string
}

func newScanCommand(a *app) *cobra.Command {
	var c scanCommand
	cmd := &cobra.Command{
		Use:   "scan [flags] TARGET...",
		Short: "Try tens of thousands of connects at once: who answers, how fast, after how many SYNs",
		Long: `Connect to all targets at once, and say how many answered within which time, how fast, and after how many SYNs; and of
the others, why not. TARGET is HOST:PORTS or NETWORK:PORTS, or - for a list on standard input: a target a line, then, if
anything, a label, such as the peer that it belongs to; # begins a comment.

Times are the kernel's own: with root, those of its events; without, those that a socket tells (tcpi_rtt). What this host
itself stands in the way of is told apart, and is no target's failure.`,
		Example: `  # who of these answers, and within which time?
  tcptrace scan -f peers.txt --timeout 20s --plot latency.svg

  # two ports of a network, but not of these hosts
  tcptrace scan 10.0.0.0/24:80,443 --exclude printers.txt

  # does it help to send more SYNs, from new source ports?
  tcptrace scan -f peers.txt --timeout 20s --refresh none,10s,5s,2s

  # the health of a network over time, for other programs
  tcptrace scan -f peers.txt --timeout 2s --interval 1m -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && len(c.targets.files) == 0 {
				return usageErrorf("%s needs a TARGET, such as 10.0.0.0/24:443, or --file; `%[1]s --help` shows how", cmd.CommandPath())
			}
			c.targets.seeded = cmd.Flags().Changed("seed")
			return c.run(cmd.Context(), a, args)
		},
	}
	c.addTo(cmd)
	c.addTargetFlags(cmd)
	return cmd
}

// addTo gives cmd the flags that say how to scan.
func (c *scanCommand) addTo(cmd *cobra.Command) {
	c.output.addTo(cmd)
	c.detail.addTo(cmd)
	c.trace.addTo(cmd)
	flags := cmd.Flags()
	flags.Lookup("timeout").Usage = "give up on one target after DUR, from its own connect (default 10s)"
	flags.Lookup("quiet").Usage = "print only the first line of the summary"
	flags.Lookup("verbose").Usage = "print a line for each target, too"
	flags.Var(newValue(&c.options.Rate, "N", parseConnectRate), "rate", "begin at most N connects a second, refreshes included")
	flags.Var(newValue(&c.options.MaxPending, "N", parseBetween("a count", 1, math.MaxInt32)), "max-pending", "have at most N connects in progress (default: what this host has room for)")
	flags.Var(newList(&c.refreshes, "DUR,...", parseRefresh), "refresh", "restart unanswered connects every DUR from a new source port; several run one scan each, none is without")
	flags.Var(newValue(&c.options.Source, "ADDR", parseAddr), "source", "connect from that address")
	flags.Var(newValue(&c.options.SYNRetries, "N", parseBetween("a count of retries", 1, maxSYNRetries)), "syn-retries", "TCP_SYNCNT (default: tcp_syn_retries)")
	flags.BoolVar(&c.reset, "linger-reset", true, "close connections by a reset, which leaves no TIME_WAIT")
	flags.Var(newValue(&c.interval, "DUR", parseDuration), "interval", "scan again every DUR")
	flags.Var(newValue(&c.rounds, "N", parseBetween("a count", 1, math.MaxInt32)), "count", "with --interval: end after N scans (default: never)")
	flags.Var(newValue(&c.plot, "FILE", nonEmpty("a file name")), "plot", "draw latencies and successes into FILE, as SVG")
	flags.Var(newValue(&c.compare, "FILE", nonEmpty("a file name")), "compare", "say what has changed since an earlier scan, whose JSON is in FILE")
	flags.BoolVar(&c.untraced, "no-trace", false, "do not ask for the kernel's events, even where they could be had")
	c.kernel.addTo(cmd)
	excludeEachOther(cmd, "no-trace", "require-trace")
}

func (c *scanCommand) addTargetFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.VarP(newList(&c.targets.files, "FILE", nonEmpty("a file name")), "file", "f", "read targets from FILE, - for standard input")
	flags.Var(newList(&c.targets.excluded, "FILE", nonEmpty("a file name")), "exclude", "leave out the addresses and networks in FILE, a line each, with ports or without")
	flags.BoolVar(&c.targets.shuffle, "shuffle", false, "try targets in random order")
	flags.Var(newValue(&c.targets.seed, "N", parseSeed), "seed", "of --shuffle: the same order for the same N")
	flags.BoolVar(&c.dryRun, "dry-run", false, "list the targets, and connect to none")
}

func parseConnectRate(text string) (float64, error) {
	rate, err := strconv.ParseFloat(text, 64)
	if err != nil || !(rate > 0) || math.IsInf(rate, 0) {
		return 0, fmt.Errorf("a rate is a number above 0, a second")
	}
	return rate, nil
}

func parseSeed(text string) (uint64, error) {
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("a seed is a whole number from 0")
	}
	return seed, nil
}

// parseRefresh reads an interval; none is 0.
func parseRefresh(text string) (time.Duration, error) {
	if text == "none" {
		return 0, nil
	}
	return parseDurationOrZero(text)
}

// garbagePercent is GOGC of a scan, tracedGarbagePercent that of one with a trace, and ampleGarbagePercent that of what is
// soon over.
const (
	garbagePercent       = 15
	tracedGarbagePercent = 100
	ampleGarbagePercent  = 400
)

func (c *scanCommand) run(ctx context.Context, a *app, args []string) error {
	ns, err := c.prepare()
	if err != nil {
		return err
	}
	defer ns.Close()
	releaseStart()
	// What there is of memory is the list of targets and their results; garbage need not be as much again.
	defer debug.SetGCPercent(debug.SetGCPercent(garbagePercent))
	list, err := c.targets.gather(ctx, a, args, c.trace.family(), &prober.Resolver{NetNS: ns})
	if err != nil {
		return err
	}
	if c.targets.shuffle {
		a.notice("shuffled with --seed %d", c.targets.seed)
	}
	a.describeList(list)
	if c.dryRun {
		c.list(a, list.targets)
		return exitStatus(list.status())
	}
	if len(list.targets) == 0 && ctx.Err() == nil {
		return &exitError{status: max(list.status(), exitFailed), err: errNoTargets}
	}
	return worseOf(c.scan(ctx, a, list.targets), list.status())
}

// worseOf ends with the status, unless err says something, or has the status that comes before it: a list that is wrong
// is told by the status even when targets failed.
func worseOf(err error, status int) error {
	exit, ok := errors.AsType[*exitError](err)
	if err == nil || ok && exit.err == nil && exit.status < status {
		return exitStatus(status)
	}
	return err
}

// prepare checks what the flags say together and opens the network namespace, which the caller closes.
func (c *scanCommand) prepare() (*prober.NetNS, error) {
	c.options.Timeout, c.options.Orderly = c.trace.Timeout, !c.reset
	if c.options.Timeout == 0 {
		c.options.Timeout = scan.DefaultTimeout
	}
	if len(c.refreshes) == 0 {
		c.refreshes = []time.Duration{0}
	}
	for _, refresh := range c.refreshes {
		if refresh >= c.options.Timeout {
			return nil, usageErrorf("--refresh %v never happens within the timeout of %v", refresh, c.options.Timeout)
		}
	}
	if c.rounds != 0 && c.interval == 0 {
		return nil, usageErrorf("--count needs --interval")
	}
	if c.targets.seeded && !c.targets.shuffle {
		return nil, usageErrorf("--seed needs --shuffle")
	}
	if c.targets.shuffle && !c.targets.seeded {
		c.targets.seed = uint64(rand.Uint32())
	}
	if err := c.options.Validate(); err != nil {
		return nil, usageErrorf("%w", err)
	}
	if c.trace.NetNS == "" {
		return nil, nil
	}
	ns, err := prober.OpenNetNS(c.trace.NetNS)
	if err != nil {
		return nil, usageErrorf("--netns: %w", err)
	}
	c.options.NetNS = ns
	return ns, nil
}

// describeList tells what became of the targets on the way here, where that is not what one sees.
func (a *app) describeList(list *targetList) {
	for _, n := range []struct {
		count int
		words string
	}{
		{list.duplicates, "named more than once, and tried once"},
		{list.excluded, "excluded"},
	} {
		if n.count > 0 {
			a.notice("%s %s", countOf(n.count, "target"), n.words)
		}
	}
}

// list is --dry-run.
func (c *scanCommand) list(a *app, targets []scan.Target) {
	for i := range targets {
		if c.output.Format == formatJSON {
			line := targetLine{target: targets[i]}
			a.stdout.Write(append(escapeJSON(line.append(nil)), '\n'))
			continue
		}
		line := targets[i].String()
		if targets[i].Label != "" {
			line += "  " + targets[i].Label
		}
		fmt.Fprintln(a.stdout, escape(line))
	}
}

// scan carries out all rounds over targets, under a trace if there can be one.
func (c *scanCommand) scan(ctx context.Context, a *app, targets []scan.Target) (err error) {
	var before *comparison
	if c.compare != "" {
		if before, err = readComparison(c.compare); err != nil {
			return err
		}
	}
	rec, err := c.trace.openRecorder()
	if err != nil {
		return err
	}
	if rec != nil {
		defer func() { err = errors.Join(err, rec.Close()) }()
	}
	m := a.describeRun()
	m.Subject, m.Timeout = aboutTargets, c.options.Timeout
	tr, err := c.openTrace(&m, len(targets))
	if err != nil {
		return err
	}
	if tr != nil {
		defer tr.Close()
		// The trace takes as much memory again, and the CPU has more to do.
		defer debug.SetGCPercent(debug.SetGCPercent(tracedGarbagePercent))
	}
	return c.trace.within(ctx, func(ctx context.Context, interrupted func() bool) error {
		s := c.newSession(a, m, tr, rec, targets, before)
		if err := s.run(ctx, interrupted); err != nil {
			return err
		}
		return exitStatus(s.status())
	})
}

// openTrace starts the trace that times are taken from; nil where there is to be none, or can be none.
func (c *scanCommand) openTrace(m *meta, targets int) (*tracer.Handshakes, error) {
	if c.untraced {
		m.Untraced = "it was not asked for (--no-trace)"
		return nil, nil
	}
	var opts tracer.Options
	if err := c.kernel.apply(&opts); err != nil {
		return nil, err
	}
	// Reading the kernel's types leaves so much garbage that to collect it each time would take longer than that itself.
	defer debug.SetGCPercent(debug.SetGCPercent(ampleGarbagePercent))
	tr, err := tracer.OpenHandshakes(tracer.HandshakeOptions{
		PID: os.Getpid(), MaxPending: cmp.Or(opts.MaxConnections, targets+targets/spareShare+spareHandshakes),
		RingBytes: opts.RingBytes, Mechanisms: opts.Mechanisms, BTF: opts.BTF,
	})
	switch {
	case err == nil:
		hook := tr.Hook()
		m.Hooks = map[event.Kind]string{hook.Kind: string(hook.Mechanism)}
		if hook.Partial != "" {
			m.Costs = map[event.Kind]string{hook.Kind: hook.Partial}
		}
		return tr, nil
	case c.trace.RequireTrace:
		return nil, noTraceErrorf("%w", err)
	}
	m.Untraced = whyUntraced(err)
	return nil, nil
}

// The room for handshakes beyond one for each target: for those whose end is not seen, one in some hundred at the worst,
// which stay until another socket has the same address.
const (
	spareShare      = 8
	spareHandshakes = 1024
)
