package verdict

import (
	"fmt"
	"time"

	"tcptrace/tracer/event"
)

// How long a connection must have been idle for the idle time to be what ended it.
const (
	leastIdle = time.Second
	// usualIdle is the shortest limit that NATs, firewalls and balancers are usually given. Below it a peer that went
	// away is as good an explanation.
	usualIdle = 20 * time.Second
)

// idleRules are about connections that worked, were idle, and then found nobody.
var idleRules = []rule{
	{
		cause:      DroppedWhileIdle,
		match:      func(s *story) bool { return s.silentAfter(usualIdle) },
		outcome:    OutcomeFailed,
		confidence: Likely,
		endedBy:    (*story).whoGaveUp,
		shows:      timerKinds,
		rests:      kinds(event.Drop),
		doubts:     (*story).forgottenDoubts,
		summary:    (*story).silenceAfterIdle,
		advice:     idleAdvice,
	},
	{
		cause:      DroppedWhileIdle,
		match:      func(s *story) bool { return s.silentAfter(leastIdle) },
		outcome:    OutcomeFailed,
		confidence: Possible,
		endedBy:    (*story).whoGaveUp,
		shows:      timerKinds,
		rests:      kinds(event.Drop),
		doubts:     (*story).forgottenDoubts,
		summary:    (*story).silenceAfterIdle,
		advice:     idleAdvice,
	},
	{
		cause:      DroppedWhileIdle,
		match:      func(s *story) bool { return s.resetAfter(leastIdle) },
		outcome:    OutcomeFailed,
		confidence: Likely,
		endedBy:    endedBy(EndedByPeer),
		shows:      timerKinds,
		doubts:     (*story).forgottenDoubts,
		summary: func(s *story) string {
			return fmt.Sprintf("dropped while idle: it worked, was idle for %s, and %s met a reset",
				duration(s.idleBeforeEnd()), s.nextPacket()) + s.fromElsewhere()
		},
		advice: idleAdvice,
	},
}

// worked says that both ends were there before: something was acknowledged, or came.
func (s *story) worked() bool {
	if traffic := s.traffic(); traffic != nil {
		return traffic.BytesAcked > 0 || traffic.BytesReceived > 0
	}
	return s.probe != nil && (s.probe.BytesAcked > 0 || s.probe.BytesReceived > 0)
}

func (s *story) traffic() *event.Traffic {
	if closing := s.last(event.Close); closing != nil {
		return closing.Traffic
	}
	return nil
}

// silentAfter says that data after an idle time of at least least was never acknowledged.
func (s *story) silentAfter(least time.Duration) bool {
	if !s.established || s.onlyFINUnanswered() || !s.worked() || !s.unanswered() || s.idleBeforeEnd() < least || s.droppedHere() {
		return false
	}
	switch s.deathErrno() {
	case event.ETIMEDOUT:
		return true
	case 0:
		return s.last(event.Close) != nil || s.exchangeFailed()
	}
	return false
}

// unanswered says that data waits for its acknowledgement.
func (s *story) unanswered() bool {
	if s.traced() {
		return s.pending.timer == retransmitTimer
	}
	p := s.probe
	return p != nil && p.HoldErrno == 0 && (p.Retransmits > 0 || p.HasInfo && p.BytesAcked < p.BytesSent)
}

// resetAfter says that what this side sent after an idle time of at least least was answered with a reset. In
// CLOSE_WAIT the peer had said that it would go, and a peer on this host tells itself why it resets.
func (s *story) resetAfter(least time.Duration) bool {
	if !s.established || s.deathErrno() != event.ECONNRESET || s.idleBeforeEnd() < least || !s.worked() {
		return false
	}
	if !s.traced() {
		return s.held() && s.probe.HoldErrno == 0
	}
	sent := s.peerLast(event.ResetSent)
	return s.closedFrom(event.StateEstablished) && s.nextPacket() != "" && (sent == nil || sent.Reason == "NO_SOCKET")
}

// nextPacket names what was sent after the idle time and not answered otherwise; empty when there was nothing.
func (s *story) nextPacket() string {
	traffic := s.traffic()
	switch {
	case traffic != nil && traffic.Unacked > 0 || !s.traced():
		return "the next data"
	case s.pending.timer == keepaliveTimer && s.pending.count > 0:
		return "the next keepalive probe"
	}
	return ""
}

// idleBeforeEnd is how long the peer had been silent before what ended the connection, or before the data that nobody
// acknowledged was sent; of a hold that the connection outlived, its length. 0 is not known.
func (s *story) idleBeforeEnd() time.Duration {
	if !s.traced() || s.outlived() {
		return s.idleHeld()
	}
	if last := s.pending.last; last != nil && s.pending.timer == retransmitTimer {
		return max(0, last.Idle-last.Elapsed-s.unacknowledgedFirst(last))
	}
	if closing := s.last(event.Close); closing != nil && s.pending.timer != retransmitTimer {
		return closing.Idle
	}
	return 0
}

// idleHeld is how long a probe held its connection with nothing under way.
func (s *story) idleHeld() time.Duration {
	if !s.held() || s.probe.HoldErrno != 0 && s.pending.timer != keepaliveTimer {
		return 0
	}
	return s.probe.HeldFor
}

// unacknowledgedFirst is how long the data had been on its way before it was first sent again: the timer's first wait,
// which has doubled at each retransmission since, and once more about as much where a loss probe started it anew.
func (s *story) unacknowledgedFirst(last *event.Event) time.Duration {
	wait := last.RTO >> min(max(last.Attempt, 0), 62)
	again := last.Mono - last.Elapsed
	for i := range s.conn.Events {
		ev := &s.conn.Events[i]
		if ev.Kind == event.Retransmit && ev.Trigger == "tlp" && ev.Mono < again && again-ev.Mono < 2*wait {
			return 2 * wait
		}
	}
	return wait
}

func (s *story) silenceAfterIdle() string {
	text := fmt.Sprintf("dropped while idle: it worked, was idle for %s, and the next data met silence",
		duration(s.idleBeforeEnd()))
	if s.pending.timer == retransmitTimer {
		text += ": " + s.pending.String()
	}
	switch s.whoGaveUp() {
	case EndedByUserTimeout:
		return text + fmt.Sprintf("; TCP_USER_TIMEOUT (%s) ended it with ETIMEDOUT %s", duration(s.userTimeout()), s.when())
	case EndedByKernel:
		return text + "; " + s.gaveUpAt("tcp_retries2")
	}
	return text + "; " + s.closer() + " closed it " + s.sinceBegun(s.end)
}

// forgottenDoubts are about who forgot it. The other end's own story, where it is on this host, says whether it lived.
func (s *story) forgottenDoubts() []string {
	var doubts []string
	if s.conn == nil || s.conn.Peer == nil || s.conn.Peer.Closed {
		doubts = append(doubts,
			"the peer itself, or the way to it, may have gone away in the idle time: then it is no limit on idle time")
	}
	if idle := s.idleBeforeEnd(); idle < usualIdle {
		doubts = append(doubts, fmt.Sprintf(
			"an idle time of %s is short for a NAT, firewall or balancer: their limits are mostly from %s up",
			duration(idle), duration(usualIdle)))
	}
	return doubts
}
