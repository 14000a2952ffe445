package main

import (
	"context"
	"errors"
	"time"

	"tcptrace/prober/scan"
	"tcptrace/tracer"
	"tcptrace/tracer/event"
)

// scanSink is somewhere that a scan's results go.
type scanSink interface {
	Meta(meta, int)
	Target(*targetLine) // which is the sink's only until it returns
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

	kernel *kernelTimes // nil: there is no trace
	round  *scanRound   // nil: before the first
	line   targetLine   // memory for the next
	stats  []*scanStats
	lost   map[lostKey]uint64 // told so far
	failed bool
}

func (c *scanCommand) newSession(a *app, m meta, tr *tracer.Handshakes, rec *recording, targets []scan.Target, before *comparison) *scanSession {
	s := &scanSession{command: c, app: a, targets: targets, before: before, lost: make(map[lostKey]uint64)}
	s.sinks = append(s.sinks, a.scanPrinter(&c.output, &c.detail))
	if rec != nil {
		s.sinks = append(s.sinks, newScanJSON(rec.out))
	}
	if tr != nil {
		s.kernel = newKernelTimes(tr, targets)
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
	s.await(func() { s.begin(number, sc) }) // which forgets the kernel's times: before there are any of this round
	stop := s.progress.follow(sc, len(s.targets), opts.Timeout, s.feed)
	err = sc.Run(ctx, func(batch []scan.Result) { s.await(func() { s.take(batch) }) })
	stop()
	s.await(func() { s.end(number, opts, sc, before) })
	if err != nil {
		return noTraceErrorf("%w", err)
	}
	return nil
}

// await has the feed do a job, and returns when it is done.
func (s *scanSession) await(job func()) {
	done := make(chan struct{})
	s.feed.do(func() {
		job()
		close(done)
	})
	<-done
}

func (s *scanSession) begin(number int, sc *scan.Scan) {
	s.round = &scanRound{
		scanStats: &scanStats{Round: number}, Started: time.Now(), targets: s.targets,
		results: make([]scan.Result, len(s.targets)), Notes: sc.Room().Bounds,
		Several: s.several(),
	}
	if s.kernel != nil {
		s.kernel.begin(sc)
	}
	for _, note := range sc.Room().Bounds {
		s.app.notice("%s", note)
	}
}

func (s *scanSession) several() bool { return len(s.command.refreshes) > 1 || s.command.interval != 0 }

// take takes results from the scan, and tells them. What the kernel says of them is there already.
func (s *scanSession) take(batch []scan.Result) {
	if s.kernel != nil {
		s.kernel.read()
	}
	for i := range batch {
		r := &batch[i]
		if s.kernel != nil {
			s.kernel.improve(r)
		}
		s.round.results[r.Target] = *r
		s.tell(r.Target)
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
	counts, err := s.kernel.handshakes.Lost()
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

// advance passes on what was told.
func (s *scanSession) advance(time.Duration) { s.say(scanSink.Flush) }

func (s *scanSession) tell(target int32) {
	s.line = targetLine{target: s.targets[target], result: s.round.results[target]}
	if s.round.Several {
		s.line.round = s.round.Round
	}
	for _, out := range s.sinks {
		out.Target(&s.line)
	}
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
