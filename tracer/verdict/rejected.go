package verdict

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"tcptrace/tracer/event"
)

// softErrnos are those that an ICMP error leaves (icmp_err_convert, tab_unreach), ECONNREFUSED aside, which a reset
// leaves as well.
var softErrnos = []event.Errno{
	event.EHOSTUNREACH, event.ENETUNREACH, event.EACCES, event.EPROTO, event.ENOPROTOOPT, event.EOPNOTSUPP,
	event.EHOSTDOWN, event.ENONET,
}

// rejectionRules are about a SYN that was answered with a no.
var rejectionRules = []rule{
	{
		cause: Refused,
		match: func(s *story) bool {
			return s.client() && !s.established && s.last(event.ResetReceived) != nil
		},
		outcome: OutcomeFailed,
		endedBy: endedBy(EndedByPeer),
		shows:   handshakeAnd(event.ResetReceived, event.ResetSent, event.Close),
		summary: func(s *story) string { return s.refusal(s.last(event.ResetReceived).Offset) },
		advice:  refusedAdvice,
	},
	{
		// neigh_timer_handler gives up after 3 probes of a second and arp_error_report, or ndisc_error_report, makes
		// an ICMP error on this host.
		cause:      NeighbourUnresolved,
		match:      func(s *story) bool { return s.rejected() && s.ownUnreachable() && s.neighbourTime() },
		outcome:    OutcomeFailed,
		confidence: Likely,
		endedBy:    endedBy(EndedByKernel),
		shows:      handshakeAnd(event.ICMPError, event.Close, event.Error),
		doubts:     say("the neighbour table was not seen: only that this host itself reported the target unreachable, at the time at which ARP or neighbour discovery gives up"),
		summary:    (*story).neighbourSummary,
		advice:     neighbourAdvice,
	},
	{
		cause:   RejectedByICMP,
		match:   (*story).rejected,
		outcome: OutcomeFailed,
		endedBy: endedBy(EndedByKernel),
		shows:   handshakeAnd(event.ICMPError, event.Close, event.Error),
		summary: func(s *story) string {
			return fmt.Sprintf("rejected by ICMP %s %s", describeICMP(s.icmp), s.after(s.end)) + s.withErrno() + s.softly()
		},
		advice: icmpAdvice,
	},
	{
		// Every reset that reaches a socket is seen here, so ECONNREFUSED without one is ICMP's port unreachable.
		cause: RejectedByICMP,
		match: func(s *story) bool {
			return s.refusedSilently() && s.traced() && s.sees(event.ResetReceived) && s.peerLast(event.ResetSent) == nil
		},
		outcome:    OutcomeFailed,
		confidence: Likely,
		endedBy:    endedBy(EndedByKernel),
		shows:      handshakeAnd(event.Close, event.Error),
		doubts:     say("the ICMP error itself was not seen: ECONNREFUSED without a reset says that there was one"),
		summary: func(s *story) string {
			return "rejected by ICMP, port unreachable it seems, " + s.after(s.end) + s.withErrno()
		},
		advice: say("a firewall on the way or on the peer rejects it (REJECT in iptables, reject in nft, gives port unreachable by default); its sender is in tcpdump -n icmp or icmp6"),
	},
	{
		cause:      Refused,
		match:      (*story).refusedSilently,
		outcome:    OutcomeFailed,
		confidence: Likely,
		endedBy:    endedBy(EndedByPeer),
		shows:      handshakeAnd(event.ResetSent, event.Close, event.Error),
		doubts:     say("the reset itself was not seen: an ICMP port unreachable gives the same errno"),
		summary:    func(s *story) string { return s.refusal(s.end) },
		advice:     refusedAdvice,
	},
	{
		cause: NeighbourUnresolved,
		match: func(s *story) bool {
			return s.unreachable() && s.errno == event.EHOSTUNREACH && s.neighbourTime()
		},
		outcome:    OutcomeFailed,
		confidence: Possible,
		endedBy:    endedBy(EndedByKernel),
		shows:      handshakeAnd(event.Close, event.Error),
		doubts:     say("only the time speaks for it: an ICMP host unreachable from a router leaves the same errno"),
		summary:    (*story).neighbourSummary,
		advice:     neighbourAdvice,
	},
	{
		cause:      RejectedByICMP,
		match:      (*story).unreachable,
		outcome:    OutcomeFailed,
		confidence: Likely,
		endedBy:    endedBy(EndedByKernel),
		shows:      handshakeAnd(event.Close, event.Error),
		doubts:     say("the ICMP error itself was not seen, nor who sent it: a route that went away leaves the same errno"),
		summary: func(s *story) string {
			return "rejected by ICMP, it seems, " + s.after(s.end) + s.withErrno()
		},
		advice: say("see who sends it: tcpdump -n icmp or icmp6"),
	},
}

