package timeline

import "tcptrace/tracer/event"

// room is the memory of connections whose stories nobody can read any more, for others: of a busy host's connections nearly
// all are short and alike. Without it a connection with both ends here takes 30 KB from the collector, with it 2.
type room struct{ free []*Connection }

const (
	usualStory = 6    // events: as many as either end has that begins and ends in order
	mostFree   = 2048 // stories
)

// take gives an empty connection, with room for its events.
func (r *room) take() *Connection {
	last := len(r.free) - 1
	if last < 0 {
		return &Connection{Events: make([]event.Event, 0, usualStory)}
	}
	c := r.free[last]
	r.free = r.free[:last]
	return c
}

// leave takes back the room of a forgotten connection, and of its other end, which may have been waiting for it to be
// forgotten. Either end's verdict tells of both.
func (r *room) leave(c *Connection) {
	c.left = true
	if c.entangled() {
		return
	}
	if c.Peer == nil {
		r.keep(c)
		return
	}
	if c.Peer.left && c.Peer.Peer == c && !c.Peer.entangled() {
		r.keep(c.Peer)
		r.keep(c)
	}
}

// entangled says that a third connection knows of it.
func (c *Connection) entangled() bool {
	return c.Refused != nil || c.Before != nil || c.After != nil || c.repaired || c.OnlyRefused()
}

// keep keeps a connection for another. Of one that was not ordinary, whoever tells stories may think for longer.
func (r *room) keep(c *Connection) {
	if cap(c.Events) != usualStory || len(r.free) == mostFree || !c.ordinary() {
		c.Events = nil
		return
	}
	clear(c.Events)
	*c = Connection{Events: c.Events[:0]}
	r.free = append(r.free, c)
}
