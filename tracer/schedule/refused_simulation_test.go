package schedule

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// refusals are the transmissions that the local queue refuses, by their numbers from 1.
type refusals struct{ first, last int }

func (r refusals) have(n int) bool { return r.first > 0 && n >= r.first && n <= r.last }

// drawRefusals draws one refusal, or one after which there is no other end to them.
func drawRefusals(t *rapid.T) refusals {
	r := refusals{first: rapid.IntRange(1, 8).Draw(t, "first refused")}
	r.last = r.first
	if rapid.Bool().Draw(t, "refused for good") {
		r.last = math.MaxInt
	}
	return r
}

// checkRefusal holds a simulated course against what was foretold at its first refusal.
func checkRefusal(t *rapid.T, kernel simulation, refused refusals, forecast func(at, first time.Duration) Forecast) {
	if len(kernel.sent) < refused.first {
		return // it gave up before
	}
	at, next := kernel.sent[refused.first-1], append(slices.Clone(kernel.sent), kernel.end)[refused.first]
	f := forecast(at, kernel.sent[0])
	if next < f.Due-clockGrain || next > f.Latest {
		t.Fatalf("refused at %v the timer fired at %v, want %+v", at, next, f)
	}
	if kernel.end > f.GivesUpLatest || kernel.end < f.GivesUpEarliest-clockGrain {
		t.Fatalf("refused at %v: %+v, but the kernel gave up at %v", at, f, kernel.end)
	}
	if f.Last && len(kernel.sent) > refused.first {
		t.Fatalf("refused at %v the kernel sent another, want the end: %+v", at, f)
	}
	if refused.last == math.MaxInt && kernel.rule == RuleCount && f.Rule == RuleCount && len(kernel.sent) != f.Total {
		t.Fatalf("refused at %v the kernel sent %d, want %+v", at, len(kernel.sent), f)
	}
}

func TestSimulatedKernelKeepsWithinForecastsOfRefusedSYNs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, _ := drawSimulation(t)
		var hz int
		s.HZ, hz = drawHZ(t)
		refused := drawRefusals(t)
		kernel := simulate(s, hz, drawStart(t), refused)
		checkRefusal(t, kernel, refused, func(at, _ time.Duration) Forecast { return s.AfterRefused(refused.first, at, 0) })
	})
}

func TestSimulatedKernelKeepsWithinForecastsOfRefusedData(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, _ := drawData(t)
		var hz int
		d.HZ, hz = drawHZ(t)
		refused := drawRefusals(t)
		kernel := simulateData(d, hz, drawStart(t), refused)
		checkRefusal(t, kernel, refused, func(at, first time.Duration) Forecast { return d.AfterRefused(refused.first, at, first, 0) })
	})
}

func TestSimulatedKernelKeepsWithinForecastsOfRefusedWindowProbes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		z, _ := drawZeroWindow(t)
		z.Answered, z.RTT, z.Orphan = false, 0, false // what is refused is not answered
		var hz int
		z.HZ, hz = drawHZ(t)
		refused := drawRefusals(t)
		kernel := simulateZeroWindow(z, hz, drawStart(t), 1000, refused)
		if kernel.rule == 0 {
			return
		}
		checkRefusal(t, kernel, refused, func(at, first time.Duration) Forecast {
			return z.AfterRefused(refused.first-1, refused.first, at, first)
		})
	})
}
