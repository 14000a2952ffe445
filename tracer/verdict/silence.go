package verdict

import (
	"cmp"
	"fmt"
	"time"

	"tcptrace/tracer/event"
)

// silenceRules are about a SYN that nothing came back for.
var silenceRules = []rule{
	{
		// Of an application's patience, one or two seconds are usual; arp_error_report comes after three.
		cause:   NeighbourUnresolved,
		match:   func(s *story) bool { return s.mayWaitForNeighbour() && s.nextHop().unresolved() },
		outcome: OutcomeFailed,
		endedBy: (*story).whoEndedSilence,
		shows:   handshakeAnd(event.Close),
		doubts: func(s *story) []string {
			if s.failed > 0 || s.noneLeft() {
				return nil
			}
			return []string{"that the SYN waited for it was not seen, only that nobody had answered for it when the host was asked"}
		},
		summary: func(s *story) string {
			if s.inProgress {
				return s.neighbourSummary() + " so far: the SYN still waits"
			}
			return s.neighbourSummary() + "; " + s.silenceEnd()
		},
		advice: neighbourAdvice,
	},
	{
		cause:   AbandonedByApplication,
		match:   func(s *story) bool { return s.gaveUp() && s.attempts == 0 && s.end < s.firstRetryDue() },
		outcome: OutcomeFailed,
		endedBy: byUser,
		shows:   handshakeAnd(event.Close),
		rests: func(s *story) []event.Kind {
			return append([]event.Kind{event.SYNRetransmit}, s.icmpUnlessProbed()...)
		},
		summary: func(s *story) string {
			return fmt.Sprintf("abandoned: %s closed it after %s, before the first retry was due at %s; nothing had come back",
				s.closer(), duration(s.end), duration(s.firstRetryDue()))
		},
		advice: abandonedAdvice,
	},
	{
		cause: NoRoute,
		match: func(s *story) bool {
			return s.silent() && s.retriesFailed(routeErrnos...) && s.route() != nil && s.route().Errno != 0
		},
		outcome: OutcomeFailed,
		endedBy: (*story).whoEndedSilence,
		shows:   handshakeAnd(event.Close),
		summary: func(s *story) string { return s.noRouteAnyMore() + ", and there is none now either; " + s.silenceEnd() },
		advice:  routeAdvice,
	},
	{
		cause:      NoRoute,
		match:      func(s *story) bool { return s.silent() && s.retriesFailed(routeErrnos...) },
		outcome:    OutcomeFailed,
		confidence: Likely,
		endedBy:    (*story).whoEndedSilence,
		shows:      handshakeAnd(event.Close),
		doubts:     say("the first SYN had a route; the repeated ones had none"),
		summary:    func(s *story) string { return s.noRouteAnyMore() + "; " + s.silenceEnd() },
		advice:     routeAdvice,
	},
	{
		cause:      DroppedByLocalOutput,
		match:      func(s *story) bool { return s.silent() && s.heldHere() },
		outcome:    OutcomeFailed,
		confidence: Likely,
		endedBy:    (*story).whoEndedSilence,
		shows:      handshakeAnd(event.Close),
		doubts:     (*story).holderDoubts,
		summary: func(s *story) string {
			return fmt.Sprintf("held by this host: %s found the first still here (%s); %s",
				count(s.failed, "repeated SYN"), s.last(event.SYNRetransmit).Errno, s.silenceEnd())
		},
		advice: func(s *story) []string { return []string{s.lookAtHolder()} },
	},
	{
		cause:      DroppedByLocalOutput,
		match:      func(s *story) bool { return s.silent() && s.retriesFailed() && s.first(event.SYNSent) == nil },
		outcome:    OutcomeFailed,
		confidence: Likely,
		endedBy:    (*story).whoEndedSilence,
		shows:      handshakeAnd(event.Close),
		doubts:     say("what dropped them was not seen, only that sending failed on this host"),
		summary: func(s *story) string {
			return fmt.Sprintf("dropped by this host: %s failed locally with %s, none left; %s",
				count(s.failed, "repeated SYN"), s.last(event.SYNRetransmit).Errno, s.silenceEnd())
		},
		advice: say("look for a drop or a full queue on the way out: nft list ruleset (output, postrouting), tc -s qdisc"),
	},
	{
		// A SYN that waits for its neighbour's address has not reached the device either.
		cause:      DroppedByLocalOutput,
		match:      func(s *story) bool { return s.silent() && s.noneLeft() },
		outcome:    OutcomeFailed,
		confidence: Possible,
		endedBy:    (*story).whoEndedSilence,
		shows:      handshakeAnd(event.Close),
		doubts:     say("what kept the SYNs was not seen: a firewall, or a neighbour that ARP or neighbour discovery could not resolve (see ip neigh)"),
		summary: func(s *story) string {
			return fmt.Sprintf("never sent: %s made, none reached a network device; %s", count(s.syns(), "SYN"), s.silenceEnd())
		},
		advice: say("look for a drop on the way out: nft list ruleset (output, postrouting); and at ip neigh"),
	},
	{
		cause:   NoAnswer,
		match:   (*story).silent,
		outcome: OutcomeFailed,
		endedBy: (*story).whoEndedSilence,
		shows:   handshakeAnd(event.Close),
		rests:   (*story).silenceRests,
		doubts:  (*story).silenceDoubts,
		summary: func(s *story) string {
			return fmt.Sprintf("no answer: %s in %s%s, nothing came back%s%s; %s",
				count(s.syns(), "SYN"), duration(s.sinceFirstSYN()), s.leaving(), s.answeredInVain(), s.droppedBeyond(), s.silenceEnd())
		},
		advice: silenceAdvice,
	},
	{
		cause:   NoAnswer,
		match:   func(s *story) bool { return s.client() && s.inProgress && s.attempts > 0 },
		outcome: OutcomeOpen,
		endedBy: (*story).whoInterrupted,
		shows:   handshakeKinds,
		rests:   (*story).silenceRests,
		doubts:  (*story).silenceDoubts,
		summary: func(s *story) string {
			return fmt.Sprintf("no answer so far: %s in %s%s, nothing has come back%s%s",
				count(s.syns(), "SYN"), duration(s.sinceFirstSYN()), s.leaving(), s.answeredInVain(), s.wouldGiveUp())
		},
		advice: silenceAdvice,
	},
	{
		cause:      NoAnswer,
		match:      func(s *story) bool { return s.client() && s.inProgress && (s.facts.Interrupted || s.interrupted()) },
		outcome:    OutcomeOpen,
		confidence: Possible,
		endedBy:    (*story).whoInterrupted,
		shows:      handshakeKinds,
		rests:      (*story).silenceRests,
		doubts:     say("the first retry of the SYN was not even due: an answer may just take its time"),
		summary: func(s *story) string {
			return fmt.Sprintf("no answer so far: 1 SYN%s %s ago, nothing has come back%s", s.leaving(), duration(s.end), s.wouldGiveUp())
		},
		advice: silenceAdvice,
	},
	{
		cause:   StillOpen,
		match:   func(s *story) bool { return s.inProgress },
		outcome: OutcomeOpen,
		endedBy: (*story).whoInterrupted,
		shows:   handshakeKinds,
		summary: func(s *story) string {
			return fmt.Sprintf("the trace ended %s into the handshake: too early to say more", duration(s.end))
		},
	},
	{
		cause:   ResetLocally,
		match:   func(s *story) bool { return s.client() && !s.established && s.errno == event.ECONNABORTED },
		outcome: OutcomeFailed,
		endedBy: endedBy(EndedByKernel),
		shows:   handshakeAnd(event.Close),
		summary: func(s *story) string { return destroyed(duration(s.end) + " into the handshake") },
		advice:  destroyedAdvice,
	},
	{
		cause:      Unexplained,
		match:      func(s *story) bool { return !s.established },
		outcome:    OutcomeFailed,
		confidence: Possible,
		endedBy:    endedBy(EndedByKernel),
		shows:      handshakeAnd(event.ResetSent, event.ResetReceived, event.ICMPError, event.Error, event.Close),
		doubts:     say("no rule explains this end of a handshake"),
		summary: func(s *story) string {
			return fmt.Sprintf("the handshake failed after %s%s, for a reason that no rule knows", duration(s.end), s.withErrno())
		},
	},
}