// rejected says that an ICMP error ended the handshake, or explains why the application did: a socket that was busy
// in connect() when the error came keeps no errno but wakes its owner.
func (s *story) rejected() bool {
	return s.client() && !s.established && s.icmp != nil && (s.closed || s.errno != 0) && !s.interrupted() &&
		s.errno != event.ETIMEDOUT
}

// refusedSilently is ECONNREFUSED of which nobody saw the reason.
func (s *story) refusedSilently() bool {
	return s.client() && !s.established && s.errno == event.ECONNREFUSED
}

// unreachable is an asynchronous ICMP errno of which nobody saw the ICMP error.
func (s *story) unreachable() bool {
	return s.client() && !s.established && slices.Contains(softErrnos, s.errno)
}

// neighbourTime says that it ended when an unresolved neighbour would have ended it: 3 probes, a second each
// (mcast_solicit, retrans_time_ms), on a timer of its own.
func (s *story) neighbourTime() bool {
	return s.end >= 2900*time.Millisecond && s.end <= 3400*time.Millisecond
}

// fromHere says that this host itself sent the ICMP error.
func (s *story) fromHere() bool {
	from := s.icmp.From.Unmap()
	return from.IsValid() && from == s.local().Addr().Unmap()
}

// ownUnreachable says that the ICMP error is a host unreachable which this host sent to itself.
func (s *story) ownUnreachable() bool {
	if !s.fromHere() {
		return false
	}
	if s.icmp.From.Unmap().Is4() {
		return s.icmp.Type == icmpv4Unreachable && s.icmp.Code == icmpv4HostUnreachable
	}
	return s.icmp.Type == icmpv6Unreachable && s.icmp.Code == icmpv6AddressUnreachable
}

// softly says that the socket was busy when the ICMP error came: tcp_v4_err and tcp_v6_err then only keep its errno for
// the end (sk_err_soft), and the SYNs go on.
func (s *story) softly() string {
	const atOnce = 500 * time.Millisecond
	said := s.last(event.ICMPError)
	if said == nil || s.errno == 0 || !s.closed || s.end-said.Offset < atOnce {
		return ""
	}
	return fmt.Sprintf("; it came at %s, while the socket was busy, so that the kernel went on until its retries were over", duration(said.Offset))
}

func (s *story) withErrno() string {
	if s.errno == 0 {
		return ""
	}
	return ", " + s.errno.String()
}

// refusal tells a refusal, and who sent the reset if that is known.
func (s *story) refusal(offset time.Duration) string {
	text := fmt.Sprintf("refused: a reset answered the SYN %s", s.after(offset))
	sent := s.peerLast(event.ResetSent)
	if sent == nil {
		return text + s.sinceLastSYN(offset) + resetTTL(s.last(event.ResetReceived))
	}
	text += "; the other end, on this host, sent it"
	switch at := s.refusedAt(); {
	case sent.Reason == "NO_SOCKET" && at != bare(s.remote()):
		return text + fmt.Sprintf(" because nothing listens on %s, which NAT had put in the place of %s (NO_SOCKET)", at, s.remote())
	case sent.Reason == "NO_SOCKET":
		return text + fmt.Sprintf(" because nothing listens on port %d (NO_SOCKET)", at.Port())
	case sent.Reason != "":
		return text + " (" + sent.Reason + ")"
	}
	return text
}

// sinceLastSYN tells, of a reset that only a repeated SYN met, how soon after that it came.
func (s *story) sinceLastSYN(offset time.Duration) string {
	again := s.last(event.SYNRetransmit)
	if again == nil || offset < again.Offset {
		return ""
	}
	return fmt.Sprintf(", %s after the last; the others met silence", duration(offset-again.Offset))
}

// refusedAt is where the reset came from: the remote end, or what NAT on this host made of that.
func (s *story) refusedAt() netip.AddrPort {
	if sent := s.peerLast(event.ResetSent); sent != nil && sent.Local.IsValid() {
		return bare(sent.Local)
	}
	return bare(s.remote())
}

