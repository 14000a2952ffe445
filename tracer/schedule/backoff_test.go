package schedule

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// endStep by step is end without its skips.
func endStepByStep(b backoff, a armed) (End, int) {
	end := End{Earliest: math.MaxInt64, Errno: timedOut}
	for f := range b.fires(a) {
		if f.mayGiveUp() {
			end.Earliest = min(end.Earliest, f.earliestEnd())
		}
		end.Latest = max(end.Latest, f.latest)
		end.Offset, end.Rule, a.sent = f.due, f.rule, f.sent
	}
	return end, a.sent
}

func TestSkippingWaitsChangesNoEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		userTimeout := time.Duration(rapid.IntRange(1, 3_600_000).Draw(t, "user timeout")) * time.Millisecond
		hz, _ := drawHZ(t)
		d := Data{
			UserTimeout: userTimeout, RTO: drawRTO(t), RTOMax: min(drawRTOMax(t), 5*time.Second), ThinLinear: rapid.Bool().Draw(t, "thin"), HZ: hz,
		}.withinLimits()
		z := ZeroWindow{
			Retries2: rapid.IntRange(1, 255).Draw(t, "retries2"), UserTimeout: userTimeout, RTO: d.RTO, RTOMax: d.RTOMax,
			Answered: rapid.Bool().Draw(t, "answered"), HZ: hz,
		}
		if z.Answered {
			z.RTT = d.RTO / 2
		}
		z = z.withinLimits()
		for name, b := range map[string]backoff{"data": d.backoff(), "zero window": z.backoff(1, 1)} {
			from := after(1, 0, b.rtoAfter(1, d.RTO))
			got, gotTotal := b.end(from)
			if want, total := endStepByStep(b, from); got != want || gotTotal != total {
				t.Fatalf("%s: the end is %+v after %d, want %+v after %d", name, got, gotTotal, want, total)
			}
		}
	})
}

// TCP_USER_TIMEOUT and TCP_RTO_MAX_MS are anybody's to set: two million waits must not be counted one by one.
func TestLongestUserTimeoutIsNoLongCalculation(t *testing.T) {
	d := Data{UserTimeout: maxUserTimeout, RTOMax: time.Second, HZ: 1000}.withinLimits()
	b, asked := d.backoff(), 0
	limit := b.limit
	b.limit = func(sent int, rto time.Duration) (time.Duration, Rule) {
		asked++
		return limit(sent, rto)
	}
	end, total := b.end(after(1, 0, d.rtoAfter(1)))
	if end.Rule != RuleUserTimeout || end.Offset != maxUserTimeout || total < 2_000_000 || asked > 1000 {
		t.Errorf("the end is %+v after %d, found by asking %d times", end, total, asked)
	}
}
