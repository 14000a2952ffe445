package main

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/spf13/cobra"

	"tcptrace/tracer/listeners"
)

// listenersCommand is what the flags of listeners say.
type listenersCommand struct {
	output   outputFlags
	detail   detailFlags
	filter   filterFlags
	trace    traceFlags
	kernel   kernelFlags
	AllNetNS bool
	Interval time.Duration // 0: as they are now
	Follow   bool
}

func newListenersCommand(a *app) *cobra.Command {
	var c listenersCommand
	cmd := &cobra.Command{
		Use:   "listeners [flags]",
		Short: "The listening sockets, those in trouble first: both queues, their limits, and what was dropped",
		Long: `List the listening TCP sockets: who owns each, how full its accept queue and its SYN queue are, which setting bounds them,
how long the first connection has waited to be accepted, and what was dropped. Those in trouble come first.

--interval looks for a while before, and adds what was dropped meanwhile and how many connections a second were accepted.

--follow tells what happens to clients: refused by a full queue, answered by a SYN cookie, SYN-ACKs that had to be sent
again, half-open connections that expired, and each accept with the time that the connection had waited. The end adds
up what each listener refused, which is exact, and for how long connections waited: long waits are a slow
application's, and refusals with short ones a small backlog's.`,
		Example: `  # does anything overflow, or is about to?
  sudo tcptrace listeners

  # only what is in trouble, in every network namespace
  sudo tcptrace listeners --all-netns --problems

  # how many connections a second does a server accept, and does it drop any?
  sudo tcptrace listeners --lport 443 --interval 10s

  # whose SYNs are refused, until ^C
  sudo tcptrace listeners --follow --lport 443

  # how full are accept queues, for a script
  sudo tcptrace listeners -o json | jq -c 'select(.type == "listener") | [.local, .owner.comm, .accept_queue.len, .accept_queue.max]'`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd.Context(), a) },
	}
	c.output.addTo(cmd)
	c.detail.addTo(cmd)
	c.addTo(cmd)
	return cmd
}

// addTo adds the flags that fit listeners.
func (c *listenersCommand) addTo(cmd *cobra.Command) {
	f, flags := &c.filter, cmd.Flags()
	flags.Lookup("quiet").Usage = "print one line a listener; with --follow only the end"
	flags.Lookup("verbose").Usage = "print what bounds each listener, and all of its owners; with --follow, also what went well"
	f.addOwner(cmd)
	flags.VarP(newValue(&f.LocalPort, "PORT", parsePort), "port", "P", "only listeners of that port")
	flags.Var(newValue(&f.LocalPort, "PORT", parsePort), "lport", "the same as --port")
	flags.Var(newValue(&f.Addr, "CIDR", parsePrefix), "addr", "only listeners that take connections to an address in that network")
	addNetNSFlag(cmd, &f.NetNS)
	flags.BoolVar(&c.AllNetNS, "all-netns", false, "those of every network namespace")
	flags.BoolVarP(&c.trace.Only4, "ipv4", "4", false, "only those that take IPv4")
	flags.BoolVarP(&c.trace.Only6, "ipv6", "6", false, "only those that take IPv6")
	flags.BoolVar(&f.Problems, "problems", false, "only listeners with warnings; with --follow, nothing that goes well")
	flags.VarP(newValue(&f.Count, "N", parseBetween("a count", 1, math.MaxInt)), "count", "c",
		"only the first N; with --follow, end after N events")
	flags.Var(newValue(&c.Interval, "DUR", parseDuration), "interval", "look for DUR first, and tell what happened meanwhile")
	flags.BoolVarP(&c.Follow, "follow", "f", false, "tell what happens, until ^C, --count or --duration")
	flags.Var(newList(&f.Kinds, "KIND,...", parseKind), "kind", "with --follow, print only events of these kinds")
	flags.Var(newValue(&f.MaxEvents, "N/s", parseRate), "max-events",
		"with --follow, print at most N events a second and count the rest (default 50)")
	flags.Var(newValue(&c.trace.Duration, "DUR", parseDuration), "duration", "with --follow, end the whole command after DUR")
	flags.Var(newValue(&c.trace.Record, "FILE", nonEmpty("a file name")), "record",
		"also write the JSON stream to FILE, whatever is printed")
	flags.BoolVar(&c.trace.RequireTrace, "require-trace", false, "exit 3 instead of listing only what ss could")
	c.kernel.addTo(cmd)
	excludeEachOther(cmd, "ipv4", "ipv6")
	excludeEachOther(cmd, "netns", "all-netns")
	excludeEachOther(cmd, "follow", "interval")
}

