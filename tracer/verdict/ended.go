package verdict

import (
	"cmp"
	"fmt"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
)

// The events that tell how an established connection ended.
var endKinds = []event.Kind{
	event.Established, event.StateChange, event.ResetSent, event.ResetReceived, event.ICMPError, event.Error, event.Close,
}

// resetRules are about established connections that ended without an orderly close of both sides.
var resetRules = []rule{
	{
		// tcp_reset leaves EPIPE in CLOSE_WAIT: the peer had closed, and answered what came afterwards.
		cause:   BrokenPipe,
		match:   func(s *story) bool { return s.established && s.wroteAfterClose() },
		outcome: OutcomeFailed,
		endedBy: endedBy(EndedByPeer),
		shows:   endKinds,
		doubts:  (*story).pipeDoubts,
		summary: func(s *story) string {
			return fmt.Sprintf("broken pipe: the peer had closed %s, and answered what %s wrote afterwards with a reset: "+
				"EPIPE, SIGPIPE", s.peerClosedAt(), s.writer())
		},
		advice: pipeAdvice,
	},
	{
		cause:   BrokenPipe,
		match:   func(s *story) bool { return s.exchangeFailed() && s.probe.ExchangeErrno == event.EPIPE },
		outcome: OutcomeFailed,
		endedBy: endedBy(EndedByPeer),
		shows:   endKinds,
		summary: func(s *story) string {
			return "broken pipe: writing failed with EPIPE because the peer had closed before"
		},
		advice: pipeAdvice,
	},
	{
		cause: ResetByPeer,
		match: func(s *story) bool {
			return s.established && s.reset(event.ResetReceived) != nil
		},
		outcome: OutcomeFailed,
		endedBy: endedBy(EndedByPeer),
		shows:   endKinds,
		doubts:  (*story).anothersReset,
		summary: func(s *story) string {
			return "reset by the peer " + s.sinceEstablished(s.reset(event.ResetReceived).Offset) + s.afterIdling() + s.peersReason()
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
		// Nothing but tcp_abort leaves that errno.
		cause:   ResetLocally,
		match:   func(s *story) bool { return s.established && s.deathErrno() == event.ECONNABORTED },
		outcome: OutcomeFailed,
		endedBy: endedBy(EndedByKernel),
		shows:   endKinds,
		doubts: func(s *story) []string {
			if s.reset(event.ResetSent) != nil {
				return nil
			}
			return []string{"the reset itself was not seen"}
		},
		summary: func(s *story) string { return destroyed(s.sinceEstablished(s.end)) },
		advice:  destroyedAdvice,
	},
	{
		// tcp_check_oom: tcp_out_of_resources of a timer, or tcp_close.
		cause:   ResetLocally,
		match:   func(s *story) bool { return s.established && s.resetSentFor("TCP_ABORT_ON_MEMORY") },
		outcome: OutcomeFailed,
		endedBy: endedBy(EndedByKernel),
		shows:   endKinds,
		summary: func(s *story) string {
			return fmt.Sprintf("this host's kernel reset it %s (TCP_ABORT_ON_MEMORY): too many connections that no application has any more (orphans), or TCP's memory was used up",
				s.sinceEstablished(s.reset(event.ResetSent).Offset))
		},
		advice: say("dmesg says which: too many orphaned sockets (sysctl net.ipv4.tcp_max_orphans against orphan in /proc/net/sockstat: applications close while their peers " +
			"do not acknowledge), or out of memory (net.ipv4.tcp_mem against mem there)"),
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
			return fmt.Sprintf("it died of %s %s, for a reason that no rule knows", s.deathErrno(), s.sinceBegun(s.end))
		},
	},
}

// destroyed tells of a socket that tcp_abort ended, from outside its process.
func destroyed(when string) string {
	return fmt.Sprintf("aborted on this host %s (ECONNABORTED): somebody destroyed the socket", when)
}

func destroyedAdvice(*story) []string {
	return []string{"find out who: ss -K, a load balancer's or container network's agent (SOCK_DESTROY, or a BPF iterator with bpf_sock_destroy), " +
		"or the change of an address or network that it acts on"}
}

