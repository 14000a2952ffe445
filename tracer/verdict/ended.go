package verdict

import (
	"fmt"
	"slices"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
)

// The events that tell how an established connection ended.
var endKinds = []event.Kind{
	event.Established, event.StateChange, event.ResetSent, event.ResetReceived, event.ICMPError, event.Error, event.Close,
}

// deathRules are about established connections that a timer or an error killed. What close carries tells the timers
// apart (icsk_retransmits, icsk_probes_out); their own events are not needed for it, so it is likely, not certain.
var deathRules = []rule{
	{
		cause:      UserTimeout,
		match:      func(s *story) bool { return s.timedOut() && s.userTimeout() > 0 },
		outcome:    OutcomeFailed,
		confidence: Likely,
		endedBy:    endedBy(EndedByUserTimeout),
		shows:      endKinds,
		doubts:     (*story).timerDoubt,
		summary: func(s *story) string {
			return fmt.Sprintf("killed by TCP_USER_TIMEOUT of %s with ETIMEDOUT after %s: %s",
				duration(s.userTimeout()), duration(s.end), s.timerAtDeath())
		},
		advice: say("the peer, or the way to it, is gone; TCP_USER_TIMEOUT decides how long data, or an idle connection with keepalive, may wait for it"),
	},
	{
		cause:      RetransmissionTimeout,
		match:      func(s *story) bool { return s.timedOut() && s.retransmitsAtDeath() > 0 },
		outcome:    OutcomeFailed,
		confidence: Likely,
		endedBy:    endedBy(EndedByKernel),
		shows:      endKinds,
		doubts:     (*story).timerDoubt,
		summary: func(s *story) string {
			return fmt.Sprintf("data was never acknowledged: the kernel gave up with ETIMEDOUT after %s; %s", duration(s.end), s.timerAtDeath())
		},
		advice: say("the peer, or the way to it, is gone; sysctl net.ipv4.tcp_retries2 and TCP_USER_TIMEOUT decide how long the kernel tries"),
	},
	{
		cause: KeepaliveTimeout,
		match: func(s *story) bool {
			return s.timedOut() && (s.keepalive() || s.resetSentFor("KEEPALIVE_TIMEOUT"))
		},
		outcome:    OutcomeFailed,
		confidence: Likely,
		endedBy:    endedBy(EndedByKernel),
		shows:      endKinds,
		doubts:     (*story).timerDoubt,
		summary: func(s *story) string {
			return fmt.Sprintf("idle, and no keepalive probe was answered: the kernel gave up with ETIMEDOUT after %s; %s",
				duration(s.end), s.timerAtDeath())
		},
		advice: say("the peer is gone, or something on the way forgot the idle connection: keep it busy more often than that forgets (TCP_KEEPIDLE)"),
	},
	{
		cause:      ZeroWindowTimeout,
		match:      func(s *story) bool { return s.timedOut() && s.probesAtDeath() > 0 },
		outcome:    OutcomeFailed,
		confidence: Likely,
		endedBy:    endedBy(EndedByKernel),
		shows:      endKinds,
		doubts:     (*story).timerDoubt,
		summary: func(s *story) string {
			return fmt.Sprintf("the peer's window stayed shut and it stopped answering: the kernel gave up with ETIMEDOUT after %s; %s",
				duration(s.end), s.timerAtDeath())
		},
		advice: say("the peer's application had stopped reading before the peer went away"),
	},
	{
		cause:      RetransmissionTimeout,
		match:      (*story).timedOut,
		outcome:    OutcomeFailed,
		confidence: Possible,
		endedBy:    endedBy(EndedByKernel),
		shows:      endKinds,
		doubts:     say("which timer ended it was not seen: it may have been keepalive, or a zero window"),
		summary: func(s *story) string {
			return fmt.Sprintf("the kernel gave up with ETIMEDOUT after %s", duration(s.end))
		},
	},
	{
		cause:      UnreachableWhileConnected,
		match:      func(s *story) bool { return s.established && slices.Contains(softErrnos, s.deathErrno()) },
		outcome:    OutcomeFailed,
		confidence: Likely,
		endedBy:    endedBy(EndedByKernel),
		shows:      endKinds,
		doubts:     (*story).unseenICMPDoubt,
		summary: func(s *story) string {
			text := fmt.Sprintf("unreachable while connected: the kernel gave up after %s with %s", duration(s.end), s.deathErrno())
			if s.icmp != nil {
				text += ", explained by ICMP " + describeICMP(s.icmp)
			}
			return text
		},
		advice: func(s *story) []string {
			return []string{"a route on the way went away, or the last router lost its neighbour: ip route get " + address(s.remote())}
		},
	},
	{
		cause: BrokenPipe,
		match: func(s *story) bool {
			return s.exchangeFailed() && s.probe.ExchangeErrno == event.EPIPE && s.reset(event.ResetReceived) == nil
		},
		outcome: OutcomeFailed,
		endedBy: endedBy(EndedByPeer),
		shows:   endKinds,
		summary: func(s *story) string {
			return "broken pipe: writing failed with EPIPE because the peer had closed before"
		},
	},
	{
		cause: ResetByPeer,
		match: func(s *story) bool {
			return s.established && s.reset(event.ResetReceived) != nil
		},
		outcome: OutcomeFailed,
		endedBy: endedBy(EndedByPeer),
		shows:   endKinds,
		summary: func(s *story) string {
			return "reset by the peer " + s.sinceEstablished(s.reset(event.ResetReceived).Offset) + s.peersReason()
		},
		advice: resetAdvice,
	},
	{
		cause: ResetByPeer,
		match: func(s *story) bool {
			return s.established && (s.deathErrno() == event.ECONNRESET || s.deathErrno() == event.EPIPE)
		},
		outcome:    OutcomeFailed,
		confidence: Likely,
		endedBy:    endedBy(EndedByPeer),
		shows:      endKinds,
		doubts:     say("the reset itself was not seen, only the errno that it leaves"),
		summary: func(s *story) string {
			return fmt.Sprintf("reset by the peer %s, it seems: %s", s.sinceEstablished(s.end), s.deathErrno())
		},
		advice: resetAdvice,
	},
	{
		cause:   ResetLocally,
		match:   func(s *story) bool { return s.established && s.reset(event.ResetSent) != nil },
		outcome: OutcomeFailed,
		endedBy: byUser,
		shows:   endKinds,
		summary: func(s *story) string {
			sent := s.reset(event.ResetSent)
			return fmt.Sprintf("this side reset it %s%s", s.sinceEstablished(sent.Offset), s.whyReset(sent))
		},
	},
	{
		cause:      ResetLocally,
		match:      func(s *story) bool { return s.established && s.deathErrno() == event.ECONNABORTED },
		outcome:    OutcomeFailed,
		confidence: Likely,
		endedBy:    endedBy(EndedByKernel),
		shows:      endKinds,
		doubts:     say("the reset itself was not seen"),
		summary: func(s *story) string {
			return fmt.Sprintf("aborted on this host %s (ECONNABORTED): somebody destroyed the socket, as ss -K does", s.sinceEstablished(s.end))
		},
	},
	{
		// Without a FIN on either side there is a reset: tcp_close with unread data, or tcp_disconnect.
		cause:      ResetLocally,
		match:      func(s *story) bool { return s.deathErrno() == 0 && s.closedWithoutFIN() },
		outcome:    OutcomeFailed,
		confidence: Likely,
		endedBy:    byUser,
		shows:      endKinds,
		doubts:     say("the reset itself was not seen, only that the socket closed without a FIN"),
		summary: func(s *story) string {
			return fmt.Sprintf("this side reset it %s, it seems: it closed without a FIN", s.sinceEstablished(s.end))
		},
	},
	{
		cause:      Unexplained,
		match:      func(s *story) bool { return s.established && s.deathErrno() != 0 },
		outcome:    OutcomeFailed,
		confidence: Possible,
		endedBy:    endedBy(EndedByKernel),
		shows:      endKinds,
		doubts:     say("no rule explains this errno"),
		summary: func(s *story) string {
			return fmt.Sprintf("it died of %s after %s, for a reason that no rule knows", s.deathErrno(), duration(s.end))
		},
	},
}