// check refuses flags that make no sense together.
func (c *listenersCommand) check() error {
	switch {
	case c.Follow:
		return nil
	case c.trace.Duration > 0:
		return usageErrorf("--duration says how long to follow: give --follow")
	case len(c.filter.Kinds) > 0:
		return usageErrorf("--kind is about what happens: give --follow")
	case c.filter.MaxEvents > 0:
		return usageErrorf("--max-events is about what happens: give --follow")
	}
	return nil
}

func (c *listenersCommand) run(ctx context.Context, a *app) (err error) {
	if err := c.check(); err != nil {
		return err
	}
	rec, err := c.trace.openRecorder()
	if err != nil {
		return err
	}
	if rec != nil {
		defer func() { err = errors.Join(err, rec.Close()) }()
	}
	m := a.describeRun()
	m.Subject, m.All, m.Follow = aboutListeners, c.AllNetNS, c.Follow
	reader, err := c.openReader(a, &m)
	if err != nil {
		return err
	}
	defer reader.close()
	if c.Follow {
		return c.follow(ctx, a, reader, m, rec)
	}
	all, err := c.look(ctx, a, reader)
	if err != nil {
		return err
	}
	if ctx.Err() != nil && c.Interval == 0 {
		return exitStatus(exitFailed)
	}
	c.print(a, rec, m, all)
	return nil
}

// look lists the listeners, after --interval if there is one.
func (c *listenersCommand) look(ctx context.Context, a *app, reader *listenersReader) ([]*listeners.Listener, error) {
	if c.Interval == 0 {
		return reader.read()
	}
	return c.measure(ctx, a, reader)
}

// aboutListeners is the subject of a list of listeners.
const aboutListeners subject = "listeners"

// print writes the list to standard output, and to a recording.
func (c *listenersCommand) print(a *app, rec *recording, m meta, all []*listeners.Listener) {
	shown := c.choose(all)
	printers := []listenersPrinter{newListenersPrinter(a.stdout, c.output.painter(a.stdout), &c.output, &c.detail, c.AllNetNS)}
	if rec != nil {
		printers = append(printers, &listenersJSON{newJSONRenderer(rec.out, false)})
	}
	for _, p := range printers {
		writeListeners(p, m, shown, countListeners(all, len(shown)))
	}
}

// choose judges the listeners, and leaves those that are asked for, in their order.
func (c *listenersCommand) choose(all []*listeners.Listener) []*listeners.Listener {
	var shown []*listeners.Listener
	for _, l := range all {
		l.Judge()
		if !c.filter.Problems || len(l.Warnings) > 0 {
			shown = append(shown, l)
		}
	}
	listeners.Sort(shown)
	if c.filter.Count > 0 {
		shown = shown[:min(len(shown), c.filter.Count)]
	}
	return shown
}

// newListenersPrinter prints as the flags want it; namespaces says that there may be several.
func newListenersPrinter(out flusher, paint painter, output *outputFlags, detail *detailFlags, namespaces bool) listenersPrinter {
	if output.Format == formatJSON {
		return &listenersJSON{newJSONRenderer(out, false)}
	}
	return &listenersText{out: out, paint: paint, quiet: detail.Quiet, verbose: detail.Verbose, namespaces: namespaces}
}

func writeListeners(p listenersPrinter, m meta, shown []*listeners.Listener, totals listenersTotals) {
	p.meta(m)
	p.listeners(shown)
	p.summary(totals)
}

// listenersPrinter is a way to write a list of listeners.
type listenersPrinter interface {
	meta(meta)
	listeners([]*listeners.Listener)
	summary(listenersTotals)
}

// listenersTotals counts what a summary tells.
type listenersTotals struct {
	All, Shown int
	Full       int // whose accept queue takes no more
	Waiting    int // connections that nobody has accepted
	Drops      int
	Warned     int
}

func countListeners(all []*listeners.Listener, shown int) listenersTotals {
	t := listenersTotals{All: len(all), Shown: shown}
	for _, l := range all {
		t.Waiting += l.Accept().Len
		t.Drops += l.Drops
		if l.Full() {
			t.Full++
		}
		if len(l.Warnings) > 0 {
			t.Warned++
		}
	}
	return t
}
