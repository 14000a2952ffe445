package main

import (
	"context"
	"errors"
	"net/netip"

	"github.com/spf13/cobra"

	"tcptrace/prober"
	"tcptrace/tracer"
	"tcptrace/tracer/host"
)

// watchCommand is what the flags of watch say.
type watchCommand struct {
	sessionFlags
	kernel kernelFlags
	netns  *prober.NetNS // of --netns
}

func newWatchCommand(a *app) *cobra.Command {
	var c watchCommand
	cmd := &cobra.Command{
		Use:   "watch [flags] [-- CMD ARG...]",
		Short: "Watch the connections that other programs make, live",
		Long: `Watch the connections that other programs make and take, from connect to close, with a verdict on each. Filters are
about the socket's owner, never about the task that happened to be on the CPU. With -- CMD, watch only what CMD
and its children do, from the first instruction on, and end with CMD and its exit status.`,
		Example: `  # everything, until ^C
  sudo tcptrace watch

  # what goes wrong with the connections of one program, to one network
  sudo tcptrace watch --problems --comm api --addr 10.0.0.0/8

  # what a command does
  sudo tcptrace watch -- curl -s https://example.com/

  # ten verdicts about a server's port, as JSON
  sudo tcptrace watch --lport 443 -c 10 -o json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && cmd.ArgsLenAtDash() != 0 {
				return usageErrorf("%s takes no argument %q; a command to run stands behind --", cmd.CommandPath(), args[0])
			}
			if cmd.ArgsLenAtDash() == 0 && len(args) == 0 {
				return usageErrorf("say which command to run behind --, such as `tcptrace watch -- curl http://192.0.2.10/`")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd.Context(), a, args) },
	}
	c.output.addTo(cmd)
	c.detail.addTo(cmd)
	c.addTraceFlags(cmd)
	c.filter.addTo(cmd)
	c.kernel.addTo(cmd)
	return cmd
}

// addTraceFlags adds those that fit a command which makes no connection itself.
func (c *watchCommand) addTraceFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Var(newValue(&c.trace.Duration, "DUR", parseDuration), "duration", "end the whole command after DUR")
	flags.BoolVarP(&c.trace.Only4, "ipv4", "4", false, "only IPv4")
	flags.BoolVarP(&c.trace.Only6, "ipv6", "6", false, "only IPv6")
	flags.Var(newValue(&c.trace.Record, "FILE", nonEmpty("a file name")), "record", "also write the JSON stream to FILE, whatever is printed")
	flags.BoolVar(&c.trace.RequireTrace, "require-trace", false, "as always for watch: exit 3 without the kernel's events")
	excludeEachOther(cmd, "ipv4", "ipv6")
}

func (c *watchCommand) run(ctx context.Context, a *app, args []string) (err error) {
	opts, err := c.options()
	if err != nil {
		return err
	}
	defer c.netns.Close()
	rec, err := c.trace.openRecorder()
	if err != nil {
		return err
	}
	if rec != nil {
		defer func() { err = errors.Join(err, rec.Close()) }()
	}
	if len(args) > 0 {
		return c.runWith(ctx, a, opts, rec, args)
	}
	tr, err := openTracer(&c.kernel, opts)
	if err != nil {
		return err
	}
	defer tr.Close()
	return c.trace.within(ctx, func(ctx context.Context, interrupted func() bool) error {
		return c.watch(ctx, a, tr, rec, interrupted, nil)
	})
}

// options turns the filter into what the kernel side understands.
func (c *watchCommand) options() (tracer.Options, error) {
	opts := tracer.Options{Packets: c.filter.Packets, Context: c.detail.Verbose, OnlyTroubled: c.filter.Problems}
	f := &opts.Filter
	f.PIDs = c.filter.PIDs
	if c.filter.Comm != "" {
		f.Comms = []string{c.filter.Comm}
	}
	if c.filter.UID != nil {
		f.UIDs = []uint32{*c.filter.UID}
	}
	for _, port := range []struct {
		value uint16
		into  *[]uint16
	}{{c.filter.Port, &f.Ports}, {c.filter.LocalPort, &f.LocalPorts}, {c.filter.RemotePort, &f.RemotePorts}} {
		if port.value != 0 {
			*port.into = []uint16{port.value}
		}
	}
	if c.filter.Addr.IsValid() {
		f.Networks = []netip.Prefix{c.filter.Addr}
	}
	switch c.trace.family() {
	case prober.IPv4:
		f.Family = 4
	case prober.IPv6:
		f.Family = 6
	}
	return opts, c.locate(f)
}

// locate looks up what the filter names by where it is: cgroups, containers, a network namespace.
func (c *watchCommand) locate(f *tracer.Filter) error {
	if c.filter.Cgroup != "" {
		id, err := host.CgroupID(c.filter.Cgroup)
		if err != nil {
			return usageErrorf("--cgroup: %w", err)
		}
		f.CgroupIDs = append(f.CgroupIDs, id)
	}
	if c.filter.Container != "" {
		ids, err := host.ContainerCgroups(c.filter.Container)
		if err != nil {
			return usageErrorf("--container: %w", err)
		}
		f.CgroupIDs = append(f.CgroupIDs, ids...)
	}
	if c.filter.NetNS != "" {
		ns, err := prober.OpenNetNS(c.filter.NetNS)
		if err != nil {
			return usageErrorf("--netns: %w", err)
		}
		c.netns = ns
		f.NetNS = []uint32{ns.Inode()}
	}
	return nil
}

// oracle asks about what is watched. A namespace that was named may have no other way in.
func (c *watchCommand) oracle() *oracle {
	o := newOracle(nil)
	if c.netns != nil {
		o.known = map[uint32]*prober.NetNS{c.netns.Inode(): c.netns}
	}
	return o
}

// watch feeds a session until it is to end: by ctx, after the verdicts that were asked for, or, where there is a
// child, shortly after that has ended.
func (c *watchCommand) watch(ctx context.Context, a *app, tr *tracer.Tracer, rec *recording, interrupted func() bool, child *held) error {
	a.noticeTrouble(tr)
	m := a.describeRun()
	m.Subject = aboutConnections
	describeTrace(&m, tr)
	s := a.openSession(m, &c.sessionFlags, rec)
	o := c.oracle()
	s.ask = o.ask
	ends := unseenEnds{find: o.without}
	f := newFeed(tr, s)
	err := f.run(ctx, func() bool {
		ends.look(s, f.now())
		return c.filter.Count > 0 && s.verdicts() >= c.filter.Count || child.over(f, s)
	})
	if err == nil {
		err = f.drain()
	}
	if child != nil {
		child.end(0)
		status := child.status()
		s.status = &status
	}
	s.finish(host.Monotonic(), interrupted())
	return err
}
