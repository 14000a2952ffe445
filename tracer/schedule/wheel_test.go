package schedule

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestWheelDelayOfUsualTimers(t *testing.T) {
	tests := []struct {
		d    time.Duration
		hz   int
		want time.Duration
	}{
		{248 * time.Millisecond, 250, 4 * time.Millisecond},
		{252 * time.Millisecond, 250, 32 * time.Millisecond}, // 63 ticks are the second level's
		{62 * time.Millisecond, 1000, 1 * time.Millisecond},
		{200 * time.Millisecond, 1000, 8 * time.Millisecond},
		{1 * time.Second, 250, 32 * time.Millisecond},
		{2 * time.Second, 250, 32 * time.Millisecond},
		{4 * time.Second, 250, 256 * time.Millisecond},
		{8 * time.Second, 250, 256 * time.Millisecond},
		{16 * time.Second, 250, 256 * time.Millisecond},
		{32 * time.Second, 250, 2048 * time.Millisecond},
		{120 * time.Second, 250, 2048 * time.Millisecond},
		{600 * time.Second, 250, 16384 * time.Millisecond},
		{7200 * time.Second, 250, 131072 * time.Millisecond},
		{1 * time.Second, 1000, 64 * time.Millisecond},
		{4 * time.Second, 1000, 64 * time.Millisecond},
		{8 * time.Second, 1000, 512 * time.Millisecond},
		{32 * time.Second, 1000, 512 * time.Millisecond},
		{64 * time.Second, 1000, 4096 * time.Millisecond},
		{120 * time.Second, 1000, 4096 * time.Millisecond},
		{7200 * time.Second, 1000, 262144 * time.Millisecond},
		{1 * time.Second, 100, 80 * time.Millisecond},
		{1001 * time.Millisecond, 300, 29 * time.Millisecond}, // 301 ticks and a bucket of 8
		{1 * time.Second, 0, 80 * time.Millisecond},
		{0, 250, 4 * time.Millisecond},
		{-time.Second, 250, 4 * time.Millisecond},
	}
	for _, tt := range tests {
		if got := WheelDelay(tt.d, tt.hz); got != tt.want {
			t.Errorf("WheelDelay(%v, %d) = %v, want %v", tt.d, tt.hz, got, tt.want)
		}
	}
}

func TestWheelDelayOfUnknownHZHoldsForEveryUsualOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, int64(3*time.Hour)).Draw(t, "d"))
		unknown := WheelDelay(d, 0)
		for _, hz := range usualHZ {
			if known := WheelDelay(d, hz); known > unknown {
				t.Fatalf("HZ=%d is late by %v, unknown HZ only by %v", hz, known, unknown)
			}
		}
	})
}

// wheel is the arithmetic of kernel/time/timer.c, for tests: it knows when a timer really fires.
type wheel struct{ hz int64 }

// jiffies is the tick count at a time since boot.
func (w wheel) jiffies(now time.Duration) int64 { return int64(now) * w.hz / int64(time.Second) }

// fires is when a timer fires that is armed now for n ticks. inCallback says that it is armed by a timer callback,
// while the wheel's own clock is already one tick ahead (__run_timers).
func (w wheel) fires(now time.Duration, n int64, inCallback bool) time.Duration {
	expires := w.jiffies(now) + n
	clock := w.jiffies(now)
	if inCallback {
		clock++
	}
	var shift int
	for delta := expires - clock; delta >= 63<<shift; {
		shift += 3
	}
	tick := (expires>>shift + 1) << shift
	return time.Duration((tick*int64(time.Second) + w.hz - 1) / w.hz)
}

func TestWheelNeverFiresEarlyNorBeyondItsDelay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := wheel{int64(rapid.SampledFrom(usualHZ[:]).Draw(t, "hz"))}
		now := time.Duration(rapid.Int64Range(0, int64(24*time.Hour)).Draw(t, "now"))
		ms := rapid.Int64Range(1, 10_000_000).Draw(t, "ms")
		d := time.Duration(ms) * time.Millisecond
		n := (ms*w.hz + 999) / 1000

		late := w.fires(now, n, rapid.Bool().Draw(t, "in callback")) - now - d
		if late < 0 || late > WheelDelay(d, int(w.hz)) {
			t.Fatalf("a timer of %v is late by %v, want at most %v", d, late, WheelDelay(d, int(w.hz)))
		}
	})
}
