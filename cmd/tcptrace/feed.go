package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"tcptrace/tracer"
	"tcptrace/tracer/event"
	"tcptrace/tracer/host"
)

// consumer is what a feed brings events to: one session, or several that share a trace. The events stay the feed's: who
// needs one for longer than handleEvent takes keeps a copy.
type consumer interface {
	handleEvent(*event.Event)
	handleLost(lost)
	advance(now time.Duration)
}

// keeper is a consumer that keeps events: it gives memory for another in exchange, so that none need be copied.
type keeper interface {
	keepEvent(*event.Event) (spare *event.Event)
}

// feed brings what the kernel says into sessions, and runs, in between, what others have to say to them: a session
// is not safe for concurrent use. Reading goes on while sessions judge and print, so that the ring gets empty even
// when the output is slow.
type feed struct {
	tracer *tracer.Tracer // nil: there is no trace, only jobs
	to     consumer
	jobs   chan func()

	batches chan []*event.Event // closed when there is nothing more to read; nil without a trace
	taken   chan []*event.Event // batches to be filled again
	failure error               // why reading ended, once batches is closed
	idle    atomic.Bool         // all that was read is in batches, and the reader waits for more

	latest     time.Duration // the latest event that was taken, on CLOCK_MONOTONIC
	lastEvent  time.Time
	lostChecks time.Time
	madeRoom   time.Time
	lost       map[lostKey]uint64 // what was told so far
}

type lostKey struct {
	kind event.Kind
	cpu  int
}

const (
	// batch is how many events are taken before what they mean is said.
	batch = 256
	// gather is how long more is let come once the ring is empty, after much had come: to wake up for each few dozen
	// connections of a busy host takes as long as to decode them, most of it in the Go runtime, which polls for a while
	// whenever it wakes up. What comes in that time fills a fiftieth of the ring.
	gather = 10 * time.Millisecond
	// much is how many events of one batch call for that: at 4 ms between two wake-ups, 16,000 a second.
	much = 64
	// backlog is how many batches wait for a session that is slower than the kernel. More wait in the ring, which is larger and
	// costs the process no memory of its own: with 16 there was 3 MiB more.
	backlog = 2
)

// newFeed starts to read.
func newFeed(tr *tracer.Tracer, to consumer) *feed {
	f := &feed{tracer: tr, to: to, jobs: make(chan func(), 64), lost: make(map[lostKey]uint64)}
	if tr != nil {
		f.batches = make(chan []*event.Event, backlog)
		f.taken = make(chan []*event.Event, backlog)
		go f.read()
	}
	return f
}

// read takes events until the trace is flushed, which drain does, or closed.
func (f *feed) read() {
	defer close(f.batches)
	for {
		events := f.empty()
		f.idle.Store(true)
		n, err := 0, f.tracer.Read(events[0])
		f.idle.Store(false)
		if err == nil {
			n, err = f.tracer.ReadPending(events[1:])
			n++
		}
		gathers := n >= much && !f.tracer.Pending()
		f.batches <- events[:n]
		if err != nil {
			f.failure = err
			return
		}
		if gathers {
			time.Sleep(gather)
		}
	}
}

// empty gives room for a batch: that of one which was taken, or else more.
func (f *feed) empty() []*event.Event {
	select {
	case events := <-f.taken:
		return events[:batch]
	default:
	}
	events := make([]*event.Event, batch)
	for i := range events {
		events[i] = new(event.Event) // each by itself: one that is kept would keep all that it was made with
	}
	return events
}

// do runs job between events, soon. It may be called from any goroutine as long as the feed runs.
func (f *feed) do(job func()) { f.jobs <- job }

// wake has run ask done again.
func (f *feed) wake() {
	select {
	case f.jobs <- func() {}:
	default: // the jobs that fill it wake run as well
	}
}

// run feeds until done says so, or ctx ends. done is asked after every batch of events and every job.
func (f *feed) run(ctx context.Context, done func() bool) error {
	f.to.advance(host.Monotonic()) // shows what is known already
	for ctx.Err() == nil && !done() {
		select {
		case <-ctx.Done():
		case job := <-f.jobs:
			job()
			f.lastEvent = time.Now()
		case events, ok := <-f.batches:
			if !ok {
				return f.failure
			}
			f.take(events)
		case <-time.After(f.tick()):
		}
		f.checkLost(f.lostEvery())
		f.makeRoom()
		f.to.advance(f.now())
	}
	return nil
}

// now is the time up to which everything is known. As long as events wait to be taken, that is the time of the latest that
// was: on a busy machine they may wait for longer than any verdict does, in the ring, in the reader's hands or in batches.
// They go that way, so they are looked for in that order.
func (f *feed) now() time.Duration {
	now := host.Monotonic()
	if f.tracer != nil && (f.tracer.Pending() || !f.idle.Load()) || len(f.batches) > 0 {
		return f.latest
	}
	return now
}

func (f *feed) take(events []*event.Event) {
	keeping, keeps := f.to.(keeper)
	for i, ev := range events {
		f.latest = max(f.latest, ev.Mono)
		if keeps {
			events[i] = keeping.keepEvent(ev)
		} else {
			f.to.handleEvent(ev)
		}
	}
	f.lastEvent = time.Now()
	select {
	case f.taken <- events:
	default: // as many are kept as may wait
	}
}

// The rhythm of a feed: while events come, and shortly after, verdicts ripen; then there is ever less to wait for, and each
// tick takes some 0.2 ms of CPU time, most of it the Go runtime's.
const (
	busyTick  = 5 * time.Millisecond
	idleTick  = 2 * time.Second // the longest, unless the consumer says that it can wait for longer
	busyAfter = 250 * time.Millisecond
	// To ask what was lost takes a system call or two for each program, a millisecond in all.
	lostEvery     = 500 * time.Millisecond
	lostEveryIdle = 10 * time.Second
)

// patient is a consumer that knows for how long it may be left alone while nothing happens.
type patient interface {
	patience() time.Duration
}

// tick is how long to wait for an event: when there was none for some time, as long as that, so that what ripens by itself
// is told late by no more than it has taken.
func (f *feed) tick() time.Duration {
	silence := time.Since(f.lastEvent)
	if silence < busyAfter {
		return busyTick
	}
	if p, ok := f.to.(patient); ok {
		return min(silence, p.patience())
	}
	return min(silence, idleTick)
}

// lostEvery is how often to ask what was lost. Where nothing came, hardly anything can have been.
func (f *feed) lostEvery() time.Duration {
	if f.lastEvent.After(f.lostChecks) {
		return lostEvery
	}
	return lostEveryIdle
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

// makeRoomEvery is how long the kernel side is left with what it keeps of listeners: a listener refuses something new to it, not
// hundreds a second.
const makeRoomEvery = 10 * time.Second

func (f *feed) makeRoom() {
	if f.tracer == nil || time.Since(f.madeRoom) < makeRoomEvery {
		return
	}
	f.madeRoom = time.Now()
	_ = f.tracer.MakeRoom() // without it what finds no room is counted as lost, and told as such
}

// drain ends the trace and takes what it had recorded, and the jobs that there are. A session is finished after that.
func (f *feed) drain() error {
	for len(f.jobs) > 0 {
		(<-f.jobs)()
	}
	if f.tracer == nil {
		return nil
	}
	if err := f.tracer.Detach(); err != nil {
		return err
	}
	if err := f.tracer.Flush(); err != nil {
		return err
	}
	for events := range f.batches {
		f.take(events)
	}
	f.checkLost(0)
	if !errors.Is(f.failure, tracer.ErrFlushed) {
		return f.failure
	}
	return nil
}
