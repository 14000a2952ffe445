package verdict

import (
	"fmt"
	"slices"
	"time"

	"tcptrace/tracer/event"
)

// The events that tell how a timer ended a connection.
var timerKinds = slices.Concat(endKinds, []event.Kind{
	event.Retransmit, event.KeepaliveProbe, event.KeepaliveAnswer, event.WindowProbe, event.OptionsChanged,
})

// deathRules are about established connections that one of the kernel's timers gave up. The timer's own events, and
// what the socket had counted at its close, tell which one it was.
var deathRules = []rule{
	{
		// tcp_write_err prefers an error that came before (sk_err_soft), whichever timer gives up.
		cause:   UnreachableWhileConnected,
		match:   (*story).unreachableAtDeath,
		outcome: OutcomeFailed,
		endedBy: (*story).whoGaveUp,
		shows:   timerKinds,
		rests:   (*story).deathRests,
		doubts:  (*story).unreachableDoubts,
		summary: (*story).unreachableSummary,
		advice: func(s *story) []string {
			if here := s.lookHere(); here != nil {
				return here
			}
			return []string{"a route on the way went away, or the last router lost its neighbour: ip route get " +
				address(s.remote())}
		},
	},
	{
		cause:   ClosedByPeer,
		match:   func(s *story) bool { return s.onlyFINUnanswered() && s.closedFrom(event.StateLastACK) },
		outcome: OutcomeClosed,
		endedBy: endedBy(EndedByPeer),
		shows:   timerKinds,
		summary: func(s *story) string { return "closed by the peer, " + s.finUnanswered() },
	},
	{
		cause:   ClosedLocally,
		match:   (*story).onlyFINUnanswered,
		outcome: OutcomeClosed,
		endedBy: byUser,
		shows:   timerKinds,
		summary: func(s *story) string { return fmt.Sprintf("closed by %s, %s", s.closer(), s.finUnanswered()) },
	},
	{
		cause:   UserTimeout,
		match:   func(s *story) bool { return s.timedOut() && s.userTimeoutRuled() },
		outcome: OutcomeFailed,
		endedBy: endedBy(EndedByUserTimeout),
		shows:   timerKinds,
		rests:   (*story).deathRests,
		doubts:  (*story).timerDoubts,
		summary: (*story).userTimeoutSummary,
		advice:  (*story).userTimeoutAdvice,
	},
	{
		// tcp_retries2 rules data that is kept here as well (tcp_probe_timer).
		cause:   RetransmissionTimeout,
		match:   func(s *story) bool { return s.timedOut() && (s.pending.timer == retransmitTimer || s.keptHere()) },
		outcome: OutcomeFailed,
		endedBy: (*story).whoGaveUp,
		shows:   timerKinds,
		rests:   (*story).deathRests,
		doubts:  (*story).timerDoubts,
		summary: func(s *story) string {
			waited := fmt.Sprintf("data was never acknowledged: %s, %s", s.pending, s.inFlight())
			if s.keptHere() {
				waited = s.keptSummary()
			}
			return fmt.Sprintf("%s; %s%s", waited, s.gaveUpAt("tcp_retries2"), s.applicationGot())
		},
		advice: (*story).retransmissionAdvice,
	},
	{
		cause:   KeepaliveTimeout,
		match:   func(s *story) bool { return s.timedOut() && s.pending.timer == keepaliveTimer },
		outcome: OutcomeFailed,
		endedBy: endedBy(EndedByKernel),
		shows:   timerKinds,
		rests:   (*story).deathRests,
		doubts:  (*story).timerDoubts,
		summary: func(s *story) string {
			return fmt.Sprintf("%s, %s: %s and reset it%s", s.idled(), s.pending, s.gaveUpAt("keepalive"), s.applicationGot())
		},
		advice: (*story).keepaliveAdvice,
	},
	{
		cause:   ZeroWindowTimeout,
		match:   func(s *story) bool { return s.timedOut() && s.pending.timer == windowTimer },
		outcome: OutcomeFailed,
		endedBy: endedBy(EndedByKernel),
		shows:   timerKinds,
		rests:   (*story).deathRests,
		doubts:  (*story).timerDoubts,
		summary: func(s *story) string {
			return fmt.Sprintf("the peer's window stayed shut and it stopped answering: %s%s; %s%s",
				s.pending, s.unsent(), s.gaveUpAt("tcp_retries2"), s.applicationGot())
		},
		advice: say("the peer's application had stopped reading before the peer, or the way to it, went away: " +
			"on the peer, ss -tnpi shows whose Recv-Q is full"),
	},
	{
		cause:      RetransmissionTimeout,
		match:      (*story).timedOut,
		outcome:    OutcomeFailed,
		confidence: Possible,
		endedBy:    endedBy(EndedByKernel),
		shows:      timerKinds,
		doubts:     say("which timer ended it was not seen: it may have been keepalive, or a zero window"),
		summary:    func(s *story) string { return s.gaveUpAt("") + s.applicationGot() },
	},
}

