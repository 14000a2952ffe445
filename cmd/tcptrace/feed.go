package main

import (
	"context"
	"errors"
	"os"
	"time"

	"tcptrace/tracer"
	"tcptrace/tracer/event"
	"tcptrace/tracer/host"
)

// consumer is what a feed brings events to: one session, or several that share a trace.
type consumer interface {
	handleEvent(*event.Event)
	handleLost(lost)
	advance(now time.Duration)
}

// feed brings what the kernel says into sessions, and runs, in between, what others have to say to them: a session
// is not safe for concurrent use.
type feed struct {
	tracer *tracer.Tracer // nil: there is no trace, only jobs
	to     consumer
	jobs   chan func()

	quietSince time.Time // when the last event came
	lostChecks time.Time
	lost       map[lostKey]uint64 // what was told so far
}

type lostKey struct {
	kind event.Kind
	cpu  int
}

func newFeed(tr *tracer.Tracer, to consumer) *feed {
	return &feed{tracer: tr, to: to, jobs: make(chan func(), 64), lost: make(map[lostKey]uint64)}
}

// do runs job between events, soon. It may be called from any goroutine as long as the feed runs.
func (f *feed) do(job func()) {
	f.jobs <- job
	f.wake()
}

func (f *feed) wake() {
	if f.tracer != nil {
		// It fails only when the tracer is closed, and then nobody waits.
		_ = f.tracer.Flush()
		return
	}
	select {
	case f.jobs <- func() {}:
	default: // there are jobs, which wake it as well
	}
}

// run feeds until done says so, or ctx ends. done is asked after every batch of events and every job.
func (f *feed) run(ctx context.Context, done func() bool) error {
	defer context.AfterFunc(ctx, f.wake)()
	for ctx.Err() == nil && !done() {
		if err := f.step(); err != nil {
			return err
		}
	}
	return nil
}

// The rhythm of a feed: while events come, and shortly after, verdicts ripen; then there is little to wait for.
const (
	busyTick  = 5 * time.Millisecond
	idleTick  = time.Second
	busyAfter = 250 * time.Millisecond
	lostEvery = 500 * time.Millisecond
	// batch is how many events are taken before what they mean is said.
	batch = 512
)

func (f *feed) tick() time.Duration {
	if time.Since(f.quietSince) < busyAfter {
		return busyTick
	}
	return idleTick
}

// step takes what there is, or waits a tick for it, and says what follows.
func (f *feed) step() error {
	var err error
	if f.tracer != nil {
		err = f.readBatch()
	} else {
		f.awaitJob()
	}
	f.runJobs()
	f.checkLost(lostEvery)
	f.to.advance(host.Monotonic())
	return err
}

func (f *feed) readBatch() error {
	f.tracer.SetDeadline(time.Now().Add(f.tick()))
	for range batch {
		ev := new(event.Event)
		switch err := f.tracer.Read(ev); {
		case err == nil:
			f.to.handleEvent(ev)
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, tracer.ErrFlushed):
			return nil
		default:
			return err
		}
		f.quietSince = time.Now()
	}
	return nil
}

func (f *feed) awaitJob() {
	select {
	case job := <-f.jobs:
		job()
		f.quietSince = time.Now()
	case <-time.After(f.tick()):
	}
}

func (f *feed) runJobs() {
	for {
		select {
		case job := <-f.jobs:
			job()
			f.quietSince = time.Now()
		default:
			return
		}
	}
}

// checkLost tells what was lost since it last did, unless that was less than every ago.
func (f *feed) checkLost(every time.Duration) {
	if f.tracer == nil || time.Since(f.lostChecks) < every {
		return
	}
	f.lostChecks = time.Now()
	counts, err := f.tracer.Lost()
	if err != nil {
		return // what cannot be read now is read at the end
	}
	for _, l := range counts {
		key := lostKey{l.Kind, l.CPU}
		if more := l.Count - f.lost[key]; more > 0 {
			f.lost[key] = l.Count
			f.to.handleLost(lost{Kind: l.Kind, CPU: l.CPU, Count: more})
		}
	}
}

// drain ends the trace and takes what it had recorded. A session is finished after that.
func (f *feed) drain() error {
	f.runJobs()
	if f.tracer == nil {
		return nil
	}
	if err := f.tracer.Detach(); err != nil {
		return err
	}
	f.tracer.SetDeadline(time.Time{})
	if err := f.tracer.Flush(); err != nil {
		return err
	}
	for {
		ev := new(event.Event)
		err := f.tracer.Read(ev)
		if errors.Is(err, tracer.ErrFlushed) {
			break
		}
		if err != nil {
			return err
		}
		f.to.handleEvent(ev)
	}
	f.checkLost(0)
	return nil
}
