package tracer

import (
	"time"

	"tcptrace/tracer/host"
)

// wallClock turns CLOCK_MONOTONIC into the time of day.
type wallClock struct {
	offset  time.Duration // what to add to get the time since the epoch
	checked time.Duration // CLOCK_MONOTONIC when offset was taken
}

// at follows steps of the host's clock within a second, without asking for it at every event.
func (c *wallClock) at(mono time.Duration) time.Time {
	if c.checked == 0 || mono-c.checked > time.Second {
		now := host.Monotonic()
		c.offset, c.checked = time.Duration(time.Now().UnixNano())-now, now
	}
	return time.Unix(0, int64(mono+c.offset))
}
