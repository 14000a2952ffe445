package schedule

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// simulateSYNACK is reqsk_timer_handler on a real wheel and in the kernel's own units. It shares nothing with the
// prediction but the settings.
func simulateSYNACK(s SYNACK, hz int, start time.Duration) (simulation, []int) {
	w := wheel{int64(hz)}
	base, rtoMax := s.RTO.Milliseconds()*int64(hz)/1000, s.RTOMax.Milliseconds()*int64(hz)/1000

	deferAccept := 0 // secs_to_retrans
	if seconds := int(s.Deferred / time.Second); seconds > 0 {
		deferAccept = 1
		for period, wait := 1, 1; seconds > period && deferAccept < 255; period += wait {
			deferAccept++
			wait = min(wait<<1, 120)
		}
	}

	var result simulation
	var numbers []int
	now, inCallback := start, false
	for numTimeout := 0; ; {
		now, inCallback = w.fires(now, min(base<<min(numTimeout, 20), rtoMax), inCallback), true
		expire, resend := numTimeout >= s.Retries, true
		if deferAccept > 0 {
			expire = numTimeout >= s.Retries && (!s.Acked || numTimeout >= deferAccept)
			resend = !s.Acked || numTimeout >= deferAccept-1
		}
		if expire {
			result.rule, result.end = RuleCount, now-start
			return result, numbers
		}
		numTimeout++
		if resend {
			result.sent = append(result.sent, now-start)
			numbers = append(numbers, numTimeout)
		}
	}
}

// drawSYNACK draws settings that the kernel takes.
func drawSYNACK(t *rapid.T) SYNACK {
	return SYNACK{
		Retries:  rapid.OneOf(rapid.IntRange(0, 8), rapid.IntRange(0, 127)).Draw(t, "retries"),
		RTO:      time.Duration(rapid.IntRange(1, 5).Draw(t, "rto")) * time.Second,
		RTOMax:   time.Duration(rapid.IntRange(5, 120).Draw(t, "rto max")) * time.Second,
		Deferred: time.Duration(rapid.OneOf(rapid.Just(0), rapid.IntRange(1, 40), rapid.IntRange(1, 40000)).Draw(t, "deferred")) * time.Second,
		Acked:    rapid.Bool().Draw(t, "acked"),
	}
}

func TestSimulatedSYNACKKeepsWithinTheSchedule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSYNACK(t)
		var hz int
		s.HZ, hz = drawHZ(t)
		kernel, numbers := simulateSYNACK(s, hz, drawStart(t))
		steps := slices.Collect(s.Retransmits())
		checkWithin(t, kernel, steps, s.End(), 0)
		for i, step := range steps {
			if step.Attempt != numbers[i] {
				t.Fatalf("%+v, want the number %d", step, numbers[i])
			}
		}
	})
}

func TestSimulatedSYNACKKeepsWithinEachForecast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSYNACK(t)
		s.Deferred = 0 // so that every timeout sends
		var hz int
		s.HZ, hz = drawHZ(t)
		kernel, _ := simulateSYNACK(s, hz, drawStart(t))
		var at time.Duration
		for n, next := range append(slices.Clone(kernel.sent), kernel.end) {
			f := s.After(n, at)
			if next < f.Due || next > f.Latest || f.Last != (n == len(kernel.sent)) {
				t.Fatalf("after %d at %v the timer fired at %v, want %+v", n, at, next, f)
			}
			if f.Total != len(kernel.sent) || kernel.end < f.GivesUp || kernel.end > f.GivesUpLatest {
				t.Fatalf("after %d at %v: %+v, but the kernel sent %d and gave up at %v", n, at, f, len(kernel.sent), kernel.end)
			}
			at = next
		}
	})
}
