package schedule

import (
	"iter"
	"math"
	"math/bits"
	"time"
)

// backoff is the timer of retransmissions and window probes (tcp_retransmit_timer, tcp_probe_timer): each wait doubles,
// up to a maximum, until a count or a limit on time ends it. Its times are offsets from what the kernel measures
// elapsed time from (retrans_stamp, icsk_probes_tstamp).
type backoff struct {
	hz          int
	rtoMax      time.Duration
	linear      int // transmissions up to which the wait stays as it was
	doublings   int // transmissions up to which it doubles
	userTimeout userTimeout
	answer      time.Duration // how long after a transmission its answer arms the timer anew; 0: it does not

	// limit is the elapsed time from which on a fire gives up after sent transmissions with the timer rto, and by
	// which rule.
	limit func(sent int, rto time.Duration) (time.Duration, Rule)
}

// userTimeout is how TCP_USER_TIMEOUT shortens the waits of a timer, so that the last one ends with it.
type userTimeout struct {
	time.Duration               // 0: none
	ticks         int           // of the shortest wait that is armed
	grain         time.Duration // by how much the kernel may take it to be over too soon
	slack         time.Duration // and too late
	// delay is the most by which a timer is late that was armed for what remains, remaining at most away.
	delay func(remaining time.Duration, hz int) time.Duration
}

// never is a limit on time where there is none.
const never = math.MaxInt64

// horizon is where a schedule that never ends is cut off: a century, which leaves its times room to add up.
const horizon = 100 * 365 * 24 * time.Hour

// fire is one expiry of the timer.
type fire struct {
	sent   int           // transmissions made before it, the first of all not counted
	due    time.Duration // with exact timers
	latest time.Duration // with every timer as late as it can be
	rule   Rule          // by which exact timers give up here; 0: they send again
	limit  time.Duration // the time after which any timers give up here
	grain  time.Duration // by how much the kernel may take it to be over too soon
	slack  time.Duration // and too late
}

// armed is the timer as a transmission left it.
type armed struct {
	sent  int           // transmissions made so far, the first of all not counted
	early time.Duration // when the last was made, with exact timers
	late  time.Duration // and with timers as late as they can be
	rto   time.Duration
}

// after is the timer after a real transmission: sent made so far, the last at offset at, with the timer rto after it.
func after(sent int, at, rto time.Duration) armed {
	return armed{sent: sent, early: at, late: at, rto: rto}
}

// fires yields each expiry of the timer, the one that gives up being the last.
func (b backoff) fires(a armed) iter.Seq[fire] {
	return func(yield func(fire) bool) {
		for a.early < horizon {
			f := b.fire(a)
			if !yield(f) || f.rule != 0 {
				return
			}
			a = b.sent(a, f)
		}
	}
}

// fire is the next expiry.
func (b backoff) fire(a armed) fire {
	f := fire{sent: a.sent, due: b.due(a.sent, a.rto, a.early), latest: b.latestFire(a)}
	f.grain, f.slack = b.userTimeout.grain, b.userTimeout.slack
	f.limit, f.rule = b.limit(a.sent, a.rto)
	if f.due < f.limit {
		f.rule = 0
	}
	return f
}

// sent is the timer after f has sent again.
func (b backoff) sent(a armed, f fire) armed {
	return armed{sent: a.sent + 1, early: f.due, late: f.latestSend(), rto: b.nextRTO(a.sent+1, a.rto)}
}

// skip is the timer after many transmissions at once, where they differ in nothing but their times: a user timeout of
// weeks is a million waits away. It stops short of where late timers come near the limit, and exact ones.
func (b backoff) skip(a armed) armed {
	if !b.clamped(a.sent) || b.nextRTO(a.sent+1, a.rto) != a.rto || a.sent < b.linear {
		return a
	}
	exact := a.rto + b.answer
	late := exact + WheelDelay(a.rto, b.hz)
	limit, _ := b.limit(a.sent, a.rto)
	switch n := (limit - 2*late - a.late) / late; {
	case n > 0:
		return b.skipped(a, int(n), exact, late)
	case a.late >= limit: // the late ones wait at the limit for the exact ones
		return b.skipped(a, int((limit-2*exact-a.early)/exact), exact, 0)
	default:
		return a
	}
}

// skipped is the timer after n transmissions, if the same limit holds there.
func (b backoff) skipped(a armed, n int, exact, late time.Duration) armed {
	if n <= 0 {
		return a
	}
	limit, _ := b.limit(a.sent, a.rto)
	if then, _ := b.limit(a.sent+n, a.rto); then != limit {
		return a
	}
	a.sent += n
	a.early += time.Duration(n) * exact
	a.late += time.Duration(n) * late
	return a
}