// gaveUp says that whoever owns the socket closed it before any outcome.
func (s *story) gaveUp() bool {
	return s.client() && !s.established && s.closed && s.errno == 0 && s.icmp == nil && !s.inProgress
}

// silent says that a handshake is over and nothing ever came back.
func (s *story) silent() bool {
	return s.client() && !s.established && s.closed && !s.inProgress &&
		(s.errno == 0 || s.errno == event.ETIMEDOUT) && (s.icmp == nil || s.errno == event.ETIMEDOUT)
}

// mayWaitForNeighbour says that nothing came back, and no SYN is known to have left: each repeated one found the first still
// in this host (EBUSY, skb_still_in_host_queue), or none was due yet.
func (s *story) mayWaitForNeighbour() bool {
	return s.client() && (s.gaveUp() || s.silent() || s.inProgress) && s.first(event.SYNSent) == nil &&
		!s.saw(event.Drop) && (s.attempts == 0 || s.heldHere())
}

// hearsNothing says that nothing has come back for SYNs that may have left, so far or for good.
func (s *story) hearsNothing() bool {
	return (s.silent() && s.end >= s.firstRetryDue() || s.client() && s.inProgress && s.attempts > 0) && !s.retriesFailed()
}

// sinceFirstSYN is how long it was tried. Of a connection that is older than the trace the kernel says it with a retry.
func (s *story) sinceFirstSYN() time.Duration {
	if s.conn == nil || !s.conn.PreExisting {
		return s.end
	}
	retry := s.first(event.SYNRetransmit)
	if retry == nil {
		return s.end
	}
	return s.end - retry.Offset + retry.Elapsed
}

