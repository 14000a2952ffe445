package verdict

import (
	"fmt"

	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
)

// fewSilent is how many connects of an address family must have gone unanswered, and none answered, for the family to
// be called silent. One that loses a race may just be slow.
const fewSilent = 3

var supersededRules = []rule{{
	cause:   Superseded,
	match:   func(s *story) bool { return s.gaveUp() && s.probe != nil && s.probe.GaveUp == "superseded" },
	outcome: OutcomeClosed,
	endedBy: endedBy(EndedByProbe),
	shows:   handshakeAnd(event.Close),
	summary: func(s *story) string {
		return fmt.Sprintf("superseded: another connect of the probe won, and this one was closed after %s; %s had not answered %s",
			duration(s.end), s.remote(), count(s.syns(), "SYN"))
	},
}, {
	cause:      Superseded,
	match:      func(s *story) bool { return s.gaveUp() && s.probe == nil && s.sibling() != nil },
	outcome:    OutcomeClosed,
	confidence: Likely,
	endedBy:    endedBy(EndedByApplication),
	shows:      handshakeAnd(event.Close),
	doubts:     say("that both connects were for the same purpose is told from their owner, their port and their times"),
	summary: func(s *story) string {
		sibling := s.sibling()
		text := fmt.Sprintf("superseded: %s was connected to %s (%s) after %s and closed this one; %s had not answered %s in %s",
			who(s.conn.Owner), sibling.Remote, family(sibling.Remote.Addr()), duration(sibling.Won), s.remote(),
			count(s.syns(), "SYN"), duration(s.end))
		if s.familySilent() {
			text += fmt.Sprintf("; %s is silent: none of %s here was answered", family(s.remote().Addr()), count(sibling.Silent, "connect"))
		}
		return text
	},
	advice: func(s *story) []string {
		if !s.familySilent() {
			return nil
		}
		return []string{fmt.Sprintf("every connect waits for %s first: find where it ends with tcptrace path %s, or give this host no %s address and route",
			family(s.remote().Addr()), s.remote(), family(s.remote().Addr()))}
	},
}}

func (s *story) sibling() *timeline.Sibling {
	if s.conn == nil {
		return nil
	}
	return s.conn.Sibling
}

// familySilent says that the address family that lost the race has not answered anything, and the one that won has.
func (s *story) familySilent() bool {
	sibling := s.sibling()
	return sibling != nil && sibling.Silent >= fewSilent && family(sibling.Remote.Addr()) != family(s.remote().Addr())
}
