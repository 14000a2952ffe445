package main

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"

	"github.com/spf13/cobra"

	"tcptrace/prober"
	"tcptrace/tracer"
	"tcptrace/tracer/host"
)

// connectCommand is what the flags of connect say.
type connectCommand struct {
	sessionFlags
	kernel  kernelFlags
	options prober.Options
	repeat  repeatFlags
	path    bool
}

func newConnectCommand(a *app) *cobra.Command {
	var c connectCommand
	cmd := &cobra.Command{
		Use:   "connect [flags] HOST:PORT...",
		Short: "Connect, and say what the kernel did about it, when and why",
		Long: `Make a connection, line it up with the kernel's events, and print each SYN, retry, answer and change of state as it
happens, with the time at which it was due; then the verdict. Of a name, every address is tried at once.

There is no deadline but the kernel's own, unless --timeout gives one. Without root the answer rests on what the
socket itself can tell.`,
		Example: `  # why does this time out?
  sudo tcptrace connect 192.0.2.10:443

  # once a second for a minute: which SYN is lost, from which source port?
  sudo tcptrace connect --count 60 db.example.com:5432

  # what an application that sets TCP_USER_TIMEOUT and TCP_SYNCNT would see
  sudo tcptrace connect --user-timeout 5s --syn-retries 3 192.0.2.10:443

  # from within a container, for a script
  sudo tcptrace connect --netns 4211 -o json --timeout 3s api:80`,
		Args: someArguments("HOST:PORT, such as example.com:443"),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd.Context(), a, args) },
	}
	c.output.addTo(cmd)
	c.detail.addTo(cmd)
	c.trace.addTo(cmd)
	addSocketFlags(cmd, &c.options)
	c.repeat.addTo(cmd)
	cmd.Flags().BoolVar(&c.path, "path", false, "if it fails, find out how far the SYNs get, as tcptrace path does")
	c.kernel.addTo(cmd)
	return cmd
}

func (c *connectCommand) run(ctx context.Context, a *app, args []string) (err error) {
	plan, err := c.plan(args)
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
	m.Subject, m.Timeout = aboutProbes, c.trace.Timeout
	m.Single = len(plan.targets) == 1 && plan.repeat.Count == 1 && plan.targets[0].isLiteral()
	tr, err := a.traceProbes(&m, &c.kernel, probeTrace(c.detail.Verbose), c.trace.RequireTrace)
	if err != nil {
		return err
	}
	if tr != nil {
		defer tr.Close()
	}
	return c.trace.within(ctx, func(ctx context.Context, interrupted func() bool) error {
		s := a.openSession(m, &c.sessionFlags, rec)
		s.ask = newOracle(plan.options.NetNS).ask
		missed := new(missedSink)
		s.sinks = append(s.sinks, missed)
		err := carryOut(ctx, tr, s, &plan)
		if c.path && !interrupted() && len(missed.targets) > 0 {
			err = errors.Join(err, c.findPaths(ctx, a, s.meta, plan.options.NetNS, missed.targets, rec))
		}
		sum := s.finish(host.Monotonic(), interrupted())
		if err != nil {
			return err
		}
		return exitStatus(sum.ExitStatus)
	})
}

// traceProbes opens a trace of what this process does itself, and adds to m what it sees. Where there can be none it says
// so in m and returns nil, unless a trace is required.
func (a *app) traceProbes(m *meta, kernel *kernelFlags, opts tracer.Options, required bool) (*tracer.Tracer, error) {
	tr, err := openTracer(kernel, opts)
	switch {
	case err == nil:
		a.noticeTrouble(tr)
		describeTrace(m, tr)
		return tr, nil
	case required || report(io.Discard, err) == exitUsage:
		return nil, err
	}
	m.Untraced = whyUntraced(err)
	return nil, nil
}

// probeTrace follows this process's own connects, and their other ends on this host. verbose: whoever watches is told
// where hooks ran.
func probeTrace(verbose bool) tracer.Options {
	return tracer.Options{
		Filter:      tracer.Filter{PIDs: []int{os.Getpid()}},
		FollowPeers: true,
		Packets:     true,
		Context:     verbose,
	}
}

// plan turns flags and arguments into what to do, or says in one sentence what is wrong with them.
func (c *connectCommand) plan(args []string) (probing, error) {
	targets, err := parseTargets(args, c.options.Interface)
	if err != nil {
		return probing{}, err
	}
	c.options.Timeout = c.trace.Timeout
	if err := c.options.Validate(); err != nil {
		return probing{}, usageErrorf("%w", err)
	}
	plan := probing{targets: targets, options: c.options, family: c.trace.family(), repeat: c.repeat}
	if c.trace.NetNS != "" {
		ns, err := prober.OpenNetNS(c.trace.NetNS)
		if err != nil {
			return probing{}, usageErrorf("%w", err)
		}
		plan.options.NetNS, plan.resolver.NetNS = ns, ns
	}
	return plan, nil
}

// runner is a plan that can be carried out.
type runner interface {
	// run tells the feed's session what becomes of its probes. Its error is about a connect that could not even be tried.
	run(context.Context, *feed, *session) error
}

// runProbes carries out a plan under a trace, which may be nil, and gives the summary.
func runProbes(ctx context.Context, tr *tracer.Tracer, s *session, plan runner, interrupted func() bool) (*summary, error) {
	err := carryOut(ctx, tr, s, plan)
	return s.finish(host.Monotonic(), interrupted()), err
}

// carryOut does so, but leaves the session unfinished.
func carryOut(ctx context.Context, tr *tracer.Tracer, s *session, plan runner) error {
	f := newFeed(tr, s)
	ended := make(chan error, 1)
	go func() {
		err := plan.run(ctx, f, s)
		f.do(func() { ended <- err })
	}()
	// An interrupt ends the probes, and they end the feed: their last words are still wanted.
	var probed bool
	var failed error
	err := f.run(context.WithoutCancel(ctx), func() bool {
		select {
		case failed = <-ended:
			probed = true
		default:
		}
		return probed && !s.waits()
	})
	if err == nil {
		err = f.drain()
	}
	return errors.Join(untried(failed), err)
}

// untried is the error of a connect that could not even be tried: most often an option that does not fit this host.
func untried(err error) error {
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return nil // there was no time left for it
	case errors.As(err, new(*exitError)):
		return err // of a plan that knows better
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM):
		return noTraceErrorf("%w", err)
	}
	return usageErrorf("%w", err)
}
