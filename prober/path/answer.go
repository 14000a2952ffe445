package path

import (
	"fmt"
	"net/netip"
	"time"

	"tcptrace/tracer/event"
)

// Kind is what answered a SYN.
type Kind string

// The kinds of answers.
const (
	Silence  Kind = "silence"       // nothing, in time
	Expired  Kind = "time_exceeded" // a router that the SYN could not pass any more
	Rejected Kind = "icmp"          // another ICMP error: that router, or the destination, refuses to take it further
	Accepted Kind = "syn_ack"       // the destination
	Refused  Kind = "rst"           // the destination, or a firewall in its name
	Unsent   Kind = "unsent"        // this host: the SYN did not leave
)

// kinds says whether somebody else than this host has answered.
var kinds = map[Kind]bool{Silence: false, Expired: true, Rejected: true, Accepted: true, Refused: true, Unsent: false}

// Clock is what measured a round trip.
type Clock string

// The clocks.
const (
	ClockUser    Clock = "user"     // this process: the time until it ran again is in it
	ClockTCPInfo Clock = "tcp_info" // the kernel, from SYN to SYN-ACK, as the socket tells it
	ClockKernel  Clock = "kernel"   // the kernel, at the hooks of a trace
)

// Answer is what became of one SYN.
type Answer struct {
	TTL   int // how many routers it might reach
	Query int // which SYN of that hop, from 1
	Kind  Kind
	From  netip.Addr    // who answered; invalid for Silence and Unsent
	ICMP  *event.ICMP   // of Expired and Rejected, and of Unsent where this host's IP layer says why
	Errno event.Errno   // of Rejected, Refused and Unsent
	RTT   time.Duration // 0: no answer, or it is not known which of several SYNs was answered
	Clock Clock         // of RTT
	// Retries is how often the kernel sent the SYN again before there was an answer, or nobody waited any more.
	Retries int
	Local   netip.AddrPort // invalid where the kernel chose none
	Cookie  uint64         // SO_COOKIE
	// Started is CLOCK_MONOTONIC just before connect(), and Lifetime from then to close().
	Started  time.Duration
	Lifetime time.Duration
}

// Validate says what keeps an answer that comes from elsewhere, such as a recording, from being one of [Trace]'s.
func (a *Answer) Validate() error {
	answered, known := kinds[a.Kind]
	switch {
	case !known:
		return fmt.Errorf("%q is no kind of answer", a.Kind)
	case a.TTL < 1 || a.TTL > MaxHops:
		return fmt.Errorf("%d is no hop limit", a.TTL)
	case a.Answered() != answered:
		return fmt.Errorf("%s cannot come from %q", a.Kind, a.From)
	case a.ICMP == nil && (a.Kind == Expired || a.Kind == Rejected):
		return fmt.Errorf("%s lacks its ICMP error", a.Kind)
	}
	return nil
}

// Answered says whether anybody did.
func (a *Answer) Answered() bool { return a.From.IsValid() }

// final says that a SYN which could go further would not.
func (a *Answer) final() bool {
	return a.Kind == Rejected || a.Kind == Accepted || a.Kind == Refused || a.Kind == Unsent
}

// reached says whether it was the destination that answered.
func (a *Answer) reached(remote netip.Addr) bool {
	return a.Kind == Accepted || a.Kind == Refused || a.Kind == Rejected && a.From == remote
}

// answerOf reads a probe's outcome.
func answerOf(p *event.Probe, ttl, query int) Answer {
	a := Answer{
		TTL: ttl, Query: query, Local: p.Local, Cookie: p.Cookie, Started: p.StartedMono, Lifetime: p.Lifetime,
		Retries: max(p.TotalRetrans, p.Retransmits),
	}
	a.Kind = kindOf(p)
	switch a.Kind {
	case Expired, Rejected:
		a.From, a.ICMP, a.Errno = p.ICMP.From, p.ICMP, p.Errno
	case Accepted, Refused:
		a.From, a.Errno = p.Remote.Addr().WithZone(""), p.Errno
	case Unsent:
		a.ICMP, a.Errno = p.ICMP, p.Errno
	}
	if a.Answered() && a.Retries == 0 {
		a.RTT, a.Clock = p.Connect, ClockUser
		if p.Connected && p.HasInfo && p.RTT > 0 {
			a.RTT, a.Clock = p.RTT, ClockTCPInfo
		}
	}
	return a
}

func kindOf(p *event.Probe) Kind {
	switch {
	case p.Connected:
		return Accepted
	case p.ICMP != nil && (!p.ICMP.From.IsValid() || p.ICMP.From == p.Local.Addr().WithZone("")):
		return Unsent // this host's own IP layer: a neighbour that is not there, or its own firewall
	case p.ICMP != nil && isTimeExceeded(p.ICMP):
		return Expired
	case p.ICMP != nil:
		return Rejected
	case p.GaveUp != "", p.Errno == event.ETIMEDOUT:
		return Silence
	case p.Synchronous:
		return Unsent
	case p.Errno == event.ECONNREFUSED:
		return Refused
	case p.Errno == event.ECONNRESET, p.Errno == event.EPIPE:
		return Accepted // and reset before anybody looked: a RST to a SYN is another errno (tcp_reset)
	}
	return Unsent
}

// isTimeExceeded says whether a router could not pass the packet on because its hop limit was used up.
func isTimeExceeded(icmp *event.ICMP) bool {
	const v4, v6 = 11, 3 // ICMP_TIME_EXCEEDED and ICMPV6_TIME_EXCEED, with code 0 for hops
	if icmp.From.Is4() {
		return icmp.Type == v4 && icmp.Code == 0
	}
	return icmp.Type == v6 && icmp.Code == 0
}
