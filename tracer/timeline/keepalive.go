package timeline

import (
	"cmp"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/schedule"
)

// idleGrain is how far apart two readings of one moment can be that were both made in jiffies, at the lowest usual HZ.
const idleGrain = 2 * slowestTick

// keepaliveClock follows the keepalive timer of a socket: when each probe was due, and when the kernel ends the
// connection if none is answered. The offsets of its forecasts count from the peer's last segment. The zero value knows
// nothing and annotates nothing.
type keepaliveClock struct {
	rules schedule.Keepalive
	known bool // the settings are known
	on    bool // SO_KEEPALIVE

	running    bool          // the peer's last segment is known
	heard      time.Duration // CLOCK_MONOTONIC of the peer's last segment
	armed      time.Duration // and of when keepalive was turned on, where that was seen
	probed     time.Duration // and of the last probe, 0 where none was seen
	unanswered int           // probes since the peer's last segment

	foretold    bool // due and latest are known
	due, latest time.Duration
	next        schedule.Forecast
	firsts      *beginnings
}

// setRules takes the settings at the time now. Turning keepalive on arms the timer for the whole idle time
// (tcp_set_keepalive), setting the idle time arms it for what is left of that (tcp_sock_set_keepidle_locked). Interval,
// count and user timeout are read as the timer fires, so a change of these leaves the next fire where it was.
func (k *keepaliveClock) setRules(options *event.Options, sysctls *event.Sysctls, now time.Duration, hz int) {
	if options == nil || sysctls == nil {
		return
	}
	before := *k
	k.known, k.on = true, options.KeepAlive
	k.rules = schedule.Keepalive{
		Idle:        cmp.Or(options.KeepaliveIdle, sysctls.KeepaliveIdle, 2*time.Hour),
		Interval:    cmp.Or(options.KeepaliveInterval, sysctls.KeepaliveInterval, 75*time.Second),
		Count:       cmp.Or(options.KeepaliveCount, sysctls.KeepaliveCount, 9),
		UserTimeout: options.UserTimeout,
		HZ:          hz,
	}
	if before.known && !before.on && k.on {
		k.armed = now
	}
	switch at := now - k.heard; {
	case !k.running:
	case !before.known:
		k.next = k.rules.After(k.unanswered, at)
	case k.armed == now:
		k.expect(at+k.rules.Idle, schedule.WheelDelay(k.rules.Idle, hz))
	case before.rules.Idle != k.rules.Idle:
		wait := max(k.rules.Idle-at, 0)
		k.expect(at+wait, schedule.WheelDelay(wait, hz))
	default:
		k.expect(k.next.Due, k.next.Latest-k.next.Due)
	}
}

// expect forecasts from the timer's next fire, an offset that is known.
func (k *keepaliveClock) expect(fire, delay time.Duration) {
	over := k.unanswered >= k.rules.Count
	if k.rules.UserTimeout > 0 { // then the count is not asked
		over = k.unanswered > 0 && fire >= k.rules.UserTimeout
	}
	if over {
		k.next = schedule.Forecast{GivesUp: fire, GivesUpLatest: fire + delay, Total: k.unanswered}
	} else {
		k.next = k.rules.After(k.unanswered+1, fire)
	}
	k.next.Due, k.next.Latest, k.next.Last = fire, fire+delay, over
}

// hear takes note of a segment of the peer's, at a time on CLOCK_MONOTONIC. It leaves the timer alone: that runs for an
// interval from the last probe on, and only then looks at how long the peer has been silent.
func (k *keepaliveClock) hear(at time.Duration) {
	k.running, k.heard, k.unanswered = true, at, 0
	fire := k.probed + k.rules.Interval - at
	switch {
	case !k.known:
	case k.armed > at:
		k.expect(k.armed-at+k.rules.Idle, schedule.WheelDelay(k.rules.Idle, k.rules.HZ))
	case k.probed != 0 && fire > k.rules.Idle:
		k.expect(fire, schedule.WheelDelay(k.rules.Interval, k.rules.HZ))
	default:
		k.next = k.firsts.heard(k.rules)
	}
}

// hearBefore is hear of a segment that came idle before now, if that is news. An idle of 0 is not known.
func (k *keepaliveClock) hearBefore(now, idle time.Duration) {
	if idle == 0 {
		return
	}
	if at := now - idle; !k.running || (at-k.heard).Abs() > idleGrain {
		k.hear(at)
	}
}

// probe takes a probe.
func (k *keepaliveClock) probe(ev *event.Event) {
	k.hearBefore(ev.Mono, ev.Idle)
	attempt := bounded(cmp.Or(ev.Attempt, k.unanswered+1))
	k.foretold = k.known && k.running && attempt > k.unanswered
	for k.unanswered < attempt {
		k.step(k.unanswered+1 == attempt)
	}
	k.unanswered, k.probed = attempt, ev.Mono
	switch {
	case !k.known || !k.running:
	case ev.LocalCongestion:
		k.refused(ev.Mono - k.heard)
	default:
		k.next = k.rules.After(attempt, ev.Mono-k.heard)
	}
}

// refused is a probe at an offset that a queue of this host did not take. The kernel does not count it, and tries again soon,
// for as long as it takes: nothing but the user timeout ends it, once a probe has left.
func (k *keepaliveClock) refused(at time.Duration) {
	k.unanswered--
	wait := schedule.ResourceProbe
	k.expect(at+wait, schedule.WheelDelay(wait, k.rules.HZ))
}

// step passes a probe. One whose report is missing was sent between its due time and the latest, and so widens the
// bounds of the next.
func (k *keepaliveClock) step(reported bool) {
	k.unanswered++
	k.due, k.latest = k.next.Due, k.next.Latest
	if k.foretold && !reported {
		k.next = k.rules.After(k.unanswered, k.due)
		k.next.Latest = k.rules.After(k.unanswered, k.latest).Latest
	}
}

// annotate writes what comes next into an event, and into a probe also when it was due.
func (k *keepaliveClock) annotate(ev *event.Event, started time.Duration) {
	if ev.Kind == event.KeepaliveProbe && !ev.LocalCongestion {
		ev.Attempt = k.unanswered
	}
	if !k.known || !k.on || !k.running {
		return
	}
	base := k.heard - started
	write(ev, base, k.next)
	if ev.Kind == event.KeepaliveProbe && k.foretold {
		dueUnlessEarly(ev, base+k.due, base+k.latest, k.rules.HZ)
	}
}
