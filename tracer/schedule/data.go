package schedule

import (
	"iter"
	"math"
	"time"
)

// Data is what rules the retransmission of data that nobody acknowledges. Values beyond what the kernel takes count as
// the nearest that it does. Its schedule counts from the last transmission before the retransmissions.
//
// The limit on time counts from the first retransmission (retrans_stamp), not from the data's first transmission, and
// comes from a model that starts at 200 ms whatever the RTO is.
type Data struct {
	Retries2    int           // tcp_retries2: of a model of time, not a count
	UserTimeout time.Duration // TCP_USER_TIMEOUT, which then is the limit instead; 0: none
	RTO         time.Duration // icsk_rto at the first transmission; 0 means 200 ms (TCP_RTO_MIN)
	RTOMax      time.Duration // 0 means 120 s (TCP_RTO_MAX)
	// LossProbe is when a tail loss probe goes first, counted from the transmission; 0: none. The RTO then begins with
	// the probe, so that all the rest is later by as much. A probe is no retransmission to the limit.
	LossProbe time.Duration
	// Orphan says that the application has closed the socket. OrphanRetries (tcp_orphan_retries) then takes the place
	// of Retries2; its 0 means 8 while the timer has not come to RTOMax, and none from there on.
	Orphan        bool
	OrphanRetries int
	// ThinLinear says that the first six retransmissions do not double the wait: TCP_THIN_LINEAR_TIMEOUTS or
	// tcp_thin_linear_timeouts is on, and the stream thin (tcp_stream_is_thin), with fewer than four segments in flight
	// and past its initial slow start. Not every congestion control leaves that: BBR does not.
	ThinLinear bool
	HZ         int // ticks per second; 0: unknown, the bounds then hold for every usual one
}

// The kernel's numbers for data (net/ipv4/tcp_timer.c, include/net/tcp.h).
const (
	thinLinearRetries = 6 // TCP_THIN_LINEAR_RETRIES
	aliveOrphan       = 8 // of tcp_orphan_retries, where the sysctl says 0
)

// Retransmits yields each retransmission on the RTO timer with its offset, until the kernel gives up
// (tcp_retransmit_timer, net/ipv4/tcp_timer.c). They are those of exact timers: late ones never make more, but may make
// fewer (see [End]).
func (d Data) Retransmits() iter.Seq[Step] {
	d = d.withinLimits()
	return func(yield func(Step) bool) {
		due, latest := d.first()
		if !yield(Step{Attempt: 1, Offset: due, Latest: latest}) {
			return
		}
		for f := range d.backoff().fires(after(1, 0, d.rtoAfter(1))) {
			step := Step{Attempt: f.sent + 1, Offset: due + f.due, Latest: latest + f.latestSend()}
			if f.rule != 0 || !yield(step) {
				return
			}
		}
	}
}

// End is when the kernel gives up, and why, if nothing is ever acknowledged. No RST tells the peer.
func (d Data) End() End {
	d = d.withinLimits()
	due, latest := d.first()
	end, _ := d.backoff().end(after(1, 0, d.rtoAfter(1)))
	end.Offset, end.Earliest, end.Latest = end.Offset+due, end.Earliest+due, end.Latest+latest
	if d.Orphan {
		end.Errno = ""
	}
	return end
}

// After forecasts from a real transmission: sent retransmissions have been made on the RTO timer so far, the first of
// them at offset first and the last at offset at. With none so far, at is that of the last transmission that armed the
// timer: 0, or that of a tail loss probe. rto, when not zero, is the icsk_rto that the kernel reported after that
// transmission, and overrules the computed one.
//
// [Data.AfterRefused] is for a retransmission that the local queue refused.
func (d Data) After(sent int, at, first, rto time.Duration) Forecast {
	d = d.withinLimits()
	sent, at = within(sent, 0, maxSent), within(at, 0, horizon/2)
	if sent == 0 {
		return d.afterOriginal(at, rto)
	}
	first = within(first, 0, at)
	return d.backoff().forecast(d.afterSent(sent, at-first, rto)).later(first, first)
}

