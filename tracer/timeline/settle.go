package timeline

import (
	"time"

	"tcptrace/tracer/event"
)

// deadlines are the connections whose stories may be told at a known time, the earliest first: a heap. Each is in at most
// once, so that none outlives its end here. The times stand in it, so that to compare two looks at neither connection.
type deadlines []deadline

type deadline struct {
	at time.Duration
	c  *Connection
}

// set moves a connection to the time at, 0 being never.
func (d *deadlines) set(c *Connection, at time.Duration) {
	switch {
	case at == 0:
		d.remove(c)
		return
	case c.slot == 0:
		*d = append(*d, deadline{})
		c.slot = len(*d)
	}
	d.place(c.slot-1, deadline{at, c})
}

func (d *deadlines) remove(c *Connection) {
	if c.slot == 0 {
		return
	}
	hole, end := c.slot-1, len(*d)-1
	last := (*d)[end]
	(*d)[end] = deadline{} // do not keep the connection alive
	*d = (*d)[:end]
	if hole < end {
		d.place(hole, last)
	}
	c.slot = 0
}

// until takes out the next connection whose time has come.
func (d *deadlines) until(now time.Duration) (*Connection, bool) {
	if len(*d) == 0 || (*d)[0].at > now {
		return nil, false
	}
	c := (*d)[0].c
	d.remove(c)
	return c, true
}

// place puts a deadline where it belongs, the place at being free.
func (d deadlines) place(at int, what deadline) {
	for at > 0 && what.at < d[(at-1)/2].at {
		d.hold(at, d[(at-1)/2])
		at = (at - 1) / 2
	}
	for {
		child := 2*at + 1
		if child+1 < len(d) && d[child+1].at < d[child].at {
			child++
		}
		if child >= len(d) || what.at <= d[child].at {
			break
		}
		d.hold(at, d[child])
		at = child
	}
	d.hold(at, what)
}

func (d deadlines) hold(at int, what deadline) {
	d[at] = what
	what.c.slot = at + 1
}

// past remembers the latest forgotten connections by name, without their stories.
type past struct {
	known map[event.ConnID]int // places in names
	names []Connection         // a ring
	next  int
}

func newPast() past { return past{known: make(map[event.ConnID]int)} }

func (p *past) keep(c *Connection) {
	if len(p.names) < remembered {
		p.names = append(p.names, Connection{})
		p.next = len(p.names) - 1
	}
	name := &p.names[p.next]
	if p.known[name.ID] == p.next {
		delete(p.known, name.ID)
	}
	*name = *c
	name.Events, name.Folded, name.Peer, name.Refused, name.Before, name.After, name.settled, name.slot = nil, nil, nil, nil, nil, nil, true, 0
	p.known[c.ID] = p.next
	p.next = (p.next + 1) % remembered
}

// find gives a forgotten connection, until the next is forgotten.
func (p *past) find(id event.ConnID) (*Connection, bool) {
	place, ok := p.known[id]
	if !ok {
		return nil, false
	}
	return &p.names[place], true
}
