package timeline

import (
	"cmp"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/schedule"
)

// windowClock follows the probes of a window that the peer keeps shut. The offsets of its forecasts count from the
// first of them, and foretell what happens when nothing is answered from now on. The zero value knows nothing and
// annotates nothing.
type windowClock struct {
	rules schedule.ZeroWindow
	known bool // the settings are known

	sent       int           // probes since the window shut, those that a queue of this host refused aside
	unanswered int           // the latest in a row without an answer, refused ones included
	first      time.Duration // CLOCK_MONOTONIC of the first

	foretold    bool // due and latest are known
	due, latest time.Duration
	next        schedule.Forecast
}

func (k *windowClock) setRules(options *event.Options, sysctls *event.Sysctls, hz int) {
	if options == nil || sysctls == nil {
		return
	}
	k.known = true
	k.rules = schedule.ZeroWindow{
		Retries2:    sysctls.Retries2,
		UserTimeout: options.UserTimeout,
		RTOMax:      cmp.Or(options.RTOMax, sysctls.RTOMax),
		HZ:          hz,
	}
}

// probe takes a window probe.
func (k *windowClock) probe(ev *event.Event) {
	attempt := bounded(cmp.Or(ev.Attempt, k.unanswered+1))
	first := ev.Mono - ev.Elapsed
	same := k.shut() && (first-k.first).Abs() <= idleGrain
	k.rules.RTO = cmp.Or(ev.RTO>>min(max(ev.Backoff, 0), 62), k.rules.RTO) // ev.RTO is the wait for the next probe
	if !same {
		k.sent, k.unanswered, k.first = bounded(max(attempt, ev.Backoff, 1))-1, attempt-1, first
	}
	if !same && ev.LocalCongestion {
		k.sent = bounded(ev.Backoff)
	}
	// The wait for a probe begins with the answer to the one before it, if there was one, and when that came is not known.
	k.foretold = same && k.known && attempt == k.unanswered+1
	k.due, k.latest = k.next.Due, k.next.Latest
	k.unanswered = attempt
	if ev.LocalCongestion {
		k.refuse(ev)
		return
	}
	k.sent = bounded(k.sent + 1)
	k.forecast(ev.Mono)
}

// shut says that the window has been probed, and is not known to have opened since.
func (k *windowClock) shut() bool { return k.sent > 0 || k.unanswered > 0 }

// refuse takes a probe that a queue of this host did not take: it counts, but the kernel does not back off.
func (k *windowClock) refuse(ev *event.Event) {
	if k.known {
		k.next = k.rules.AfterRefused(k.sent, k.unanswered, ev.Mono-k.first, 0)
	}
}

// answer is an acknowledgement at the time now that leaves the window shut: the timer is armed anew (tcp_ack_probe).
func (k *windowClock) answer(now time.Duration) {
	if k.shut() {
		k.unanswered = 0
		k.forecast(now)
	}
}

// forecast is what follows a probe, or an answer, at the time now.
func (k *windowClock) forecast(now time.Duration) {
	if k.known {
		k.next = k.rules.After(k.sent, k.unanswered, now-k.first, 0)
	}
}

// annotate writes the schedule into the event of the latest probe.
func (k *windowClock) annotate(ev *event.Event, started time.Duration) {
	ev.Attempt = k.unanswered
	if !k.known {
		return
	}
	base := k.first - started
	write(ev, base, k.next)
	if k.foretold {
		dueUnlessEarly(ev, base+k.due, base+k.latest, k.rules.HZ)
	}
}