// endRules are about established connections that ended in order, or have not ended.
var endRules = []rule{
	{
		cause:   StillOpen,
		match:   (*story).outlived,
		outcome: OutcomeOpen,
		endedBy: endedBy(EndedByProbe),
		shows:   timerKinds,
		summary: func(s *story) string {
			return "still open after " + duration(s.probe.HeldFor) + " of idle time" + s.probesAnswered()
		},
	},
	{
		cause:   ClosedByPeer,
		match:   func(s *story) bool { return s.closedBy() == timeline.ByPeer },
		outcome: OutcomeClosed,
		endedBy: endedBy(EndedByPeer),
		shows:   endKinds,
		rests:   kinds(event.ResetReceived, event.ResetSent),
		summary: func(s *story) string { return "closed by the peer " + s.closedAt() },
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
		// Whether the peer owed an answer only the protocol knows.
		cause:      ClosedAwaitingReply,
		match:      (*story).neverAnswered,
		outcome:    OutcomeFailed,
		confidence: Possible,
		endedBy:    byUser,
		shows:      endKinds,
		doubts:     say("in a protocol in which only this side speaks there was no answer to wait for: then it is closed_locally"),
		summary: func(s *story) string {
			return fmt.Sprintf("%s closed it %s: the peer had acknowledged %s and never sent any",
				s.closer(), s.sinceEstablished(s.closing()), count(s.traffic().BytesAcked, "byte"))
		},
		advice: func(s *story) []string {
			return []string{"the peer's kernel took the request and its application did not answer in time: " +
				"look at what it waits for, or at the timeout of " + s.closer()}
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
			return "closed by " + s.closer() + " " + s.closedAt()
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
		summary: (*story).openSummary,
	},
}

// deathErrno is what killed an established connection. What its hold, or its exchange, ended with is what a probe was
// told.
func (s *story) deathErrno() event.Errno {
	if s.errno == 0 && s.probe != nil {
		return cmp.Or(s.probe.HoldErrno, s.probe.ExchangeErrno)
	}
	return s.errno
}

// resetSlack is how long after the close a reset of its own may be reported: tcp_close and tcp_disconnect change the
// state first.
const resetSlack = time.Millisecond

// reset is the reset of a kind that ended the connection: not one after the end, which answers a stray packet, nor one
// of the handshake, which goes on after it.
func (s *story) reset(kind event.Kind) *event.Event {
	sent := s.firstWhere(func(ev *event.Event) bool { return ev.Kind == kind && ev.State != event.StateSYNSent })
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

// afterIdling tells that nothing had come for a while.
func (s *story) afterIdling() string {
	if idle := s.idleBeforeEnd(); idle >= leastIdle {
		return ", idle " + duration(idle)
	}
	return ""
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
	return s.sinceBegun(offset)
}

// sinceBegun is the same of one that is not known to have had a handshake; when one that is older than the trace began is not known.
func (s *story) sinceBegun(offset time.Duration) string {
	switch {
	case s.conn == nil || !s.conn.PreExisting:
		return "after " + duration(offset)
	case offset == 0:
		return "with the first that was seen of it"
	}
	return duration(offset) + " after it was first seen"
}

// closedBy is who closed an established connection, empty when it is open or that is unknown.
func (s *story) closedBy() string {
	if s.conn == nil && s.probe != nil && s.probe.PeerClosed {
		return timeline.ByPeer
	}
	if closing := s.last(event.Close); closing != nil {
		return closing.ClosedBy
	}
	return ""
}

// atHandshake says that a reset was the answer to the final ACK.
func (s *story) atHandshake() bool {
	done, reset := s.first(event.Established), s.reset(event.ResetReceived)
	traffic := s.traffic()
	return s.client() && done != nil && reset != nil && reset.Offset-done.Offset < max(done.Offset*2, 5*time.Millisecond) &&
		(traffic == nil || traffic.BytesAcked+traffic.BytesReceived == 0)
}

func resetAdvice(s *story) []string {
	if advice := s.middleboxAdvice(); advice != nil {
		return advice
	}
	if s.atHandshake() && s.conn.Peer == nil {
		return []string{fmt.Sprintf("a reset for the final ACK: with tcp_abort_on_overflow=1 that is a full accept queue there (on the peer: "+
			"tcptrace listeners, nstat -az TcpExtListenOverflows), or its application closes at once; tcpdump -n 'host %s and tcp[tcpflags] & tcp-rst != 0' tells",
			address(s.remote()))}
	}
	return []string{fmt.Sprintf("the peer's application died or closed with unread data, or something on the way forgot the connection: tcpdump -n 'host %s and tcp[tcpflags] & tcp-rst != 0' on both sides tells",
		address(s.remote()))}
}
