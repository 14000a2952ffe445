package timeline

import (
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/schedule"
)

// mostAttempts bounds what a recording can make us compute: icsk_probes_out and icsk_retransmits are bytes.
const mostAttempts = 255

func bounded(attempt int) int { return min(max(attempt, 0), mostAttempts) }

// slowestTick is that of the lowest usual HZ.
const slowestTick = 10 * time.Millisecond

// tick is one period of the kernel's timer interrupt; the longest usual one where hz is unknown.
func tick(hz int) time.Duration {
	if hz <= 0 {
		return slowestTick
	}
	return time.Second / time.Duration(hz)
}

// due writes when the event was due, and how late it is. The bound of the timer wheel leaves out what the timer softirq
// itself takes to come and to get through the timers before this one, so nothing is late by less than a tick.
func due(ev *event.Event, predicted, latest time.Duration, hz int) {
	ev.Predicted, ev.Latest = predicted, latest
	if over := ev.Offset - latest; over > tick(hz) {
		ev.Late = over
	}
}

// dueUnlessEarly is due for timers that others set as well. No timer fires early, so an event before its time had its
// timer set by something that was not seen: it was not foretold.
func dueUnlessEarly(ev *event.Event, predicted, latest time.Duration, hz int) {
	if ev.Offset+tick(hz) >= predicted {
		due(ev, predicted, latest, hz)
	}
}

// write puts a forecast into an event; base is the offset from which it counts.
func write(ev *event.Event, base time.Duration, next schedule.Forecast) {
	ev.AttemptsExpected = next.Total
	ev.NextDue = base + next.Due
	if next.GivesUp != 0 {
		ev.GivesUp = base + next.GivesUp
	}
	if next.Last {
		ev.NextDue = ev.GivesUp
	}
}
