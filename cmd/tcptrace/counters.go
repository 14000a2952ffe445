package main

import (
	"context"
	"errors"
	"math"
	"os"
	"time"

	"github.com/spf13/cobra"

	"tcptrace/prober"
	"tcptrace/tracer/host/counters"
)

// countersCommand is what the flags of counters say.
type countersCommand struct {
	output   outputFlags
	detail   detailFlags
	scope    traceFlags
	All      bool
	Path     bool
	Interval time.Duration // 0: once
	Count    int           // of intervals; 0: until the end
	names    []string
}

func newCountersCommand(a *app) *cobra.Command {
	var c countersCommand
	cmd := &cobra.Command{
		Use:   "counters [flags] [NAME...]",
		Short: "The kernel's counters that matter, by all their names, and what each of them means",
		Long: `Print the counters that the kernel keeps of a network namespace: of TCP, IP, ICMP and UDP, of the sockets in use and, of the
whole host, of the softirq that receives packets. Each has its name in /proc, the sentence of "netstat -s", the name of
node_exporter's metric, what it means, and when to worry. Those that are 0 are left out, unless they are named.

A NAME is a counter in any of these spellings, or a group of them with a dot behind it, such as Tcp. or Udp6.

--interval shows how much they change, until ^C, --count or --duration; the end says what came together.

--path follows a packet from the network card's ring through softirq, IP, TCP or UDP and the socket's buffer to the
application, and says at each station what was dropped there, what the limit is, and how to change it.`,
		Example: `  # what has this host been through?
  tcptrace counters

  # does a listener overflow, now?
  tcptrace counters --interval 1s ListenOverflows ListenDrops

  # where do packets get lost?
  sudo tcptrace counters --path

  # what does this line of netstat -s mean, and what is it called in Prometheus?
  tcptrace counters EstabResets

  # everything, for a script
  tcptrace counters --all -o json | jq -c 'select(.type == "counter") | [.group, .name, .value]'`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			c.names = args
			return c.run(cmd.Context(), a)
		},
	}
	c.output.addTo(cmd)
	c.detail.addTo(cmd)
	c.addTo(cmd)
	return cmd
}

// addTo adds the flags that fit counters.
func (c *countersCommand) addTo(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Lookup("quiet").Usage = "print one line a counter"
	flags.Lookup("verbose").Usage = "say which functions of the kernel count, too; with --path, also what is 0"
	flags.BoolVarP(&c.All, "all", "a", false, "also those that are 0, or that are gone from today's kernels")
	flags.BoolVar(&c.Path, "path", false, "follow a packet from the network card to the application, and say where it can get lost")
	flags.Var(newValue(&c.Interval, "DUR", parseDuration), "interval", "show what changes, once every DUR")
	flags.VarP(newValue(&c.Count, "N", parseBetween("a count", 1, math.MaxInt)), "count", "c", "end after N intervals")
	flags.Var(newValue(&c.scope.Duration, "DUR", parseDuration), "duration", "end the whole command after DUR")
	flags.BoolVarP(&c.scope.Only4, "ipv4", "4", false, "no counters of IPv6")
	flags.BoolVarP(&c.scope.Only6, "ipv6", "6", false, "no counters of IPv4")
	addNetNSFlag(cmd, &c.scope.NetNS)
	flags.Var(newValue(&c.scope.Record, "FILE", nonEmpty("a file name")), "record", "also write the JSON stream to FILE, whatever is printed")
	excludeEachOther(cmd, "ipv4", "ipv6")
}

// check refuses flags that make no sense together.
func (c *countersCommand) check() error {
	switch {
	case c.Count > 0 && c.Interval == 0:
		return usageErrorf("--count says how many intervals to wait for: give --interval, such as --interval 1s")
	case c.scope.Duration > 0 && c.Interval == 0:
		return usageErrorf("--duration says how long to wait for changes: give --interval, such as --interval 1s")
	case c.Path && len(c.names) > 0:
		return usageErrorf("--path has counters of its own choice: %q cannot be asked for with it", c.names[0])
	case c.Path && (c.scope.Only4 || c.scope.Only6):
		return usageErrorf("--path follows packets of both address families")
	}
	return nil
}

func (c *countersCommand) run(ctx context.Context, a *app) (err error) {
	if err := c.check(); err != nil {
		return err
	}
	ns, err := c.openNetNS()
	if err != nil {
		return err
	}
	defer ns.Close()
	rec, err := c.scope.openRecorder()
	if err != nil {
		return err
	}
	out := countersSinks{newCountersPrinter(a.stdout, c.output.painter(a.stdout), &c.output, &c.detail, c.All)}
	if rec != nil {
		defer func() { err = errors.Join(err, rec.Close()) }()
		out = append(out, &countersJSON{newJSONRenderer(rec.out, false)})
	}
	m := a.describeRun()
	m.Subject, m.Interval, m.All = aboutCounters, c.Interval, c.All
	w := countersWatch{command: c, ns: ns, out: out}
	return c.scope.within(ctx, func(ctx context.Context, interrupted func() bool) error {
		return w.run(ctx, m, interrupted)
	})
}

