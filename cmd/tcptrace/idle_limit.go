package main

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tcptrace/prober"
	"tcptrace/tracer/event"
	"tcptrace/tracer/host"
	"tcptrace/tracer/schedule"
	"tcptrace/tracer/timeline"
)

// idleLimitFlags ask for the idle limit of a path.
type idleLimitFlags struct {
	Range idleRange
	Steps int
}

// idleRange is the shortest and the longest idle time to try. The zero value asks for none.
type idleRange struct{ least, most time.Duration }

const (
	defaultIdleSteps = 10
	maxIdleSteps     = 200
)

func (f *idleLimitFlags) addTo(cmd *cobra.Command) {
	f.Steps = defaultIdleSteps
	flags := cmd.Flags()
	flags.Var(newValue(&f.Range, "DUR..DUR", parseIdleRange), "find-idle-limit", "find out how long a connection may be idle, by trying times between these")
	flags.Var(newValue(&f.Steps, "N", parseBetween("a count of steps", 2, maxIdleSteps)), "steps", "with --find-idle-limit: how many times to try (default 10)")
	next := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if err := f.fits(cmd); err != nil {
			return err
		}
		return next(cmd, args)
	}
}

// fits refuses flags that say nothing, or something else, with --find-idle-limit.
func (f *idleLimitFlags) fits(cmd *cobra.Command) error {
	if !f.asked() {
		if cmd.Flags().Changed("steps") {
			return usageErrorf("--steps says how many times --find-idle-limit tries, which is missing")
		}
		return nil
	}
	for _, name := range []string{"keepalive-idle", "user-timeout", "source-port", "record", "require-trace"} {
		if cmd.Flags().Changed(name) {
			return usageErrorf("--%s does not go with --find-idle-limit, which makes several connections and traces none", name)
		}
	}
	if cmd.Flags().Changed("expect") && !cmd.Flags().Changed("send") {
		return usageErrorf("--expect needs --send with --find-idle-limit: something must be sent that can be answered")
	}
	return nil
}

func (f *idleLimitFlags) asked() bool { return f.Range != idleRange{} }

func parseIdleRange(text string) (idleRange, error) {
	least, most, found := strings.Cut(text, "..")
	if !found {
		return idleRange{}, fmt.Errorf("write the shortest and the longest idle time, as in 30s..15m")
	}
	var r idleRange
	var err error
	if r.least, err = parseKeepaliveTime(least); err != nil {
		return r, err
	}
	if r.most, err = parseKeepaliveTime(most); err != nil {
		return r, err
	}
	if r.least >= r.most {
		return r, fmt.Errorf("the first time must be the shorter one")
	}
	return r, nil
}

// times are the idle times to try: each is longer than the last by the same factor, in whole seconds.
func (f *idleLimitFlags) times() []time.Duration {
	var times []time.Duration
	factor := math.Pow(float64(f.Range.most)/float64(f.Range.least), 1/float64(f.Steps-1))
	for i := range f.Steps - 1 {
		t := time.Duration(float64(f.Range.least) * math.Pow(factor, float64(i)))
		times = append(times, t.Round(time.Second))
	}
	return slices.Compact(append(times, f.Range.most))
}

// What is used where no flag says otherwise.
const (
	idleProbeInterval = time.Second // between keepalive probes, once the idle time is over
	idleProbeCount    = 5           // so many must be lost before it counts as silence
	idlePatience      = 10 * time.Second
)

// idleTrials is a plan: one connection for each idle time, all at once.
type idleTrials struct {
	target  target
	remote  netip.AddrPort
	options prober.Options
	send    bool // data after the idle time, in place of a keepalive probe
	times   []time.Duration
}

// findIdleLimit tries how long a connection to arg may be idle.
func (c *keepaliveCommand) findIdleLimit(ctx context.Context, a *app, arg string) error {
	plan, err := c.plan(arg)
	if err != nil {
		return err
	}
	defer plan.options.NetNS.Close()
	return c.trace.within(ctx, func(ctx context.Context, _ func() bool) error {
		remote, err := plan.reach(ctx)
		if err != nil {
			return err
		}
		trials := idleTrials{target: plan.target, remote: remote, options: plan.options, send: len(c.options.Send) > 0, times: c.limit.times()}
		report := newIdleReport(a, &c.output, c.detail.Quiet, &trials)
		limit, err := trials.run(ctx, report)
		report.conclude(limit)
		return cmp.Or(untried(err), exitStatus(limit.exitStatus()))
	})
}