// nextRTO is the timer after the n-th transmission, rto having been the one before.
func (b backoff) nextRTO(n int, rto time.Duration) time.Duration {
	if n <= b.linear || n > b.doublings {
		return rto
	}
	return min(2*rto, b.rtoMax)
}

// end is the end of the schedule that goes on from a transmission, and the number of all transmissions.
func (b backoff) end(a armed) (End, int) {
	end := End{Earliest: math.MaxInt64, Errno: timedOut}
	for {
		f := b.fire(a)
		if f.mayGiveUp() {
			end.Earliest = min(end.Earliest, f.earliestEnd())
		}
		end.Latest = max(end.Latest, f.latest)
		if f.rule != 0 {
			end.Offset, end.Rule = f.due, f.rule
			return end, f.sent
		}
		a = b.skip(b.sent(a, f))
	}
}

// forecast is what follows a transmission.
func (b backoff) forecast(a armed) Forecast {
	forecast := b.next(a)
	end, total := b.end(a)
	forecast.GivesUp, forecast.GivesUpLatest, forecast.GivesUpEarliest = end.Offset, end.Latest, end.Earliest
	forecast.Rule, forecast.Total = end.Rule, total
	return forecast
}

// next is the part of a forecast that tells of the next fire.
func (b backoff) next(a armed) Forecast {
	f := b.fire(a)
	return Forecast{Due: f.due, Latest: f.latest, Last: f.rule != 0}
}

// rtoAfter is the timer once sent transmissions have been made, rto having been the first.
func (b backoff) rtoAfter(sent int, rto time.Duration) time.Duration {
	for n := 1; n <= min(sent, b.doublings) && (n <= b.linear || rto < b.rtoMax); n++ {
		rto = b.nextRTO(n, rto)
	}
	return rto
}

// clamped says whether TCP_USER_TIMEOUT shortens the wait after sent transmissions. The timer of the first is never
// shortened.
func (b backoff) clamped(sent int) bool { return b.userTimeout.Duration > 0 && sent > 0 }

// due is when a timer fires that was armed by a transmission at offset at.
func (b backoff) due(sent int, rto, at time.Duration) time.Duration {
	begun := at + b.answer
	if !b.clamped(sent) {
		return begun + rto
	}
	deadline := b.userTimeout.Duration
	if begun >= deadline {
		begun = at // it does not wait for the answer
	}
	return begun + min(rto, max(deadline-begun, time.Duration(b.userTimeout.ticks)*jiffy(b.hz)))
}

// latestFire is the latest fire of a timer armed by a transmission at any time from a.early to a.late. Where the user
// timeout shortens the wait, a later transmission does not mean a later fire: all aim at the same deadline.
func (b backoff) latestFire(a armed) time.Duration {
	deadline, ticks := b.userTimeout.Duration, time.Duration(b.userTimeout.ticks)
	rto, early, late := a.rto, a.early, a.late+b.answer
	if !b.clamped(a.sent) || late <= deadline-rto {
		return late + rto + WheelDelay(rto, b.hz)
	}
	var latest time.Duration
	if early < deadline {
		latest = deadline + b.userTimeout.slack + b.userTimeout.delay(min(rto, deadline-early), b.hz)
	}
	if late > deadline-ticks*longestJiffy(b.hz) {
		latest = max(latest, late+(ticks+1)*longestJiffy(b.hz)) // such short waits are in buckets of one tick
	}
	if b.answer > 0 && late > deadline {
		// An answer between the deadline and a late timer puts that off for a whole wait: what remains is
		// less than nothing then, and an unsigned number to the kernel.
		latest = max(latest, late+rto+WheelDelay(rto, b.hz))
	}
	return latest
}

// mayGiveUp says whether any timers, exact or late, give up at f.
func (f fire) mayGiveUp() bool { return f.rule != 0 || f.latest >= f.limit-f.grain }

// earliestEnd is the soonest that any timers give up at f.
func (f fire) earliestEnd() time.Duration {
	if f.rule != 0 {
		return f.due
	}
	return max(f.due, f.limit-f.grain)
}

// latestSend is the latest that a fire can send again: fires beyond the limit give up, however late they are.
func (f fire) latestSend() time.Duration {
	if f.limit == never {
		return f.latest
	}
	return min(f.latest, f.limit+f.slack)
}

// modelTimeout is tcp_model_timeout: what retries doubling waits take, from base on and up to longest.
func modelTimeout(retries int, base, longest time.Duration) time.Duration {
	doublings := bits.Len64(uint64(longest/base)) - 1
	if retries <= doublings {
		return (2<<retries - 1) * base
	}
	return (2<<doublings-1)*base + time.Duration(retries-doublings)*longest
}
