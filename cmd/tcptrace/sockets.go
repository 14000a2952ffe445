package main

import (
	"context"
	"errors"
	"math"
	"slices"

	"github.com/spf13/cobra"

	"tcptrace/tracer"
	"tcptrace/tracer/event"
	"tcptrace/tracer/host"
	"tcptrace/tracer/sockets"
)

// socketsCommand is what the flags of sockets say.
type socketsCommand struct {
	output outputFlags
	detail detailFlags
	filter filterFlags
	trace  traceFlags
	BTF    string
	State  []event.State
	All    bool // mini-sockets too
	States bool // count instead of listing
}

func newSocketsCommand(a *app) *cobra.Command {
	var c socketsCommand
	cmd := &cobra.Command{
		Use:   "sockets [flags]",
		Short: "The sockets that exist now, hung ones first: what fires next, and when the kernel gives up",
		Long: `List the TCP connections that exist now: state, live timer, what fires next and when, when the kernel gives up if the
peer stays silent and by which rule, the options that decide it, queues, buffers and owner. Those that hang come first
(retransmitting, probing, unacknowledged, closed by the peer but not by this end), then what the kernel gives up first.
Every network namespace in use is listed. Listening sockets are another command's.`,
		Example: `  # what hangs, and for how long will it?
  sudo tcptrace sockets --problems

  # the connections of one program, with their buffers
  sudo tcptrace sockets --comm postgres -v

  # do TIME_WAIT, CLOSE_WAIT or half-open connections pile up?
  sudo tcptrace sockets --states

  # connections that nothing would ever end
  sudo tcptrace sockets -o json | jq -c 'select(.type == "socket" and .gives_up_ms == null) | {local, remote, owner}'`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd.Context(), a) },
	}
	c.output.addTo(cmd)
	c.detail.addTo(cmd)
	c.addTo(cmd)
	return cmd
}

// addTo adds the flags that fit a list of sockets.
func (c *socketsCommand) addTo(cmd *cobra.Command) {
	f, flags := &c.filter, cmd.Flags()
	flags.Lookup("quiet").Usage = "print one line a socket"
	flags.Lookup("verbose").Usage = "print buffers and other details of each socket too"
	f.addOwnerAndEnds(cmd)
	flags.Var(newList(&c.State, "STATE,...", parseState), "state", "only sockets in these states (TIME_WAIT and NEW_SYN_RECV bring in --all)")
	flags.BoolVarP(&c.trace.Only4, "ipv4", "4", false, "only IPv4")
	flags.BoolVarP(&c.trace.Only6, "ipv6", "6", false, "only IPv6")
	flags.BoolVar(&f.Problems, "problems", false, "only sockets with trouble")
	flags.VarP(newValue(&f.Count, "N", parseBetween("a count", 1, math.MaxInt)), "count", "c", "only the first N")
	flags.BoolVarP(&c.All, "all", "a", false, "TIME_WAIT and half-open connections too")
	flags.BoolVar(&c.States, "states", false, "count by state and owner, and say what the numbers mean")
	flags.Var(newValue(&c.trace.Record, "FILE", nonEmpty("a file name")), "record", "also write the JSON stream to FILE, whatever is printed")
	flags.BoolVar(&c.trace.RequireTrace, "require-trace", false, "exit 3 instead of listing without the options that decide")
	flags.Var(newValue(&c.BTF, "FILE", nonEmpty("a file name")), "btf", "types of the running kernel, where it has none itself (as BTFHub ships them)")
	excludeEachOther(cmd, "ipv4", "ipv6")
}

// parseState takes a state as tcptrace writes it, or as ss does.
func parseState(text string) (event.State, error) {
	state, err := event.ParseState(text)
	if err == nil && state != event.StateUnknown {
		if state == event.StateSYNRecv {
			return event.StateNewSYNRecv, nil
		}
		return state, nil
	}
	var known []string
	for s := event.StateEstablished; s <= event.StateClosing; s++ {
		if s != event.StateListen && s != event.StateClose {
			known = append(known, s.String())
		}
	}
	return event.StateUnknown, noSuchName("state", text, known)
}

func (c *socketsCommand) run(ctx context.Context, a *app) (err error) {
	filter, err := kernelFilter(&c.filter, &c.trace)
	if err != nil {
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
	m.Subject = aboutSockets
	list, err := c.list(a, filter, &m)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return exitStatus(exitFailed)
	}
	c.print(a, rec, m, list)
	return nil
}

