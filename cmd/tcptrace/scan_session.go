package main

import (
	"context"
	"errors"
	"time"

	"tcptrace/prober/scan"
	"tcptrace/tracer"
	"tcptrace/tracer/event"
	"tcptrace/tracer/host"
)

// scanSink is somewhere that a scan's results go.
type scanSink interface {
	Meta(meta, int)
	Target(*targetLine)
	Lost(lost)
	Round(*scanRound)
	Summary(*scanSummary)
	Flush()
}

// scanRound is one scan of all targets. results has a zero one for each target that has none.
type scanRound struct {
	*scanStats
	Several bool // there are other rounds
	Started time.Time
	targets []scan.Target
	results []scan.Result
	Changes *changes // nil: nothing to compare with
	Notes   []string // what bounded it
}

// scanSummary is what all rounds come to.
type scanSummary struct {
	Rounds      []*scanStats
	Interrupted bool
	ExitStatus  int
	// Plotted is the file with the plot, empty without.
	Plotted string
}

// scanSession runs rounds and tells what becomes of them. Like a [session] it lives in one goroutine, that of its feed.
type scanSession struct {
	command  *scanCommand
	app      *app
	targets  []scan.Target
	sinks    []scanSink
	progress *progressLine
	before   *comparison
	feed     *feed

	kernel  *kernelTimes // nil: there is no trace
	round   *scanRound   // nil: between rounds
	waiting []waitingResult
	settled func() // called once nothing waits; nil while the round goes on
	stats   []*scanStats
	lost    map[lostKey]uint64 // told so far
	failed  bool
}

// waitingResult is a result whose kernel's side may still come.
type waitingResult struct {
	target int32
	until  time.Duration // CLOCK_MONOTONIC
}

// viewGrace is how long the kernel's events of a target may lag behind its result: less than a feed stays busy after it.
const viewGrace = busyAfter - 50*time.Millisecond

func (c *scanCommand) newSession(a *app, m meta, tr *tracer.Tracer, rec *recording, targets []scan.Target, before *comparison) *scanSession {
	s := &scanSession{command: c, app: a, targets: targets, before: before, lost: make(map[lostKey]uint64)}
	s.sinks = append(s.sinks, a.scanPrinter(&c.output, &c.detail))
	if rec != nil {
		s.sinks = append(s.sinks, newScanJSON(rec.out))
	}
	if tr != nil {
		s.kernel = newKernelTimes(tr, targets)
		go s.kernel.read()
	}
	s.progress = newProgressLine(a, c.detail.Quiet)
	s.feed = newFeed(nil, s)
	s.say(func(out scanSink) { out.Meta(m, len(targets)) })
	return s
}

// run carries out the rounds, until they are over or ctx is.
func (s *scanSession) run(ctx context.Context, interrupted func() bool) error {
	ended := make(chan error, 1)
	over := false
	go func() {
		err := s.runRounds(ctx)
		ended <- err
		s.feed.do(func() { over = true })
	}()
	// An interrupt ends the round, and that the feed: results that are there are still wanted.
	err := s.feed.run(context.WithoutCancel(ctx), func() bool { return over })
	if err == nil {
		err = errors.Join(<-ended, s.feed.drain())
	}
	if s.kernel != nil {
		err = errors.Join(err, s.kernel.finish())
	}
	s.progress.clear()
	sum := &scanSummary{Rounds: s.stats, Interrupted: interrupted(), ExitStatus: s.status()}
	if s.command.plot != "" && s.round != nil {
		if plotErr := s.plot(); plotErr == nil {
			sum.Plotted = s.command.plot
		} else {
			err = errors.Join(err, plotErr)
		}
	}
	s.say(func(out scanSink) { out.Summary(sum) })
	s.say(scanSink.Flush)
	return err
}

// status is the exit status that the results ask for.
func (s *scanSession) status() int {
	if s.failed {
		return exitFailed
	}
	return exitOK
}

// runRounds runs every round there is to be; it is not in the feed's goroutine.
func (s *scanSession) runRounds(ctx context.Context) error {
	for cycle := 0; ; cycle++ {
		began := time.Now()
		for i, refresh := range s.command.refreshes {
			number := cycle*len(s.command.refreshes) + i + 1
			if err := s.runRound(ctx, number, refresh); err != nil {
				return err
			}
			if ctx.Err() != nil {
				return nil
			}
		}
		if s.command.interval == 0 || s.command.rounds != 0 && cycle+1 >= s.command.rounds {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Until(began.Add(s.command.interval))):
		}
	}
}

