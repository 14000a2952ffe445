package timeline

import (
	"container/heap"
	"time"

	"tcptrace/tracer/event"
)

// deadlines are the connections whose stories may be told at a known time, the earliest first. Each is in at most
// once, so that none outlives its end here.
type deadlines []*Connection

// set moves a connection to the time at, 0 being never.
func (d *deadlines) set(c *Connection, at time.Duration) {
	c.deadline = at
	switch {
	case at == 0:
		d.remove(c)
	case c.slot == 0:
		heap.Push(d, c)
	default:
		heap.Fix(d, c.slot-1)
	}
}

func (d *deadlines) remove(c *Connection) {
	if c.slot != 0 {
		heap.Remove(d, c.slot-1)
	}
}

// until takes out the next connection whose time has come.
func (d *deadlines) until(now time.Duration) (*Connection, bool) {
	if len(*d) == 0 || (*d)[0].deadline > now {
		return nil, false
	}
	return heap.Pop(d).(*Connection), true
}

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].deadline < d[j].deadline }

func (d deadlines) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].slot, d[j].slot = i+1, j+1
}

func (d *deadlines) Push(x any) {
	c := x.(*Connection)
	*d = append(*d, c)
	c.slot = len(*d)
}

func (d *deadlines) Pop() any {
	last := len(*d) - 1
	c := (*d)[last]
	(*d)[last] = nil // do not keep the connection alive
	*d = (*d)[:last]
	c.slot = 0
	return c
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