// retriesFailed says that every repeated SYN failed to be sent, with one of these errnos if any are given.
func (s *story) retriesFailed(errnos ...event.Errno) bool {
	if s.failed == 0 || s.failed < s.attempts {
		return false
	}
	last := s.last(event.SYNRetransmit).Errno
	for _, errno := range errnos {
		if last == errno {
			return true
		}
	}
	return len(errnos) == 0
}

// noneLeft says that SYNs are watched on their way to the device, that not one came there, and that no record of one
// can have been lost.
func (s *story) noneLeft() bool {
	return s.traced() && s.probe != nil && s.sees(event.SYNSent) && s.first(event.SYNSent) == nil &&
		s.first(event.Connect) != nil && s.conn.Complete()
}

// whoEndedSilence tells the clauses of tcp_write_timeout apart. It looks at the number of retries first; only while
// that is not reached does the user timeout count.
func (s *story) whoEndedSilence() EndedBy {
	switch {
	case s.errno != event.ETIMEDOUT:
		return byUser(s)
	case s.userTimeoutEndedIt():
		return EndedByUserTimeout
	}
	return EndedByKernel
}

func (s *story) userTimeoutEndedIt() bool {
	options, sysctls := s.options(), s.sysctls()
	if options == nil || options.UserTimeout == 0 {
		return false
	}
	if sysctls == nil {
		// How many retries the count allows is not known. The timer is clamped to the user timeout, so an end at
		// that time, or at the first retry where that is later, give or take the timer wheel's eighth, is its doing.
		limit := max(options.UserTimeout, s.firstRetryDue())
		return s.end >= options.UserTimeout && s.end <= limit+limit/4
	}
	return s.attempts < cmp.Or(options.SYNRetries, sysctls.SYNRetries)+sysctls.SYNLinearTimeouts
}

// options are the socket's, as the kernel's view or the probe's has them; nil: neither does.
func (s *story) options() *event.Options {
	if s.conn != nil && s.conn.Options != nil {
		return s.conn.Options
	}
	if s.probe != nil {
		return s.probe.Options
	}
	return nil
}

func (s *story) sysctls() *event.Sysctls {
	if s.conn == nil {
		return nil
	}
	return s.conn.Sysctls
}

func (s *story) whoInterrupted() EndedBy {
	if s.interrupted() {
		return EndedByProbe
	}
	return ""
}

// closer names who closed it of one's own accord.
func (s *story) closer() string {
	switch {
	case s.probe != nil && s.probe.GaveUp == "timeout" && s.probe.Timeout > 0:
		return fmt.Sprintf("--timeout %s", duration(s.probe.Timeout))
	case s.probe != nil:
		return "the probe"
	case s.conn != nil:
		return who(s.conn.Owner)
	}
	return "the application"
}

// silenceEnd is the clause that says who lost patience.
func (s *story) silenceEnd() string {
	switch s.whoEndedSilence() {
	case EndedByKernel:
		return "the kernel gave up with ETIMEDOUT"
	case EndedByUserTimeout:
		return fmt.Sprintf("TCP_USER_TIMEOUT of %s ended it with ETIMEDOUT", duration(s.options().UserTimeout))
	case EndedByProbe:
		if s.probe.GaveUp == "timeout" && s.probe.Timeout > 0 {
			return fmt.Sprintf("--timeout %s ended it", duration(s.probe.Timeout))
		}
		return "the probe closed it"
	}
	return s.closer() + " closed it"
}

// leaving says by which device the SYNs left, if that was seen.
func (s *story) leaving() string {
	if device := s.device(); device != "" {
		return " left this host by " + device + s.describeLink()
	}
	return ""
}

func (s *story) wouldGiveUp() string {
	for _, kind := range []event.Kind{event.SYNRetransmit, event.Connect} {
		if ev := s.last(kind); ev != nil && ev.GivesUp != 0 {
			return "; the kernel would give up at " + duration(ev.GivesUp)
		}
	}
	return ""
}