// timedOut says that a timer ended it.
func (s *story) timedOut() bool { return s.established && s.deathErrno() == event.ETIMEDOUT }

// unreachableAtDeath says that it died of an errno that only ICMP, or the want of a route, leaves on an established
// connection: there ECONNREFUSED is a port unreachable, for a reset leaves ECONNRESET; and EINVAL is what a route lookup
// gives whose source is no address of this host any more (inet_sk_rebuild_header).
func (s *story) unreachableAtDeath() bool {
	errno := s.deathErrno()
	return s.established && (slices.Contains(softErrnos, errno) || errno == event.ECONNREFUSED || errno == event.EINVAL)
}

func (s *story) unreachableSummary() string {
	text := fmt.Sprintf("unreachable while connected: the kernel gave up %s with %s", s.sinceBegun(s.end), s.deathErrno())
	if s.pending.timer != noTimer {
		text += ", with " + s.pending.String()
	}
	switch {
	case s.icmp != nil:
		text += ", explained by ICMP " + describeICMP(s.icmp)
	case s.cutOff():
		text += ": this host is cut off, " + s.cutOffBy()
	}
	return text
}

func (s *story) unreachableDoubts() []string {
	if s.icmp == nil && !s.cutOff() {
		return []string{"the ICMP errors themselves were not seen, only the errno that they leave"}
	}
	return nil
}

// onlyFINUnanswered says that all data was acknowledged and only the FIN was not, so that the connection's work was
// done.
func (s *story) onlyFINUnanswered() bool {
	closing := s.last(event.Close)
	if !s.timedOut() || closing == nil || closing.Traffic == nil || closing.Traffic.Unacked+closing.Traffic.Unsent > 0 {
		return false
	}
	return s.closedFrom(event.StateFinWait1, event.StateClosing, event.StateLastACK)
}

func (s *story) closedFrom(states ...event.State) bool {
	closing := s.last(event.Close)
	return closing != nil && slices.Contains(states, closing.OldState)
}

func (s *story) finUnanswered() string {
	return "all data acknowledged; this side's FIN never was: the kernel forgot the connection " + s.sinceBegun(s.end)
}

// closedFirst says that the application had closed its side when the end came.
func (s *story) closedFirst() bool {
	return s.closedFrom(event.StateFinWait1, event.StateFinWait2, event.StateClosing, event.StateLastACK)
}

// whoGaveUp is who ended a connection on which nothing was answered.
func (s *story) whoGaveUp() EndedBy {
	switch {
	case s.deathErrno() == 0 || s.closedFirst():
		return byUser(s)
	case s.userTimeoutRuled():
		return EndedByUserTimeout
	}
	return EndedByKernel
}

func (s *story) userTimeout() time.Duration {
	if options := s.options(); options != nil {
		return options.UserTimeout
	}
	return 0
}

// userTimeoutRuled says that TCP_USER_TIMEOUT decided when the kernel gave up. For keepalive and for data it takes the
// place of every other limit (tcp_keepalive_timer, tcp_write_timeout), at a shut window the count of tcp_retries2 holds
// beside it (tcp_probe_timer).
func (s *story) userTimeoutRuled() bool {
	limit := s.userTimeout()
	if limit == 0 {
		return false
	}
	if s.pending.timer != windowTimer || s.pending.count < s.retries2() {
		return true
	}
	shut := s.windowShutFor()
	return shut == 0 || shut >= limit
}

