package timeline

import (
	"slices"
	"time"

	"tcptrace/tracer/event"
)

// refusals are the kinds of events that a SYN can have of which no connection came.
var refusals = [...]event.Kind{event.AcceptQueueFull, event.SYNQueueFull, event.Drop, event.ResetSent}

// OnlyRefused says that all there is of it is what a listener on this host, or the way to one, made of SYNs that it
// did not take.
func (c *Connection) OnlyRefused() bool {
	if len(c.Events) == 0 || c.PreExisting || c.Role != event.RoleListener {
		return false
	}
	return !slices.ContainsFunc(c.Events, func(ev event.Event) bool { return !slices.Contains(refusals[:], ev.Kind) })
}

// nextSYN is when, at the latest, a SYN comes again whose first came so long ago: each wait is the double of the one
// before and so about as long as all of them together (tcp_retransmit_timer), and a timer wheel's eighth late.
func nextSYN(elapsed time.Duration) time.Duration {
	const (
		initial = time.Second     // TCP_TIMEOUT_INIT
		longest = 2 * time.Minute // TCP_RTO_MAX
		busy    = 250 * time.Millisecond
	)
	wait := min(elapsed+initial, longest)
	return wait + wait/8 + busy
}
