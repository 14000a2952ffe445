package timeline

import "tcptrace/tracer/event"

// Who closed a connection: the values of [event.Event.ClosedBy].
const (
	ByLocal  = "local"
	ByPeer   = "peer"
	ByKernel = "kernel"
)

// closedBy says who ended a connection, empty when what was seen does not tell. A socket that dies of an error has it
// in sk_err at the close; without one the state that it leaves tells whose FIN came first: tcp_close leads through
// FIN_WAIT1, tcp_fin through CLOSE_WAIT.
func closedBy(c *Connection, ev *event.Event) string {
	switch ev.Errno {
	case 0:
	case event.ECONNRESET, event.EPIPE: // tcp_reset
		return ByPeer
	case event.ECONNREFUSED: // tcp_reset in SYN_SENT; later it is an ICMP port unreachable, and the timer gave up
		if ev.OldState == event.StateUnknown || ev.OldState == event.StateSYNSent {
			return ByPeer
		}
		return ByKernel
	default: // tcp_write_err, an ICMP error, or tcp_abort
		return ByKernel
	}
	switch ev.OldState {
	case event.StateLastACK:
		return ByPeer
	case event.StateUnknown:
		return firstFIN(c.Events)
	case event.StateNewSYNRecv, event.StateSYNRecv:
		return "" // the request's end: the peer, the timer and the listener's close look alike
	}
	if c.has(func(e *event.Event) bool { return e.Kind == event.ResetReceived }) {
		return ByPeer
	}
	return ByLocal
}

func firstFIN(events []event.Event) string {
	for i := range events {
		switch events[i].State {
		case event.StateFinWait1:
			return ByLocal
		case event.StateCloseWait:
			return ByPeer
		}
	}
	return ""
}
