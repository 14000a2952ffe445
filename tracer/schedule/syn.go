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

// Step is one retransmission.
type Step struct {
	Attempt int           // from 1
	Offset  time.Duration // nominal, from the first SYN
	Latest  time.Duration // with the lateness of this timer and of all before it
}

// End is when the kernel gives up, as offsets from the first SYN.
type End struct {
	Offset time.Duration // nominal
	Latest time.Duration // with the lateness of all timers
	// Earliest is Offset, save where late timers can reach a time limit one or more retransmissions sooner than
	// exact ones would.
	Earliest time.Duration
	Rule     Rule // by which clause, nominally
}

// Forecast is what follows a real transmission. All times are offsets from the first SYN.
type Forecast struct {
	Due    time.Duration // nominal next fire of the timer
	Latest time.Duration // the latest that the timer wheel allows
	Last   bool          // the next fire, if it is on time, gives up instead of sending

	GivesUp       time.Duration // nominal
	GivesUpLatest time.Duration // with the lateness of all timers from now on
	Total         int           // retransmissions expected in all, those already made included
}

// Retransmits yields each retransmission of an unanswered SYN with its offset from the first SYN, until the kernel
// gives up. It follows tcp_retransmit_timer and tcp_write_timeout (net/ipv4/tcp_timer.c): the first LinearTimeouts
// waits stay equal and come on top of Retries, then each wait doubles up to the RTO maximum; the time model that
// may end it earlier ignores the linear ones. These are the retransmissions of exact timers: late ones never make
// more, but may make fewer (see [End]).
func (s SYN) Retransmits() iter.Seq[Step] {
	s = s.withinLimits()
	return func(yield func(Step) bool) {
		for f := range s.fires(0, 0, s.RTO) {
			if f.rule != 0 {
				return
			}
			if !yield(Step{Attempt: f.sent + 1, Offset: f.due, Latest: s.latestSend(f)}) {
				return
			}
		}
	}
}

// End is when the kernel gives up, and why, if nothing ever answers the SYN.
func (s SYN) End() End {
	s = s.withinLimits()
	end, _ := s.end(0, 0, s.RTO)
	return end
}

// After forecasts from a real transmission: sent retransmissions have been made so far, and the last SYN left at
// offset at from the first one. rto, when not zero, is the icsk_rto that the kernel reported after that
// transmission, and overrules the computed one. Limits on time are held against at, the real time: that is what
// the kernel compares.
//
// A retransmission that the local queue refused (a positive result of tcp_retransmit_skb) is not covered: the
// kernel then tries again after half a second, whatever the RTO.
func (s SYN) After(sent int, at, rto time.Duration) Forecast {
	s = s.withinLimits()
	sent = max(sent, 0)
	at = max(at, 0)
	if rto <= 0 {
		rto = s.rtoAfter(sent)
	}
	rto = min(rto, s.RTOMax)

	end, total := s.end(sent, at, rto)
	forecast := Forecast{GivesUp: end.Offset, GivesUpLatest: end.Latest, Total: total}
	for next := range s.fires(sent, at, rto) {
		forecast.Due, forecast.Latest, forecast.Last = next.due, next.latest, next.rule != 0
		break
	}
	return forecast
}

// end is the end of the schedule that goes on from a transmission, and the number of all retransmissions.
func (s SYN) end(sent int, at, rto time.Duration) (End, int) {
	end := End{Earliest: math.MaxInt64}
	for f := range s.fires(sent, at, rto) {
		if s.mayGiveUp(f) {
			end.Earliest = min(end.Earliest, s.earliestEnd(f))
		}
		end.Latest = max(end.Latest, f.latest)
		end.Offset, end.Rule, sent = f.due, f.rule, f.sent
	}
	return end, sent
}
