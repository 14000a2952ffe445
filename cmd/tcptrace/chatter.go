package main

import (
	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
)

// chatter keeps the keepalive of healthy connections from drowning everything else: a probe is held back until it is
// known whether it is answered, and goes with its answer. The zero value lets everything through.
type chatter struct {
	hides    bool
	held     map[event.ConnID]occurrence
	answered uint64 // probes that were not shown
}

// occurrence is an event of a connection.
type occurrence struct {
	connection *timeline.Connection
	event      *event.Event
}

// pass gives what there is to show when an event comes: nothing, the event, or a probe before it that it turns out was
// worth showing.
func (h *chatter) pass(now occurrence) []occurrence {
	if !h.hides || now.event.Conn == 0 {
		return []occurrence{now}
	}
	conn := now.event.Conn
	before, waits := h.held[conn]
	switch {
	case startsAsking(now.event):
		// The answer to an earlier one was not seen, but the kernel has counted anew.
		if waits {
			h.answered++
		}
		h.hold(now)
		return nil
	case waits && now.event.Kind == event.KeepaliveAnswer:
		delete(h.held, conn)
		h.answered++
		return nil
	case waits:
		delete(h.held, conn)
		return []occurrence{before, now}
	}
	return []occurrence{now}
}

// startsAsking says that ev is the first probe after an answer. Whether that is the start of trouble is not known yet.
func startsAsking(ev *event.Event) bool {
	return ev.Kind == event.KeepaliveProbe && ev.Attempt <= 1 && ev.Errno == 0
}

// hold keeps a copy: who hands events on may change them.
func (h *chatter) hold(o occurrence) {
	if h.held == nil {
		h.held = make(map[event.ConnID]occurrence)
	}
	kept := *o.event
	h.held[o.event.Conn] = occurrence{o.connection, &kept}
}

// release gives the probe of a connection that is still held, now that its story ends.
func (h *chatter) release(conn event.ConnID) (occurrence, bool) {
	before, waits := h.held[conn]
	delete(h.held, conn)
	return before, waits
}
