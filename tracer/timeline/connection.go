// Package timeline makes connections of events: their order, their offsets, which attempt each retry is, and when
// it was due.
//
// It is pure: it has no clock of its own and reads no files. Time is what the events carry.
package timeline

import (
	"net/netip"
	"slices"
	"time"

	"tcptrace/tracer/event"
)

// Connection is the story of one connection so far.
type Connection struct {
	ID     event.ConnID
	Cookie uint64
	NetNS  uint32
	Local  netip.AddrPort
	Remote netip.AddrPort
	Role   event.Role
	Owner  event.Owner
	State  event.State

	Options *event.Options
	Sysctls *event.Sysctls
	ISN     uint32
	PeerISN uint32

	// Events are in time order, annotated. Of a long story they are the first, the latest, and between them those
	// that happen only once.
	Events []event.Event
	// Folded counts, by kind, the events that Events leaves out; nil when it leaves out none.
	Folded map[event.Kind]int

	// PreExisting says that it is older than the trace, so its beginning was not seen.
	PreExisting bool
	// Closed says that a close event came.
	Closed bool
	// Expired says that no close came and none can come any more: a half-open request that outlived every
	// SYN-ACK timer, or a reset that was sent without a socket. Only [Tracker.Settled] sets it.
	Expired bool

	// Peer is the other end of this connection, when it is on this host too; nil otherwise. That of one that was
	// [Connection.OnlyRefused] is the client, or what a later SYN of the same client became.
	Peer *Connection
	// Refused is what a listener on this host made of this connection's SYNs before it took one, or instead; nil
	// otherwise.
	Refused *Connection
	// Before is the connection on the same two ends that was reset just before this one began, and After the one that
	// began then; nil otherwise. Only the server's end has them.
	Before, After *Connection
	// Sibling is the connect that won where this one was closed before its handshake was complete; nil when there is
	// none. Only [Tracker.Settled] sets it.
	Sibling *Sibling

	clocks
	joined   joined
	race     *race
	ports    portsKey // the zero value: not known yet
	started  time.Duration
	arrived  int    // numbered records that came
	highest  uint32 // of their numbers
	total    uint32 // what close says was numbered
	halfOpen bool   // a server's request without its final ACK
	slot     int    // 1 + its place among the deadlines; 0: not there
	settled  bool
	foldAt   int    // how long Events may get
	left     bool   // the tracker has forgotten it
	repaired bool   // it has been the other end of more than one
	kinds    uint64 // of the events that came, a bit each; 0 in one that no tracker has made
}

// Started is the time of the first event, on CLOCK_MONOTONIC.
func (c *Connection) Started() time.Duration { return c.started }

// Told says that its story was told before: what still comes of it is too late.
func (c *Connection) Told() bool { return c.settled }

// Missing counts the records that the kernel side numbered for this connection and that never arrived: the gaps in
// Nth, and what is short of the Total that close carries. What was lost after the last arrival of a connection
// that has not closed cannot be known.
func (c *Connection) Missing() int {
	return max(0, int(max(c.highest, c.total))-c.arrived)
}

// Complete says that every record up to the close arrived, by the kernel side's own count. Records that follow the
// close (an ICMP error, the errno of connect) are beyond that count.
func (c *Connection) Complete() bool { return c.total != 0 && c.Missing() == 0 }

// inOrder says that it ended by a FIN from each side, without anything that calls for an explanation, and that all of it
// was seen.
func (c *Connection) inOrder() bool {
	if !c.Closed || c.settled || c.PreExisting || !c.Complete() || c.kinds == 0 {
		return false
	}
	for _, kind := range unusual {
		if c.Saw(kind) {
			return false
		}
	}
	last := &c.Events[len(c.Events)-1]
	return last.Kind == event.Close && last.Errno == 0 && (last.OldState == event.StateLastACK ||
		last.OldState == event.StateFinWait2 || last.OldState == event.StateClosing)
}

// unusual are the kinds that something may follow which explains them.
var unusual = []event.Kind{
	event.SYNRetransmit, event.SYNACKRetransmit, event.SYNACKDuplicate, event.Retransmit, event.KeepaliveProbe, event.WindowProbe,
	event.ResetSent, event.ResetReceived, event.ICMPError, event.AcceptQueueFull, event.SYNQueueFull, event.SYNACKTimeout,
	event.Drop, event.Error,
}

// Socketless says that all there is of it is what this host did without having a socket: resets, its answer to packets
// for a port where nothing listens; packets that it dropped; or what came for a socket that is long gone.
func (c *Connection) Socketless() bool {
	if len(c.Events) == 0 || c.PreExisting || c.State != event.StateUnknown {
		return false
	}
	return !c.has(func(ev *event.Event) bool { return !slices.Contains(socketlessKinds, ev.Kind) })
}

// has says whether any event of the story is such a one. Events are too large to be handed on by value.
func (c *Connection) has(such func(*event.Event) bool) bool {
	for i := range c.Events {
		if such(&c.Events[i]) {
			return true
		}
	}
	return false
}

var socketlessKinds = []event.Kind{event.ResetSent, event.Drop, event.ICMPError}

// Saw says that an event of that kind may be among Events: most questions about a connection are answered by that none is.
func (c *Connection) Saw(kind event.Kind) bool { return c.kinds == 0 || c.kinds&(1<<kind) != 0 }

// Uneventful says that all that was seen of it, and of its other end on this host, is of kinds that every connection has
// which begins and ends in order.
func (c *Connection) Uneventful() bool {
	return c.ordinary() && !c.entangled() && (c.Peer == nil || c.Peer.ordinary() && !c.Peer.entangled())
}

// ordinary says that only such events came.
func (c *Connection) ordinary() bool { return c.kinds != 0 && c.kinds&^ordinaryKinds == 0 }

// ordinaryKinds are those of a story that begins and ends in order, a bit each.
const ordinaryKinds = 1<<event.Connect | 1<<event.SYNSent | 1<<event.SYNReceived | 1<<event.Established | 1<<event.Accept |
	1<<event.StateChange | 1<<event.Close

// closing is the time of the close, on CLOCK_MONOTONIC; 0 when none came.
func (c *Connection) closing() time.Duration {
	for i := len(c.Events) - 1; i >= 0; i-- {
		if c.Events[i].Kind == event.Close {
			return c.Events[i].Mono
		}
	}
	return 0
}

// FarEnd says that it is the server's part of a story that another connection tells: its client's, when that is on this
// host too, or that of the SYN which was taken after this one was refused.
func (c *Connection) FarEnd() bool {
	switch c.Role {
	case event.RoleServer, event.RoleListener:
		return c.Peer != nil
	}
	return false
}

// insert puts an event in its place, which is the end unless it came later than its window allowed.
func (c *Connection) insert(ev *event.Event) {
	c.kinds |= 1 << ev.Kind
	i := len(c.Events)
	for i > 0 && c.Events[i-1].Mono > ev.Mono {
		i--
	}
	if i == len(c.Events) {
		c.Events = append(c.Events, *ev)
		return
	}
	c.Events = slices.Insert(c.Events, i, *ev)
}

// count keeps the books of Missing.
func (c *Connection) count(ev *event.Event) {
	if ev.Nth != 0 {
		c.arrived++
		c.highest = max(c.highest, ev.Nth)
	}
	c.total = max(c.total, ev.Total)
}