// AfterRefused is [Data.After] of a retransmission that the local queue refused, as [SYN.AfterRefused] is of a SYN.
func (d Data) AfterRefused(sent int, at, first, rto time.Duration) Forecast {
	d = d.withinLimits()
	sent, at = within(sent, 1, maxSent), within(at, 0, horizon/2)
	first = within(first, 0, at)
	if rto <= 0 {
		rto = d.rtoAfter(sent - 1)
	}
	return d.backoff().forecastRefused(d.afterSent(sent, at-first, rto)).later(first, first)
}

// afterSent is the timer after a real retransmission, since after the first. d is within limits.
func (d Data) afterSent(sent int, since, rto time.Duration) armed {
	if rto <= 0 {
		rto = d.rtoAfter(sent)
	}
	return after(sent, since, min(rto, d.RTOMax))
}

// afterOriginal forecasts where nothing was retransmitted yet.
func (d Data) afterOriginal(at, rto time.Duration) Forecast {
	if rto > 0 {
		d.RTO = min(rto, d.RTOMax)
	}
	if at > 0 {
		d.LossProbe = 0
	}
	due, latest := d.first()
	forecast := d.backoff().forecast(after(1, 0, d.rtoAfter(1))).later(at+due, at+latest)
	forecast.Due, forecast.Latest, forecast.Last = at+due, at+latest, false
	return forecast
}

// first is when the first retransmission is due, nominally and at the latest. The user timeout does not shorten the
// wait for it.
func (d Data) first() (due, latest time.Duration) {
	if d.LossProbe > 0 {
		latest = WheelDelay(d.LossProbe, d.HZ)
	}
	due = d.LossProbe + d.RTO
	return due, due + latest + WheelDelay(d.RTO, d.HZ)
}

func (d Data) rtoAfter(sent int) time.Duration { return d.backoff().rtoAfter(sent, d.RTO) }

// withinLimits is d with its zeros replaced by what they mean, and nothing beyond what the kernel takes.
func (d Data) withinLimits() Data {
	d.Retries2 = within(d.Retries2, 0, maxCount)
	d.OrphanRetries = within(d.OrphanRetries, 0, maxCount)
	d.UserTimeout = within(d.UserTimeout, 0, maxUserTimeout)
	d.RTOMax = max(longestWait(d.RTOMax, d.HZ), leastRTOMax)
	d.RTO = dataRTO(d.RTO, d.RTOMax, d.HZ)
	d.LossProbe = within(d.LossProbe, 0, d.RTO)
	return d
}

// dataRTO is the RTO of an established connection within the kernel's limits; 0 means the least that is usual.
func dataRTO(rto, longest time.Duration, hz int) time.Duration {
	if rto <= 0 {
		rto = rtoMin
	}
	return within(rto, jiffy(hz), longest)
}

// backoff is the timer from the first retransmission on. d is within limits.
func (d Data) backoff() backoff {
	b := backoff{
		hz:          d.HZ,
		rtoMax:      d.RTOMax,
		doublings:   math.MaxInt,
		userTimeout: retransmitUserTimeout(d.UserTimeout),
		limit:       d.limit,
	}
	if d.ThinLinear {
		b.linear = thinLinearRetries
	}
	return b
}

// limit is the time from the first retransmission from which on a fire with the timer rto gives up
// (tcp_write_timeout, tcp_orphan_retries).
func (d Data) limit(_ int, rto time.Duration) (time.Duration, Rule) {
	switch {
	case d.UserTimeout > 0:
		return d.UserTimeout, RuleUserTimeout
	case !d.Orphan:
		return modelTimeout(d.Retries2, rtoMin, d.RTOMax), RuleTimeModel
	case d.OrphanRetries == 0 && rto < d.RTOMax:
		return modelTimeout(aliveOrphan, rtoMin, d.RTOMax), RuleOrphan
	default:
		return modelTimeout(d.OrphanRetries, rtoMin, d.RTOMax), RuleOrphan
	}
}
