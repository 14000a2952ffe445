package verdict

import (
	"fmt"
	"slices"
	"time"

	"tcptrace/tracer/event"
)

var oldKinds = handshakeAnd(event.ResetSent, event.ResetReceived, event.Drop, event.Close)

// oldConnectionRules are about a SYN for which something came back that does not fit it. In SYN_SENT the kernel answers
// an acknowledgement of what it never sent with a reset, and at the first one repeats its SYN two ticks later
// (tcp_rcv_synsent_state_process): the reset clears an old connection away, and the SYN is then taken.
var oldConnectionRules = []rule{
	{
		cause:   OldConnectionInTheWay,
		match:   func(s *story) bool { return s.answered() && s.clearedAway() && !s.wrongSYNACK() },
		outcome: OutcomeConnected,
		shows:   oldKinds,
		doubts:  (*story).oldDoubts,
		summary: func(s *story) string {
			return fmt.Sprintf("connected after %s: the peer still had %s on the same ports and answered the first SYN with an "+
				"ACK; this host's reset cleared it away, and the SYN that followed %s later was taken",
				duration(s.handshake()), s.oldState(), duration(s.repeatedAfter()))
		},
		advice: oldAdvice,
	},
	{
		cause: WrongAcknowledgement,
		match: func(s *story) bool {
			return s.gotNowhere() && s.client() && s.wrongAnswers() > 0 && s.wrongSYNACK()
		},
		outcome: OutcomeFailed,
		endedBy: (*story).whoEndedSilence,
		shows:   oldKinds,
		summary: func(s *story) string {
			return fmt.Sprintf("wrong acknowledgement: a SYN-ACK came for %s that acknowledges what was never sent, and this host "+
				"answered it with a reset%s", count(s.wrongAnswers(), "SYN"), s.clientsEnd())
		},
		advice: func(s *story) []string {
			return []string{fmt.Sprintf("something on the way rewrites sequence numbers in one direction only, or another host answers for %s "+
				"(an asymmetric firewall, a broken SYN proxy, a duplicate address): compare tcpdump -S on both sides", address(s.remote()))}
		},
	},
	{
		cause:      OldConnectionInTheWay,
		match:      func(s *story) bool { return s.gotNowhere() && s.client() && s.wrongAnswers() > 0 },
		outcome:    OutcomeFailed,
		confidence: Likely,
		endedBy:    (*story).whoEndedSilence,
		shows:      oldKinds,
		doubts:     (*story).oldDoubts,
		summary: func(s *story) string {
			return fmt.Sprintf("an old connection is in the way: %s answered with an acknowledgement that does not fit, and this host's "+
				"reset did not clear %s away%s", werePlural(s.wrongAnswers(), "SYN"), s.oldState(), s.clientsEnd())
		},
		advice: oldAdvice,
	},
	{
		cause: OldConnectionInTheWay,
		match: func(s *story) bool {
			return s.gotNowhere() && !s.client() && len(s.dropsWhere(ofOldConnection)) > 0
		},
		outcome: OutcomeFailed,
		endedBy: endedBy(EndedByKernel),
		shows:   oldKinds,
		summary: func(s *story) string {
			drops := s.dropsWhere(ofOldConnection)
			return fmt.Sprintf("an old connection is in the way: this host still had one with %s on port %d and dropped %s, whose "+
				"timestamps are older (%s)", s.remote(), s.local().Port(), count(packets(drops), "SYN"), drops[0].Reason)
		},
		advice: oldAdvice,
	},
}

// wrongAnswers counts the resets that this client sent while it waited for its SYN-ACK.
func (s *story) wrongAnswers() int {
	if s.conn == nil || !s.client() {
		return 0
	}
	done := s.first(event.Established)
	n := 0
	for i := range s.conn.Events {
		ev := &s.conn.Events[i]
		if ev.Kind == event.ResetSent && ev.State == event.StateSYNSent && (done == nil || ev.Offset < done.Offset) {
			n += max(1, ev.Count)
		}
	}
	return n
}

// clearedAway says that the client's reset made room for its SYN.
func (s *story) clearedAway() bool {
	return s.wrongAnswers() > 0 && s.established || s.oldAtPeer() != nil
}

// oldAtPeer is the last event of the old connection that a server on this host had on the same ports, nil if it had none.
func (s *story) oldAtPeer() *event.Event {
	if s.conn == nil || s.conn.Peer == nil || s.conn.Peer.Before == nil {
		return nil
	}
	return (&story{conn: s.conn.Peer.Before}).last(event.ResetReceived)
}

// answerFlags are the TCP flags of the packets that were answered with a reset; empty when they were not seen.
func (s *story) answerFlags() string {
	if sent := s.first(event.ResetSent); sent != nil && sent.TCPFlags != "" {
		return sent.TCPFlags
	}
	drops := s.dropsWhere(func(ev *event.Event) bool { return ev.Direction == dropIn && ev.TCPFlags != "" && !has(ev, "RST") })
	if len(drops) == 0 {
		return ""
	}
	return drops[0].TCPFlags
}

func (s *story) wrongSYNACK() bool { return s.answerFlags() == "SYN+ACK" }

func (s *story) oldDoubts() []string {
	if s.oldAtPeer() != nil || s.answerFlags() != "" || len(s.others()) > 0 && s.oldDropped() {
		return nil
	}
	return []string{"what came back was not seen, only that this host answered it with a reset: it may have been a SYN-ACK with a wrong acknowledgement"}
}

// oldDropped says that the other end, on this host, refused the SYN for an old connection.
func (s *story) oldDropped() bool {
	return len(s.serverEvents(func(ev *event.Event) bool { return ev.Kind == event.Drop && ofOldConnection(ev) })) > 0
}

// oldState says what was in the way, as far as that is known.
func (s *story) oldState() string {
	if s.oldAtPeer() != nil {
		return "an established connection"
	}
	return "an old connection (TIME_WAIT, or half-open after a crash)"
}

// repeatedAfter is how long after its reset the client sent its SYN again.
func (s *story) repeatedAfter() time.Duration {
	sent := s.first(event.ResetSent)
	if sent == nil {
		return 0
	}
	i := slices.IndexFunc(s.conn.Events, func(ev event.Event) bool {
		return ev.Kind == event.SYNRetransmit && ev.Offset >= sent.Offset
	})
	if i < 0 {
		return 0
	}
	return s.conn.Events[i].Offset - sent.Offset
}

func oldAdvice(s *story) []string {
	port := s.local().Port()
	if !s.client() {
		port = s.remote().Port()
	}
	return []string{
		fmt.Sprintf("the same source port (%d) was used again before the server had forgotten its last connection: a fixed source port, a small "+
			"net.ipv4.ip_local_port_range behind NAT, or a client that restarted", port),
		"on the server: ss -tano (timewait, or an ESTABLISHED whose peer is gone: keepalive ends those); net.ipv4.tcp_rfc1337=1 would keep TIME_WAIT against resets",
	}
}

// werePlural writes a number with its noun and its verb: "1 SYN was", "2 SYNs were".
func werePlural(n int, noun string) string {
	if n == 1 {
		return count(n, noun) + " was"
	}
	return count(n, noun) + " were"
}
