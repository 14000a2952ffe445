package verdict

import (
	"fmt"

	"tcptrace/tracer/event"
)

// serverRules are about handshakes as a server sees them, as long as they are not complete.
var serverRules = []rule{
	{
		cause: Refused,
		match: func(s *story) bool {
			return s.traced() && s.conn.Socketless() && s.conn.PeerISN != 0 && s.last(event.ResetSent) != nil
		},
		outcome: OutcomeFailed,
		endedBy: endedBy(EndedByKernel),
		shows:   []event.Kind{event.ResetSent, event.ResetReceived, event.Connect},
		summary: func(s *story) string {
			return fmt.Sprintf("refused: this host answered the SYN of %s to port %d with a reset%s", s.remote(), s.local().Port(),
				s.resetReason(s.last(event.ResetSent)))
		},
		advice: func(s *story) []string {
			return []string{fmt.Sprintf("if something should listen on port %d: ss -ltnp", s.local().Port())}
		},
	},
	{
		// Without a socket a reset answers whatever packet belongs to no connection.
		cause: ResetLocally,
		match: func(s *story) bool {
			return s.traced() && s.conn.Socketless() && s.last(event.ResetSent) != nil
		},
		outcome:    OutcomeFailed,
		confidence: Likely,
		endedBy:    endedBy(EndedByKernel),
		shows:      []event.Kind{event.ResetSent},
		doubts:     say("the packet that it answers was not seen"),
		summary: func(s *story) string {
			return fmt.Sprintf("reset: this host has no connection with %s on port %d and said so%s", s.remote(), s.local().Port(),
				s.resetReason(s.last(event.ResetSent)))
		},
	},
	{
		cause: HandshakeIncomplete,
		match: func(s *story) bool {
			return s.server() && !s.established && (s.closed || s.synACKs() > 0)
		},
		outcome: OutcomeFailed,
		endedBy: (*story).whoForgotRequest,
		shows:   handshakeAnd(event.ResetReceived, event.Close, event.SYNACKTimeout),
		rests: func(s *story) []event.Kind {
			if s.putOff() {
				return []event.Kind{event.AcceptQueueFull}
			}
			return nil
		},
		doubts: (*story).requestDoubts,
		summary: func(s *story) string {
			answer := "never acknowledged"
			if s.putOff() {
				answer = "acknowledged, but the final ACK was put off (TCP_DEFER_ACCEPT, and no data came; or a full accept queue)"
			}
			return fmt.Sprintf("handshake incomplete: the SYN-ACK to %s was sent %s in %s and %s%s",
				s.remote(), count(1+s.synACKs(), "time"), duration(s.end), answer, s.requestEnd())
		},
		advice: func(s *story) []string {
			what := "the SYN-ACK or the final ACK is lost on the way: an asymmetric route, a firewall in one direction, or a forged source"
			if asked := s.askedAgain(); asked > 0 && !s.putOff() {
				what = fmt.Sprintf("the client hears no SYN-ACK: its SYN came again, %s. The way back to it is at fault: an asymmetric route, or a firewall in one direction",
					count(asked, "time"))
			}
			return []string{what + "; ip route get " + address(s.remote())}
		},
	},
}

// askedAgain is how often a SYN-ACK went again because its SYN came again. The kernel answers the first such SYN, and from
// then on one in net.ipv4.tcp_invalid_ratelimit.
func (s *story) askedAgain() int {
	return packets(s.serverEventsOf(event.SYNACKRetransmit, func(ev *event.Event) bool { return ev.Trigger == "syn" }))
}

// requestDoubts are about how a request ended of which that was not seen.
func (s *story) requestDoubts() []string {
	if s.last(event.SYNACKTimeout) != nil || s.last(event.ResetReceived) != nil {
		return nil
	}
	return []string{"whether the request expired or the client gave it up, with a reset, was not seen"}
}

// putOff says that a request expired whose final ACK had come.
func (s *story) putOff() bool {
	expired := s.last(event.SYNACKTimeout)
	return expired != nil && expired.Stage == stageACK
}

func (s *story) requestEnd() string {
	switch {
	case s.last(event.SYNACKTimeout) != nil:
		return "; the request expired (net.ipv4.tcp_synack_retries)"
	case s.last(event.ResetReceived) != nil:
		return "; the client reset it"
	}
	return ""
}

func (s *story) whoForgotRequest() EndedBy {
	if s.last(event.ResetReceived) != nil {
		return EndedByPeer
	}
	return EndedByKernel
}

// resetReason is the kernel's own name for why it sent a reset: " (NO_SOCKET)".
func (s *story) resetReason(ev *event.Event) string {
	if ev == nil || ev.Reason == "" || ev.Reason == "NOT_SPECIFIED" {
		return ""
	}
	return " (" + ev.Reason + ")"
}
