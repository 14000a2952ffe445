package verdict

import (
	"fmt"
	"slices"

	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
)

// uncounted are the kinds whose loss the connection's own count cannot show: those that may follow its close, and
// those that would have told that the other end is on this host.
var uncounted = []event.Kind{
	event.ICMPError, event.Error, event.ResetSent, event.SYNReceived, event.SYNACKRetransmit, event.AcceptQueueFull,
	event.SYNQueueFull, event.SYNACKTimeout, event.Drop, event.Established,
}

// doubts are the sentences about what was not seen and could change the cause. With any of them no verdict is
// certain.
func (s *story) doubts(r *rule) []string {
	var doubts []string
	add := func(sentence string) {
		if sentence != "" {
			doubts = append(doubts, sentence)
		}
	}
	add(s.untracedDoubt())
	if s.traced() {
		add(s.gapDoubt())
		add(s.lossDoubt())
		add(s.beginningDoubt())
		if r.rests != nil {
			for _, kind := range r.rests(s) {
				add(s.blindDoubt(kind))
			}
		}
	}
	if r.doubts != nil {
		doubts = append(doubts, r.doubts(s)...)
	}
	return doubts
}

func (s *story) untracedDoubt() string {
	switch {
	case s.traced():
		return ""
	case s.facts.Traced:
		return "no kernel event of this connection arrived: there is only what connect() and TCP_INFO told"
	case s.facts.WhyUntraced != "":
		return "the kernel's events could not be seen (" + s.facts.WhyUntraced + "): there is only what connect() and TCP_INFO told"
	}
	return "the kernel's events could not be seen: there is only what connect() and TCP_INFO told"
}

// gapDoubt is about records that the kernel side numbered and that did not arrive.
func (s *story) gapDoubt() string {
	missing := s.conn.Missing()
	for _, other := range s.others() {
		missing += other.Missing()
	}
	switch closing := s.last(event.Close); {
	case closing != nil && closing.Unseen:
		return "its end was not seen: when the kernel was asked, the socket was gone"
	case missing > 0:
		return fmt.Sprintf("%s of this connection did not arrive", count(missing, "event"))
	case s.conn.Closed && !s.conn.Complete():
		return "the kernel's count of this connection's events did not arrive, so some may be missing"
	}
	return ""
}

// lossDoubt is about losses elsewhere in the trace that may concern this connection.
func (s *story) lossDoubt() string {
	lost := uint64(0)
	if s.allComplete() {
		for _, kind := range uncounted {
			lost += s.facts.Lost[kind]
		}
	} else {
		for _, n := range s.facts.Lost {
			lost += n
		}
	}
	if lost == 0 {
		return ""
	}
	return fmt.Sprintf("the trace lost %s, perhaps of this connection", count(lost, "event"))
}

// allComplete says that the kernel side's own counts show every event of the connection, and of its other end.
func (s *story) allComplete() bool {
	return s.conn.Complete() && !slices.ContainsFunc(s.others(), func(other *timeline.Connection) bool {
		return !other.Complete() && !other.OnlyRefused() && !other.Socketless()
	})
}

func (s *story) beginningDoubt() string {
	if !s.conn.PreExisting {
		return ""
	}
	doubt := "it is older than the trace: what happened before was not seen"
	if s.timedOut() && s.options() == nil {
		doubt += ", and its options are not known, TCP_USER_TIMEOUT among them"
	}
	return doubt
}

// blindDoubt is about a kind of events that this kernel does not show, or, by the hook that could be had, not all of.
func (s *story) blindDoubt(kind event.Kind) string {
	if s.sees(kind) {
		return s.facts.Costs[kind]
	}
	if kind == event.Drop {
		return "packets that this host itself dropped (firewall, rp_filter, full queues) could not be seen"
	}
	if cost := s.facts.Costs[kind]; cost != "" {
		return cost
	}
	return fmt.Sprintf("%s events could not be seen", kind)
}
