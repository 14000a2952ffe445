package timeline

import (
	"slices"

	"tcptrace/tracer/event"
)

// How much of a story is kept. An event takes about a kilobyte with what hangs on it, so a connection that lives for
// weeks takes some tens of them.
const (
	keptFirst  = 8    // events at the beginning
	keptLatest = 24   // events at the end: more than tcp_retries2 retransmissions, or TCP_KEEPCNT probes, by default
	keptTurns  = 1024 // of the turns between: twice as many as a handshake can have (mostRetransmits)
)

// turns are the kinds that a connection goes through once, or at most as often as the SYN timer allows. All others may
// come again for as long as it lives.
var turns = [...]event.Kind{
	event.Connect, event.SYNSent, event.SYNReceived, event.SYNRetransmit, event.SYNACKRetransmit, event.Established,
	event.Accept, event.StateChange, event.ResetReceived, event.Error, event.Close,
}

// fold takes repeated events out of the middle of a story that has grown long, and counts them. It works on many
// at once, so that adding an event costs the same however many came before.
func (c *Connection) fold() {
	if len(c.Events) < max(c.foldAt, keptFirst+2*keptLatest) {
		return
	}
	middle := c.Events[keptFirst : len(c.Events)-keptLatest]
	excess := len(middle) - keptTurns
	kept := slices.DeleteFunc(middle, func(ev event.Event) bool {
		excess--
		if slices.Contains(turns[:], ev.Kind) && excess < 0 {
			return false
		}
		c.countFolded(&ev)
		return true
	})
	c.Events = slices.Delete(c.Events, keptFirst+len(kept), len(c.Events)-keptLatest)
	c.foldAt = len(c.Events) + keptLatest
}

func (c *Connection) countFolded(ev *event.Event) {
	if c.Folded == nil {
		c.Folded = make(map[event.Kind]int)
	}
	c.Folded[ev.Kind] += max(1, ev.Count)
}
