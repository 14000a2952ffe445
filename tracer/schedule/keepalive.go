package schedule

import (
	"iter"
	"time"
)

// Keepalive is what rules the keepalive of an idle connection, with nothing in flight and nothing unsent. Zeros mean
// the kernel's defaults, values beyond what it takes the nearest that it does. Its schedule counts from the last
// segment of the peer, data or ACK.
//
// While data is in flight or unsent keepalive does nothing but arm its timer again, for a full Idle: then [Data] or
// [ZeroWindow] holds.
type Keepalive struct {
	Idle     time.Duration // TCP_KEEPIDLE, or tcp_keepalive_time; 0 means 2 h
	Interval time.Duration // TCP_KEEPINTVL, or tcp_keepalive_intvl; 0 means 75 s
	Count    int           // TCP_KEEPCNT, or tcp_keepalive_probes; 0 means 9
	// UserTimeout is TCP_USER_TIMEOUT. Where it is not 0 Count means nothing: the kernel gives up at the first probe
	// but one that is due when it is over. No probe is moved for it.
	UserTimeout time.Duration
	HZ          int // ticks per second; 0: unknown, the bounds then hold for every usual one
}

// The kernel's defaults (include/net/tcp.h).
const (
	keepaliveTime     = 2 * time.Hour    // TCP_KEEPALIVE_TIME
	keepaliveInterval = 75 * time.Second // TCP_KEEPALIVE_INTVL
	keepaliveProbes   = 9                // TCP_KEEPALIVE_PROBES
)

// Probes yields each probe with its offset, until the kernel gives up (tcp_keepalive_timer, net/ipv4/tcp_timer.c), if
// none is answered. They are those of exact timers: late ones never make more, but may make fewer (see [End]).
func (k Keepalive) Probes() iter.Seq[Step] {
	k = k.withinLimits()
	return func(yield func(Step) bool) {
		train := k.train(0, k.Idle, k.Idle+WheelDelay(k.Idle, k.HZ))
		for n := range train.probes() {
			if !yield(Step{Attempt: n + 1, Offset: train.due(n), Latest: train.latestSend(n)}) {
				return
			}
		}
	}
}

// End is when the kernel gives up, and why, if no probe is answered. It tells the peer with a RST.
func (k Keepalive) End() End {
	k = k.withinLimits()
	return k.train(0, k.Idle, k.Idle+WheelDelay(k.Idle, k.HZ)).end()
}

// After forecasts from a real probe, the unanswered-th in a row that was not answered, which left at offset at. With
// none so far, at is how long the connection has been idle: its timer is then armed for what remains of Idle, or, if
// keepalive was off or data in flight until now, for all of it.
func (k Keepalive) After(unanswered int, at time.Duration) Forecast {
	k = k.withinLimits()
	unanswered, at = within(unanswered, 0, maxSent), within(at, 0, horizon/2)
	due, latest := at+k.Interval, at+k.Interval+WheelDelay(k.Interval, k.HZ)
	if unanswered == 0 {
		due, latest = k.Idle, k.Idle+WheelDelay(k.Idle, k.HZ)
		if at > k.Idle {
			due, latest = at, at+latest
		}
	}
	train := k.train(unanswered, due, latest)
	end, total := train.end(), train.probes()
	return Forecast{
		Due: due, Latest: latest, Last: total == 0,
		GivesUp: end.Offset, GivesUpLatest: end.Latest, GivesUpEarliest: end.Earliest,
		Total: unanswered + total, Rule: end.Rule,
	}
}

// withinLimits is k with its zeros replaced by what they mean, and nothing beyond what the kernel takes.
func (k Keepalive) withinLimits() Keepalive {
	if k.Idle <= 0 {
		k.Idle = keepaliveTime
	}
	if k.Interval <= 0 {
		k.Interval = keepaliveInterval
	}
	if k.Count <= 0 {
		k.Count = keepaliveProbes
	}
	k.Idle = wholeTicks(min(k.Idle, maxUserTimeout), k.HZ)
	k.Interval = wholeTicks(within(k.Interval, clockGrain, maxUserTimeout), k.HZ)
	k.Count = min(k.Count, maxCount)
	k.UserTimeout = wholeTicks(within(k.UserTimeout, 0, maxUserTimeout), k.HZ)
	return k
}

// train is the expiries of the timer from one on, all an interval apart. Its fires are numbered from 0.
type train struct {
	Keepalive               // within limits
	sent      int           // unanswered probes before it
	start     time.Duration // when its first fire is due
	latest    time.Duration // and the latest of that
	delay     time.Duration // the most by which each of the following is late
}

func (k Keepalive) train(sent int, start, latest time.Duration) train {
	return train{Keepalive: k, sent: sent, start: start, latest: latest, delay: WheelDelay(k.Interval, k.HZ)}
}

// due is when fire n is due.
func (t train) due(n int) time.Duration { return t.start + time.Duration(n)*t.Interval }

// latestFire is the latest of fire n, of any timers that have not given up before.
func (t train) latestFire(n int) time.Duration {
	latest := t.latest + time.Duration(n)*(t.Interval+t.delay)
	if n > t.firstToAsk() && t.UserTimeout > 0 {
		latest = min(latest, t.limit()+t.Interval+t.delay)
	}
	return latest
}

// latestSend is the latest that fire n can send a probe.
func (t train) latestSend(n int) time.Duration {
	if n < t.firstToAsk() || t.UserTimeout == 0 {
		return t.latestFire(n)
	}
	return min(t.latestFire(n), t.limit())
}

// limit is the user timeout in ticks, of the slowest usual ones where they are unknown.
func (t train) limit() time.Duration {
	if t.HZ <= 0 {
		return t.UserTimeout + longestJiffy(t.HZ)
	}
	return t.UserTimeout
}

// firstToAsk is the first fire that asks whether the user timeout is over: without a probe out none does.
func (t train) firstToAsk() int {
	if t.sent > 0 {
		return 0
	}
	return 1
}

// probes is how many fires send a probe before one gives up.
func (t train) probes() int {
	if t.UserTimeout == 0 {
		return max(t.Count-t.sent, 0)
	}
	return max(t.firstToAsk(), fires(t.UserTimeout-t.start, t.Interval))
}

// end is when it gives up. Elapsed time is read in ticks, and so may seem to be up to one longer than it is.
func (t train) end() End {
	last := t.probes()
	due, latest := t.due(last), t.latestFire(last)
	end := End{Offset: due, Latest: latest, Earliest: due, Rule: RuleCount, Errno: timedOut, Reset: true}
	if t.UserTimeout == 0 {
		return end
	}
	end.Rule = RuleUserTimeout
	soonest := t.UserTimeout - longestJiffy(t.HZ)
	first := max(t.firstToAsk(), fires(soonest-t.latest, t.Interval+t.delay))
	end.Earliest = min(end.Earliest, max(soonest, t.due(first)))
	end.Latest = max(end.Latest, t.latestFire(t.firstToAsk()))
	return end
}

// fires is how many periods it takes to be at least d away.
func fires(d, period time.Duration) int {
	if d <= 0 {
		return 0
	}
	return int((d + period - 1) / period)
}
