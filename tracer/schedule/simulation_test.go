package schedule

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// simulation is tcp_retransmit_timer and tcp_write_timeout in SYN_SENT, on a real wheel and in the kernel's own
// units, statement by statement. It shares nothing with the prediction but the settings.
type simulation struct {
	sent []time.Duration // offsets of the retransmissions
	end  time.Duration
	rule Rule
}

func simulate(s SYN, hz int, start time.Duration, refused refusals) simulation {
	w := wheel{int64(hz)}
	toJiffies := func(ms int64) int64 { return (ms*int64(hz) + 999) / 1000 }
	milliseconds := func(at time.Duration) int64 { return int64(at / time.Millisecond) }

	initial := toJiffies(1000)
	if s.RTO != 0 {
		initial = toJiffies(s.RTO.Milliseconds())
	}
	rtoMax := toJiffies(s.RTOMax.Milliseconds())
	initial = min(initial, rtoMax)
	userTimeout := s.UserTimeout.Milliseconds()

	threshold := int64(0)
	for initial<<(threshold+1) <= rtoMax {
		threshold++
	}
	n := int64(s.Retries)
	model := (2<<min(n, threshold) - 1) * initial
	model += max(n-threshold, 0) * rtoMax
	model = model * 1000 / int64(hz)

	var result simulation
	retransmits, rto := 0, initial
	now := w.fires(start, rto, false)
	for {
		elapsed := milliseconds(now) - milliseconds(start)
		switch {
		case retransmits >= s.Retries+s.LinearTimeouts:
			result.rule = RuleCount
		case retransmits > 0 && userTimeout != 0 && elapsed >= userTimeout:
			result.rule = RuleUserTimeout
		case retransmits > 0 && userTimeout == 0 && elapsed >= model:
			result.rule = RuleTimeModel
		}
		if result.rule != 0 {
			result.end = now - start
			return result
		}
		retransmits++
		result.sent = append(result.sent, now-start)
		if refused.have(retransmits) {
			now = w.fires(now, int64(hz/2), true)
			continue
		}
		if retransmits > s.LinearTimeouts {
			rto = min(rto*2, rtoMax)
		}
		armed := rto
		if userTimeout != 0 {
			armed = 1
			if remaining := userTimeout - elapsed; remaining > 0 {
				armed = min(rto, toJiffies(remaining))
			}
		}
		now = w.fires(now, armed, true)
	}
}

// drawSimulation draws settings, and the course of a kernel of some usual HZ with them.
func drawSimulation(t *rapid.T) (SYN, simulation) {
	s := drawSYN(t)
	hz := s.HZ
	if hz == 0 {
		hz = rapid.SampledFrom(usualHZ[:]).Draw(t, "the kernel's hz")
	}
	start := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "start"))
	return s, simulate(s, hz, start, refusals{})
}

// checkWithin holds a simulated course against what was predicted. grain is by how much the kernel's clock can mistake
// the beginning.
func checkWithin(t *rapid.T, kernel simulation, steps []Step, end End, grain time.Duration) {
	t.Helper()
	if len(kernel.sent) > len(steps) {
		t.Fatalf("the kernel sent %d times, want at most %d", len(kernel.sent), len(steps))
	}
	for i, at := range kernel.sent {
		if at < steps[i].Offset-grain || at > steps[i].Latest+grain {
			t.Fatalf("the kernel sent at %v, want %+v", at, steps[i])
		}
	}
	if kernel.end < end.Earliest-grain || kernel.end > end.Latest {
		t.Fatalf("the kernel gave up at %v, want %+v", kernel.end, end)
	}
	if len(kernel.sent) < len(steps) && kernel.rule == RuleCount {
		t.Fatalf("the kernel made all the %d transmissions it counts, want %d", len(kernel.sent), len(steps))
	}
	both := kernel.rule == RuleUserTimeout && end.Rule != 0 // late timers can make the time be over as well
	if len(kernel.sent) == len(steps) && kernel.rule != end.Rule && !both {
		t.Fatalf("the kernel gave up by %v, want %+v", kernel.rule, end)
	}
}

func TestSimulatedKernelKeepsWithinTheSchedule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, kernel := drawSimulation(t)
		checkWithin(t, kernel, slices.Collect(s.Retransmits()), s.End(), clockGrain)
	})
}

func TestSimulatedKernelKeepsWithinEachForecast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, kernel := drawSimulation(t)
		fires := append(slices.Clone(kernel.sent), kernel.end)
		var at time.Duration
		for sent, next := range fires {
			f := s.After(sent, at, 0)
			if next < f.Due-clockGrain || next > f.Latest {
				t.Fatalf("after %d at %v the timer fired at %v, want %+v", sent, at, next, f)
			}
			last := sent == len(kernel.sent)
			if f.Last && !last {
				t.Fatalf("after %d at %v the kernel sent again, want the end: %+v", sent, at, f)
			}
			if limit, _ := s.withinLimits().limit(sent, 0); last && !f.Last && f.Latest < limit-clockGrain {
				t.Fatalf("after %d at %v the kernel gave up at %v, want a retransmission: %+v", sent, at, next, f)
			}
			if f.Total < len(kernel.sent) || kernel.end > f.GivesUpLatest || kernel.end < f.GivesUpEarliest-clockGrain {
				t.Fatalf("after %d at %v: %+v, but the kernel made %d and gave up at %v", sent, at, f, len(kernel.sent), kernel.end)
			}
			at = next
		}
	})
}
