package schedule

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// simulateKeepalive is tcp_keepalive_timer on a real wheel and in the kernel's own units, with the last segment of the
// peer at start and the timer armed for a full idle time some time before. It shares nothing with the prediction but
// the settings.
func simulateKeepalive(k Keepalive, hz int, start, armedBefore time.Duration) simulation {
	w := wheel{int64(hz)}
	toJiffies := func(d time.Duration) int64 { return (d.Milliseconds()*int64(hz) + 999) / 1000 }
	idle, interval, userTimeout := toJiffies(k.Idle), toJiffies(k.Interval), toJiffies(k.UserTimeout)
	received := w.jiffies(start)

	var result simulation
	probesOut := 0
	now := max(w.fires(start-armedBefore, idle, false), start)
	for {
		elapsed := w.jiffies(now) - received
		if elapsed < idle {
			now = w.fires(now, idle-elapsed, true)
			continue
		}
		switch {
		case userTimeout != 0 && elapsed >= userTimeout && probesOut > 0:
			result.rule = RuleUserTimeout
		case userTimeout == 0 && probesOut >= k.Count:
			result.rule = RuleCount
		}
		if result.rule != 0 {
			result.end = now - start
			return result
		}
		result.sent = append(result.sent, now-start)
		probesOut++
		now = w.fires(now, interval, true)
	}
}

// drawKeepalive draws settings that the kernel takes, and the course of a kernel with them.
func drawKeepalive(t *rapid.T) (Keepalive, simulation) {
	seconds := rapid.OneOf(rapid.IntRange(1, 20), rapid.IntRange(1, 7200))
	k := Keepalive{
		Idle:     time.Duration(seconds.Draw(t, "idle")) * time.Second,
		Interval: time.Duration(seconds.Draw(t, "interval")) * time.Second,
		Count:    rapid.OneOf(rapid.IntRange(1, 9), rapid.IntRange(1, 127)).Draw(t, "count"),
	}
	switch rapid.IntRange(0, 2).Draw(t, "user timeout") {
	case 1:
		k.UserTimeout = drawUserTimeout(t)
	case 2: // about as long as some probes take
		probes := rapid.Int64Range(0, 20).Draw(t, "probes")
		about := rapid.Int64Range(-50, 50).Draw(t, "about")
		k.UserTimeout = k.Idle + time.Duration(probes)*k.Interval + time.Duration(about)*time.Millisecond
	}
	var hz int
	k.HZ, hz = drawHZ(t)
	armedBefore := time.Duration(rapid.Int64Range(0, int64(k.Idle)).Draw(t, "armed before"))
	return k, simulateKeepalive(k, hz, drawStart(t), armedBefore)
}

func TestSimulatedKeepaliveKeepsWithinTheSchedule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k, kernel := drawKeepalive(t)
		checkWithin(t, kernel, slices.Collect(k.Probes()), k.End(), longestJiffy(k.HZ))
	})
}

func TestSimulatedKeepaliveKeepsWithinEachForecast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k, kernel := drawKeepalive(t)
		var at time.Duration
		for unanswered, next := range append(slices.Clone(kernel.sent), kernel.end) {
			f := k.After(unanswered, at)
			if next < f.Due-longestJiffy(k.HZ) || next > f.Latest {
				t.Fatalf("after %d at %v the timer fired at %v, want %+v", unanswered, at, next, f)
			}
			if f.Last && unanswered < len(kernel.sent) {
				t.Fatalf("after %d at %v the kernel sent another, want the end: %+v", unanswered, at, f)
			}
			if f.Total < len(kernel.sent) || kernel.end > f.GivesUpLatest || kernel.end < f.GivesUpEarliest-longestJiffy(k.HZ) {
				t.Fatalf("after %d at %v: %+v, but the kernel sent %d and gave up at %v", unanswered, at, f, len(kernel.sent), kernel.end)
			}
			at = next
		}
	})
}
