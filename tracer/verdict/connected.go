package verdict

import (
	"fmt"
	"strings"

	"tcptrace/tracer/event"
)

// answeredRules are about a probe whose handshake succeeded: that is what it was asked, whatever its own close looks
// like afterwards.
var answeredRules = []rule{
	{
		cause:   SYNCookieSent,
		match:   func(s *story) bool { return s.answered() && s.cookied() },
		outcome: OutcomeConnected,
		shows:   handshakeAnd(event.SYNQueueFull),
		summary: func(s *story) string {
			return fmt.Sprintf("connected in %s by a SYN cookie: %s", duration(s.handshake()), s.cookieSummary())
		},
		advice: (*story).cookieAdvice,
	},
	{
		cause:   ConnectedAfterRetries,
		match:   func(s *story) bool { return s.answered() && s.retried() },
		outcome: OutcomeConnected,
		shows:   handshakeKinds,
		summary: func(s *story) string { return "connected after " + s.retries() },
		advice:  func(s *story) []string { return s.lossAdvice() },
	},
	{
		cause:   Connected,
		match:   (*story).answered,
		outcome: OutcomeConnected,
		shows:   handshakeKinds,
		rests: func(s *story) []event.Kind {
			if s.probe.HasInfo {
				return nil // TCP_INFO counts the retries as well
			}
			return []event.Kind{event.SYNRetransmit}
		},
		summary: func(s *story) string { return "connected in " + duration(s.handshake()) + s.openedTogether() },
	},
}

// retried says that the handshake took more than a SYN and a SYN-ACK.
func (s *story) retried() bool { return s.attempts > 0 || s.synACKsUntilConnected() > 0 }

// synACKsUntilConnected is how often the SYN-ACK was sent again before this end was connected.
func (s *story) synACKsUntilConnected() int {
	done := s.first(event.Established)
	if s.conn == nil || s.conn.Peer == nil || !s.client() || done == nil {
		return s.synACKs()
	}
	n := 0
	for i := range s.conn.Peer.Events {
		if ev := &s.conn.Peer.Events[i]; ev.Kind == event.SYNACKRetransmit && ev.Mono <= done.Mono {
			n = max(n, ev.Attempt)
		}
	}
	return n
}

// retries tells a handshake that took several packets: "3 SYNs in 2.05s", "1 SYN and 2 SYN-ACKs in 1.03s".
func (s *story) retries() string {
	var parts []string
	if s.client() {
		parts = append(parts, count(1+s.attempts, "SYN"))
	}
	if n := s.synACKsUntilConnected(); n > 0 {
		parts = append(parts, count(1+n, "SYN-ACK"))
	}
	text := strings.Join(parts, " and ") + " in " + duration(s.handshake())
	if waited := s.waited(); waited != "" {
		text += ": " + waited
	}
	return text
}

func (s *story) lossAdvice() []string {
	if s.late() {
		return []string{fmt.Sprintf("the peer, or the way, takes longer than the second that the kernel waits for a SYN-ACK: see how long with "+
			"tcptrace connect --count 20 --interval 200ms %s; a queue that is full on the way (bufferbloat), or an overloaded peer", s.remote())}
	}
	return []string{fmt.Sprintf("the first packets were lost or not taken: see how often with tcptrace connect --count 20 --interval 200ms %s, "+
		"and look for a full accept queue on the peer (ss -ltn: Recv-Q above Send-Q)", s.remote())}
}
