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
	// clampsRefused says that the user timeout shortens the wait after a transmission that was refused, too.
	clampsRefused bool

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

// ResourceProbe is how long the kernel waits after a queue or a filter of this host refused a transmission
// (TCP_RESOURCE_PROBE_INTERVAL).
const ResourceProbe = 500 * time.Millisecond

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
	// answered says that an answer may put it off, and that without one it would be at the limit.
	answered bool
}

// armed is the timer as a transmission left it.
type armed struct {
	sent  int           // transmissions made so far, the first of all not counted
	early time.Duration // when the last was made, with exact timers
	late  time.Duration // and with timers as late as they can be
	rto   time.Duration
	// refused says that the local queue did not take the last, nor any to come: none doubles the wait.
	refused bool
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
	f := fire{sent: a.sent, due: b.due(a), latest: b.latestFire(a)}
	f.grain, f.slack = b.userTimeout.grain, b.userTimeout.slack
	f.answered = b.clamped(a) && b.answered(a) > 0
	f.limit, f.rule = b.limit(a.sent, a.rto)
	if f.due < f.limit {
		f.rule = 0
	}
	return f
}

// sent is the timer after f has sent again.
func (b backoff) sent(a armed, f fire) armed {
	next := armed{sent: a.sent + 1, early: f.due, late: f.latestSend(), rto: a.rto, refused: a.refused}
	if !a.refused {
		next.rto = b.nextRTO(next.sent, a.rto)
	}
	return next
}

// wait is what the timer is set to, unless the user timeout shortens that.
func (b backoff) wait(a armed) time.Duration {
	if a.refused {
		return ResourceProbe
	}
	return a.rto
}

// answered is how long after a transmission the wait begins.
func (b backoff) answered(a armed) time.Duration {
	if a.refused {
		return 0
	}
	return b.answer
}

// steady says that all waits to come are the same.
func (b backoff) steady(a armed) bool {
	return a.refused || b.clamped(a) && b.nextRTO(a.sent+1, a.rto) == a.rto && a.sent >= b.linear
}

// skip is the timer after many transmissions at once, where they differ in nothing but their times: a user timeout of
// weeks is a million waits away. It stops short of where late timers come near the limit, and exact ones.
func (b backoff) skip(a armed) armed {
	if !b.steady(a) {
		return a
	}
	exact := b.wait(a) + b.answered(a)
	late := exact + WheelDelay(b.wait(a), b.hz)
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

// forecastRefused is what follows a transmission that the local queue refused, if it goes on refusing. That it takes the next
// one is within the bounds of the end.
func (b backoff) forecastRefused(a armed) Forecast {
	a.refused = true
	forecast := b.forecast(a)
	f := b.fire(a)
	if f.rule != 0 {
		return forecast
	}
	taken := armed{sent: a.sent + 1, early: f.due, late: f.latestSend(), rto: b.nextRTO(a.sent+1, a.rto)}
	end, _ := b.end(taken)
	forecast.GivesUpEarliest = min(forecast.GivesUpEarliest, end.Earliest)
	forecast.GivesUpLatest = max(forecast.GivesUpLatest, end.Latest)
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

// clamped says whether TCP_USER_TIMEOUT shortens the wait. The timer of the first transmission is never shortened.
func (b backoff) clamped(a armed) bool {
	return b.userTimeout.Duration > 0 && a.sent > 0 && (!a.refused || b.clampsRefused)
}

// due is when a timer fires, with exact timers.
func (b backoff) due(a armed) time.Duration {
	begun, wait := a.early+b.answered(a), b.wait(a)
	if !b.clamped(a) {
		return begun + wait
	}
	deadline := b.userTimeout.Duration
	if begun >= deadline {
		begun = a.early // it does not wait for the answer
	}
	return begun + min(wait, max(deadline-begun, time.Duration(b.userTimeout.ticks)*jiffy(b.hz)))
}

// latestFire is the latest fire of a timer armed by a transmission at any time from a.early to a.late. Where the user
// timeout shortens the wait, a later transmission does not mean a later fire: all aim at the same deadline.
func (b backoff) latestFire(a armed) time.Duration {
	deadline, ticks := b.userTimeout.Duration, time.Duration(b.userTimeout.ticks)
	wait, early, late := b.wait(a), a.early, a.late+b.answered(a)
	if !b.clamped(a) || late <= deadline-wait {
		return late + wait + WheelDelay(wait, b.hz)
	}
	var latest time.Duration
	if early < deadline {
		latest = deadline + b.userTimeout.slack + b.userTimeout.delay(min(wait, deadline-early), b.hz)
	}
	if late > deadline-ticks*longestJiffy(b.hz) {
		latest = max(latest, late+(ticks+1)*longestJiffy(b.hz)) // such short waits are in buckets of one tick
	}
	if b.answered(a) > 0 && late > deadline {
		// An answer between the deadline and a late timer puts that off for a whole wait: what remains is
		// less than nothing then, and an unsigned number to the kernel.
		latest = max(latest, late+wait+WheelDelay(wait, b.hz))
	}
	return latest
}

// mayGiveUp says whether any timers, exact or late, give up at f.
func (f fire) mayGiveUp() bool { return f.rule != 0 || f.latest >= f.limit-f.grain }

// earliestEnd is the soonest that any timers give up at f.
func (f fire) earliestEnd() time.Duration {
	switch {
	case f.rule != 0 && f.answered && f.limit > 0:
		return min(f.due, f.limit-f.grain) // of a late transmission, whose answer comes too late to put it off
	case f.rule != 0:
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
