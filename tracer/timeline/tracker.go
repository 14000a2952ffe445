package timeline

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"tcptrace/tracer/event"
)

// DefaultSettle is how long after its close a connection's story is taken as told: ICMP errors and the errno of
// connect are reported after the state change that they caused, by as much as it takes the process to run again.
const DefaultSettle = 60 * time.Millisecond

// remembered is how many forgotten connections stay known by name, so that a record that comes even later than the
// settle window still gets its owner and tuple and does not look like the start of another connection.
const remembered = 1024

// Config is what a tracker cannot learn from events.
type Config struct {
	HZ     int           // the kernel's ticks per second; 0 is unknown: the bounds then hold for every usual one
	Settle time.Duration // 0 means DefaultSettle
}

// Tracker makes connections of events that come in time order. It keeps a connection until [Tracker.Forget]; a caller
// that forgets what [Tracker.Settled] gave it uses memory for the living connections only. It is not safe for
// concurrent use.
type Tracker struct {
	config Config
	events uint64
	conns  map[event.ConnID]*Connection
	ends   ends
	races  races
	ports  ports
	due    deadlines
	past   past
	room   room
	firsts beginnings
}

// New makes a tracker.
func New(config Config) *Tracker {
	config.Settle = cmp.Or(config.Settle, DefaultSettle)
	return &Tracker{config: config, conns: make(map[event.ConnID]*Connection), ends: newEnds(), races: newRaces(), ports: newPorts(), past: newPast()}
}

// Add numbers the event, annotates it in place, and gives the connection that it belongs to, with a copy of the event
// as part of its story. What the hook could not see of owner and tuple is filled from the connection. An event
// without a ConnID makes a connection of its own.
func (t *Tracker) Add(ev *event.Event) *Connection {
	t.events++
	ev.N = t.events
	c := t.connection(ev)
	c.learn(ev)
	c.tell(ev)
	c.count(ev)
	ev.Offset = ev.Mono - c.started
	t.annotate(c, ev)
	if c.settled {
		return c
	}
	c.insert(ev)
	c.fold()
	t.ends.join(c)
	t.races.follow(c, ev)
	t.ports.follow(c, ev)
	t.schedule(c, ev)
	return c
}

// Connection is the connection of that id, nil if there is none.
func (t *Tracker) Connection(id event.ConnID) *Connection { return t.conns[id] }

// Settled gives each connection once, when its story is told at the time now (CLOCK_MONOTONIC): its close is older
// than the settle window, or it has [Connection.Expired].
func (t *Tracker) Settled(now time.Duration) []*Connection {
	var told []*Connection
	for c, ok := t.due.until(now); ok; c, ok = t.due.until(now) {
		c.settled = true
		c.Expired = !c.Closed
		if c.ID == 0 {
			t.ends.remove(c) // nobody can name it, so nobody can forget it
			t.ports.remove(c)
			continue
		}
		if c.Closed && !c.Saw(event.Established) {
			c.Sibling = t.races.sibling(c)
		}
		told = append(told, c)
	}
	return told
}

// Forget frees a connection, which must not be looked at after that. Its other end keeps what it knows of it.
func (t *Tracker) Forget(id event.ConnID) {
	c, ok := t.conns[id]
	if !ok {
		return
	}
	delete(t.conns, id)
	t.due.remove(c)
	t.ends.remove(c)
	t.ports.remove(c)
	t.races.leave(c)
	t.past.keep(c)
	t.room.leave(c)
}

// Open says that there are connections, told or not, that were not forgotten.
func (t *Tracker) Open() bool { return len(t.conns) > 0 }

// Telling says that [Tracker.Settled] will give a connection even if nothing happens.
func (t *Tracker) Telling() bool { return len(t.due) > 0 }

// OpenConnections gives the connections that are not settled, in the order of their first events: what is left when
// the trace ends.
func (t *Tracker) OpenConnections() []*Connection {
	open := slices.Collect(maps.Values(t.conns))
	open = slices.DeleteFunc(open, func(c *Connection) bool { return c.settled })
	slices.SortFunc(open, func(a, b *Connection) int {
		return cmp.Or(cmp.Compare(a.started, b.started), cmp.Compare(a.ID, b.ID))
	})
	return open
}

func (t *Tracker) connection(ev *event.Event) *Connection {
	if c, ok := t.conns[ev.Conn]; ok {
		return c
	}
	if c, ok := t.past.find(ev.Conn); ok {
		return c
	}
	c := t.room.take()
	c.ID, c.started = ev.Conn, ev.Mono
	c.remember(&t.firsts)
	if ev.Conn != 0 {
		t.conns[ev.Conn] = c
	}
	return c
}

// schedule sets when the story is told.
func (t *Tracker) schedule(c *Connection, ev *event.Event) {
	var at time.Duration
	switch {
	case ev.Kind == event.Close && c.inOrder() && c.Peer != nil && c.Peer.inOrder():
		// Both ends have ended in order, by the kernel's own count of their events: nothing that explains more can come. To
		// tell them at once, while they are in the processor's cache, takes a twelfth off what watch takes of a busy host.
		at = ev.Mono
		t.due.set(c.Peer, at)
	case ev.Kind == event.Close:
		at = ev.Mono + t.config.Settle
	case c.Closed:
		return
	case c.OnlyRefused():
		at = ev.Mono + nextSYN(ev.Mono-c.started) + t.config.Settle
	case c.Socketless() || ev.Kind == event.SYNACKTimeout:
		at = ev.Mono + t.config.Settle
	case c.halfOpen:
		at = ev.Mono + requestLife(c.Sysctls) + t.config.Settle
	case c.ID == 0:
		at = ev.Mono + t.config.Settle
	}
	t.due.set(c, at)
}

// requestLife is the longest that a half-open request can live without another event: all the waits of
// reqsk_timer_handler, each a timer wheel's eighth late. Its SYN-ACKs may stay unseen in between, because
// TCP_DEFER_ACCEPT holds them back.
func requestLife(sysctls *event.Sysctls) time.Duration {
	const (
		initial = time.Second     // TCP_TIMEOUT_INIT
		longest = 2 * time.Minute // TCP_RTO_MAX
	)
	retries := 5 // TCP_SYNACK_RETRIES; TCP_DEFER_ACCEPT may exceed a smaller sysctl
	if sysctls != nil {
		retries = min(max(retries, sysctls.SYNACKRetries), 255)
	}
	var life time.Duration
	for i := range retries + 1 {
		life += min(initial<<min(i, 7), longest)
	}
	return life + life/8
}
