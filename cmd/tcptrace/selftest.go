package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"tcptrace/prober/lab"
	"tcptrace/tracer"
	"tcptrace/tracer/event"
	"tcptrace/tracer/host"
)

// selftestCommand is what the flags of selftest say.
type selftestCommand struct {
	output outputFlags
	kernel kernelFlags
}

func newSelftestCommand(a *app) *cobra.Command {
	var c selftestCommand
	cmd := &cobra.Command{
		Use:   "selftest [flags]",
		Short: "Run every lab on this kernel and compare the verdict with the expected one",
		Long: `Run every lab on this kernel, all at the same time, and compare each verdict with the expected one. A verdict is
degraded when it has doubts: something that would make it certain cannot be seen here. A wrong one gets a second try
without the others, as a machine that is behind with its work may be the reason. A lab that needs what this machine
has not got is not run, and says so. The exit status is 1 when a verdict is wrong, again.`,
		Example: `  sudo tcptrace selftest
  sudo tcptrace selftest -o json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd.Context(), a) },
	}
	c.output.addTo(cmd)
	c.kernel.addTo(cmd)
	return cmd
}

// trial is one lab that is being run.
type trial struct {
	lab     lab.Lab
	network *lab.Network
	plan    runner
	session *session
	judge   judge
	err     error
	took    time.Duration
	ended   bool
	try     int        // from 1
	hooks   []hookLine // of the trace that watched it
}

func (c *selftestCommand) run(ctx context.Context, a *app) error {
	trials, err := c.try(ctx, a, lab.Labs(), 1)
	if err == nil {
		err = c.tryAgain(ctx, a, trials)
	}
	if err != nil {
		return err
	}
	return c.report(a, trials)
}

// try runs labs with a trace of their own, which ends with them.
func (c *selftestCommand) try(ctx context.Context, a *app, labs []lab.Lab, try int) ([]*trial, error) {
	tr, err := openTracer(&c.kernel, probeTrace(false))
	if err != nil {
		return nil, err
	}
	defer tr.Close()
	if try == 1 {
		a.noticeTrouble(tr)
	}
	m := a.describeRun()
	describeTrace(&m, tr)
	trials, err := runTrials(ctx, tr, m, labs, try)
	hooks := encodeHooks(tr.Hooks())
	for _, t := range trials {
		t.hooks = hooks
	}
	return trials, err
}

// tryAgain gives the labs that were not judged as expected a second try, without all the others: some are about who is
// first, and on a machine that is behind with its work that may be the wrong one.
func (c *selftestCommand) tryAgain(ctx context.Context, a *app, trials []*trial) error {
	var wrong []lab.Lab
	for _, t := range trials {
		if t.result() == trialWrong {
			wrong = append(wrong, t.lab)
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	again, err := c.try(ctx, a, wrong, 2)
	for _, t := range again {
		trials[slices.IndexFunc(trials, func(first *trial) bool { return first.lab.Name == t.lab.Name })] = t
	}
	return err
}

// runTrials runs labs, all at the same time, until there is a verdict on each. Nothing of them is left then, and the trace
// has ended.
func runTrials(ctx context.Context, tr *tracer.Tracer, m meta, labs []lab.Lab, try int) ([]*trial, error) {
	trials := newTrials(ctx, m, labs, tr.TellsDropReasons())
	defer func() {
		for _, t := range trials {
			t.close()
		}
	}()
	router := newRouter(trials)
	f := newFeed(tr, router)
	for _, t := range trials {
		t.try = try
		go t.run(ctx, f)
	}
	err := f.run(context.WithoutCancel(ctx), func() bool { return allEnded(trials) })
	if err == nil {
		err = f.drain()
	}
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, &exitError{status: exitFailed, err: fmt.Errorf("interrupted: not every lab came to its end")}
	}
	for _, t := range trials {
		t.session.finish(host.Monotonic(), false)
	}
	return trials, nil
}

// newTrials builds labs. One that cannot be built fails; the others go on.
func newTrials(ctx context.Context, m meta, labs []lab.Lab, reasons bool) []*trial {
	var trials []*trial
	var built sync.WaitGroup
	for _, l := range labs {
		t := &trial{lab: l, judge: judgeOf(l, reasons)}
		trials = append(trials, t)
		built.Go(func() { t.build(ctx, m) })
	}
	built.Wait()
	return trials
}

func (t *trial) build(ctx context.Context, m meta) {
	network, scene, err := lab.Build(ctx, t.lab)
	if err != nil {
		t.err = fmt.Errorf("build: %w", err)
		t.session = newSession(m, nil, &t.judge)
		return
	}
	t.network = network
	t.plan, t.err = planLab(scene, &m)
	t.session = newSession(m, nil, &t.judge)
	t.session.ask = labOracle(network, scene).ask
}

// run carries the plan out, and ends the trial in the feed, once the kernel's view of the probes has come as well.
func (t *trial) run(ctx context.Context, f *feed) {
	started := time.Now()
	if t.err == nil {
		err := t.plan.run(ctx, f, t.session)
		f.do(func() { t.err = err })
	}
	f.do(func() { t.took, t.ended = time.Since(started), true })
}

func (t *trial) close() {
	if t.network != nil {
		t.network.Close()
	}
}

func allEnded(trials []*trial) bool {
	for _, t := range trials {
		if !t.ended || t.session.waits() {
			return false
		}
	}
	return true
}

// router shares one trace among the sessions of several labs, told apart by their network namespaces.
type router struct {
	sessions []*session
	byNetNS  map[uint32]*session
}

func newRouter(trials []*trial) *router {
	r := &router{byNetNS: make(map[uint32]*session)}
	for _, t := range trials {
		r.sessions = append(r.sessions, t.session)
		if t.network == nil {
			continue
		}
		for _, h := range t.network.Hosts() {
			r.byNetNS[h.Inode()] = t.session
		}
	}
	return r
}

func (r *router) handleEvent(ev *event.Event) {
	if s := r.byNetNS[ev.NetNS]; s != nil {
		s.handleEvent(ev)
	}
}

func (r *router) handleLost(l lost) {
	for _, s := range r.sessions {
		s.handleLost(l)
	}
}

func (r *router) advance(now time.Duration) {
	for _, s := range r.sessions {
		s.advance(now)
	}
}

// report prints a table, and decides the exit status.
func (c *selftestCommand) report(a *app, trials []*trial) error {
	table := trialTable{app: a, paint: c.output.painter(a.stdout), format: c.output.Format}
	for i, t := range trials {
		line := t.line()
		line.Of = len(trials)
		if i == 0 {
			line.Hooks = t.hooks
		}
		table.add(&line)
	}
	if table.wrong > 0 {
		err := fmt.Errorf("%d of %d labs were not judged as expected on this kernel", table.wrong, table.ran)
		return &exitError{status: exitFailed, err: err}
	}
	table.end()
	return nil
}

// trialTable prints what came of labs, and counts.
type trialTable struct {
	app    *app
	paint  painter
	format format

	ran, notRun int
	wrong       int // of those that ran
}

// add prints a line, after the titles if it is the first.
func (t *trialTable) add(l *labLine) {
	if t.format == formatText && t.ran+t.notRun == 0 {
		fmt.Fprintf(t.app.stdout, "%-35s %-26s %-26s %8s\n", "lab", "expected", "verdict", "seconds")
	}
	switch l.result() {
	case trialNotRun:
		t.notRun++
	case trialWrong:
		t.ran, t.wrong = t.ran+1, t.wrong+1
	default:
		t.ran++
	}
	if t.format == formatJSON {
		t.app.printLine(l)
		return
	}
	fmt.Fprintln(t.app.stdout, l.row(t.paint))
}

// end says that all is well.
func (t *trialTable) end() {
	if t.format == formatText {
		fmt.Fprintf(t.app.stdout, "all %d labs were judged as expected%s\n", t.ran, notRunNote(t.notRun))
	}
}

func notRunNote(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("; %d could not be run on this machine", n)
}

// trialResult is what came of a lab.
type trialResult uint8

const (
	trialWrong trialResult = iota
	trialOK
	trialNotRun
)

// missing says why the lab cannot be had here, if that is so.
func (t *trial) missing() (why string, ok bool) {
	err, ok := errors.AsType[*lab.NotHereError](t.err)
	if !ok {
		return "", false
	}
	return err.Why, true
}

func (t *trial) result() trialResult {
	_, missing := t.missing()
	switch {
	case missing:
		return trialNotRun
	case t.err == nil && t.judge.ok():
		return trialOK
	}
	return trialWrong
}

func (t *trial) line() labLine {
	line := labLine{Type: typeLab, Name: t.lab.Name, Expected: t.lab.Expect}
	if why, missing := t.missing(); missing {
		line.NotRun = why
		return line
	}
	ok := t.result() == trialOK
	if t.try > 1 {
		line.Try = t.try
	}
	line.Cause, line.OK, line.Degraded, line.Seconds = t.judge.said(), &ok, t.judge.degraded, t.took.Seconds()
	if !ok {
		line.Said = t.judge.sayings
	}
	if t.err != nil {
		line.Error = t.err.Error()
	}
	return line
}

// result is what the line says of a lab that was to be run.
func (l *labLine) result() trialResult {
	switch {
	case l.OK == nil:
		return trialNotRun
	case *l.OK:
		return trialOK
	}
	return trialWrong
}

func (l *labLine) row(paint painter) string {
	lead := fmt.Sprintf("%-35s %-26s ", escape(l.Name), escape(l.Expected))
	said, how, tone := l.Cause, "ok", good
	switch {
	case l.result() == trialNotRun:
		return lead + paint.paint(warning, "not run") + ": " + escape(l.NotRun)
	case l.Error != "":
		said, how, tone = l.Error, "FAILED", bad
	case l.result() == trialWrong:
		how, tone = "WRONG", bad
	case l.Degraded:
		how, tone = "ok, with doubts", warning
	}
	if l.Try > 1 {
		how += fmt.Sprintf(" (try %d)", l.Try)
	}
	row := lead + fmt.Sprintf("%-26s %8.2f  %s", escape(said), l.Seconds, paint.paint(tone, how))
	for _, saying := range l.Said {
		row += "\n    " + escape(saying)
	}
	return row
}