func refusedAdvice(s *story) []string {
	port := s.refusedAt().Port()
	if s.last(event.SYNRetransmit) != nil && s.peerLast(event.ResetSent) == nil {
		return []string{fmt.Sprintf("first silence, then a no: the host was just coming up, its service just going, or a firewall rejects only so "+
			"often; try again, and on the peer ss -ltnp 'sport = :%d' and nft list ruleset", port)}
	}
	return []string{fmt.Sprintf("nothing listens on port %d there, or a firewall rejects with a reset: on the peer, ss -ltnp 'sport = :%d' and nft list ruleset",
		port, port)}
}

func icmpAdvice(s *story) []string {
	if !s.icmp.From.IsValid() {
		return nil
	}
	if s.fromHere() {
		if drops := s.dropped(dropOut); len(drops) > 0 {
			return []string{"this host itself sent it; " + s.lookAt(drops)}
		}
		if s.link().Tunnel != "" {
			return []string{"this host itself sent it: the tunnel cannot reach its far end; " + s.lookAtTunnel()}
		}
		return []string{"this host itself sent it: look at nft list ruleset (reject) and " + s.routeGet()}
	}
	return []string{fmt.Sprintf("%s, %s: %s", s.icmp.From, s.whoseICMP(), s.whatICMP())}
}

// whoseICMP says where the sender of the ICMP error stands.
func (s *story) whoseICMP() string {
	if s.icmp.From.Unmap() == s.remote().Addr().Unmap() {
		return "the target itself"
	}
	return "a router or firewall on the way"
}

// icmpMeanings say what an ICMP error has to do with, and whom to ask, by its name in [event.ICMPName].
var icmpMeanings = []struct {
	names []string
	means string
}{
	{[]string{"prohibited", "failed policy", "precedence"}, "its rules reject the connection: ask whoever runs it"},
	{[]string{"port unreachable"}, "a firewall rejects it (REJECT in iptables, reject in nft, does so by default): ask whoever runs it"},
	{[]string{"network", "no route", "reject route", "beyond scope"}, "it has no route on to the target: ask whoever runs it, and check the address"},
	{[]string{"host", "address unreachable"}, "nobody on its last link answers for the target: the host is down, or the address is wrong"},
	{[]string{"exceeded"}, "the packets go round in a loop, or through too many hops: see where with tcptrace path"},
	{[]string{"protocol", "parameter", "header", "option", "length"}, "it does not understand the packet: something on the way changes it, or it is no host for TCP"},
}

func (s *story) whatICMP() string {
	name := strings.ReplaceAll(cmp.Or(s.icmp.Name, event.ICMPName(s.icmp.From.Is6() && !s.icmp.From.Is4In6(), s.icmp.Type, s.icmp.Code)), "_", " ")
	for _, meaning := range icmpMeanings {
		if slices.ContainsFunc(meaning.names, func(part string) bool { return strings.Contains(name, part) }) {
			return meaning.means
		}
	}
	return "a firewall there rejects it, or it has no way on to " + address(s.remote())
}

func (s *story) neighbourSummary() string {
	if s.link().NoCarrier {
		return fmt.Sprintf("no neighbour: %s has no carrier, so that nobody on the link could answer in %s%s", s.link().Name, duration(s.end), s.withErrno())
	}
	if asked := s.neighbour(); asked.IsValid() {
		return fmt.Sprintf("no neighbour: nobody on the link answered for %s%s in %s%s", asked, s.isGateway(asked), duration(s.end), s.withErrno())
	}
	return fmt.Sprintf("no neighbour: ARP or neighbour discovery on the last link towards %s got no answer in %s%s",
		address(s.remote()), duration(s.end), s.withErrno())
}

// isGateway says what the neighbour that was asked for is to the target.
func (s *story) isGateway(asked netip.Addr) string {
	if asked.Unmap() == s.remote().Addr().Unmap() {
		return ""
	}
	return ", the next hop towards " + address(s.remote())
}

func neighbourAdvice(s *story) []string {
	if s.link().NoCarrier {
		return []string{s.lookAtCarrier()}
	}
	if asked := s.neighbour(); asked.IsValid() {
		return []string{fmt.Sprintf("see the neighbour's state: ip neigh show %s (FAILED, INCOMPLETE): a host that is down, a wrong prefix or a wrong VLAN; "+
			"%s tells the device", asked, s.routeGet())}
	}
	return []string{fmt.Sprintf("see the neighbour's state: %s, then ip neigh (FAILED, INCOMPLETE): a host that is down, a wrong prefix or a wrong VLAN",
		s.routeGet())}
}
