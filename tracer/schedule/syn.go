package schedule

import (
	"iter"
	"math"
	"time"
)

// SYN is what rules the retries of an unanswered SYN. Values beyond what the kernel takes count as the nearest
// that it does.
type SYN struct {
	Retries        int           // TCP_SYNCNT, or tcp_syn_retries
	LinearTimeouts int           // tcp_syn_linear_timeouts; 0 on kernels without it
	UserTimeout    time.Duration // TCP_USER_TIMEOUT; 0: none
	RTO            time.Duration // initial; 0 means 1 s (TCP_TIMEOUT_INIT)
	RTOMax         time.Duration // 0 means 120 s (TCP_RTO_MAX)
	// HZ is the kernel's ticks per second; 0 means unknown: the bounds then hold for every usual HZ (100, 250,
	// 300, 1000).
	HZ int
}

// Retransmits yields each retransmission of an unanswered SYN with its offset from the first SYN, until the kernel
// gives up. It follows tcp_retransmit_timer and tcp_write_timeout (net/ipv4/tcp_timer.c): the first LinearTimeouts
// waits stay equal and come on top of Retries, then each wait doubles up to the RTO maximum; the time model that
// may end it earlier ignores the linear ones. These are the retransmissions of exact timers: late ones never make
// more, but may make fewer (see [End]).
func (s SYN) Retransmits() iter.Seq[Step] {
	s = s.withinLimits()
	return func(yield func(Step) bool) {
		for f := range s.backoff().fires(after(0, 0, s.RTO)) {
			if f.rule != 0 || !yield(Step{Attempt: f.sent + 1, Offset: f.due, Latest: f.latestSend()}) {
				return
			}
		}
	}
}

// End is when the kernel gives up, and why, if nothing ever answers the SYN. It counts from the first SYN.
func (s SYN) End() End {
	s = s.withinLimits()
	end, _ := s.backoff().end(after(0, 0, s.RTO))
	return end
}

// After forecasts from a real transmission: sent retransmissions have been made so far, and the last SYN left at
// offset at from the first one. rto, when not zero, is the icsk_rto that the kernel reported after that
// transmission, and overrules the computed one. Limits on time are held against at, the real time: that is what
// the kernel compares.
//
// [SYN.AfterRefused] is for a retransmission that the local queue refused.
func (s SYN) After(sent int, at, rto time.Duration) Forecast {
	s = s.withinLimits()
	return s.backoff().forecast(s.afterSent(sent, at, rto))
}

// AfterRefused is [SYN.After] where the last retransmission was refused by the local queue: tcp_retransmit_skb gave a
// positive result, such as NET_XMIT_DROP. The kernel counts it, and tries again half a second later, whatever the RTO, which
// stays as it was, and TCP_USER_TIMEOUT are. What is foretold is that the queue goes on refusing.
func (s SYN) AfterRefused(sent int, at, rto time.Duration) Forecast {
	s = s.withinLimits()
	if rto <= 0 {
		rto = s.backoff().rtoAfter(sent-1, s.RTO)
	}
	return s.backoff().forecastRefused(s.afterSent(sent, at, rto))
}

// afterSent is the timer after a real transmission. s is within limits.
func (s SYN) afterSent(sent int, at, rto time.Duration) armed {
	sent, at = within(sent, 0, maxSent), within(at, 0, horizon/2)
	if rto <= 0 {
		rto = s.backoff().rtoAfter(sent, s.RTO)
	}
	return after(sent, at, min(rto, s.RTOMax))
}

// withinLimits is s with its zeros replaced by what they mean, and nothing beyond what the kernel takes.
func (s SYN) withinLimits() SYN {
	s.Retries = within(s.Retries, 0, maxSYNCount)
	s.LinearTimeouts = within(s.LinearTimeouts, 0, maxSYNCount)
	s.UserTimeout = within(s.UserTimeout, 0, maxUserTimeout)
	s.RTOMax = longestWait(s.RTOMax, s.HZ)
	if s.RTO <= 0 {
		s.RTO = timeoutInit
	}
	s.RTO = min(s.RTO, s.RTOMax)
	return s
}

// backoff is the timer that sends the SYN again. s is within limits.
func (s SYN) backoff() backoff {
	return backoff{
		hz:          s.HZ,
		rtoMax:      s.RTOMax,
		linear:      s.LinearTimeouts,
		doublings:   math.MaxInt,
		userTimeout: retransmitUserTimeout(s.UserTimeout),
		limit:       s.limit,
	}
}

// limit is the time from the first SYN from which on a fire gives up after sent retransmissions (tcp_write_timeout,
// retransmits_timed_out). The time model knows nothing of the linear waits.
func (s SYN) limit(sent int, _ time.Duration) (time.Duration, Rule) {
	switch {
	case sent >= s.Retries+s.LinearTimeouts:
		return 0, RuleCount
	case sent == 0:
		return never, 0
	case s.UserTimeout > 0:
		return s.UserTimeout, RuleUserTimeout
	default:
		return modelTimeout(s.Retries, s.RTO, s.RTOMax), RuleTimeModel
	}
}
