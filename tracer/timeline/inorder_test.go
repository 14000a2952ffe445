package timeline

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"tcptrace/tracer/event"
)

// bothEnds adds the life of a connection whose ends are both here, with a few events beside it, and gives the time of its
// last.
func bothEnds(t *Tracker, beside ...event.Kind) time.Duration {
	var nth [3]uint32
	at := time.Second
	add := func(end event.ConnID, kind event.Kind, old event.State) {
		at += time.Microsecond
		nth[end]++
		ev := event.Event{Conn: end, Kind: kind, Mono: at, Nth: nth[end], OldState: old, Role: event.RoleClient, ISN: 100}
		if end == 2 {
			ev.Role, ev.ISN, ev.PeerISN = event.RoleServer, 200, 100
		}
		if kind == event.Close {
			ev.Total = nth[end]
		}
		t.Add(&ev)
	}
	add(1, event.Connect, event.StateClose)
	add(2, event.SYNReceived, event.StateListen)
	add(1, event.Established, event.StateSYNSent)
	add(2, event.Established, event.StateSYNRecv)
	for _, kind := range beside {
		add(1, kind, event.StateUnknown)
	}
	add(1, event.Close, event.StateFinWait2)
	add(2, event.Close, event.StateLastACK)
	return at
}

func TestConnectionThatEndedInOrderAtBothEndsIsToldAtOnce(t *testing.T) {
	tracker := New(Config{})
	last := bothEnds(tracker)
	if early := tracker.Settled(last - 1); len(early) != 0 {
		t.Errorf("%d stories were told early", len(early))
	}
	if told := tracker.Settled(last); len(told) != 2 {
		t.Errorf("%d stories were told, want both", len(told))
	}
}

func TestConnectionWithTroubleWaitsForWhatExplainsIt(t *testing.T) {
	for _, kind := range unusual {
		tracker := New(Config{})
		last := bothEnds(tracker, kind)
		if told := tracker.Settled(last + DefaultSettle/2); len(told) != 0 {
			t.Errorf("with %v, %d stories were told before the settle window was over", kind, len(told))
		}
		if told := tracker.Settled(last + DefaultSettle); len(told) != 2 {
			t.Errorf("with %v, %d stories were told, want both", kind, len(told))
		}
	}
}

func TestRoomIsUsedAgainOnceBothEndsAreForgotten(t *testing.T) {
	tracker := New(Config{})
	for _, c := range tracker.Settled(bothEnds(tracker) + DefaultSettle) {
		if len(tracker.room.free) != 0 {
			t.Error("the story of one end was given away while the other's verdict may tell of it")
		}
		tracker.Forget(c.ID)
	}
	if free := len(tracker.room.free); free != 2 {
		t.Errorf("there is room of %d stories, want that of both ends", free)
	}
}

func TestRoomThatIsUsedAgainIsEmptyAndKeepsNothingAlive(t *testing.T) {
	tracker := New(Config{})
	for _, c := range tracker.Settled(bothEnds(tracker) + DefaultSettle) {
		c.Events[0].Options, c.Events[0].Sysctls = &event.Options{}, &event.Sysctls{}
		c.Events[len(c.Events)-1].Traffic = &event.Traffic{}
		tracker.Forget(c.ID)
	}
	for range len(tracker.room.free) {
		c := tracker.room.take()
		if events := c.Events[:cap(c.Events)]; slices.ContainsFunc(events, func(ev event.Event) bool { return ev != event.Event{} }) {
			t.Error("there are events in it")
		}
		c.Events = nil
		if !reflect.ValueOf(c).Elem().IsZero() {
			t.Errorf("there is something in it: %+v", c)
		}
	}
}

func TestConnectionIsUneventfulUnlessSomethingHappenedAtEitherEnd(t *testing.T) {
	for _, beside := range append([][]event.Kind{nil, {event.StateChange}}, each(unusual)...) {
		tracker := New(Config{})
		bothEnds(tracker, beside...)
		want := len(beside) == 0 || beside[0] == event.StateChange
		for id := event.ConnID(1); id <= 2; id++ {
			if got := tracker.Connection(id).Uneventful(); got != want {
				t.Errorf("with %v, end %d: %v, want %v", beside, id, got, want)
			}
		}
	}
}

// each makes a list of its own of each kind.
func each(kinds []event.Kind) (lists [][]event.Kind) {
	for _, kind := range kinds {
		lists = append(lists, []event.Kind{kind})
	}
	return lists
}