// endRules are about established connections that ended in order, or have not ended.
var endRules = []rule{
	{
		cause:   ClosedByPeer,
		match:   func(s *story) bool { return s.closedBy() == timeline.ByPeer },
		outcome: OutcomeClosed,
		endedBy: endedBy(EndedByPeer),
		shows:   endKinds,
		rests:   kinds(event.ResetReceived, event.ResetSent),
		summary: func(s *story) string { return "closed by the peer " + s.sinceEstablished(s.end) },
	},
	{
		cause:   ClosedAwaitingReply,
		match:   func(s *story) bool { return s.exchangeFailed() },
		outcome: OutcomeFailed,
		endedBy: endedBy(EndedByProbe),
		shows:   endKinds,
		summary: func(s *story) string {
			return fmt.Sprintf("the expected answer had not come when the probe closed after %s; %d bytes had", duration(s.end), s.probe.BytesReceived)
		},
	},
	{
		cause:   ClosedLocally,
		match:   func(s *story) bool { return s.closedBy() == timeline.ByLocal },
		outcome: OutcomeClosed,
		endedBy: byUser,
		shows:   endKinds,
		rests:   kinds(event.ResetReceived, event.ResetSent),
		summary: func(s *story) string {
			return fmt.Sprintf("closed by %s %s", s.closer(), s.sinceEstablished(s.end))
		},
	},
	{
		cause:      ClosedLocally,
		match:      func(s *story) bool { return s.closed },
		outcome:    OutcomeClosed,
		confidence: Possible,
		shows:      endKinds,
		doubts:     say("whose FIN came first was not seen: it may be closed_by_peer"),
		summary:    func(s *story) string { return "closed " + s.sinceEstablished(s.end) },
	},
	{
		cause:   StillOpen,
		match:   func(*story) bool { return true },
		outcome: OutcomeOpen,
		shows:   handshakeKinds,
		summary: func(s *story) string {
			if s.conn != nil && s.conn.State != event.StateUnknown {
				return "still open when the trace ended: " + s.conn.State.String()
			}
			return "still open when the trace ended"
		},
	},
}

