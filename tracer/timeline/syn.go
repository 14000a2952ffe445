package timeline

import (
	"cmp"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/schedule"
)

// mostRetransmits bounds what a recording can make us compute: TCP_SYNCNT ends at 127 (MAX_TCP_SYNCNT), and
// tcp_syn_linear_timeouts, which has the same limit, comes on top.
const mostRetransmits = 127 + 127

// synClock follows the SYN timer of one client: when the latest SYN was due, and what comes next. The offsets of its
// forecasts count from the first SYN. The zero value knows nothing and annotates nothing.
type synClock struct {
	rules   schedule.SYN
	known   bool          // the rules are known
	running bool          // the first SYN was seen, or it is known when it was
	since   int           // the attempt that was seen first: when it was due is not known
	first   time.Duration // CLOCK_MONOTONIC of the first SYN
	last    time.Duration // and of the latest
	attempt int           // which the latest is; 0 is the first SYN

	due, latest time.Duration // when the latest SYN was due; zero for the first
	next        schedule.Forecast
	firsts      *beginnings
}

// setRules takes the settings that rule the socket's SYN retries, its own and those of its network namespace.
// Without the namespace's there is no schedule: a default would be a guess.
func (k *synClock) setRules(options *event.Options, sysctls *event.Sysctls, rto time.Duration, hz int) {
	if sysctls == nil {
		return
	}
	var own event.Options
	if options != nil {
		own = *options
	}
	k.known = true
	k.rules = schedule.SYN{
		Retries:        cmp.Or(own.SYNRetries, sysctls.SYNRetries),
		LinearTimeouts: sysctls.SYNLinearTimeouts,
		UserTimeout:    own.UserTimeout,
		RTO:            cmp.Or(k.rules.RTO, rto),
		RTOMax:         cmp.Or(own.RTOMax, sysctls.RTOMax),
		HZ:             hz,
	}
}

// sent is a transmission at the time now, after which the kernel's timer is rto (0: not reported). Every SYN is
// reported twice, by the device and by who sent it: the second report moves only what comes next, because the timer
// is armed last of all.
func (k *synClock) sent(attempt int, now, rto time.Duration) {
	if !k.running {
		if attempt > 0 { // the first was not seen, so there is nothing to count from
			k.attempt = attempt
			return
		}
		k.running, k.first = true, now
	}
	k.advance(min(attempt, mostRetransmits))
	k.last = max(k.last, now)
	k.forecast(rto)
}

// resume begins with a retransmission of which the kernel says how long ago the first SYN was: it is older than the trace.
func (k *synClock) resume(ev *event.Event) {
	if k.running || ev.Attempt <= 0 || ev.Elapsed <= 0 {
		return
	}
	attempt := min(ev.Attempt, mostRetransmits)
	k.running, k.since, k.attempt = true, attempt, attempt
	k.first, k.last = ev.Mono-ev.Elapsed, ev.Mono
}

func (k *synClock) forecast(rto time.Duration) {
	switch {
	case !k.known || !k.running:
	case k.attempt == 0 && k.last == k.first:
		k.next = k.firsts.firstSYN(k.rules, rto)
	default:
		k.next = k.rules.After(k.attempt, k.last-k.first, rto)
	}
}

// refuse says that a queue of this host did not take the latest SYN, so that the kernel tries again soon.
func (k *synClock) refuse(rto time.Duration) {
	if k.known && k.running {
		k.next = k.rules.AfterRefused(k.attempt, k.last-k.first, rto)
	}
}

// advance steps to an attempt. One whose report is missing was sent between its due time and the latest, and so
// widens the bounds of the next.
func (k *synClock) advance(attempt int) {
	for k.attempt < attempt {
		k.attempt++
		k.due, k.latest = k.next.Due, k.next.Latest
		if k.known && k.attempt < attempt {
			k.next = k.rules.After(k.attempt, k.due, 0)
			k.next.Latest = k.rules.After(k.attempt, k.latest, 0).Latest
		}
	}
}

// attemptAt is the attempt that a SYN seen at a device at the time now belongs to. A device sees it while the timer
// does its work, so it is the latest one, or the next when more than half of the wait for that is over.
func (k *synClock) attemptAt(now time.Duration) int {
	wait := time.Second // TCP_TIMEOUT_INIT, the shortest there is without a schedule
	if k.known {
		wait = k.next.Due - (k.last - k.first)
	}
	if k.running && now-k.last > wait/2 {
		return k.attempt + 1
	}
	return k.attempt
}

// annotate writes the schedule into the event of the latest SYN. Offsets of events count from the connection's first
// event, which may be a little earlier than the first SYN.
func (k *synClock) annotate(ev *event.Event, started time.Duration) {
	ev.Attempt = k.attempt
	if !k.known || !k.running {
		return
	}
	base := k.first - started
	ev.AttemptsExpected = k.next.Total
	ev.GivesUp = base + k.next.GivesUp
	ev.NextDue = base + k.next.Due
	if k.next.Last {
		ev.NextDue = ev.GivesUp
	}
	if k.attempt > k.since {
		due(ev, base+k.due, base+k.latest, k.rules.HZ)
	}
}
