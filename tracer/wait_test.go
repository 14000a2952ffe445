package tracer

import (
	"testing"
	"time"
)

func TestWaitIsShortAfterARecordAndThenLong(t *testing.T) {
	now := time.Unix(1_000_000_000, 0)
	for _, test := range []struct {
		what string
		wait wait
		hz   int
		want time.Duration
	}{
		{"nothing came", wait{}, 250, longWait},
		{"a record came", wait{came: true}, 250, 8*time.Millisecond + slackOfWait},
		{"a record came, and the ticks are not known", wait{came: true}, 0, 20*time.Millisecond + slackOfWait},
		{"the reader has a deadline", wait{deadline: now.Add(time.Millisecond), came: true}, 250, time.Millisecond},
		{"the reader's deadline is far", wait{deadline: now.Add(time.Hour)}, 250, longWait},
	} {
		if got := test.wait.next(now, test.hz).Sub(now); got != test.want {
			t.Errorf("%s: it waits %v, want %v", test.what, got, test.want)
		}
		if test.wait.came {
			t.Errorf("%s: the next wait would be short as well", test.what)
		}
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
