package timeline

import (
	"cmp"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/schedule"
)

// stampGrain is how far apart two readings of retrans_stamp can be. It is in milliseconds, and of the time that the
// timer read when it began (tcp_write_timer_handler): the first retransmission's event is later by as long as a busy
// CPU took from there. No usual RTO is so short that another's could be meant.
const stampGrain = slowestTick

// mostMissing is how many retransmissions in a row may have gone unseen for the next to be foretold.
const mostMissing = 3

// dataClock follows the retransmission timer of unacknowledged data. The offsets of its forecasts count from the first
// transmission of that data. When that was is not reported, and nothing depends on it: what the kernel holds against
// its limit is the time since the first retransmission. The zero value knows nothing and annotates nothing.
type dataClock struct {
	rules schedule.Data
	known bool // the settings are known

	sent  int           // retransmissions of the same data by the timer so far
	first time.Duration // CLOCK_MONOTONIC of the first retransmission; 0: not known
	began time.Duration // and of the offset 0

	armed       bool // next holds: nothing else has set the timer since
	foretold    bool // due and latest are known
	due, latest time.Duration
	next        schedule.Forecast
}

func (k *dataClock) setRules(options *event.Options, sysctls *event.Sysctls, hz int) {
	if options == nil || sysctls == nil {
		return
	}
	k.known = true
	k.rules = schedule.Data{
		Retries2:    sysctls.Retries2,
		UserTimeout: options.UserTimeout,
		RTOMax:      cmp.Or(options.RTOMax, sysctls.RTOMax),
		HZ:          hz,
	}
}

// retransmit takes a retransmission by the timer.
func (k *dataClock) retransmit(ev *event.Event) {
	attempt := bounded(ev.Attempt)
	began := ev.Mono - ev.Elapsed
	same := k.first != 0 && attempt > k.sent && (ev.Elapsed == 0 || (began-k.first).Abs() <= stampGrain)
	if !same {
		k.begin(attempt, ev)
	}
	k.foretold = same && k.armed && attempt-k.sent <= mostMissing
	for k.sent < attempt {
		k.step(k.sent+1 == attempt)
	}
	k.armed = k.known && k.first != 0 && ev.RTO != 0
	switch {
	case !k.armed:
	case ev.LocalCongestion:
		k.next = k.rules.AfterRefused(k.sent, ev.Mono-k.began, k.first-k.began, ev.RTO)
	default:
		k.next = k.rules.After(k.sent, ev.Mono-k.began, k.first-k.began, ev.RTO)
	}
}

// begin is the first that is seen of the retransmissions of some data.
func (k *dataClock) begin(attempt int, ev *event.Event) {
	k.sent, k.first, k.armed = attempt, 0, false
	if attempt == 1 || ev.Elapsed != 0 {
		k.first = ev.Mono - ev.Elapsed
		k.began = k.first - ev.RTO>>min(attempt, 10)
	}
}

// step passes a retransmission; see [keepaliveClock.step].
func (k *dataClock) step(reported bool) {
	k.sent++
	k.due, k.latest = k.next.Due, k.next.Latest
	if k.foretold && !reported {
		first := k.first - k.began
		k.next = k.rules.After(k.sent, k.due, first, 0)
		k.next.Latest = k.rules.After(k.sent, k.latest, first, 0).Latest
	}
}

// rearm says that something else set the timer: an acknowledgement, a loss probe, a fast retransmission.
func (k *dataClock) rearm() { k.armed = false }

// annotate writes the schedule into a retransmission by the timer. Once this side has closed, an orphan is given fewer
// tries, and whether it is one was not seen: then only the next try is foretold.
func (k *dataClock) annotate(ev *event.Event, started time.Duration) {
	base := k.began - started
	if k.foretold {
		dueUnlessEarly(ev, base+k.due, base+k.latest, k.rules.HZ)
	}
	if !k.armed {
		return
	}
	write(ev, base, k.next)
	switch ev.State {
	case event.StateFinWait1, event.StateClosing, event.StateLastACK:
		ev.AttemptsExpected, ev.GivesUp = 0, 0
	}
}
