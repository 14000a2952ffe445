package schedule

import (
	"iter"
	"time"
)

// ZeroWindow is what rules the probes of a window that the peer keeps shut, with nothing in flight and data to send.
// Values beyond what the kernel takes count as the nearest that it does. Its schedule counts from when the timer was
// armed: at the ACK that shut the window.
//
// The user timeout counts from the first probe (icsk_probes_tstamp), and answers do not put it off: only an open
// window does.
type ZeroWindow struct {
	Retries2    int           // tcp_retries2: of unanswered probes, and of doublings of the wait
	UserTimeout time.Duration // TCP_USER_TIMEOUT; 0: none
	RTO         time.Duration // icsk_rto; 0, and less than 200 ms, means 200 ms (tcp_probe0_base)
	RTOMax      time.Duration // 0 means 120 s (TCP_RTO_MAX)
	// Answered says that the peer answers every probe, RTT after it, with its window still shut. Each wait then begins
	// with the answer, and no count ever ends it.
	Answered bool
	RTT      time.Duration
	// Orphan says that the application has closed the socket. OrphanRetries (tcp_orphan_retries) then takes the place
	// of Retries2; its 0 means 8 while the wait has not come to RTOMax, and none from there on.
	Orphan        bool
	OrphanRetries int
	HZ            int // ticks per second; 0: unknown, the bounds then hold for every usual one
}

// Probes yields each probe with its offset, until the kernel gives up (tcp_probe_timer, net/ipv4/tcp_timer.c), or for
// a century if it never does. They are those of exact timers: late ones never make more, but may make fewer (see
// [End]).
func (z ZeroWindow) Probes() iter.Seq[Step] {
	z = z.withinLimits()
	return func(yield func(Step) bool) {
		due, latest := z.first()
		if _, rule := z.limit(0, 0); rule != 0 || !yield(Step{Attempt: 1, Offset: due, Latest: latest}) {
			return
		}
		b := z.backoff(1, 1)
		for f := range b.fires(after(1, 0, b.rtoAfter(1, z.base()))) {
			step := Step{Attempt: f.sent + 1, Offset: due + f.due, Latest: latest + f.latestSend()}
			if f.rule != 0 || !yield(step) {
				return
			}
		}
	}
}

// End is when the kernel gives up, and why, if the window stays shut. It is false where it never does: the peer answers
// and there is no user timeout. No RST tells the peer.
func (z ZeroWindow) End() (End, bool) {
	z = z.withinLimits()
	if z.endless(0) {
		return End{}, false
	}
	due, latest := z.first()
	end := End{Offset: due, Earliest: due, Latest: latest, Errno: timedOut}
	if _, end.Rule = z.limit(0, 0); end.Rule == 0 {
		b := z.backoff(1, 1)
		end, _ = b.end(after(1, 0, b.rtoAfter(1, z.base())))
		end.Offset, end.Earliest, end.Latest = end.Offset+due, end.Earliest+due, end.Latest+latest
	}
	if z.Orphan {
		end.Errno = ""
	}
	return end, true
}

// After forecasts from a real probe: sent probes have been made since the window shut (icsk_backoff counts them, up to
// Retries2), the last of them at offset at, the first at offset first, and unanswered ones in a row have had no answer
// (icsk_probes_out; 0 where Answered). Without any so far, at is when the timer was armed.
func (z ZeroWindow) After(sent, unanswered int, at, first time.Duration) Forecast {
	z = z.withinLimits()
	sent, unanswered = within(sent, 0, maxSent), within(unanswered, 0, maxCount)
	at = within(at, 0, horizon/2)
	if sent == 0 {
		return z.afterShut(at)
	}
	first = within(first, 0, at)
	b := z.backoff(sent, unanswered)
	rto := b.rtoAfter(sent, z.base())
	if z.endless(sent) {
		return b.next(after(sent, at-first, rto)).later(first, first)
	}
	return b.forecast(after(sent, at-first, rto)).later(first, first)
}