// mini says whether mini-sockets are asked for.
func (c *socketsCommand) mini() bool {
	return c.All || c.States || slices.ContainsFunc(c.State, func(s event.State) bool {
		return s == event.StateTimeWait || s == event.StateNewSYNRecv
	})
}

// kernelFilter is the part of the filter that the kernel side applies.
func kernelFilter(filter *filterFlags, trace *traceFlags) (tracer.Filter, error) {
	w := watchCommand{sessionFlags: sessionFlags{filter: *filter, trace: *trace}}
	opts, err := w.options()
	return opts.Filter, err
}

// userFilter is the whole filter as it is applied to what the kernel side let pass.
func userFilter(filter *filterFlags, kernel tracer.Filter) sockets.Filter {
	return sockets.Filter{
		PIDs: kernel.PIDs, Comms: kernel.Comms, UIDs: kernel.UIDs,
		Cgroup: host.CgroupBelowRoot(filter.Cgroup), Container: filter.Container,
		NetNS: kernel.NetNS, Port: filter.Port, LocalPort: filter.LocalPort, RemotePort: filter.RemotePort,
		Network: filter.Addr, Family: kernel.Family,
	}
}

// choose judges the sockets, and leaves those that are asked for, in their order.
func (c *socketsCommand) choose(all []*sockets.Socket) []sockets.Judged {
	hz, _ := host.HZ() // unknown stays 0: the bounds are then wider
	judged := make([]sockets.Judged, 0, len(all))
	for _, s := range all {
		j := sockets.Judge(s, hz)
		if c.filter.Problems && !j.Problem() {
			continue
		}
		judged = append(judged, j)
	}
	sockets.Sort(judged)
	if c.filter.Count > 0 {
		judged = judged[:min(len(judged), c.filter.Count)]
	}
	return judged
}

// print writes what was asked for to standard output, and to a recording.
func (c *socketsCommand) print(a *app, rec *recording, m meta, list listing) {
	shown := c.choose(list.sockets)
	c.write(newSocketsPrinter(a.stdout, c.output.painter(a.stdout), &c.output, &c.detail), m, list, shown)
	if rec != nil {
		c.write(&socketsJSON{newJSONRenderer(rec.out, false)}, m, list, shown)
	}
}

// newSocketsPrinter writes sockets as these flags ask for.
func newSocketsPrinter(out flusher, paint painter, output *outputFlags, detail *detailFlags) socketsPrinter {
	if output.Format == formatJSON {
		return &socketsJSON{newJSONRenderer(out, false)}
	}
	return &socketsText{out: out, paint: paint, quiet: detail.Quiet, verbose: detail.Verbose}
}

func (c *socketsCommand) write(p socketsPrinter, m meta, list listing, shown []sockets.Judged) {
	totals := countSockets(list.sockets)
	totals.Shown, totals.Namespaces = len(shown), len(list.limits)
	p.meta(m)
	if c.States {
		p.groups(describeGroups(list), totals)
	} else {
		p.sockets(shown, totals)
	}
	p.summary(totals)
}

// socketGroup is a group of sockets, the limits of its network namespace, and what it means there.
type socketGroup struct {
	sockets.Group
	limits  sockets.Limits
	meaning string
}

func describeGroups(list listing) []socketGroup {
	var groups []socketGroup
	for _, g := range sockets.Groups(list.sockets) {
		limits := list.limits[g.NetNS]
		groups = append(groups, socketGroup{g, limits, g.Meaning(limits)})
	}
	return groups
}

// socketsPrinter is a way to write a list of sockets.
type socketsPrinter interface {
	meta(meta)
	sockets([]sockets.Judged, socketTotals)
	groups([]socketGroup, socketTotals)
	summary(socketTotals)
}

// socketTotals counts what a summary tells.
type socketTotals struct {
	All        int
	Shown      int // of them
	Namespaces int // that were listed
	States     map[string]int
	Trouble    map[sockets.Trouble]int
}

func countSockets(all []*sockets.Socket) socketTotals {
	t := socketTotals{All: len(all), States: make(map[string]int), Trouble: make(map[sockets.Trouble]int)}
	for _, s := range all {
		t.States[s.State.String()]++
		if trouble := s.Trouble(); trouble != "" {
			t.Trouble[trouble]++
		}
	}
	return t
}

// hanging is how many have some trouble.
func (t *socketTotals) hanging() int {
	n := 0
	for _, count := range t.Trouble {
		n += count
	}
	return n
}
