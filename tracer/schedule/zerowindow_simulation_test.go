package schedule

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// simulateZeroWindow is tcp_probe_timer, tcp_send_probe0 and tcp_ack_probe on a real wheel and in the kernel's own
// units, with the timer armed at start. It shares nothing with the prediction but the settings. Where the window stays
// shut for ever it stops after most probes, and the rule is zero.
func simulateZeroWindow(z ZeroWindow, hz int, start time.Duration, most int, refused refusals) simulation {
	w := wheel{int64(hz)}
	toJiffies := func(d time.Duration) int64 { return (d.Milliseconds()*int64(hz) + 999) / 1000 }
	rto, rtoMax, userTimeout := toJiffies(z.RTO), toJiffies(z.RTOMax), toJiffies(z.UserTimeout)
	base := max(rto, int64(hz)/5)

	var result simulation
	backoff, probesOut, stamp := 0, 0, int64(-1)
	armed := func(now time.Duration) int64 {
		when := min(base<<min(backoff, 20), rtoMax)
		if refused.have(len(result.sent)) {
			when = int64(hz / 2)
		}
		if userTimeout == 0 || stamp < 0 {
			return when
		}
		remaining := uint32(userTimeout - (w.jiffies(now) - stamp)) // what is less than nothing is very much
		return min(when, int64(max(remaining, 2)))
	}
	giveUp := func(now time.Duration) Rule {
		if stamp >= 0 && userTimeout != 0 && w.jiffies(now)-stamp >= userTimeout {
			return RuleUserTimeout
		}
		if !z.Orphan {
			if probesOut >= z.Retries2 {
				return RuleCount
			}
			return 0
		}
		alive := rto<<min(backoff, 20) < rtoMax
		retries := z.OrphanRetries
		if retries == 0 && alive {
			retries = 8
		}
		if !alive && backoff >= retries || probesOut >= retries {
			return RuleOrphan
		}
		return 0
	}

	now := w.fires(start, base, false)
	for len(result.sent) < most {
		if result.rule = giveUp(now); result.rule != 0 {
			result.end = now - start
			return result
		}
		if stamp < 0 {
			stamp = w.jiffies(now)
		}
		result.sent = append(result.sent, now-start)
		probesOut++
		if backoff < z.Retries2 && !refused.have(len(result.sent)) {
			backoff++
		}
		next := w.fires(now, armed(now), true)
		if answer := now + z.RTT; z.Answered && answer < next {
			probesOut = 0
			next = w.fires(answer, armed(answer), false)
		}
		now = next
	}
	return result
}

// drawZeroWindow draws settings that the kernel takes, and the course of a kernel with them.
func drawZeroWindow(t *rapid.T) (ZeroWindow, simulation) {
	z := ZeroWindow{
		Retries2:      rapid.IntRange(0, 20).Draw(t, "retries2"),
		UserTimeout:   drawUserTimeout(t),
		RTO:           drawRTO(t),
		RTOMax:        drawRTOMax(t),
		Answered:      rapid.Bool().Draw(t, "answered"),
		Orphan:        rapid.Bool().Draw(t, "orphan"),
		OrphanRetries: rapid.IntRange(0, 12).Draw(t, "orphan retries"),
	}
	z.RTO = min(z.RTO, z.RTOMax)
	z.UserTimeout = min(z.UserTimeout, time.Minute) // as many probes as make no difference
	if z.Answered && rapid.Bool().Draw(t, "has rtt") {
		z.RTT = time.Duration(rapid.Int64Range(0, z.RTO.Milliseconds()-1).Draw(t, "rtt")) * time.Millisecond
	}
	var hz int
	z.HZ, hz = drawHZ(t)
	return z, simulateZeroWindow(z, hz, drawStart(t), 1000, refusals{})
}

func TestSimulatedZeroWindowKeepsWithinTheSchedule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		z, kernel := drawZeroWindow(t)
		end, ends := z.End()
		if ends != (kernel.rule != 0) {
			t.Fatalf("the kernel gave up by %q after %d probes, want %+v, %v", kernel.rule, len(kernel.sent), end, ends)
		}
		if ends {
			checkWithin(t, kernel, slices.Collect(z.Probes()), end, 0)
			return
		}
		n := 0
		for step := range z.Probes() {
			if n == len(kernel.sent) {
				return
			}
			if at := kernel.sent[n]; at < step.Offset || at > step.Latest {
				t.Fatalf("the kernel sent at %v, want %+v", at, step)
			}
			n++
		}
		t.Fatalf("%d probes, want no end of them", n)
	})
}

func TestSimulatedZeroWindowKeepsWithinEachForecast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		z, kernel := drawZeroWindow(t)
		fires := kernel.sent
		if kernel.rule != 0 {
			fires = append(slices.Clone(fires), kernel.end)
		}
		var at, first time.Duration
		for sent, next := range fires {
			unanswered := sent
			if z.Answered {
				unanswered = 0
			}
			f := z.After(sent, unanswered, at, first)
			if next < f.Due-clockGrain || next > f.Latest {
				t.Fatalf("after %d at %v the timer fired at %v, want %+v", sent, at, next, f)
			}
			if f.Last && sent < len(kernel.sent) {
				t.Fatalf("after %d at %v the kernel sent another, want the end: %+v", sent, at, f)
			}
			if kernel.rule == 0 && (f.GivesUp != 0 || f.Total != 0 || f.Rule != 0) {
				t.Fatalf("after %d at %v: %+v, but the kernel never gives up", sent, at, f)
			}
			if kernel.rule != 0 && (f.Total < len(kernel.sent) || kernel.end > f.GivesUpLatest || kernel.end < f.GivesUpEarliest) {
				t.Fatalf("after %d at %v: %+v, but the kernel sent %d and gave up at %v", sent, at, f, len(kernel.sent), kernel.end)
			}
			if sent == 0 {
				first = next
			}
			at = next
		}
	})
}
