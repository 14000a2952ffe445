package verdict

import (
	"fmt"

	"tcptrace/tracer/event"
)

// act is an earlier part of a story that can matter beside its end.
type act struct {
	cause   Cause
	match   func(*story) bool
	shows   []event.Kind
	summary func(*story) string
}

var acts = []act{
	{
		cause:   ConnectedAfterRetries,
		match:   func(s *story) bool { return s.established && s.retried() },
		shows:   handshakeKinds,
		summary: func(s *story) string { return "connected after " + s.retries() },
	},
	{
		cause:   RejectedByICMP,
		match:   func(s *story) bool { return s.icmp != nil },
		shows:   []event.Kind{event.ICMPError},
		summary: func(s *story) string { return "ICMP " + describeICMP(s.icmp) },
	},
	{
		cause: DroppedByLocalOutput,
		match: func(s *story) bool { return s.failed > 0 },
		shows: []event.Kind{event.SYNRetransmit},
		summary: func(s *story) string {
			return fmt.Sprintf("%s could not be sent on this host", count(s.failed, "repeated SYN"))
		},
	},
}

// contributing is the story before its last act, whose cause is told already.
func (s *story) contributing(told Cause) []Contribution {
	var list []Contribution
	for _, a := range acts {
		if a.cause != told && !explains(told, a.cause) && a.match(s) {
			list = append(list, Contribution{Cause: a.cause, Evidence: s.numbers(a.shows), Summary: a.summary(s)})
		}
	}
	return list
}

// explains says that a cause tells the earlier act with it.
func explains(told, act Cause) bool {
	switch told {
	case NeighbourUnresolved, UnreachableWhileConnected:
		return act == RejectedByICMP
	case NoRoute:
		return act == DroppedByLocalOutput
	}
	return false
}