// silenceRests are the kinds whose absence means silence. ETIMEDOUT itself says that no ICMP error came: one would
// have left its own errno.
func (s *story) silenceRests() []event.Kind {
	rests := []event.Kind{event.Drop, event.SYNRetransmit}
	if s.errno == 0 {
		rests = append(rests, s.icmpUnlessProbed()...)
	}
	return rests
}

func (s *story) icmpUnlessProbed() []event.Kind {
	if s.probe != nil {
		return nil // it reads ICMP errors from its socket's error queue
	}
	return []event.Kind{event.ICMPError}
}

func (s *story) silenceDoubts() []string {
	var doubts []string
	if !s.traced() {
		doubts = append(doubts, "whether the SYNs left this host, and whether it dropped an answer itself, could not be seen")
	}
	if s.failed > 0 {
		doubts = append(doubts, fmt.Sprintf("%s could not be sent on this host", count(s.failed, "repeated SYN")))
	}
	if n := packets(s.droppedSYNs()); n > 0 {
		doubts = append(doubts, fmt.Sprintf("this host dropped %s itself: whether another would have been answered is not known", count(n, "SYN")))
	}
	if s.nfqueue() != nil {
		doubts = append(doubts, s.waiting()+": an answer may be among them")
	}
	if device := s.xdp(); device != "" && len(s.beyond()) == 0 {
		doubts = append(doubts, fmt.Sprintf("an XDP program is attached to %s: what that discards, nothing else sees (bpftool net)", device))
	}
	return doubts
}

// beyond are the packets of this handshake that this host dropped after they had left the socket's network namespace, or
// at the other end.
func (s *story) beyond() []*event.Event {
	drops := s.dropsWhere(func(ev *event.Event) bool {
		return !s.inOwnNamespace(ev) || ev.Direction != dropIn && ev.Direction != dropOut
	})
	for _, other := range s.others() {
		drops = append(drops, (&story{conn: other}).dropsWhere(isLoss)...)
	}
	return drops
}

func (s *story) droppedBeyond() string {
	drops := s.beyond()
	if len(drops) == 0 {
		return ""
	}
	where := "on their way through another network namespace of this host"
	if foremost(drops).Direction == dropIn {
		where = "where they arrived, on this host"
	}
	return fmt.Sprintf(": they were dropped %s: %s", where, describeDrops(drops))
}

// lookBeyond says where to look for what dropped them; nil where nothing did.
func (s *story) lookBeyond() []string {
	drops := s.beyond()
	if len(drops) == 0 {
		return nil
	}
	most, where := foremost(drops), "there"
	if most.NetNS != 0 {
		where = fmt.Sprintf("in the network namespace with the inode %d (lsns -t net)", most.NetNS)
	}
	return []string{"look at what drops it, " + where + ": " + lookFor(most)}
}

// answeredInVain tells of a server on this host that took the SYN: what it answered was lost on the way back.
func (s *story) answeredInVain() string {
	if s.peerLast(event.SYNReceived) == nil {
		return ""
	}
	return fmt.Sprintf(": the server, on this host, took the SYN and sent its SYN-ACK %s, and none arrived", count(1+s.synACKs(), "time"))
}

func silenceAdvice(s *story) []string {
	if look := s.lookBeyond(); look != nil {
		return look
	}
	if s.answeredInVain() != "" {
		return []string{fmt.Sprintf("the way back is at fault: tcpdump on the client's side; and at the server, in the network namespace with the inode %d (lsns -t net): "+
			"nft list ruleset, ip neigh, ip route get %s", s.conn.Peer.NetNS, address(s.conn.Peer.Remote))}
	}
	if s.link().NoCarrier {
		return []string{s.lookAtCarrier()}
	}
	if s.link().Tunnel != "" {
		return append([]string{"it is not known whether they came out of the tunnel: " + s.lookAtTunnel()}, s.lookBeyondHost()...)
	}
	return s.lookBeyondHost()
}

// lookBeyondHost is where to look for what discards SYNs that nobody on this host has seen any more.
func (s *story) lookBeyondHost() []string {
	return []string{
		"something beyond this host discards them silently: a firewall, no such host, or a full accept queue there",
		fmt.Sprintf("on the peer: ss -ltn 'sport = :%d' (Recv-Q above Send-Q is a full queue) and nft list ruleset; here: nft list ruleset, sysctl net.ipv4.conf.all.rp_filter",
			s.remote().Port()),
		fmt.Sprintf("see how far they get: tcptrace path %s", s.remote()),
	}
}

func abandonedAdvice(s *story) []string {
	return []string{fmt.Sprintf("give it at least one retry: the first is due after %s; try tcptrace connect %s", duration(s.firstRetryDue()), s.remote())}
}