func (s *story) userTimeoutSummary() string {
	limit := duration(s.userTimeout())
	switch s.pending.timer {
	case keepaliveTimer:
		_, _, probes := s.keepaliveSettings()
		return fmt.Sprintf("%s, %s: TCP_USER_TIMEOUT (%s) ended it with ETIMEDOUT %s, "+
			"and the keepalive count (%d) is ignored with it%s",
			s.idled(), s.pending, limit, s.when(), probes, s.applicationGot())
	case windowTimer:
		waited := fmt.Sprintf("the peer's window stayed shut: %s%s", s.pending, s.unsent())
		if s.keptHere() {
			waited = s.keptSummary()
		}
		return fmt.Sprintf("%s; TCP_USER_TIMEOUT (%s from the first probe) ended it with ETIMEDOUT %s%s",
			waited, limit, s.when(), s.applicationGot())
	case retransmitTimer:
		return fmt.Sprintf("data was never acknowledged: %s, %s; "+
			"TCP_USER_TIMEOUT (%s from the first of them) ended it with ETIMEDOUT %s%s",
			s.pending, s.inFlight(), limit, s.when(), s.applicationGot())
	}
	return fmt.Sprintf("killed by TCP_USER_TIMEOUT of %s with ETIMEDOUT %s: %s%s",
		limit, s.when(), s.pending, s.applicationGot())
}

// idled tells how long the peer had been silent.
func (s *story) idled() string {
	if idle := s.idleBeforeEnd(); idle > 0 {
		return "idle " + duration(idle)
	}
	return "idle"
}

// when tells the end, and beside it when the schedule had it.
func (s *story) when() string {
	text := s.sinceBegun(s.end)
	if foretold := s.pending.foretold(); foretold > 0 {
		text += " (foretold: " + duration(foretold) + ")"
	}
	return text
}

// gaveUpAt tells the end by the kernel's own limit.
func (s *story) gaveUpAt(limit string) string {
	if limit != "" {
		limit = " (" + limit + ")"
	}
	return fmt.Sprintf("the kernel gave up%s with ETIMEDOUT %s", limit, s.when())
}

// applicationGot tells what a probe's read and write returned.
func (s *story) applicationGot() string {
	if s.probe == nil || s.probe.HoldErrno == 0 {
		return ""
	}
	text := fmt.Sprintf("; the application's read() got %s", s.probe.HoldErrno)
	if s.probe.WriteErrno != 0 {
		text += fmt.Sprintf(", the next write() %s", s.probe.WriteErrno)
	}
	return text
}

// inFlight tells how much was not acknowledged.
func (s *story) inFlight() string {
	if closing := s.last(event.Close); closing != nil && closing.Traffic != nil {
		return count(closing.Traffic.Unacked, "byte") + " in flight"
	}
	return "data in flight"
}

// unsent tells how much waited for the window.
func (s *story) unsent() string {
	if closing := s.last(event.Close); closing != nil && closing.Traffic != nil && closing.Traffic.Unsent > 0 {
		return ", " + count(closing.Traffic.Unsent, "byte") + " unsent"
	}
	return ""
}

// deathRests are the kinds whose absence matters: a user timeout that was set late decides as any other, and of the
// timer's own events none may be missing, unless they agree with what the socket counted.
func (s *story) deathRests() []event.Kind {
	var rests []event.Kind
	if !s.asForetold() {
		rests = append(rests, event.OptionsChanged)
	}
	if !s.pending.told {
		rests = append(rests, s.pending.kinds()...)
	}
	return rests
}

// asForetold says that the end came when the schedule had it, within what the timer wheel and a busy machine add to the
// last wait: the settings that it was computed from are then those that ruled.
func (s *story) asForetold() bool {
	foretold, closing := s.pending.foretold(), s.last(event.Close)
	if foretold == 0 || closing == nil {
		return false
	}
	const busy = 100 * time.Millisecond
	wait := foretold - s.pending.last.Offset
	return closing.Offset >= foretold-stampGrain && closing.Offset <= foretold+wait/4+busy
}

func (s *story) timerDoubts() []string {
	switch {
	case !s.traced():
		return nil
	case s.keptHere():
		return s.keptDoubts()
	case s.heldAtDeath():
		return s.holderDoubts()
	case s.pending.told && s.pending.foretold() > 0 && !s.asForetold():
		return []string{"the end did not come when the schedule had it: a setting may have changed unseen"}
	case s.pending.told:
		return nil
	}
	if s.pending.timer == noTimer {
		return []string{"which timer ended it was not seen"}
	}
	doubts := []string{
		"not all of the timer's own events were seen: it is told from what the socket had counted at its close",
	}
	closing := s.last(event.Close)
	if s.pending.timer != retransmitTimer && s.pending.last == nil && (closing == nil || closing.Traffic == nil) {
		doubts = append(doubts, "keepalive probes and zero-window probes share one counter")
	}
	return doubts
}
