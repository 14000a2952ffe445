package schedule

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// shrunkSimulation is tcp_retransmit_timer on data on which the peer has shut its window, with tcp_rtx_probe0_timed_out, on a
// real wheel and in the kernel's own units. It shares nothing with the prediction but the settings.
type shrunkSimulation struct {
	w                   wheel
	userTimeout, rtoMax int64 // in milliseconds, and in ticks

	sent    int64 // milliseconds: when the data was sent
	stamp   int64 // and first sent again; 0: it was not
	heard   int64 // ticks
	rto     int64 // ticks
	expires int64 // ticks
	fires   time.Duration
}

func (k *shrunkSimulation) toJiffies(ms int64) int64 { return (ms*k.w.hz + 999) / 1000 }

func milliseconds(at time.Duration) int64 { return int64(at / time.Millisecond) }

func (k *shrunkSimulation) arm(now time.Duration, ticks int64, inCallback bool) {
	k.expires, k.fires = k.w.jiffies(now)+ticks, k.w.fires(now, ticks, inCallback)
}

// fire is the timer's function. It says by which rule it gives up; 0: it sends again.
func (k *shrunkSimulation) fire() Rule {
	now, since := k.fires, k.stamp
	if since == 0 {
		since = k.sent
	}
	stuck := milliseconds(now) - since
	if k.userTimeout != 0 && stuck > k.userTimeout {
		return RuleUserTimeout
	}
	limit := 2 * k.rtoMax
	if k.userTimeout != 0 {
		limit = min(limit, k.toJiffies(k.userTimeout))
	}
	if k.expires-k.heard > limit && k.toJiffies(stuck) > limit {
		return RuleSilence
	}
	if k.stamp == 0 {
		k.stamp = milliseconds(now)
	}
	k.rto = min(2*k.rto, k.rtoMax)
	wait := k.rto
	if k.userTimeout != 0 {
		wait = 1
		if left := k.userTimeout - (milliseconds(now) - k.stamp); left > 0 {
			wait = min(k.rto, k.toJiffies(left))
		}
	}
	k.arm(now, wait, true)
	return 0
}

// seen is what is known of it at a time.
func (k *shrunkSimulation) seen(now time.Duration, hz int) ShrunkWindow {
	tick := time.Second / time.Duration(k.w.hz)
	ticks := func(n int64) time.Duration { return time.Duration(n) * tick }
	since := k.stamp
	if since == 0 {
		since = k.sent
	}
	return ShrunkWindow{
		UserTimeout: time.Duration(k.userTimeout) * time.Millisecond, RTOMax: ticks(k.rtoMax), HZ: hz,
		RTO: ticks(k.rto), Left: ticks(k.expires - k.w.jiffies(now)),
		Stuck: time.Duration(milliseconds(now)-since) * time.Millisecond, Retransmitted: k.stamp != 0,
		Silent: ticks(k.w.jiffies(now) - k.heard),
	}
}

func TestSimulatedShrunkWindowKeepsWithinEachForecast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hz := rapid.SampledFrom([]int{100, 250, 1000}).Draw(t, "hz")
		start := drawStart(t)
		k := &shrunkSimulation{w: wheel{int64(hz)}, userTimeout: drawUserTimeout(t).Milliseconds()}
		k.rtoMax = k.toJiffies(drawRTOMax(t).Milliseconds())
		k.rto = min(k.toJiffies(drawRTO(t).Milliseconds()), k.rtoMax)
		k.heard = k.w.jiffies(start)
		k.sent = milliseconds(start) - rapid.Int64Range(0, 500).Draw(t, "age")
		k.arm(start, k.rto, false)

		type said struct {
			at time.Duration
			w  ShrunkWindow
		}
		var all []said
		now := start
		for {
			at := now + time.Duration(rapid.Int64Range(0, int64(k.fires-now)-1).Draw(t, "seen"))
			all = append(all, said{at, k.seen(at, hz)})
			if now = k.fires; k.fire() != 0 {
				break
			}
		}
		// What is known counts in ticks and milliseconds, so it may be wrong by one of each.
		const grain = 11 * time.Millisecond
		for i, s := range all {
			f := s.w.Forecast()
			died := now - s.at
			if died < f.GivesUpEarliest-grain || died > f.GivesUpLatest+grain {
				t.Fatalf("seen %d of %d: it gave up after %v, want %+v\n%+v", i+1, len(all), died, f, s.w)
			}
			if f.Last && i < len(all)-1 && s.w.Left-f.GivesUpEarliest > grain {
				t.Fatalf("seen %d of %d: it was sent again, want the end: %+v\n%+v", i+1, len(all), f, s.w)
			}
		}
	})
}

func TestShrunkWindowNominally(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	tests := []struct {
		name string
		w    ShrunkWindow
		want time.Duration
		rule Rule
	}{
		// 0.1, 0.5, 1.3, 2.9 and so on: 204.5, and 324.5 is the first beyond 240 s.
		{"silence", ShrunkWindow{RTO: 200 * ms, Left: 100 * ms}, 324500 * ms, RuleSilence},
		{"the user timeout counts from the first retransmission", ShrunkWindow{RTO: 200 * ms, Left: 100 * ms, Stuck: 100 * ms, UserTimeout: 3 * s}, 3104 * ms, RuleUserTimeout},
		{"some of it is over", ShrunkWindow{RTO: 800 * ms, Left: 500 * ms, Stuck: 900 * ms, Retransmitted: true, UserTimeout: 3 * s}, 2104 * ms, RuleUserTimeout},
		{"armed for what remains", ShrunkWindow{RTO: 3200 * ms, Left: 1004 * ms, Stuck: 2 * s, Retransmitted: true, UserTimeout: 3 * s}, 1004 * ms, RuleUserTimeout},
		{"a user timeout beyond silence", ShrunkWindow{RTO: s, RTOMax: s, Left: s, Retransmitted: true, UserTimeout: 3 * s}, 3 * s, RuleSilence},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.w.HZ = 250
			f := test.w.Forecast()
			if f.GivesUp != test.want || f.Rule != test.rule || f.GivesUpEarliest > f.GivesUp || f.GivesUpLatest < f.GivesUp {
				t.Errorf("%+v, want %v by %v", f, test.want, test.rule)
			}
		})
	}
}