// deathErrno is what killed an established connection. Its own exchange's errno is what a probe was told.
func (s *story) deathErrno() event.Errno {
	if s.errno == 0 && s.probe != nil {
		return s.probe.ExchangeErrno
	}
	return s.errno
}

func (s *story) timedOut() bool { return s.established && s.deathErrno() == event.ETIMEDOUT }

func (s *story) userTimeout() time.Duration {
	if options := s.options(); options != nil {
		return options.UserTimeout
	}
	return 0
}

func (s *story) retransmitsAtDeath() int {
	if closing := s.last(event.Close); closing != nil {
		return closing.Retransmits
	}
	return 0
}

func (s *story) probesAtDeath() int {
	if closing := s.last(event.Close); closing != nil {
		return closing.ProbesOut
	}
	return 0
}

// keepalive says that unanswered probes were keepalive's: with SO_KEEPALIVE on, nothing in flight.
func (s *story) keepalive() bool {
	options := s.options()
	return s.probesAtDeath() > 0 && options != nil && options.KeepAlive
}

func (s *story) timerAtDeath() string {
	switch {
	case s.retransmitsAtDeath() > 0:
		return count(s.retransmitsAtDeath(), "retransmission") + " of the same data unanswered"
	case s.probesAtDeath() > 0:
		return count(s.probesAtDeath(), "probe") + " unanswered"
	}
	return "which timer ran was not seen"
}

func (s *story) timerDoubt() []string {
	doubts := []string{"the timer's own events were not seen: it is told from the counters that the socket had at its close"}
	if s.probesAtDeath() > 0 && s.retransmitsAtDeath() == 0 {
		doubts = append(doubts, "keepalive probes and zero-window probes share one counter")
	}
	return doubts
}

func (s *story) unseenICMPDoubt() []string {
	if s.icmp != nil {
		return nil
	}
	return []string{"the ICMP errors themselves were not seen, only the errno that they leave"}
}

// resetSlack is how long after the close a reset of its own may be reported: tcp_close and tcp_disconnect change the
// state first.
const resetSlack = time.Millisecond

// reset is the reset of a kind that ended the connection: not one after the end, which answers a stray packet.
func (s *story) reset(kind event.Kind) *event.Event {
	sent := s.first(kind)
	closing := s.last(event.Close)
	if sent == nil || closing == nil || sent.Offset <= closing.Offset+resetSlack {
		return sent
	}
	return nil
}

// closedWithoutFIN says that the socket went to CLOSE straight from a state in which this side had not sent its FIN.
func (s *story) closedWithoutFIN() bool {
	closing := s.last(event.Close)
	return closing != nil && (closing.OldState == event.StateEstablished || closing.OldState == event.StateCloseWait)
}

func (s *story) resetSentFor(reason string) bool {
	sent := s.reset(event.ResetSent)
	return sent != nil && sent.Reason == reason
}

// resetReasons explain the kernel's names for a reset (enum sk_rst_reason).
var resetReasons = map[string]string{
	"TCP_ABORT_ON_CLOSE":       "closed with unread data",
	"TCP_ABORT_ON_LINGER":      "closed with a negative linger time",
	"TCP_ABORT_ON_DATA":        "data came after the close",
	"TCP_ABORT_ON_MEMORY":      "the kernel was out of memory for it",
	"TCP_KEEPALIVE_TIMEOUT":    "keepalive gave up",
	"TCP_DISCONNECT_WITH_DATA": "disconnected with data unsent, as a linger time of 0 does",
}

func (s *story) whyReset(sent *event.Event) string {
	text := s.resetReason(sent)
	for _, name := range []string{sent.Reason, "TCP_" + sent.Reason} {
		if why := resetReasons[name]; why != "" {
			return text + ": " + why
		}
	}
	return text
}

// peersReason is why the other end sent its reset, when that is on this host too.
func (s *story) peersReason() string {
	sent := s.peerLast(event.ResetSent)
	if sent == nil {
		return ""
	}
	return "; the other end, on this host, sent it" + s.whyReset(sent)
}

// sinceEstablished tells a time in an established connection's life.
func (s *story) sinceEstablished(offset time.Duration) string {
	if done := s.first(event.Established); done != nil {
		return duration(offset-done.Offset) + " after the handshake"
	}
	return "after " + duration(offset)
}

// closedBy is who closed an established connection, empty when it is open or that is unknown.
func (s *story) closedBy() string {
	if closing := s.last(event.Close); closing != nil {
		return closing.ClosedBy
	}
	return ""
}

func resetAdvice(s *story) []string {
	return []string{fmt.Sprintf("the peer's application died or closed with unread data, or something on the way forgot the connection: tcpdump -n 'host %s and tcp[tcpflags] & tcp-rst != 0' on both sides tells",
		address(s.remote()))}
}
