package timeline

import (
	"cmp"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/schedule"
)

// synackClock follows the SYN-ACKs of one half-open request. The offsets of its forecasts count from the first SYN-ACK.
// The zero value knows nothing and annotates nothing.
type synackClock struct {
	rules schedule.SYNACK
	known bool // the settings are known

	running  bool          // the first SYN-ACK was seen, and all that followed it
	first    time.Duration // CLOCK_MONOTONIC of the first SYN-ACK
	repeats  int           // SYN-ACKs sent again, for whatever reason
	timeouts int           // of these, those on the timer

	foretold    bool // due and latest are known
	due, latest time.Duration
	next        schedule.Forecast
	firsts      *beginnings
}

// setRules takes the settings: the listener's TCP_SYNCNT is that of the request.
func (k *synackClock) setRules(options *event.Options, sysctls *event.Sysctls, hz int) {
	if sysctls == nil {
		return
	}
	var own event.Options
	if options != nil {
		own = *options
	}
	k.known = true
	k.rules = schedule.SYNACK{
		Retries: cmp.Or(own.SYNRetries, sysctls.SYNACKRetries),
		HZ:      hz,
	}
	if sysctls.SYNACKRTOMax {
		k.rules.RTOMax = cmp.Or(own.RTOMax, sysctls.RTOMax)
	}
	k.forecast(k.first)
}

// sent is the first SYN-ACK at the time now.
func (k *synackClock) sent(now time.Duration) {
	k.running, k.first = true, now
	k.forecast(now)
}

// repeated is another one. One that answers a SYN that came again counts as no timeout and arms the timer anew
// (inet_rtx_syn_ack in tcp_check_req).
func (k *synackClock) repeated(ev *event.Event) {
	before := k.repeats
	k.repeats = max(before+1, ev.Attempt)
	k.running = k.running && k.repeats == before+1
	k.foretold = k.known && k.running && k.isTimeout(ev)
	if k.foretold {
		k.due, k.latest = k.next.Due, k.next.Latest
		k.timeouts++
	}
	k.forecast(ev.Mono)
}

// isTimeout goes by the time where the kernel side does not tell, as with TCP Fast Open.
func (k *synackClock) isTimeout(ev *event.Event) bool {
	if ev.Trigger != "" {
		return ev.Trigger == "rto"
	}
	return ev.Mono-k.first+tick(k.rules.HZ) >= k.next.Due
}

func (k *synackClock) forecast(now time.Duration) {
	switch {
	case !k.known || !k.running:
	case k.timeouts == 0 && now == k.first:
		k.next = k.firsts.firstSYNACK(k.rules)
	default:
		k.next = k.rules.After(k.timeouts, now-k.first)
	}
}

// annotate writes the schedule into the event of a SYN-ACK.
func (k *synackClock) annotate(ev *event.Event, started time.Duration) {
	ev.Attempt = cmp.Or(ev.Attempt, k.repeats)
	if !k.known || !k.running {
		return
	}
	base := k.first - started
	write(ev, base, k.next)
	// The timer counts its own; those that answer SYNs which come again are on top of them.
	ev.AttemptsExpected += k.repeats - k.timeouts
	if k.foretold {
		dueUnlessEarly(ev, base+k.due, base+k.latest, k.rules.HZ)
	}
}
