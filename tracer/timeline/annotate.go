package timeline

import (
	"cmp"

	"tcptrace/tracer/event"
)

// clocks are the kernel's timers of one connection, followed through its events.
type clocks struct {
	syn       synClock
	synack    synackClock
	keepalive keepaliveClock
	data      dataClock
	window    windowClock
}

// remember gives the clocks what was forecast of others.
func (c *clocks) remember(firsts *beginnings) {
	c.syn.firsts, c.synack.firsts, c.keepalive.firsts = firsts, firsts, firsts
}

// annotate writes what only the connection's past can tell.
func (t *Tracker) annotate(c *Connection, ev *event.Event) {
	if ev.Options != nil || ev.Sysctls != nil {
		c.setRules(ev, t.config.HZ)
	}
	c.keepalive.hearBefore(ev.Mono, ev.Idle)
	switch ev.Kind {
	case event.OptionsChanged:
		c.syn.forecast(0)
		c.keepalive.annotate(ev, c.started)
	case event.Connect:
		c.syn.sent(0, ev.Mono, ev.RTO)
		c.syn.annotate(ev, c.started)
	case event.SYNSent:
		// The timer is set after this, so what the hook sees of it is still the last one.
		c.syn.sent(cmp.Or(ev.Attempt, c.syn.attemptAt(ev.Mono)), ev.Mono, 0)
		c.syn.annotate(ev, c.started)
	case event.SYNRetransmit:
		c.syn.resume(ev)
		c.syn.sent(cmp.Or(ev.Attempt, c.syn.attemptAt(ev.Mono), 1), ev.Mono, ev.RTO)
		if ev.LocalCongestion {
			c.syn.refuse(ev.RTO)
		}
		c.syn.annotate(ev, c.started)
	case event.SYNReceived:
		c.halfOpen = true
		c.synack.sent(ev.Mono)
		c.synack.annotate(ev, c.started)
	case event.SYNACKRetransmit:
		c.halfOpen = c.halfOpen || len(c.Events) == 0
		c.synack.repeated(ev)
		c.synack.annotate(ev, c.started)
	case event.Established:
		c.halfOpen = false
		c.keepalive.hear(ev.Mono)
		c.keepalive.annotate(ev, c.started)
	case event.Accept, event.SYNACKTimeout:
		c.halfOpen = false
	case event.Retransmit:
		c.retransmitted(ev)
	case event.KeepaliveProbe:
		c.keepalive.probe(ev)
		c.keepalive.annotate(ev, c.started)
	case event.KeepaliveAnswer:
		c.window.answer(ev.Mono)
		c.keepalive.hear(ev.Mono)
		c.keepalive.annotate(ev, c.started)
	case event.WindowProbe:
		c.window.probe(ev)
		c.window.annotate(ev, c.started)
	case event.Close:
		c.halfOpen, c.Closed = false, true
		ev.ClosedBy = cmp.Or(ev.ClosedBy, closedBy(c, ev))
	}
}

// setRules gives the settings that an event brings to every clock.
func (c *Connection) setRules(ev *event.Event, hz int) {
	c.syn.setRules(c.Options, c.Sysctls, ev.RTO, hz)
	c.synack.setRules(c.Options, c.Sysctls, hz)
	c.keepalive.setRules(c.Options, c.Sysctls, ev.Mono, hz)
	c.data.setRules(c.Options, c.Sysctls, hz)
	c.window.setRules(c.Options, c.Sysctls, hz)
}

// retransmitted takes data that was sent again. At a window that shrank with data in flight the timer counts no
// retransmission, and what it sends is a probe without a schedule of its own.
func (c *Connection) retransmitted(ev *event.Event) {
	if ev.Trigger != "rto" || ev.Attempt == 0 {
		c.data.rearm()
		return
	}
	c.data.retransmit(ev)
	c.data.annotate(ev, c.started)
}
