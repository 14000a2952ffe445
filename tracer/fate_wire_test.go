package tracer_test

import (
	"fmt"

	"tcptrace/tracer/event"
)

// An act is a packet of a connection that has an event, as either shows it.
type act struct {
	Kind     event.Kind
	Seq, Ack uint32
	Len      int
}

// seen is what the events say that the connection's timers sent, and what came of it, until the application closes.
func (l *life) seen() []act {
	var acts []act
	for i := range l.client.Events {
		switch ev := &l.client.Events[i]; ev.Kind {
		case event.KeepaliveProbe, event.Retransmit:
			acts = append(acts, act{ev.Kind, ev.TCPSeq, ev.TCPAck, ev.Len})
		case event.WindowProbe:
			if ev.Len == 0 { // or else it carries what there was room for, and on the wire that is data like other
				acts = append(acts, act{ev.Kind, ev.TCPSeq, ev.TCPAck, 0})
			}
		case event.KeepaliveAnswer:
			if l.load != dataUnsent { // those of window probes are seen as far as they tell anything
				acts = append(acts, act{Kind: ev.Kind})
			}
		case event.ResetReceived:
			acts = append(acts, act{Kind: ev.Kind})
		case event.ResetSent:
			if l.held == 0 { // or else the application sends it
				acts = append(acts, act{Kind: ev.Kind})
			}
		case event.StateChange:
			return acts
		}
	}
	return acts
}

// sent is the same by what was captured.
func (l *life) sent() []act {
	out := way{l.client.Local, l.client.Remote}
	back := way{out.to, out.from}
	var acts []act
	var next uint32 // what the client has not sent yet
	var probed bool
	for _, s := range l.wire {
		switch (way{s.from, s.to}) {
		case out:
			probed = false
			end := s.seq + uint32(s.len)
			switch {
			case s.flags&flagSYN != 0:
				next = end + 1
			case s.flags&flagFIN != 0:
				return acts
			case s.flags&flagRST != 0:
				if l.held == 0 {
					acts = append(acts, act{Kind: event.ResetSent})
				}
			case s.len == 0 && s.seq == next-1:
				probed = true
				acts = append(acts, act{l.probes(), s.seq, s.ack, 0})
			case s.len > 0 && int32(end-next) <= 0:
				acts = append(acts, act{event.Retransmit, s.seq, s.ack, s.len})
			default:
				next = end
			}
		case back:
			switch {
			case s.flags&flagRST != 0:
				acts = append(acts, act{Kind: event.ResetReceived})
			case probed && l.load != dataUnsent:
				acts = append(acts, act{Kind: event.KeepaliveAnswer})
			}
		}
	}
	return acts
}

// probes is the kind of probe that the load leads to.
func (l *life) probes() event.Kind {
	if l.load == dataUnsent {
		return event.WindowProbe
	}
	return event.KeepaliveProbe
}

// missing says which event there should be and is not, if all that there are should be; empty where none is missing.
func (l *life) missing() string {
	if l.one(event.Close) == nil {
		return "the close"
	}
	if l.client.Events[0].Kind != event.Connect || !has(l.client.Events, event.Established, event.RoleClient) {
		return "the beginning"
	}
	seen, sent := l.seen(), l.sent()
	if len(seen) >= len(sent) {
		return ""
	}
	var first string
	for _, a := range sent {
		switch {
		case len(seen) > 0 && seen[0] == a:
			seen = seen[1:]
		case first == "":
			first = fmt.Sprintf("that of %+v", a)
		}
	}
	if len(seen) > 0 {
		return ""
	}
	return first
}
