package tracer

import (
	"testing"
	"time"
)

func TestWaitIsShortAfterARecordAndThenLonger(t *testing.T) {
	now := time.Unix(1_000_000_000, 0)
	var w wait
	for range 2 {
		for want := shortWait; want < longWait; want *= 2 {
			if got := w.next(now).Sub(now); got != want {
				t.Fatalf("it waits %v, want %v", got, want)
			}
		}
		for range 2 {
			if got := w.next(now).Sub(now); got != longWait {
				t.Fatalf("it waits %v, want %v", got, longWait)
			}
		}
		w.came()
	}
}

func TestWaitIsNoLongerThanTheReaders(t *testing.T) {
	now := time.Unix(1_000_000_000, 0)
	w := wait{deadline: now.Add(time.Millisecond)}
	if got := w.next(now); got != w.deadline {
		t.Errorf("it waits until %v, want %v", got, w.deadline)
	}
	w = wait{deadline: now.Add(time.Hour)}
	if got := w.next(now).Sub(now); got != shortWait {
		t.Errorf("it waits %v, want %v", got, shortWait)
	}
}

func TestWaitIsOverAtTheReadersDeadlineOnly(t *testing.T) {
	now := time.Unix(1_000_000_000, 0)
	for _, test := range []struct {
		deadline time.Time
		want     bool
	}{
		{time.Time{}, false}, {now.Add(1), false}, {now, true}, {now.Add(-1), true},
	} {
		if got := (&wait{deadline: test.deadline}).over(now); got != test.want {
			t.Errorf("with a deadline of %v it is over: %v", test.deadline, got)
		}
	}
}
