package schedule

import (
	"iter"
	"math/bits"
	"time"
)

// The kernel's limits (include/net/tcp.h, net/ipv4/tcp.c).
const (
	timeoutInit    = time.Second              // TCP_TIMEOUT_INIT
	rtoMax         = 120 * time.Second        // TCP_RTO_MAX, and the most that tcp_rto_max_ms takes
	maxSYNCount    = 127                      // MAX_TCP_SYNCNT, of tcp_syn_retries and tcp_syn_linear_timeouts alike
	maxUserTimeout = (1<<31 - 1) * clockGrain // TCP_USER_TIMEOUT is an int of milliseconds
	clockGrain     = time.Millisecond         // of tcp_time_stamp_ts, by which elapsed time is measured
)

// withinLimits is s with its zeros replaced by what they mean, and nothing beyond what the kernel takes.
func (s SYN) withinLimits() SYN {
	s.Retries = min(max(s.Retries, 0), maxSYNCount)
	s.LinearTimeouts = min(max(s.LinearTimeouts, 0), maxSYNCount)
	s.UserTimeout = min(max(s.UserTimeout, 0), maxUserTimeout)
	if s.RTOMax <= 0 || s.RTOMax > rtoMax {
		s.RTOMax = rtoMax
	}
	if s.HZ > 0 {
		s.RTOMax = atHZ(ticks(s.RTOMax, s.HZ), s.HZ) // icsk_rto_max is in jiffies
	}
	if s.RTO <= 0 {
		s.RTO = timeoutInit
	}
	s.RTO = min(s.RTO, s.RTOMax)
	return s
}

// fire is one expiry of the timer.
type fire struct {
	sent   int           // retransmissions made before it
	due    time.Duration // with exact timers
	latest time.Duration // with every timer as late as it can be
	rule   Rule          // by which exact timers give up here; 0: they send again
}

// fires yields each expiry of the timer, the one that gives up being the last, from a transmission on: sent
// retransmissions made so far, the last at offset at, with the timer rto after it.
func (s SYN) fires(sent int, at, rto time.Duration) iter.Seq[fire] {
	return func(yield func(fire) bool) {
		for early, late := at, at; ; sent++ {
			f := fire{sent: sent, due: early + s.wait(sent, rto, early), latest: s.latestFire(sent, rto, early, late)}
			f.rule = s.rule(sent, f.due)
			if !yield(f) || f.rule != 0 {
				return
			}
			early, late = f.due, s.latestSend(f)
			if sent+1 > s.LinearTimeouts {
				rto = min(2*rto, s.RTOMax)
			}
		}
	}
}

// rule is the clause of tcp_write_timeout that ends it at a fire, if one does.
func (s SYN) rule(sent int, elapsed time.Duration) Rule {
	switch {
	case sent >= s.Retries+s.LinearTimeouts:
		return RuleCount
	case sent == 0 || elapsed < s.limit():
		return 0
	case s.UserTimeout > 0:
		return RuleUserTimeout
	default:
		return RuleTimeModel
	}
}

// mayGiveUp says whether any timers, exact or late, give up at f.
func (s SYN) mayGiveUp(f fire) bool {
	return f.rule != 0 || f.sent > 0 && f.latest > s.limit()-clockGrain
}

// earliestEnd is the soonest that any timers give up at f.
func (s SYN) earliestEnd(f fire) time.Duration {
	if f.rule != 0 {
		return f.due
	}
	return max(f.due, s.limit()-clockGrain)
}

// limit is the time from the first SYN after which any fire but the first gives up (retransmits_timed_out).
func (s SYN) limit() time.Duration {
	if s.UserTimeout > 0 {
		return s.UserTimeout
	}
	return s.timeModel()
}

// timeModel is tcp_model_timeout: what Retries doubling waits take. It knows nothing of the linear ones.
func (s SYN) timeModel() time.Duration {
	doublings := bits.Len64(uint64(s.RTOMax/s.RTO)) - 1
	if s.Retries <= doublings {
		return (2<<s.Retries - 1) * s.RTO
	}
	return (2<<doublings-1)*s.RTO + time.Duration(s.Retries-doublings)*s.RTOMax
}

// rtoAfter is the RTO once sent retransmissions have been made.
func (s SYN) rtoAfter(sent int) time.Duration {
	rto := s.RTO
	for doubled := s.LinearTimeouts; doubled < sent && rto < s.RTOMax; doubled++ {
		rto = min(2*rto, s.RTOMax)
	}
	return rto
}

// clamped says whether TCP_USER_TIMEOUT shortens the wait after sent retransmissions
// (tcp_clamp_rto_to_user_timeout). The first timer, armed by tcp_connect, is never shortened.
func (s SYN) clamped(sent int) bool { return s.UserTimeout > 0 && sent > 0 }

// wait is what the timer is armed for by a transmission at offset at.
func (s SYN) wait(sent int, rto, at time.Duration) time.Duration {
	if !s.clamped(sent) {
		return rto
	}
	return min(rto, max(s.UserTimeout-at, jiffy(s.HZ)))
}

// latestSend is the latest that a fire can send again: fires beyond the limit give up, however late they are.
func (s SYN) latestSend(f fire) time.Duration {
	if f.sent == 0 {
		return f.latest
	}
	return min(f.latest, s.limit())
}

// latestFire is the latest fire of a timer armed by a transmission at some time from early to late. Where the user
// timeout shortens the wait, a later transmission does not mean a later fire: all aim at the same deadline.
func (s SYN) latestFire(sent int, rto, early, late time.Duration) time.Duration {
	if !s.clamped(sent) || late <= s.UserTimeout-rto {
		return late + rto + WheelDelay(rto, s.HZ)
	}
	var latest time.Duration
	if early < s.UserTimeout {
		latest = s.UserTimeout + clampDelay(min(rto, s.UserTimeout-early), s.HZ)
	}
	if late >= s.UserTimeout {
		latest = max(latest, late+jiffy(s.HZ)+WheelDelay(jiffy(s.HZ), s.HZ))
	}
	return latest
}
