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

// fires yields each expiry of the timer, the one that gives up being the last, from a transmission on: sent
// transmissions made so far, the last at offset at, with the timer rto after it.
func (b backoff) fires(sent int, at, rto time.Duration) iter.Seq[fire] {
	return func(yield func(fire) bool) {
		for early, late := at, at; early < horizon; sent++ {
			f := fire{sent: sent, due: b.due(sent, rto, early), latest: b.latestFire(sent, rto, early, late)}
			f.grain, f.slack = b.userTimeout.grain, b.userTimeout.slack
			f.limit, f.rule = b.limit(sent, rto)
			if f.due < f.limit {
				f.rule = 0
			}
			if !yield(f) || f.rule != 0 {
				return
			}
			early, late = f.due, f.latestSend()
			rto = b.nextRTO(sent+1, rto)
		}
	}
}

// nextRTO is the timer after the n-th transmission, rto having been the one before.
func (b backoff) nextRTO(n int, rto time.Duration) time.Duration {
	if n <= b.linear || n > b.doublings {
		return rto
	}
	return min(2*rto, b.rtoMax)
}

// end is the end of the schedule that goes on from a transmission, and the number of all retransmissions.
func (b backoff) end(sent int, at, rto time.Duration) (End, int) {
	end := End{Earliest: math.MaxInt64, Errno: timedOut}
	for f := range b.fires(sent, at, rto) {
		if f.mayGiveUp() {
			end.Earliest = min(end.Earliest, f.earliestEnd())
		}
		end.Latest = max(end.Latest, f.latest)
		end.Offset, end.Rule, sent = f.due, f.rule, f.sent
	}
	return end, sent
}

// forecast is what follows a transmission.
func (b backoff) forecast(sent int, at, rto time.Duration) Forecast {
	forecast := b.next(sent, at, rto)
	end, total := b.end(sent, at, rto)
	forecast.GivesUp, forecast.GivesUpLatest, forecast.GivesUpEarliest = end.Offset, end.Latest, end.Earliest
	forecast.Rule, forecast.Total = end.Rule, total
	return forecast
}

// next is the part of a forecast that tells of the next fire.
func (b backoff) next(sent int, at, rto time.Duration) Forecast {
	for f := range b.fires(sent, at, rto) {
		return Forecast{Due: f.due, Latest: f.latest, Last: f.rule != 0}
	}
	return Forecast{}
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
	armed := at + b.answer
	if !b.clamped(sent) {
		return armed + rto
	}
	deadline := b.userTimeout.Duration
	if armed >= deadline {
		armed = at // it does not wait for the answer
	}
	return armed + min(rto, max(deadline-armed, time.Duration(b.userTimeout.ticks)*jiffy(b.hz)))
}

// latestFire is the latest fire of a timer armed by a transmission at some time from early to late. Where the user
// timeout shortens the wait, a later transmission does not mean a later fire: all aim at the same deadline.
func (b backoff) latestFire(sent int, rto, early, late time.Duration) time.Duration {
	deadline, ticks := b.userTimeout.Duration, time.Duration(b.userTimeout.ticks)
	late += b.answer
	if !b.clamped(sent) || late <= deadline-rto {
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