// runRound scans once and waits until all of it is told.
func (s *scanSession) runRound(ctx context.Context, number int, refresh time.Duration) error {
	opts := s.command.options
	opts.Refresh = refresh
	sc, err := scan.New(s.targets, opts)
	if err != nil {
		return noTraceErrorf("%w", err)
	}
	before := resetsSent(opts.NetNS)
	s.feed.do(func() { s.begin(number, sc) })
	stop := s.progress.follow(sc, len(s.targets), opts.Timeout, s.feed)
	err = sc.Run(ctx, func(batch []scan.Result) { s.feed.do(func() { s.take(batch) }) })
	stop()
	told := make(chan struct{})
	s.feed.do(func() {
		s.settled = func() {
			s.end(number, opts, sc, before)
			close(told)
		}
	})
	<-told
	if err != nil {
		return noTraceErrorf("%w", err)
	}
	return nil
}

func (s *scanSession) begin(number int, sc *scan.Scan) {
	s.round = &scanRound{
		scanStats: &scanStats{Round: number}, Started: time.Now(), targets: s.targets,
		results: make([]scan.Result, len(s.targets)), Notes: sc.Room().Bounds,
		Several: s.several(),
	}
	s.waiting, s.settled = s.waiting[:0], nil
	if s.kernel != nil {
		s.kernel.begin(host.Monotonic())
	}
	for _, note := range sc.Room().Bounds {
		s.app.notice("%s", note)
	}
}

func (s *scanSession) several() bool { return len(s.command.refreshes) > 1 || s.command.interval != 0 }

// take takes results from the scan.
func (s *scanSession) take(batch []scan.Result) {
	until := host.Monotonic() + viewGrace
	for _, r := range batch {
		s.round.results[r.Target] = r
		if s.kernel == nil {
			s.tell(r.Target)
			continue
		}
		s.waiting = append(s.waiting, waitingResult{r.Target, until})
	}
}

// handleEvent and handleLost are for feeds that have a trace: this one has none.
func (s *scanSession) handleEvent(*event.Event) {}
func (s *scanSession) handleLost(lost)          {}

// tellLost tells what the kernel side could not deliver since it last did, and counts it.
func (s *scanSession) tellLost() (total uint64) {
	if s.kernel == nil {
		return 0
	}
	counts, err := s.kernel.tracer.Lost()
	if err != nil {
		return 0 // what cannot be read now is read at the next end
	}
	for _, l := range counts {
		key := lostKey{l.Kind, l.CPU}
		more := l.Count - s.lost[key]
		if more == 0 {
			continue
		}
		s.lost[key] = l.Count
		total += more
		s.say(func(out scanSink) { out.Lost(lost{Kind: l.Kind, CPU: l.CPU, Count: more}) })
	}
	return total
}

// advance tells the results whose kernel's side is there, or will not come any more.
func (s *scanSession) advance(now time.Duration) {
	n := 0
	for ; n < len(s.waiting); n++ {
		w := s.waiting[n]
		if !s.kernel.complete(&s.round.results[w.target]) && now < w.until {
			break
		}
		s.kernel.improve(&s.round.results[w.target])
		s.tell(w.target)
	}
	s.waiting = s.waiting[n:]
	if len(s.waiting) == 0 && s.settled != nil {
		settled := s.settled
		s.settled = nil
		settled()
	}
	s.say(scanSink.Flush)
}

func (s *scanSession) tell(target int32) {
	line := targetLine{target: s.targets[target], result: s.round.results[target]}
	if s.round.Several {
		line.round = s.round.Round
	}
	s.say(func(out scanSink) { out.Target(&line) })
}

// end tells what a round comes to.
func (s *scanSession) end(number int, opts scan.Options, sc *scan.Scan, resets resetCount) {
	stats := newScanStats(s.targets, s.round.results, opts.Timeout)
	stats.Round, stats.Refresh, stats.Took = number, opts.Refresh, time.Since(sc.Began())
	stats.LostEvents = s.tellLost()
	progress := sc.Progress()
	stats.Connects = progress.Connects
	stats.Unfinished = progress.Began - stats.finished()
	stats.Untried = stats.Targets - progress.Began
	if opts.Refresh != 0 {
		stats.LateAnswers = resets.since(opts.NetNS)
	}
	s.round.scanStats = stats
	s.failed = s.failed || stats.failed() > 0
	if s.before != nil {
		s.round.Changes = s.before.changes(s.targets, s.round.results)
	}
	if s.command.interval != 0 {
		s.before = compareWith(s.round)
	}
	s.stats = append(s.stats, stats)
	s.progress.clear()
	s.say(func(out scanSink) { out.Round(s.round) })
}

func (s *scanSession) say(to func(scanSink)) {
	for _, out := range s.sinks {
		to(out)
	}
}
