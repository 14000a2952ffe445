package timeline

import (
	"time"

	"tcptrace/tracer/event"
)

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
