package verdict

import (
	"fmt"
	"net/netip"
	"slices"

	"tcptrace/tracer/event"
)

// dropRules are about handshakes of which this host itself dropped packets, the SYNs or what came back.
var dropRules = []rule{
	{
		cause:   MD5OrAOMismatch,
		match:   func(s *story) bool { return s.gotNowhere() && len(s.keyDrops()) > 0 },
		outcome: OutcomeFailed,
		endedBy: (*story).whoEndedSilence,
		shows:   handshakeAnd(event.Drop, event.Close),
		summary: (*story).keySummary,
		advice:  keyAdvice,
	},
	{
		cause:   NeighbourUnresolved,
		match:   func(s *story) bool { return s.gotNowhere() && len(s.neighbourDrops()) > 0 },
		outcome: OutcomeFailed,
		endedBy: func(s *story) EndedBy {
			if s.neighbourErrno() {
				return EndedByKernel
			}
			return s.whoEndedSilence()
		},
		shows:   handshakeAnd(event.Drop, event.Close),
		summary: (*story).neighbourSummary,
		advice:  neighbourAdvice,
	},
	{
		cause:   ConntrackFull,
		match:   func(s *story) bool { return s.gotNowhere() && len(s.conntrackDrops()) > 0 },
		outcome: OutcomeFailed,
		endedBy: (*story).whoEndedSilence,
		shows:   handshakeAnd(event.Drop, event.Close),
		doubts:  (*story).conntrackDoubts,
		summary: (*story).conntrackSummary,
		advice:  conntrackAdvice,
	},
	{
		cause: DroppedByLocalInput,
		match: func(s *story) bool {
			return s.client() && s.gotNowhere() && len(s.droppedAnswers()) > 0
		},
		outcome: OutcomeFailed,
		endedBy: (*story).whoEndedSilence,
		shows:   handshakeAnd(event.Drop, event.Close),
		summary: func(s *story) string {
			drops := s.droppedAnswers()
			return fmt.Sprintf("dropped by this host: the peer answered, and this host dropped %s: %s%s",
				droppedWhat(drops), describeDrops(drops), s.clientsEnd())
		},
		advice: func(s *story) []string { return []string{s.lookAt(s.droppedAnswers())} },
	},
	{
		cause:   DroppedByLocalOutput,
		match:   func(s *story) bool { return s.client() && s.gotNowhere() && s.noneGotOut() },
		outcome: OutcomeFailed,
		endedBy: (*story).whoEndedSilence,
		shows:   handshakeAnd(event.Drop, event.Close),
		doubts:  (*story).outputDoubts,
		summary: func(s *story) string {
			drops := s.droppedSYNs()
			return fmt.Sprintf("dropped by this host: %s: %s%s", count(packets(drops), "SYN"),
				describeDrops(drops), s.clientsEnd()) + s.soonOver()
		},
		advice: func(s *story) []string { return []string{s.lookAt(s.droppedSYNs())} },
	},
	{
		cause: DroppedByLocalOutput,
		match: func(s *story) bool {
			return s.server() && s.gotNowhere() && len(s.dropped(dropOut)) > 0
		},
		outcome: OutcomeFailed,
		endedBy: endedBy(EndedByKernel),
		shows:   handshakeAnd(event.Drop, event.Close, event.SYNACKTimeout),
		summary: func(s *story) string {
			drops := s.dropped(dropOut)
			return fmt.Sprintf("dropped by this host: its SYN-ACK to %s, %s: %s", s.remote(),
				count(packets(drops), "time"), describeDrops(drops))
		},
		advice: func(s *story) []string { return []string{s.lookAt(s.dropped(dropOut))} },
	},
	{
		cause: DroppedByLocalInput,
		match: func(s *story) bool {
			return !s.client() && s.gotNowhere() && len(s.dropped(dropIn)) > 0
		},
		outcome: OutcomeFailed,
		endedBy: endedBy(EndedByKernel),
		shows:   handshakeAnd(event.Drop, event.Close, event.SYNACKTimeout),
		summary: func(s *story) string {
			drops := s.dropped(dropIn)
			what := "what answered its SYN-ACK"
			if s.conn.OnlyRefused() {
				what = "the SYN"
			}
			return fmt.Sprintf("dropped by this host: %s of %s to port %d, %s: %s", what, s.remote(), s.local().Port(),
				count(packets(drops), "time"), describeDrops(drops))
		},
		advice: func(s *story) []string { return []string{s.lookAt(s.dropped(dropIn))} },
	},
}

// gotNowhere says that a handshake got nowhere, for no reason that an errno, or a reset, tells: it was given up, or
// goes on and has been tried again.
func (s *story) gotNowhere() bool {
	switch {
	case s.established || s.conn == nil:
		return false
	case s.client():
		return s.silent() || s.neighbourErrno() || s.neighbourTooLate() || s.inProgress && !s.syncError && s.errno == 0
	case s.server() && !s.conn.Socketless():
		return s.first(event.ResetReceived) == nil
	}
	return s.conn.OnlyRefused()
}

// neighbourErrno says that a neighbour that does not answer has left its errno.
func (s *story) neighbourErrno() bool {
	return s.closed && s.errno == event.EHOSTUNREACH && len(s.neighbourDrops()) > 0
}

// neighbourTooLate says that the kernel gave up on a neighbour when the application had done so already.
func (s *story) neighbourTooLate() bool {
	return s.closed && s.errno == 0 && s.icmp != nil && s.ownUnreachable() && len(s.neighbourDrops()) > 0
}

