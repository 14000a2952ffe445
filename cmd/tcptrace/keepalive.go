package main

import (
	"context"
	"errors"
	"net/netip"

	"github.com/spf13/cobra"

	"tcptrace/prober"
	"tcptrace/tracer/event"
	"tcptrace/tracer/host"
)

// keepaliveCommand is what the flags of keepalive say.
type keepaliveCommand struct {
	sessionFlags
	kernel  kernelFlags
	options prober.Options
	limit   idleLimitFlags
}

func newKeepaliveCommand(a *app) *cobra.Command {
	var c keepaliveCommand
	cmd := &cobra.Command{
		Use:   "keepalive [flags] HOST:PORT",
		Short: "Keep a connection idle, and show each keepalive probe, its answer, and when and why it dies",
		Long: `Open a connection with SO_KEEPALIVE, exchange what --send and --expect say, and then keep it idle: print each keepalive
probe with the time at which it was due, each answer, and in the end who ended the connection, when, and by which
setting. What the kernel will do is said before it happens. Of a name, the first address that connects is kept.

It goes on until the connection ends, or --duration, or ^C. Without root the probes themselves cannot be seen, but the
end can.

With --find-idle-limit, find out how long a connection may be idle before something on the way (a NAT, a firewall, a
balancer) forgets it: connect several times, keep each connection idle for another time between the two, and see which
ones still work. That needs no root.`,
		Example: `  # what an idle connection sees with these settings
  sudo tcptrace keepalive --keepalive-idle 60s --keepalive-interval 10s --keepalive-count 6 db.example.com:5432

  # which of the two ends it, TCP_KEEPCNT or TCP_USER_TIMEOUT?
  sudo tcptrace keepalive --keepalive-idle 2s --keepalive-interval 3s --keepalive-count 3 --user-timeout 8s 192.0.2.10:443

  # after a request, as an application does
  sudo tcptrace keepalive --send PING --expect PONG 192.0.2.10:6379

  # after how long does the NAT forget a connection?
  tcptrace keepalive --find-idle-limit 30s..15m example.com:443`,
		Args: oneArgument("HOST:PORT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.limit.asked() {
				return c.findIdleLimit(cmd.Context(), a, args[0])
			}
			return c.run(cmd.Context(), a, args[0])
		},
	}
	c.output.addTo(cmd)
	c.detail.addTo(cmd)
	c.trace.addTo(cmd)
	addSocketFlags(cmd, &c.options)
	c.limit.addTo(cmd)
	c.kernel.addTo(cmd)
	return cmd
}

func (c *keepaliveCommand) run(ctx context.Context, a *app, arg string) (err error) {
	plan, err := c.plan(arg)
	if err != nil {
		return err
	}
	defer plan.options.NetNS.Close()
	rec, err := c.trace.openRecorder()
	if err != nil {
		return err
	}
	if rec != nil {
		defer func() { err = errors.Join(err, rec.Close()) }()
	}
	m := a.describeRun()
	m.Subject, m.Timeout, m.Held = aboutProbes, c.trace.Timeout, true
	m.Single = plan.target.isLiteral()
	tr, err := a.traceProbes(&m, &c.kernel, probeTrace(c.detail.Verbose), c.trace.RequireTrace)
	if err != nil {
		return err
	}
	if tr != nil {
		defer tr.Close()
	}
	expected, err := plan.outlook(m.HZ)
	if err != nil {
		return err
	}
	return c.trace.within(ctx, func(ctx context.Context, interrupted func() bool) error {
		s := a.openSession(m, &c.sessionFlags, rec)
		s.ask = newOracle(plan.options.NetNS).ask
		s.handleOutlook(expected)
		sum, err := runProbes(ctx, tr, s, plan, interrupted)
		if err != nil {
			return err
		}
		return exitStatus(sum.ExitStatus)
	})
}

// plan turns flags and the argument into what to do, or says in one sentence what is wrong with them.
func (c *keepaliveCommand) plan(arg string) (*holding, error) {
	targets, err := parseTargets([]string{arg}, c.options.Interface)
	if err != nil {
		return nil, err
	}
	c.options.Timeout = c.trace.Timeout
	c.options.KeepAlive = true
	c.options.Then = []prober.Step{prober.Hold{}}
	if err := c.options.Validate(); err != nil {
		return nil, usageErrorf("%w", err)
	}
	plan := &holding{target: targets[0], options: c.options, family: c.trace.family()}
	if c.trace.NetNS != "" {
		ns, err := prober.OpenNetNS(c.trace.NetNS)
		if err != nil {
			return nil, usageErrorf("%w", err)
		}
		plan.options.NetNS, plan.resolver.NetNS = ns, ns
	}
	return plan, nil
}

// holding is a plan: which target to connect to, and how. The first of its addresses that connects is held.
type holding struct {
	target   target
	options  prober.Options
	resolver prober.Resolver
	family   prober.Family
}

// outlook is what the kernel will do with the connection, by its options and its namespace.
func (p *holding) outlook(hz int) (outlook, error) {
	given := keepaliveFlags{
		Idle:        given(p.options.KeepaliveIdle),
		Interval:    given(p.options.KeepaliveInterval),
		Count:       given(p.options.KeepaliveCount),
		UserTimeout: p.options.UserTimeout,
	}
	var o outlook
	err := p.options.NetNS.Do(func() (err error) {
		o.keepaliveSettings, err = given.complete(hz)
		o.Local = p.target.isLocal()
		return err
	})
	if err != nil {
		return o, noTraceErrorf("%w", err)
	}
	return o, nil
}

// given is nil for what is not set.
func given[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// run carries the plan out and tells the feed's session about it. It returns when the connection that is held has
// ended, which an ended ctx hastens; its error is about a connect that could not even be tried.
func (p *holding) run(ctx context.Context, f *feed, s *session) error {
	resolution := p.resolver.Resolve(ctx, p.target.host, p.family)
	if ctx.Err() != nil && len(resolution.Addresses) == 0 {
		return nil // interrupted: that says nothing about the name
	}
	resolution.Target = p.target.text
	f.do(func() { s.handleResolution(&resolution, host.Monotonic()) })
	for _, address := range resolution.Addresses {
		probe, err := p.hold(ctx, netip.AddrPortFrom(address, p.target.port), &resolution)
		if err != nil {
			return err
		}
		f.do(func() { s.handleProbe(probe) })
		if probe.Connected || ctx.Err() != nil {
			break
		}
	}
	return nil
}

func (p *holding) hold(ctx context.Context, remote netip.AddrPort, r *event.Resolution) (*event.Probe, error) {
	probe, err := prober.Connect(ctx, p.target.text, remote, p.options, nil)
	if err != nil {
		return nil, err
	}
	probe.Run, probe.Resolve = 1, r.Took
	return probe, nil
}
