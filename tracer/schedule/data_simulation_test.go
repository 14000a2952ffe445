package schedule

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// simulateData is tcp_retransmit_timer and tcp_write_timeout of an established connection, on a real wheel and in the
// kernel's own units. It shares nothing with the prediction but the settings.
func simulateData(d Data, hz int, start time.Duration, refused refusals) simulation {
	w := wheel{int64(hz)}
	toJiffies := func(ms int64) int64 { return (ms*int64(hz) + 999) / 1000 }
	milliseconds := func(at time.Duration) int64 { return int64(at / time.Millisecond) }
	rto, rtoMax, userTimeout := toJiffies(d.RTO.Milliseconds()), toJiffies(d.RTOMax.Milliseconds()), d.UserTimeout.Milliseconds()
	base := rto

	model := func(boundary int64) int64 {
		rtoMin := int64(hz) / 5
		threshold := int64(0)
		for rtoMin<<(threshold+1) <= rtoMax {
			threshold++
		}
		jiffies := (int64(2)<<min(boundary, threshold)-1)*rtoMin + max(boundary-threshold, 0)*rtoMax
		return (jiffies*1000 + int64(hz) - 1) / int64(hz)
	}
	orphanRetries := func(alive bool) int64 {
		if d.OrphanRetries == 0 && alive {
			return 8
		}
		return int64(d.OrphanRetries)
	}

	now, inCallback := start, false
	if d.LossProbe > 0 {
		now, inCallback = w.fires(now, toJiffies(d.LossProbe.Milliseconds()), false), true
	}
	now = w.fires(now, rto, inCallback)
	var result simulation
	stamp, retransmits := milliseconds(now), 0
	for {
		elapsed := milliseconds(now) - stamp
		if retransmits > 0 {
			limit, rule := model(int64(d.Retries2)), RuleTimeModel
			if d.Orphan {
				limit, rule = model(orphanRetries(rto < rtoMax)), RuleOrphan
			}
			if userTimeout != 0 {
				limit, rule = userTimeout, RuleUserTimeout
			}
			if elapsed >= limit {
				result.rule, result.end = rule, now-start
				return result
			}
		}
		retransmits++
		result.sent = append(result.sent, now-start)
		if refused.have(retransmits) {
			now = w.fires(now, int64(hz/2), true)
			continue
		}
		if d.ThinLinear && retransmits <= 6 {
			rto = base
		} else {
			rto = min(rto<<1, rtoMax)
		}
		armed := rto
		if userTimeout != 0 {
			if remaining := userTimeout - elapsed; remaining > 0 {
				armed = min(rto, toJiffies(remaining))
			} else {
				armed = 1
			}
		}
		now = w.fires(now, armed, true)
	}
}

// drawRTOMax draws one that is in whole ticks of every usual HZ.
func drawRTOMax(t *rapid.T) time.Duration {
	return 100 * time.Millisecond * time.Duration(rapid.IntRange(10, 1200).Draw(t, "rto max"))
}

// drawUserTimeout draws one, or none.
func drawUserTimeout(t *rapid.T) time.Duration {
	if !rapid.Bool().Draw(t, "has user timeout") {
		return 0
	}
	ms := rapid.OneOf(rapid.IntRange(1, 5000), rapid.IntRange(1, 600_000)).Draw(t, "user timeout")
	return time.Duration(ms) * time.Millisecond
}

// drawRTO draws one that is in whole ticks of every usual HZ.
func drawRTO(t *rapid.T) time.Duration {
	return 100 * time.Millisecond * time.Duration(rapid.IntRange(1, 30).Draw(t, "rto"))
}

func drawHZ(t *rapid.T) (known, real int) {
	known = rapid.SampledFrom([]int{0, 100, 250, 300, 1000}).Draw(t, "hz")
	if known != 0 {
		return known, known
	}
	return 0, rapid.SampledFrom(usualHZ[:]).Draw(t, "the kernel's hz")
}

func drawStart(t *rapid.T) time.Duration {
	return time.Duration(rapid.Int64Range(int64(3*time.Hour), int64(4*time.Hour)).Draw(t, "start"))
}

// drawData draws settings that the kernel takes, and the course of a kernel with them.
func drawData(t *rapid.T) (Data, simulation) {
	d := Data{
		Retries2:      rapid.OneOf(rapid.IntRange(0, 8), rapid.IntRange(0, 255)).Draw(t, "retries2"),
		UserTimeout:   drawUserTimeout(t),
		RTO:           drawRTO(t),
		RTOMax:        drawRTOMax(t),
		Orphan:        rapid.Bool().Draw(t, "orphan"),
		OrphanRetries: rapid.IntRange(0, 12).Draw(t, "orphan retries"),
		ThinLinear:    rapid.Bool().Draw(t, "thin linear"),
	}
	d.RTO = min(d.RTO, d.RTOMax)
	if rapid.Bool().Draw(t, "has loss probe") {
		d.LossProbe = time.Duration(rapid.Int64Range(1, d.RTO.Milliseconds()).Draw(t, "loss probe")) * time.Millisecond
	}
	var hz int
	d.HZ, hz = drawHZ(t)
	return d, simulateData(d, hz, drawStart(t), refusals{})
}

func TestSimulatedDataKeepsWithinTheSchedule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, kernel := drawData(t)
		checkWithin(t, kernel, slices.Collect(d.Retransmits()), d.End(), clockGrain)
	})
}

func TestSimulatedDataKeepsWithinEachForecast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, kernel := drawData(t)
		d.LossProbe = 0 // over with the first retransmission
		fires := append(slices.Clone(kernel.sent), kernel.end)
		for sent := 1; sent < len(fires); sent++ {
			f := d.After(sent, fires[sent-1], kernel.sent[0], 0)
			next, last := fires[sent], sent == len(kernel.sent)
			if next < f.Due-clockGrain || next > f.Latest {
				t.Fatalf("after %d at %v the timer fired at %v, want %+v", sent, fires[sent-1], next, f)
			}
			if f.Last && !last {
				t.Fatalf("after %d at %v the kernel sent again, want the end: %+v", sent, fires[sent-1], f)
			}
			if f.Total < len(kernel.sent) || kernel.end > f.GivesUpLatest || kernel.end < f.GivesUpEarliest-clockGrain {
				t.Fatalf("after %d: %+v, but the kernel made %d and gave up at %v", sent, f, len(kernel.sent), kernel.end)
			}
		}
	})
}
