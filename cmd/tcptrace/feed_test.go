package main

import (
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"tcptrace/tracer/event"
	"tcptrace/tracer/host"
)

// noConsumer takes everything and says nothing.
type noConsumer struct{}

func (noConsumer) handleEvent(*event.Event) {}
func (noConsumer) handleLost(lost)          {}
func (noConsumer) advance(time.Duration)    {}

// patientConsumer can be left alone for so long.
type patientConsumer struct {
	noConsumer
	time.Duration
}

func (p *patientConsumer) patience() time.Duration { return p.Duration }

// A verdict must not be given while the events that it rests on wait to be taken.
func TestTimeStandsStillWhileEventsWait(t *testing.T) {
	f := newFeed(nil, noConsumer{})
	f.batches = make(chan []*event.Event, 1)
	f.take([]*event.Event{{Mono: 7 * time.Second}, {Mono: 5 * time.Second}})
	f.batches <- []*event.Event{{Mono: 9 * time.Second}}
	if got := f.now(); got != 7*time.Second {
		t.Errorf("with events that wait it is %v, want the time of the latest that was taken", got)
	}
	f.take(<-f.batches)
	if before := host.Monotonic(); f.now() < before {
		t.Errorf("with nothing that waits it is before %v", before)
	}
}

func TestFeedLooksEverLessOftenWhileNothingComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &feed{lastEvent: time.Now()}
		for _, want := range []time.Duration{busyTick, busyAfter, 2 * busyAfter, 4 * busyAfter, idleTick, idleTick} {
			if got := f.tick(); got != want {
				t.Errorf("after %v without an event it waits %v, want %v", time.Since(f.lastEvent), got, want)
			}
			time.Sleep(max(want, busyAfter-time.Since(f.lastEvent)))
		}
	})
}

func TestFeedLeavesAloneWhoCanWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &patientConsumer{Duration: time.Minute}
		f := &feed{to: to, lastEvent: time.Now()}
		if got := f.tick(); got != busyTick {
			t.Errorf("after an event it waits %v, want %v", got, busyTick)
		}
		for _, silence := range []time.Duration{10 * time.Second, time.Minute, time.Hour} {
			f.lastEvent = time.Now().Add(-silence)
			if got, want := f.tick(), min(silence, time.Minute); got != want {
				t.Errorf("after %v without an event it waits %v, want %v", silence, got, want)
			}
		}
		to.Duration = idleTick
		if got := f.tick(); got != idleTick {
			t.Errorf("with something to wait for it waits %v, want %v", got, idleTick)
		}
	})
}

// What a session keeps must not be what the next batch is read into.
func TestFeedReadsIntoOtherMemoryThanIsKept(t *testing.T) {
	s := newStory(tracedMeta(aboutConnections))
	f := newFeed(nil, s.session)
	f.taken = make(chan []*event.Event, 1)
	f.batches = make(chan []*event.Event, 1)
	first, second := at(0, event.Connect, nil), at(time.Millisecond, event.Established, nil)
	f.take([]*event.Event{first, second})
	for _, spare := range (<-f.taken)[:2] {
		if spare == first || spare == second {
			t.Error("an event that the session keeps is to be overwritten")
		}
		*spare = *at(time.Hour, event.Close, nil)
	}
	s.finish(uptime+time.Second, false)
	var kinds []event.Kind
	for _, ev := range s.tracker.Connection(1).Events {
		kinds = append(kinds, ev.Kind)
	}
	if !slices.Equal(kinds, []event.Kind{event.Connect, event.Established}) {
		t.Errorf("the session has seen %v", kinds)
	}
}

func TestAnEventThatIsKeptKeepsNoOther(t *testing.T) {
	events := newFeed(nil, noConsumer{}).empty()[:2]
	kept, other := events[0], weak.Make(events[1])
	clear(events)
	runtime.GC()
	if other.Value() != nil {
		t.Error("what was read into the same batch is still there")
	}
	runtime.KeepAlive(kept)
}
