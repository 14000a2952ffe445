package schedule

import (
	"iter"
	"time"
)

// SYNACK is what rules the retries of a SYN-ACK that nobody acknowledges. Values beyond what the kernel takes count as
// the nearest that it does. Its schedule counts from the first SYN-ACK. TCP_USER_TIMEOUT and
// tcp_syn_linear_timeouts have no part in it, and a SYN that comes again is answered outside of it.
//
// A crowded listener ages its requests: see [SYNACK.Aged]. A request answered with a SYN cookie is never repeated.
type SYNACK struct {
	Retries int           // TCP_SYNCNT of the listener, or tcp_synack_retries
	RTO     time.Duration // initial; 0 means 1 s (TCP_TIMEOUT_INIT)
	// RTOMax is the listener's where its kernel asks it; 0 means 120 s (TCP_RTO_MAX). A kernel 6.18 does not ask:
	// tcp_rto_max_ms, which it has, changes nothing here.
	RTOMax time.Duration
	// Deferred is TCP_DEFER_ACCEPT, which the kernel turns into a number of timeouts; 0: off. It matters once the
	// client has acknowledged the SYN-ACK without sending anything (Acked): the request then waits in silence, and the
	// SYN-ACK goes again only towards the end, to provoke another ACK.
	Deferred time.Duration
	Acked    bool
	HZ       int // ticks per second; 0: unknown, the bounds then hold for every usual one
}

// leastAged is the number of retries to which ageing stops, and leastCrowd the queue that is never a crowd.
const (
	leastAged  = 2
	leastCrowd = 8
)

// Aged is s as the kernel has it while the SYN queue of the listener holds qlen requests, young of them without a
// timeout so far, and its accept queue has room for backlog: the fewer young ones among many, the fewer retries, so
// that old requests make room. The kernel asks anew at each timeout.
func (s SYNACK) Aged(qlen, young, backlog int) SYNACK {
	if qlen <= max(leastCrowd, backlog)/2 {
		return s
	}
	qlen, young = min(qlen, maxSent), within(young, 0, maxSent)
	for young *= 2; s.Retries > leastAged && qlen >= young; young *= 2 {
		s.Retries--
	}
	return s
}

// Retransmits yields each retransmission with its offset, until the kernel drops the request (reqsk_timer_handler,
// net/ipv4/inet_connection_sock.c). Attempt is the number of the timeout: those of a deferred request that send nothing
// are left out.
func (s SYNACK) Retransmits() iter.Seq[Step] {
	s = s.withinLimits()
	return func(yield func(Step) bool) {
		for t := range s.timeouts(0, 0) {
			if !t.last && t.resend && !yield(Step{Attempt: t.number, Offset: t.due, Latest: t.latest}) {
				return
			}
		}
	}
}

// End is when the request is dropped. Nobody is told: the application never knew of it, and to the client there is no
// RST until it sends something.
func (s SYNACK) End() End {
	s = s.withinLimits()
	var end End
	for t := range s.timeouts(0, 0) {
		end = End{Offset: t.due, Earliest: t.due, Latest: t.latest, Rule: RuleCount}
	}
	return end
}

// After forecasts from a real timeout: timeouts of them have been so far (num_timeout), the last at offset at. Total
// counts timeouts, those that send nothing included.
func (s SYNACK) After(timeouts int, at time.Duration) Forecast {
	s = s.withinLimits()
	timeouts, at = within(timeouts, 0, maxSYNCount), within(at, 0, horizon/2)
	var forecast Forecast
	for t := range s.timeouts(timeouts, at) {
		if forecast.Due == 0 {
			forecast.Due, forecast.Latest, forecast.Last = t.due, t.latest, t.last
		}
		forecast.GivesUp, forecast.GivesUpLatest, forecast.GivesUpEarliest = t.due, t.latest, t.due
		forecast.Total = t.number - 1
	}
	forecast.Rule = RuleCount
	return forecast
}

// withinLimits is s with its zeros replaced by what they mean, and nothing beyond what the kernel takes.
func (s SYNACK) withinLimits() SYNACK {
	s.Retries = within(s.Retries, 0, maxSYNCount)
	s.RTOMax = longestWait(s.RTOMax, s.HZ)
	if s.RTO <= 0 {
		s.RTO = timeoutInit
	}
	s.RTO = within(s.RTO, jiffy(s.HZ), s.RTOMax)
	return s
}

// timeout is one expiry of a request's timer.
type timeout struct {
	number int // from 1
	due    time.Duration
	latest time.Duration
	resend bool // the SYN-ACK goes again
	last   bool // the request is dropped instead
}

// timeouts yields each expiry from a timeout on, the one that drops the request being the last: n so far, the last at
// offset at.
func (s SYNACK) timeouts(n int, at time.Duration) iter.Seq[timeout] {
	deferred := s.deferredTimeouts()
	return func(yield func(timeout) bool) {
		for due, latest := at, at; ; n++ {
			wait := s.wait(n)
			due, latest = due+wait, latest+wait+WheelDelay(wait, s.HZ)
			t := timeout{
				number: n + 1, due: due, latest: latest,
				resend: !s.Acked || n >= deferred-1,
				last:   n >= s.Retries && (!s.Acked || n >= deferred),
			}
			if !yield(t) || t.last {
				return
			}
		}
	}
}

// wait is the timer after n timeouts.
func (s SYNACK) wait(n int) time.Duration {
	wait := s.RTO
	for ; n > 0 && wait < s.RTOMax; n-- {
		wait = min(2*wait, s.RTOMax)
	}
	return wait
}

// deferredTimeouts is how many timeouts TCP_DEFER_ACCEPT waits for data (secs_to_retrans, net/ipv4/tcp.c): those that
// reach its seconds, reckoned from 1 s up to 120 s whatever the timers are.
func (s SYNACK) deferredTimeouts() int {
	n := 0
	for period, wait := time.Duration(0), timeoutInit; period < s.Deferred && n < maxCount; n++ {
		period += wait
		wait = min(2*wait, rtoMax)
	}
	return n
}
