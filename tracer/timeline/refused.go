package timeline

import (
	"time"

	"tcptrace/tracer/event"
)

// OnlyRefused says that all there is of it is what a listener on this host, or the way to one, made of SYNs that it
// did not take.
func (c *Connection) OnlyRefused() bool {
	server := c.Role == event.RoleListener || c.Role == event.RoleServer
	return server && !c.PreExisting && c.mayBeRefused() && c.has(isRefusal) &&
		!c.has(func(ev *event.Event) bool { return !isRefusal(ev) && ev.Kind != event.ResetSent })
}

// mayBeRefused spares most connections that they are searched at each event.
func (c *Connection) mayBeRefused() bool {
	return c.Saw(event.AcceptQueueFull) || c.Saw(event.SYNQueueFull) || c.Saw(event.Drop)
}

// isRefusal says that a SYN was not taken.
func isRefusal(ev *event.Event) bool {
	switch ev.Kind {
	case event.AcceptQueueFull:
		return ev.Stage == "syn"
	case event.SYNQueueFull:
		return true
	case event.Drop:
		return ev.TCPFlags == "SYN"
	}
	return false
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