// reach gives the first address of the target that connects. The error says why none does.
func (p *holding) reach(ctx context.Context) (netip.AddrPort, error) {
	resolution := p.resolver.Resolve(ctx, p.target.host, p.family)
	if resolution.Err != "" {
		return netip.AddrPort{}, &exitError{status: exitFailed, err: fmt.Errorf("%s did not resolve: %s", p.target.host, resolution.Err)}
	}
	options := p.options
	options.Send, options.Expect, options.Then = nil, nil, nil
	options.Timeout = cmp.Or(options.Timeout, idlePatience)
	var failed error
	for _, address := range resolution.Addresses {
		remote := netip.AddrPortFrom(address, p.target.port)
		probe, err := prober.Connect(ctx, p.target.text, remote, options, nil)
		switch {
		case err != nil:
			return remote, untried(err)
		case probe.Connected:
			return remote, nil
		}
		failed = cmp.Or(failed, fmt.Errorf("%v cannot be reached: %s; tcptrace connect %s says why", remote, unreached(probe), p.target.text))
	}
	return netip.AddrPort{}, &exitError{status: exitFailed, err: failed}
}

func unreached(p *event.Probe) string {
	if p.GaveUp != "" {
		return "no answer in " + timeline.FormatDuration(p.Connect)
	}
	return p.Errno.String()
}

// run tries all times, tells the report of each, and gives what they come to. It ends early once two connections in a row
// did not survive: longer times would only say the same.
func (t *idleTrials) run(ctx context.Context, report *idleReport) (idleLimit, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	trials := make(chan idleTrial)
	for _, idle := range t.times {
		go func() { trials <- t.try(ctx, idle) }()
	}
	defer report.progress.clear()
	var limit idleLimit
	var failed error
	for open := len(t.times); open > 0; {
		report.waiting(limit.ended(), open)
		select {
		case trial := <-trials:
			open--
			failed = cmp.Or(failed, trial.err)
			if trial.fate != fateUnknown {
				limit.add(trial)
				report.tell(trial)
			}
			if trial.err != nil || limit.isClear(t.times) {
				cancel()
			}
		case <-time.After(progressEvery):
		}
	}
	return limit, failed
}

// try keeps a connection idle for so long, and sees whether it still works then.
func (t *idleTrials) try(ctx context.Context, idle time.Duration) idleTrial {
	probe, err := prober.Connect(ctx, t.target.text, t.remote, t.optionsFor(idle), nil)
	if err != nil {
		return idleTrial{idle: idle, err: err}
	}
	return judgeIdle(idle, t.send, probe)
}

// optionsFor makes a probe that asks, after an idle time, whether the connection still works: by data, whose answer
// must come in time, or by keepalive, whose silence the kernel ends in time.
func (t *idleTrials) optionsFor(idle time.Duration) prober.Options {
	o := t.options
	o.Send, o.Expect = nil, nil
	if t.send {
		o.Timeout = idle + cmp.Or(o.Timeout, idlePatience)
		o.KeepAlive, o.KeepaliveInterval, o.KeepaliveCount = false, 0, 0
		o.Then = []prober.Step{prober.Hold{For: idle}, prober.Exchange{Send: t.options.Send, Expect: t.options.Expect}}
		return o
	}
	o.Timeout = 0
	o.KeepaliveIdle = idle
	o.KeepaliveInterval = cmp.Or(o.KeepaliveInterval, idleProbeInterval)
	o.KeepaliveCount = cmp.Or(o.KeepaliveCount, idleProbeCount)
	hz, _ := host.HZ() // unknown makes the wait a little longer
	dead := schedule.Keepalive{Idle: idle, Interval: o.KeepaliveInterval, Count: o.KeepaliveCount, HZ: hz}.End()
	o.Then = []prober.Step{prober.Hold{For: dead.Latest + idleSlack}}
	return o
}

// idleSlack is what a busy host may add to the latest time at which the kernel gives up.
const idleSlack = time.Second
