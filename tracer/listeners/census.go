package listeners

import (
	"net/netip"
	"slices"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/sockets"
)

// Census puts together what several listings saw: each listener once, with all of its owners, and, where only sock_diag could
// be asked, what the half-open and the waiting connections tell of their listener's queues. The zero value is ready to use.
type Census struct {
	known    map[identity]*Listener
	order    []*Listener
	requests []*sockets.Socket
	waiting  []*sockets.Socket
}

// identity tells listeners apart. The kernel may use the memory of one that was closed again while it is being listed.
type identity struct {
	netns uint32
	id    sockets.ID
	local netip.AddrPort
}

// Add takes a socket. One that is there already may add an owner.
func (c *Census) Add(s *sockets.Socket) {
	switch {
	case s.Listening != nil:
		c.addListener(s)
	case s.State == event.StateNewSYNRecv:
		c.requests = append(c.requests, s)
	case !s.Held && (s.State == event.StateEstablished || s.State == event.StateCloseWait):
		c.waiting = append(c.waiting, s)
	}
}

func (c *Census) addListener(s *sockets.Socket) {
	if c.known == nil {
		c.known = make(map[identity]*Listener)
	}
	key := identity{s.NetNS, s.ID, s.Local}
	l := c.known[key]
	if l == nil {
		l = &Listener{Socket: *s, HasSYNs: s.Listening.Whole}
		c.known[key] = l
		c.order = append(c.order, l)
		return
	}
	if s.Owner.Known() && !slices.Contains(l.Owners(), s.Owner) {
		if !l.Owner.Known() {
			l.Owner, l.FD = s.Owner, s.FD
			return
		}
		l.Others = append(l.Others, s.Owner)
	}
}

// Listeners are all that were added.
func (c *Census) Listeners() []*Listener {
	for _, s := range c.requests {
		c.countRequest(s)
	}
	for _, s := range c.waiting {
		c.countWaiting(s)
	}
	c.complete()
	c.requests, c.waiting = nil, nil
	return c.order
}

// takers are the listeners that a connection may have come by, those that are bound to its very address before those that
// take any.
func (c *Census) takers(s *sockets.Socket) []*Listener {
	var exact, any []*Listener
	for _, l := range c.order {
		switch takes, exactly := l.Takes(s.NetNS, s.Local); {
		case exactly:
			exact = append(exact, l)
		case takes:
			any = append(any, l)
		}
	}
	if len(exact) > 0 {
		return exact
	}
	return any
}

func (c *Census) countRequest(s *sockets.Socket) {
	for _, l := range c.takers(s) {
		if !l.Listening.Whole {
			l.Listening.SYNs++
		}
	}
}

// countWaiting notes for how long a connection has waited that nobody has accepted, if it is clear by which listener it came.
// It has sent nothing yet, so the kernel counts from when it was made (tcp_create_openreq_child).
func (c *Census) countWaiting(s *sockets.Socket) {
	takers := slices.DeleteFunc(c.takers(s), func(l *Listener) bool { return l.Listening.Whole || l.Accept().Len == 0 })
	if len(takers) != 1 {
		return
	}
	l := takers[0]
	l.Waiting, l.HasWaiting = max(l.Waiting, s.LastSent), true
}

// address is what listeners can share only by SO_REUSEPORT.
type address struct {
	netns  uint32
	local  netip.AddrPort
	device int
}

func (l *Listener) address() address { return address{l.NetNS, l.Local, l.Listening.Device} }

// complete adds what follows for listeners of which only sock_diag tells.
func (c *Census) complete() {
	sharing := make(map[address]int)
	for _, l := range c.order {
		sharing[l.address()]++
	}
	for _, l := range c.order {
		n := sharing[l.address()]
		if l.Listening.Whole {
			continue
		}
		l.HasSYNs = n == 1 || l.Listening.SYNs == 0
		if n > 1 {
			l.Listening.ReusePort, l.Listening.Group = true, n
		}
	}
}

// Since notes what has become of listeners that an earlier listing saw, over that time.
func Since(earlier, now []*Listener, over time.Duration) {
	before := make(map[identity]*Listener, len(earlier))
	for _, l := range earlier {
		before[identity{l.NetNS, l.ID, l.Local}] = l
	}
	for _, l := range now {
		l.Recent = &Recent{Over: over, Drops: l.Drops}
		if old := before[identity{l.NetNS, l.ID, l.Local}]; old != nil {
			l.Recent.Drops = int(int32(l.Drops) - int32(old.Drops))
		}
	}
}
