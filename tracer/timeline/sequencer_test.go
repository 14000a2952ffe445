package timeline

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tcptrace/tracer/event"
)

func monos(events []*event.Event) []time.Duration {
	var times []time.Duration
	for _, ev := range events {
		times = append(times, ev.Mono)
	}
	return times
}

func TestSequencerHoldsEventsBackForItsWindow(t *testing.T) {
	s := Sequencer{Window: 10}
	for _, at := range []time.Duration{5, 3, 12} {
		s.Push(&event.Event{Mono: at})
	}
	if got := monos(slices.Collect(s.Ready(14))); !slices.Equal(got, []time.Duration{3}) {
		t.Errorf("ready at 14: %v", got)
	}
	if got := monos(slices.Collect(s.Flush())); !slices.Equal(got, []time.Duration{5, 12}) || s.Held() != 0 {
		t.Errorf("flushed: %v, %d held", got, s.Held())
	}
}

func TestSequencerKeepsWhatItsCallerDidNotTake(t *testing.T) {
	var s Sequencer
	s.Push(&event.Event{Mono: 1})
	s.Push(&event.Event{Mono: 2})
	for range s.Flush() {
		break
	}
	if s.Held() != 1 {
		t.Errorf("%d held", s.Held())
	}
}

func TestSequencerOrdersSimultaneousRecordsOfAConnectionByTheirNumber(t *testing.T) {
	var s Sequencer
	for _, nth := range []uint32{3, 1, 2} {
		s.Push(&event.Event{Mono: 7, Conn: 1, Nth: nth})
	}
	var got []uint32
	for ev := range s.Flush() {
		got = append(got, ev.Nth)
	}
	if !slices.Equal(got, []uint32{1, 2, 3}) {
		t.Errorf("got %v", got)
	}
}

// Events that pass each other by less than the window come out in order, each once.
func TestSequencerSortsWhatIsNearlySorted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const window = 10
		type arrival struct{ mono, seen time.Duration }
		arrivals := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) arrival {
			mono := time.Duration(rapid.IntRange(0, 200).Draw(t, "mono"))
			return arrival{mono, mono + time.Duration(rapid.IntRange(0, window-1).Draw(t, "delay"))}
		}), 0, 40).Draw(t, "arrivals")
		slices.SortStableFunc(arrivals, func(a, b arrival) int { return cmp.Compare(a.seen, b.seen) })

		s := Sequencer{Window: window}
		var out []*event.Event
		for _, a := range arrivals {
			out = slices.AppendSeq(out, s.Ready(a.seen))
			s.Push(&event.Event{Mono: a.mono})
		}
		out = slices.AppendSeq(out, s.Flush())
		if times := monos(out); len(times) != len(arrivals) || !slices.IsSorted(times) {
			t.Fatalf("got %v of %v", times, arrivals)
		}
	})
}