// newCountersPrinter prints as the flags want it; all says that those that are 0 count as well.
func newCountersPrinter(out flusher, paint painter, output *outputFlags, detail *detailFlags, all bool) countersSink {
	if output.Format == formatJSON {
		return &countersJSON{newJSONRenderer(out, false)}
	}
	return &countersText{out: out, paint: paint, quiet: detail.Quiet, verbose: detail.Verbose, all: all}
}

func (c *countersCommand) openNetNS() (*prober.NetNS, error) {
	if c.scope.NetNS == "" {
		return nil, nil
	}
	ns, err := prober.OpenNetNS(c.scope.NetNS)
	if err != nil {
		return nil, usageErrorf("--netns: %w", err)
	}
	return ns, nil
}

// procNet is the network namespace of the thread that opens something in it.
const procNet = "/proc/thread-self/net"

// readCounters reads the counters of a namespace, nil being this one.
func readCounters(ns *prober.NetNS) (values counters.Values, err error) {
	err = ns.Do(func() error {
		values, err = counters.Read(os.DirFS(procNet))
		return err
	})
	if err != nil {
		return nil, noTraceErrorf("%w", err)
	}
	return values, nil
}

// countersWatch reads counters, once or again and again.
type countersWatch struct {
	command *countersCommand
	ns      *prober.NetNS
	out     countersSink
	began   time.Time
}

func (w *countersWatch) run(ctx context.Context, m meta, interrupted func() bool) error {
	w.began = time.Now()
	first, err := w.read(w.began)
	if err != nil {
		return err
	}
	if err := first.check(w.command); err != nil {
		return err
	}
	w.out.meta(m)
	defer w.out.Flush()
	if w.command.Interval == 0 {
		w.out.now(first)
		w.out.end(countersTotal{reading: first})
		return nil
	}
	return w.repeat(ctx, first, interrupted)
}

// repeat tells what changes until it has been enough.
func (w *countersWatch) repeat(ctx context.Context, first *countersReading, interrupted func() bool) error {
	w.out.begin(w.command.Interval)
	w.out.Flush()
	tick := time.NewTicker(w.command.Interval)
	defer tick.Stop()
	before, intervals := first, 0
	for w.command.Count == 0 || intervals < w.command.Count {
		select {
		case <-ctx.Done():
			return w.cutShort(first, intervals, interrupted())
		case <-tick.C:
		}
		now, err := w.read(time.Now())
		if err != nil {
			return err
		}
		now.since(before)
		w.out.change(now)
		w.out.Flush()
		before, intervals = now, intervals+1
	}
	before.since(first)
	w.out.end(countersTotal{reading: before, intervals: intervals, told: intervals == 1})
	return nil
}

// cutShort tells what came together until the end of the last, shorter interval.
func (w *countersWatch) cutShort(first *countersReading, intervals int, interrupted bool) error {
	last, err := w.read(time.Now())
	if err != nil {
		return err
	}
	last.since(first)
	w.out.end(countersTotal{reading: last, intervals: intervals, interrupted: interrupted})
	return nil
}

func (w *countersWatch) read(at time.Time) (*countersReading, error) {
	values, err := readCounters(w.ns)
	if err != nil {
		return nil, err
	}
	r := w.command.reading(values)
	r.at, r.elapsed = at, at.Sub(w.began)
	if !w.command.Path {
		return r, nil
	}
	sources, err := readPathSources(w.ns, values)
	if err != nil {
		return nil, noTraceErrorf("%w", err)
	}
	r.walk = walkOf(sources)
	return r, nil
}

// aboutCounters is the subject of a list of counters.
const aboutCounters subject = "counters"

// countersSink is a way to write counters.
type countersSink interface {
	meta(meta)
	// now tells what there is.
	now(*countersReading)
	// begin says that changes will be told, once in an interval.
	begin(interval time.Duration)
	change(*countersReading)
	end(countersTotal)
	Flush()
}

// countersTotal is the end: the last reading, and what it comes to.
type countersTotal struct {
	reading     *countersReading
	intervals   int  // 0: nothing was waited for
	told        bool // the only interval has told it
	interrupted bool
}

// countersSinks are several of them.
type countersSinks []countersSink

func (s countersSinks) meta(m meta) { s.each(func(out countersSink) { out.meta(m) }) }

func (s countersSinks) now(r *countersReading) { s.each(func(out countersSink) { out.now(r) }) }

func (s countersSinks) begin(interval time.Duration) {
	s.each(func(out countersSink) { out.begin(interval) })
}

func (s countersSinks) change(r *countersReading) { s.each(func(out countersSink) { out.change(r) }) }

func (s countersSinks) end(t countersTotal) { s.each(func(out countersSink) { out.end(t) }) }

func (s countersSinks) Flush() { s.each(countersSink.Flush) }

func (s countersSinks) each(do func(countersSink)) {
	for _, out := range s {
		do(out)
	}
}
