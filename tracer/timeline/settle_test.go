package timeline

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDeadlinesComeEarliestFirstAndOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var due deadlines
		conns := make([]Connection, rapid.IntRange(1, 30).Draw(t, "connections"))
		times := make(map[*Connection]time.Duration)
		at := rapid.Custom(func(t *rapid.T) time.Duration { return time.Duration(rapid.IntRange(0, 20).Draw(t, "at")) })
		for range rapid.IntRange(0, 100).Draw(t, "changes") {
			c := &conns[rapid.IntRange(0, len(conns)-1).Draw(t, "connection")]
			times[c] = at.Draw(t, "at") // 0: never
			due.set(c, times[c])
			if times[c] == 0 {
				delete(times, c)
			}
		}
		var last time.Duration
		for now := time.Duration(0); now <= 20; now += 5 {
			for c, ok := due.until(now); ok; c, ok = due.until(now) {
				if want, known := times[c]; !known || want > now || want < last {
					t.Fatalf("at %d after one of %d: one of %d (known: %v)", now, last, want, known)
				}
				last = times[c]
				delete(times, c)
			}
			for _, left := range times {
				if left <= now {
					t.Fatalf("one of %d is still there at %d", left, now)
				}
			}
		}
		if len(due) != 0 || len(times) != 0 {
			t.Fatalf("%d and %d are left", len(due), len(times))
		}
	})
}
