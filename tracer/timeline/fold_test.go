package timeline

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tcptrace/tracer/event"
)

// A million probes and their answers on one connection: it keeps how it began, how it stands now, and the count.
func TestAMillionEventsOfOneConnectionStaySmall(t *testing.T) {
	tracker := New(Config{HZ: 250})
	c := tracker.Add(connect(1, 0))
	tracker.Add(&event.Event{Kind: event.Established, Conn: 1, Mono: ms, State: event.StateEstablished})
	repeat := func(from, to int) {
		for i := from; i < to; i++ {
			kind := event.KeepaliveProbe
			if i%2 == 1 {
				kind = event.KeepaliveAnswer
			}
			tracker.Add(&event.Event{Kind: kind, Conn: 1, Mono: time.Duration(i+1) * time.Second, Nth: uint32(i + 3)})
		}
	}
	const total = 1_000_000
	repeat(0, 1000)
	before := heapInUse()
	repeat(1000, total-2)
	if grown := int64(heapInUse()) - int64(before); grown > 1<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	if len(c.Events) > keptFirst+2*keptLatest {
		t.Errorf("it keeps %d events", len(c.Events))
	}
	if c.Events[0].Kind != event.Connect || c.Events[1].Kind != event.Established {
		t.Errorf("it begins with %s and %s", c.Events[0].Kind, c.Events[1].Kind)
	}
	if last := c.Events[len(c.Events)-1]; last.N != total || last.Kind != event.KeepaliveAnswer {
		t.Errorf("it ends with event %d, %s", last.N, last.Kind)
	}
	if kept := c.Folded[event.KeepaliveProbe] + c.Folded[event.KeepaliveAnswer] + len(c.Events); kept != total {
		t.Errorf("%d of %d events are kept or counted", kept, total)
	}
}

// Whatever comes in whatever number: each event is kept, in order and with its number, or counted; and what happens
// once is kept.
func TestEveryEventIsKeptOrCounted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tracker := New(Config{})
		added, turning := make(map[event.Kind]int), 0
		var c *Connection
		for i, kind := range rapid.SliceOfN(rapid.SampledFrom(event.Kinds()), 1, 400).Draw(t, "kinds") {
			c = tracker.Add(&event.Event{Kind: kind, Conn: 1, Mono: time.Duration(i)})
			added[kind]++
			if slices.Contains(turns[:], kind) {
				turning++
			}
		}
		for kind, n := range c.Folded {
			added[kind] -= n
			if slices.Contains(turns[:], kind) {
				t.Fatalf("%s was left out", kind)
			}
		}
		var last uint64
		for _, ev := range c.Events {
			added[ev.Kind]--
			if ev.N <= last {
				t.Fatalf("event %d follows event %d", ev.N, last)
			}
			last = ev.N
		}
		for kind, n := range added {
			if n != 0 {
				t.Fatalf("%s: %d events are neither kept nor counted", kind, n)
			}
		}
		if limit := max(turning, keptFirst) + 2*keptLatest + keptFirst; len(c.Events) > limit {
			t.Fatalf("%d events are kept, of which %d happen once", len(c.Events), turning)
		}
	})
}

// A recording can hold what no kernel does.
func TestEvenTurnsAreFoldedWhenTheyNeverEnd(t *testing.T) {
	tracker := New(Config{})
	var c *Connection
	for i := range 10_000 {
		c = tracker.Add(&event.Event{Kind: event.StateChange, Conn: 1, Mono: time.Duration(i)})
	}
	if most := keptFirst + keptTurns + 2*keptLatest; len(c.Events) > most || c.Folded[event.StateChange]+len(c.Events) != 10_000 {
		t.Errorf("%d events are kept and %d counted", len(c.Events), c.Folded[event.StateChange])
	}
}

func TestFoldedEventsCountForWhatTheyStandFor(t *testing.T) {
	tracker := New(Config{})
	var c *Connection
	for i := range 200 {
		c = tracker.Add(&event.Event{Kind: event.AcceptQueueFull, Conn: 1, Mono: time.Duration(i), Count: 10})
	}
	if got := c.Folded[event.AcceptQueueFull] + 10*len(c.Events); got != 2000 {
		t.Errorf("%d of 2000 are kept or counted", got)
	}
}
