package timeline

import (
	"testing"
	"time"

	"tcptrace/tracer/event"
)

func TestNothingIsLateByLessThanATick(t *testing.T) {
	const latest = 1032 * ms
	cases := []struct {
		hz   int
		at   time.Duration
		want time.Duration
	}{
		{250, latest, 0},
		{250, latest + 11*time.Microsecond, 0},
		{250, latest + 4*ms, 0},
		{250, latest + 4*ms + 1, 4*ms + 1},
		{1000, latest + 2*ms, 2 * ms},
		{0, latest + 10*ms, 0}, // a tick of HZ=100
		{0, latest + 11*ms, 11 * ms},
		{250, time.Second, 0},
	}
	for _, c := range cases {
		ev := event.Event{Offset: c.at}
		due(&ev, time.Second, latest, c.hz)
		if ev.Late != c.want || ev.Predicted != time.Second || ev.Latest != latest {
			t.Errorf("HZ %d: %v is late by %v, want %v", c.hz, c.at, ev.Late, c.want)
		}
	}
}

func TestWhatComesBeforeItsTimeWasNotForetold(t *testing.T) {
	early := event.Event{Offset: 900 * ms}
	dueUnlessEarly(&early, time.Second, 1032*ms, 250)
	if early.Predicted != 0 || early.Latest != 0 || early.Late != 0 {
		t.Errorf("due %v until %v, late by %v", early.Predicted, early.Latest, early.Late)
	}
	// Two hooks of one tick may be in either order.
	almost := event.Event{Offset: time.Second - 4*ms}
	dueUnlessEarly(&almost, time.Second, 1032*ms, 250)
	if almost.Predicted != time.Second {
		t.Errorf("due %v", almost.Predicted)
	}
}
