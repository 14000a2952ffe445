package schedule

import (
	"math"
	"time"
)

// ShrunkWindow is a window that the peer has shut on data in flight: the retransmission of that data is the window probe
// then, its wait doubles up to RTOMax, and no count ends it (tcp_retransmit_timer, tcp_rtx_probe0_timed_out). It is over
// once the peer has been silent for two RTO maxima and the data in flight for as long; and, whatever the peer says, once
// it has been for the user timeout. Its schedule counts from a moment at which the timer is running.
//
// Kernels before 6.12 compare ticks with milliseconds where the peer answers: the user timeout is then longer by 1000/HZ.
type ShrunkWindow struct {
	UserTimeout time.Duration // TCP_USER_TIMEOUT; 0: none
	RTO         time.Duration // icsk_rto, with which the timer was armed
	RTOMax      time.Duration // 0 means 120 s (TCP_RTO_MAX)
	Left        time.Duration // what is left of the timer
	// Stuck is how long ago the data was first sent again. Where it was not yet (Retransmitted), it is how long ago it was
	// sent, by which the first fire is judged; from there on it begins anew.
	Stuck         time.Duration
	Retransmitted bool
	Silent        time.Duration // how long ago the last ACK came
	HZ            int           // ticks per second; 0: unknown, the bounds then hold for every usual one
}

// Forecast is what follows if nothing comes from the peer any more.
func (w ShrunkWindow) Forecast() Forecast {
	w = w.withinLimits()
	if w.Retransmitted {
		return w.stuck()
	}
	limit, rule := w.limit()
	due, latest := w.Left, w.Left+WheelDelay(w.RTO, w.HZ)
	if due > limit {
		return Forecast{
			Due: due, Latest: latest, Last: true,
			GivesUp: due, GivesUpLatest: latest, GivesUpEarliest: due, Rule: rule,
		}
	}
	then := w
	then.Retransmitted, then.Stuck, then.Silent = true, 0, w.Silent+w.Left
	then.RTO = min(2*w.RTO, w.RTOMax)
	then.Left = then.wait(0)
	f := then.stuck().later(due, latest)
	f.Due, f.Latest, f.Last = due, latest, false
	if latest > limit {
		f.GivesUpEarliest = max(due, limit)
	}
	return f
}

// stuck is the forecast once the data was sent again.
func (w ShrunkWindow) stuck() Forecast {
	limit, rule := w.limit()
	due, latest := w.Left, w.Left+WheelDelay(w.RTO, w.HZ)
	f := Forecast{Due: due, Latest: latest, Last: due > limit, Rule: rule, GivesUpEarliest: math.MaxInt64}
	if w.armedForTheRest(limit, rule) {
		f.GivesUpEarliest = limit
	}
	for {
		if latest > limit {
			f.GivesUpEarliest = min(f.GivesUpEarliest, max(due, limit))
		}
		f.GivesUpLatest = max(f.GivesUpLatest, latest)
		if due > limit {
			f.GivesUp = due
			return f
		}
		w.RTO = min(2*w.RTO, w.RTOMax)
		wait := w.wait(due)
		if rule == RuleUserTimeout { // by the clock; silence goes by when the timer was to fire, however late it did
			latest = min(latest, limit)
		}
		due, latest = due+wait, latest+wait+WheelDelay(wait, w.HZ)
	}
}

// limit is the time after which a fire gives up.
func (w ShrunkWindow) limit() (time.Duration, Rule) {
	limit, rule := 2*w.RTOMax-min(w.Stuck, w.Silent), RuleSilence
	if w.UserTimeout > 0 && w.UserTimeout-w.Stuck <= limit {
		limit, rule = w.UserTimeout-w.Stuck, RuleUserTimeout
	}
	return limit, rule
}

// wait is for how long the timer is armed at offset at: never for longer than what remains of the user timeout
// (tcp_clamp_rto_to_user_timeout), and a tick more, as that has to be exceeded.
func (w ShrunkWindow) wait(at time.Duration) time.Duration {
	if w.UserTimeout == 0 {
		return w.RTO
	}
	return min(w.RTO, max(w.UserTimeout-w.Stuck-at, 0)+longestJiffy(w.HZ))
}

// armedForTheRest says that the running timer fires as soon as the user timeout is over. What is left of it is known in
// ticks, and more of it than there really is when these lag behind the clock by which the user timeout goes.
func (w ShrunkWindow) armedForTheRest(limit time.Duration, rule Rule) bool {
	return rule == RuleUserTimeout && w.Left > limit && w.Left <= limit+longestJiffy(w.HZ)+WheelDelay(w.RTO, w.HZ)
}

// withinLimits is w with its zeros replaced by what they mean, and nothing beyond what the kernel takes.
func (w ShrunkWindow) withinLimits() ShrunkWindow {
	w.UserTimeout = within(w.UserTimeout, 0, maxUserTimeout)
	w.RTOMax = max(longestWait(w.RTOMax, w.HZ), leastRTOMax)
	w.RTO = dataRTO(w.RTO, w.RTOMax, w.HZ)
	w.Stuck, w.Silent = within(w.Stuck, 0, horizon/2), within(w.Silent, 0, horizon/2)
	w.Left = min(w.Left, w.RTOMax)
	return w
}
