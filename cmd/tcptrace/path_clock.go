package main

import (
	"time"

	"tcptrace/prober/path"
	"tcptrace/tracer/event"
)

// kernelClock times SYNs by the kernel's events: from the moment when one is handed to a network device, or else is
// made, to the moment when its answer arrives. The socket's cookie joins the two views.
type kernelClock struct {
	traced  bool
	trips   map[uint64]*trip // by cookie
	cookies map[event.ConnID]uint64
}

// trip is when a SYN went and when its answer came, on CLOCK_MONOTONIC; 0 is not known.
type trip struct {
	conn             event.ConnID
	made, left, came time.Duration
	closed           bool // nothing more will come
}

func newKernelClock(traced bool) *kernelClock {
	return &kernelClock{traced: traced, trips: make(map[uint64]*trip), cookies: make(map[event.ConnID]uint64)}
}

// note takes an event.
func (c *kernelClock) note(ev *event.Event) {
	if ev.Kind == event.Connect && ev.Cookie != 0 {
		c.trips[ev.Cookie] = &trip{conn: ev.Conn, made: ev.Mono}
		c.cookies[ev.Conn] = ev.Cookie
		return
	}
	t := c.trips[c.cookies[ev.Conn]]
	switch {
	case t == nil:
	case ev.Kind == event.SYNSent && t.left == 0:
		t.left = ev.Mono
	case isAnswer(ev) && t.came == 0:
		t.came = ev.Mono
	}
	if t != nil && ev.Kind == event.Close {
		t.closed = true
	}
}

// isAnswer says that something arrived for a SYN. An ICMP error that finds the socket free ends it at once, with its errno
// (tcp_v4_err): where ICMP errors cannot be seen, that can.
func isAnswer(ev *event.Event) bool {
	switch ev.Kind {
	case event.Established, event.ResetReceived, event.ICMPError:
		return true
	case event.Close:
		return ev.Errno != 0
	}
	return false
}

// wants says that the kernel may know better how long an answer took.
func (c *kernelClock) wants(a *path.Answer) bool { return c.traced && a.RTT > 0 && a.Cookie != 0 }

// settle gives an answer the kernel's time for it. It is false as long as that may still come; when it did not, the
// answer keeps its own.
func (c *kernelClock) settle(a *path.Answer, now time.Duration) bool {
	t := c.trips[a.Cookie]
	complete := t != nil && (t.came != 0 || t.closed)
	if !complete && now < a.Started+a.Lifetime+probeGrace {
		return false
	}
	if complete && t.came > t.begin() && t.begin() != 0 {
		a.RTT, a.Clock = t.came-t.begin(), path.ClockKernel
	}
	c.forget(a.Cookie)
	return true
}

// begin is when the SYN went.
func (t *trip) begin() time.Duration {
	if t.left != 0 {
		return t.left
	}
	return t.made
}

// forget drops what is known of a SYN that nobody asks about.
func (c *kernelClock) forget(cookie uint64) {
	if t := c.trips[cookie]; t != nil {
		delete(c.cookies, t.conn)
		delete(c.trips, cookie)
	}
}
