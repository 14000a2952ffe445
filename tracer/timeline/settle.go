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
	known map[event.ConnID]*Connection
	order []event.ConnID // a ring
	next  int
}

func newPast() past { return past{known: make(map[event.ConnID]*Connection)} }

func (p *past) keep(c *Connection) {
	name := *c
	name.Events, name.Folded, name.Peer, name.Refused, name.Before, name.After, name.settled, name.slot = nil, nil, nil, nil, nil, nil, true, 0
	p.known[c.ID] = &name
	if len(p.order) < remembered {
		p.order = append(p.order, c.ID)
		return
	}
	delete(p.known, p.order[p.next])
	p.order[p.next] = c.ID
	p.next = (p.next + 1) % remembered
}

func (p *past) find(id event.ConnID) (*Connection, bool) {
	c, ok := p.known[id]
	return c, ok
}