// droppedSYNs are those of this client's SYNs that its own host dropped: on their way out, or in, where the server is in
// the same network namespace.
func (s *story) droppedSYNs() []*event.Event {
	drops := s.dropped(dropOut)
	if c := s.conn; c != nil && c.Refused != nil && c.Refused.NetNS != 0 && c.Refused.NetNS == c.NetNS {
		drops = append(drops, (&story{conn: c.Refused}).dropped(dropIn)...)
	}
	return slices.DeleteFunc(drops, func(ev *event.Event) bool { return !has(ev, "SYN") })
}

// droppedAnswers are the packets that came for this client's SYNs and that its own host dropped. Those that TCP itself
// has no use for (a bare ACK) are not among them.
func (s *story) droppedAnswers() []*event.Event {
	return slices.DeleteFunc(s.dropped(dropIn), func(ev *event.Event) bool { return !has(ev, "SYN") && !has(ev, "RST") })
}

// droppedWhat names packets that came: "3 SYN-ACKs".
func droppedWhat(drops []*event.Event) string {
	noun := "answer"
	switch {
	case drops[0].TCPFlags == "":
	case has(drops[0], "RST"):
		noun = "reset"
	case has(drops[0], "SYN"):
		noun = "SYN-ACK"
	}
	return count(packets(drops), noun)
}

// noneGotOut says that this host dropped its own SYNs: all of them, or, where not every drop was seen, no device saw one.
func (s *story) noneGotOut() bool {
	drops := packets(s.droppedSYNs())
	return drops > 0 && (drops > s.attempts || s.first(event.SYNSent) == nil)
}

// soonOver says why the kernel gave up long before it would have with a silent peer.
func (s *story) soonOver() string {
	last := s.last(event.SYNRetransmit)
	if last == nil || !last.LocalCongestion || s.whoEndedSilence() != EndedByKernel {
		return ""
	}
	return " after " + duration(s.end) + ", so soon because it tries again every half second where this host refuses to send"
}

func (s *story) outputDoubts() []string {
	drops, made := packets(s.droppedSYNs()), 1+s.attempts
	if drops >= made {
		return nil
	}
	return []string{fmt.Sprintf("of %s only %d were seen dropped: what became of the others was not seen", count(made, "SYN"), drops)}
}

func (s *story) neighbourDrops() []*event.Event {
	return s.dropsWhere(func(ev *event.Event) bool { return ofNeighbour(ev) && s.inOwnNamespace(ev) })
}

// neighbour is the address that did not answer on the link; the zero value where that was not seen.
func (s *story) neighbour() netip.Addr {
	for _, ev := range s.neighbourDrops() {
		if ev.Neighbour.IsValid() {
			return ev.Neighbour
		}
	}
	if next := s.nextHop(); next.unresolved() {
		return next.Addr
	}
	return netip.Addr{}
}

func (s *story) conntrackDrops() []*event.Event {
	return s.dropsWhere(func(ev *event.Event) bool { return s.ofConntrack(ev) && s.inOwnNamespace(ev) })
}

func (s *story) conntrackDoubts() []string {
	if slices.ContainsFunc(s.conntrackDrops(), inConntrack) {
		return nil
	}
	return []string{"that the table was full was asked for afterwards: a rule of the firewall may have dropped it as well"}
}

func (s *story) conntrackSummary() string {
	text := fmt.Sprintf("connection tracking on this host was full and dropped %s", count(packets(s.conntrackDrops()), "packet"))
	if c := s.conntrack(); c != nil && c.Max > 0 {
		text += fmt.Sprintf(" (%d of %d entries)", c.Count, c.Max)
	}
	return text + s.clientsEnd()
}

func conntrackAdvice(s *story) []string {
	limit := "net.netfilter.nf_conntrack_max"
	if c := s.conntrack(); c != nil && c.Max > 0 {
		limit += fmt.Sprintf(" (%d)", c.Max)
	}
	return []string{
		"raise sysctl " + limit + ", with its buckets; or let entries go sooner: net.netfilter.nf_conntrack_tcp_timeout_*",
		"see who fills it: conntrack -L | awk '{print $4}' | sort | uniq -c | sort -n; exempt what needs no tracking: notrack",
	}
}

// keyDrops are the packets of this handshake that either end's host dropped for their TCP MD5 or AO signature.
func (s *story) keyDrops() []*event.Event {
	drops := s.dropsWhere(hasKeyReason)
	for _, other := range s.others() {
		drops = append(drops, (&story{conn: other}).dropsWhere(hasKeyReason)...)
	}
	return drops
}

func hasKeyReason(ev *event.Event) bool { return keyReasons[ev.Reason] != "" }

func (s *story) keySummary() string {
	drops := s.keyDrops()
	what := "this host dropped what came"
	if len(s.dropsWhere(hasKeyReason)) == 0 {
		what = "the other end, on this host, dropped what came"
	}
	return fmt.Sprintf("TCP keys do not match: %s because %s (%s, %s)", what, keyReasons[drops[0].Reason], drops[0].Reason,
		count(packets(drops), "time")) + s.clientsEnd()
}

func keyAdvice(*story) []string {
	return []string{
		"set the same key on both sides, for the address that the other side really uses (NAT breaks both): for BGP, the neighbour's password; " +
			"nstat -az TcpExtTCPMD5\\* TcpExtTCPAO\\* counts which check fails",
	}
}

// lookAt is the advice about packets that this host dropped.
func (s *story) lookAt(drops []*event.Event) string {
	ev := foremost(drops)
	text := "look at what drops it: " + lookFor(ev)
	if ev.Reason == "IP_RPFILTER" {
		text += "; the way back is ip route get " + address(s.remote())
	}
	return text
}