// AfterRefused is [ZeroWindow.After] of a probe that the local queue refused, as [SYN.AfterRefused] is of a SYN; but
// TCP_USER_TIMEOUT shortens this wait, too. Of sent, which icsk_backoff counts, it is none; of unanswered it is one.
// Orphans are not covered.
func (z ZeroWindow) AfterRefused(sent, unanswered int, at, first time.Duration) Forecast {
	z = z.withinLimits()
	sent, unanswered = within(sent, 0, maxSent), within(unanswered, 1, maxCount)
	at = within(at, 0, horizon/2)
	first = within(first, 0, at)
	made := max(sent, 1) // it is one, to the limits
	b := z.backoff(made, unanswered)
	b.doublings += made - sent
	forecast := b.forecastRefused(after(made, at-first, b.rtoAfter(sent, z.base()))).later(first, first)
	forecast.Total += max(unanswered-made, 0)
	return forecast
}

// afterShut forecasts where nothing was probed yet and the timer was armed at offset at.
func (z ZeroWindow) afterShut(at time.Duration) Forecast {
	due, latest := z.first()
	forecast := Forecast{Due: at + due, Latest: at + latest}
	if z.endless(0) {
		return forecast
	}
	if _, rule := z.limit(0, 0); rule != 0 {
		forecast.Last, forecast.Rule = true, rule
		forecast.GivesUp, forecast.GivesUpLatest, forecast.GivesUpEarliest = forecast.Due, forecast.Latest, forecast.Due
		return forecast
	}
	b := z.backoff(1, 1)
	later := b.forecast(after(1, 0, b.rtoAfter(1, z.base()))).later(forecast.Due, forecast.Latest)
	later.Due, later.Latest, later.Last = forecast.Due, forecast.Latest, false
	return later
}

// withinLimits is z with its zeros replaced by what they mean, and nothing beyond what the kernel takes.
func (z ZeroWindow) withinLimits() ZeroWindow {
	z.Retries2 = within(z.Retries2, 0, maxCount)
	z.OrphanRetries = within(z.OrphanRetries, 0, maxCount)
	z.UserTimeout = within(z.UserTimeout, 0, maxUserTimeout)
	z.RTOMax = max(longestWait(z.RTOMax, z.HZ), leastRTOMax)
	z.RTO = dataRTO(z.RTO, z.RTOMax, z.HZ)
	z.RTT = within(z.RTT, 0, z.base())
	if !z.Answered {
		z.RTT = 0
	}
	return z
}

// base is the wait for the first probe (tcp_probe0_base).
func (z ZeroWindow) base() time.Duration { return max(z.RTO, rtoMin) }

// first is when the first probe is due, nominally and at the latest.
func (z ZeroWindow) first() (due, latest time.Duration) {
	return z.base(), z.base() + WheelDelay(z.base(), z.HZ)
}

// backoff is the timer from the first probe on, with unanswered ones when sent have been made. z is within limits.
func (z ZeroWindow) backoff(sent, unanswered int) backoff {
	return backoff{
		hz:            z.HZ,
		rtoMax:        z.RTOMax,
		doublings:     z.Retries2,
		userTimeout:   probeUserTimeout(z.UserTimeout, z.HZ),
		answer:        z.RTT,
		clampsRefused: true,
		limit: func(now int, _ time.Duration) (time.Duration, Rule) {
			if z.Answered {
				return z.limit(now, 0)
			}
			return z.limit(now, now-sent+unanswered)
		},
	}
}

// limit is the time from the first probe from which on a fire gives up, with sent probes made and the last unanswered
// ones of them without answer.
func (z ZeroWindow) limit(sent, unanswered int) (time.Duration, Rule) {
	backoff := min(sent, z.Retries2)
	most, rule := z.Retries2, RuleCount
	if z.Orphan {
		alive := z.RTO < z.RTOMax>>backoff
		most, rule = z.OrphanRetries, RuleOrphan
		if alive && most == 0 {
			most = aliveOrphan
		}
		if !alive && backoff >= most {
			return 0, rule
		}
	}
	switch {
	case unanswered >= most:
		return 0, rule
	case sent > 0 && z.UserTimeout > 0:
		return wholeTicks(z.UserTimeout, z.HZ), RuleUserTimeout
	default:
		return never, 0
	}
}

// endless says whether it never gives up once sent probes have been made: each is answered, and no fire that is still
// to come has a limit. After Retries2 probes none differs from the one before.
func (z ZeroWindow) endless(sent int) bool {
	if !z.Answered {
		return false
	}
	for n := min(sent, z.Retries2+1); n <= z.Retries2+1; n++ {
		if limit, _ := z.limit(n, 0); limit != never {
			return false
		}
	}
	return true
}
