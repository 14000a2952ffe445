package verdict

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
)

// story is what the rules look at: one connection as the kernel's events tell it, completed by what a probe saw in
// user space, which in the degraded mode is all there is.
type story struct {
	facts Facts
	conn  *timeline.Connection // nil when no kernel event of it came
	probe *event.Probe         // nil when it is not one of ours

	role        event.Role
	established bool // the handshake was completed
	closed      bool // it is over
	inProgress  bool // the trace ended, or was ended, in the middle of the handshake
	syncError   bool // connect() itself failed, no SYN was sent

	errno    event.Errno
	icmp     *event.ICMP // the last that can have ended it
	attempts int         // retransmissions of the SYN, those that failed locally included
	failed   int         // of these
	end      time.Duration
	pending  pending
	orderly  bool // no row explains it but those about an orderly end, and no act went before

	around       []*timeline.Connection // what others gives, once it has
	lookedAround bool
}

func tell(c *timeline.Connection, f Facts) *story {
	s := &story{facts: f, conn: c, probe: f.Probe, role: event.RoleClient}
	if c != nil {
		s.readEvents()
	}
	if s.probe != nil {
		s.readProbe()
	}
	if c != nil {
		s.readPending()
	} else if s.probe != nil {
		s.guessPending()
	}
	s.inProgress = !s.established && !s.syncError && (!s.closed || s.interrupted())
	s.orderly = s.isOrderly()
	return s
}

// isOrderly finds out whether a connection was closed as nearly all of a busy host are: by a FIN, with nothing seen at either
// end that does not belong to a story without trouble, and nothing left that a timer waited for.
func (s *story) isOrderly() bool {
	return s.conn != nil && s.probe == nil && s.conn.Uneventful() && s.conn.Closed && s.conn.Sibling == nil &&
		s.established && s.errno == 0 && s.attempts == 0 && s.pending.timer == noTimer && !s.closedWithoutFIN() &&
		!hasCookie(s.conn) && !hasCookie(s.conn.Peer)
}

// hasCookie says that a SYN cookie completed the handshake at this end, which may be nil.
func hasCookie(c *timeline.Connection) bool {
	if c == nil {
		return false
	}
	for i := range c.Events {
		if c.Events[i].ByCookie {
			return true
		}
	}
	return false
}

func (s *story) readEvents() {
	c := s.conn
	s.role = c.Role
	s.closed = c.Closed || c.Expired
	s.established = c.PreExisting && s.firstWhere(inHandshake) == nil
	for i := range c.Events {
		ev := &c.Events[i]
		s.end = max(s.end, ev.Offset)
		switch ev.Kind {
		case event.SYNRetransmit:
			s.attempts = max(s.attempts, ev.Attempt)
			if ev.Errno != 0 {
				s.failed++
			}
		case event.SYNSent:
			s.attempts = max(s.attempts, ev.Attempt)
		case event.Established, event.Accept:
			s.established = true
		case event.ICMPError:
			if kills(ev.ICMP) {
				s.icmp = ev.ICMP
			}
		}
		if synchronized(ev.State) || synchronized(ev.OldState) {
			s.established = true
		}
	}
	s.errno = s.finalErrno()
	if closing := s.last(event.Close); closing != nil {
		s.end = closing.Offset
	}
	s.syncError = s.last(event.Error) != nil && !s.established && !s.sentSYN() && !c.PreExisting
}

// finalErrno is the errno of the close; the error that a syscall reported later counts where the close has none.
func (s *story) finalErrno() event.Errno {
	if closing := s.last(event.Close); closing != nil && closing.Errno != 0 {
		return closing.Errno
	}
	if failed := s.last(event.Error); failed != nil {
		return failed.Errno
	}
	return 0
}

func (s *story) readProbe() {
	p := s.probe
	s.established = s.established || p.Connected
	s.syncError = s.syncError || p.Synchronous && !s.sentSYN() && !answers(p.Errno)
	s.closed = s.closed || p.Errno != 0 || p.GaveUp != "" || p.Lifetime > 0
	if s.errno == 0 {
		s.errno = p.Errno
	}
	if s.icmp == nil && kills(p.ICMP) {
		s.icmp = p.ICMP
	}
	if p.HasInfo && !s.held() && p.BytesSent == 0 { // or else data that was sent again counts as well
		s.attempts = max(s.attempts, p.TotalRetrans)
	}
	if s.conn == nil {
		s.end = p.Connect
		if p.GaveUp != "" || s.held() || s.exchangeFailed() {
			s.end = max(p.Connect, p.Lifetime)
		}
	}
}

// sentSYN says that a SYN was seen.
func (s *story) sentSYN() bool {
	return s.first(event.Connect) != nil || s.first(event.SYNSent) != nil || s.first(event.SYNRetransmit) != nil
}

// interrupted says that the user stopped the probe, so that its close says nothing.
func (s *story) interrupted() bool { return s.probe != nil && s.probe.GaveUp == "interrupted" }

// traced says that there are kernel events to tell the story from.
func (s *story) traced() bool { return s.conn != nil }

func (s *story) client() bool { return s.role == event.RoleClient }
func (s *story) server() bool { return s.role == event.RoleServer }

// syns is how many SYNs left the sender's hands.
func (s *story) syns() int {
	if s.syncError {
		return 0
	}
	if s.conn != nil && s.role != event.RoleClient {
		return 0
	}
	return 1 + s.attempts - s.failed
}

func (s *story) first(kind event.Kind) *event.Event {
	if !s.saw(kind) {
		return nil
	}
	return s.firstWhere(func(ev *event.Event) bool { return ev.Kind == kind })
}

func (s *story) firstWhere(match func(*event.Event) bool) *event.Event {
	if s.conn == nil {
		return nil
	}
	for i := range s.conn.Events {
		if ev := &s.conn.Events[i]; match(ev) {
			return ev
		}
	}
	return nil
}

// saw says that there may be an event of that kind.
func (s *story) saw(kind event.Kind) bool { return s.conn != nil && s.conn.Saw(kind) }

func (s *story) last(kind event.Kind) *event.Event { return lastOf(s.conn, kind) }

func lastOf(c *timeline.Connection, kind event.Kind) *event.Event {
	if c == nil || !c.Saw(kind) {
		return nil
	}
	for i := len(c.Events) - 1; i >= 0; i-- {
		if c.Events[i].Kind == kind {
			return &c.Events[i]
		}
	}
	return nil
}

// total is how many events of a kind there were, those included that a long story no longer holds.
func (s *story) total(kind event.Kind) int {
	if s.conn == nil {
		return 0
	}
	n := s.conn.Folded[kind]
	if !s.saw(kind) {
		return n
	}
	for i := range s.conn.Events {
		if ev := &s.conn.Events[i]; ev.Kind == kind {
			n += max(1, ev.Count)
		}
	}
	return n
}

// peerLast is the last event of a kind at the other end, when that is on this host too.
func (s *story) peerLast(kind event.Kind) *event.Event {
	if s.conn == nil {
		return nil
	}
	return lastOf(s.conn.Peer, kind)
}

// others are what else belongs to the story on this host: the other end, what a listener made of the SYN, and the old
// connection that it met.
func (s *story) others() []*timeline.Connection {
	if s.conn != nil && !s.lookedAround {
		s.around, s.lookedAround = othersOf(s.conn), true
	}
	return s.around
}

func othersOf(c *timeline.Connection) []*timeline.Connection {
	if c.Uneventful() { // no third one knows of either end
		if c.Peer == nil {
			return nil
		}
		return []*timeline.Connection{c.Peer}
	}
	others := []*timeline.Connection{c.Peer, c.Refused, c.Before}
	if c.Peer != nil {
		others = append(others, c.Peer.Refused, c.Peer.Before)
	}
	slices.SortFunc(others, byStart)
	others = slices.Compact(others)
	others = slices.DeleteFunc(others, func(other *timeline.Connection) bool { return other == nil || other == c })
	return slices.Clip(others) // who appends to it gets a copy
}

// byStart orders connections, those that are missing first.
func byStart(a, b *timeline.Connection) int {
	switch {
	case a == b:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	return cmp.Or(cmp.Compare(a.Started(), b.Started()), cmp.Compare(a.ID, b.ID))
}

// numbers are the events of these kinds, at both ends, in order.
func (s *story) numbers(kinds []event.Kind) []uint64 {
	if s.conn == nil {
		return nil
	}
	const usual = 16
	var room [usual]uint64
	numbers := room[:0]
	wanted := uint64(0) // a bit for each kind
	for _, kind := range kinds {
		wanted |= 1 << kind
	}
	for _, c := range append(s.others(), s.conn) {
		for i := range c.Events {
			if ev := &c.Events[i]; wanted&(1<<ev.Kind) != 0 {
				numbers = append(numbers, ev.N)
			}
		}
	}
	slices.Sort(numbers)
	if len(numbers) == 0 {
		return nil
	}
	return slices.Clone(numbers)
}

// sees says whether this kernel shows events of that kind.
func (s *story) sees(kind event.Kind) bool { return s.facts.Hooks[kind] != "" }

// device is the interface that the SYNs left by; empty when that was not seen.
func (s *story) device() string {
	if sent := s.last(event.SYNSent); sent != nil {
		return sent.IfName
	}
	return ""
}

// firstRetryDue is the offset at which the first SYN would have been repeated.
func (s *story) firstRetryDue() time.Duration {
	if connect := s.first(event.Connect); connect != nil && connect.NextDue != 0 {
		return connect.NextDue
	}
	return time.Second // TCP_TIMEOUT_INIT
}

// synACKs is how often the server's SYN-ACK was sent again, seen from either end.
func (s *story) synACKs() int {
	if again := s.last(event.SYNACKRetransmit); again != nil {
		return again.Attempt
	}
	if again := s.peerLast(event.SYNACKRetransmit); again != nil {
		return again.Attempt
	}
	return 0
}

// handshake is how long it took from the first event to the completed handshake.
func (s *story) handshake() time.Duration {
	if done := s.first(event.Established); done != nil {
		return done.Offset
	}
	if s.probe != nil && s.probe.Connected {
		return s.probe.Connect
	}
	return 0
}

// exchangeFailed says that a probe's --send or --expect did not succeed after the connect.
func (s *story) exchangeFailed() bool {
	return s.probe != nil && s.probe.Connected &&
		(s.probe.ExchangeErrno != 0 || s.probe.Expected != "" && !s.probe.ExpectMet)
}

// held says that a probe kept its connection to see what becomes of it.
func (s *story) held() bool { return s.probe != nil && s.probe.HeldFor > 0 }

// outlived says that a connection that was held was still alive when the hold ended.
func (s *story) outlived() bool {
	return s.held() && !s.exchangeFailed() && s.probe.HoldErrno == 0 && !s.probe.PeerClosed
}

// answered says that the verdict is about a probe's handshake, and that it succeeded.
func (s *story) answered() bool {
	return s.probe != nil && s.probe.Connected && !s.exchangeFailed() && !s.held()
}

func (s *story) local() netip.AddrPort {
	if s.conn != nil && s.conn.Local.IsValid() {
		return s.conn.Local
	}
	if s.probe != nil {
		return s.probe.Local
	}
	return netip.AddrPort{}
}

func (s *story) remote() netip.AddrPort {
	if s.conn != nil && s.conn.Remote.IsValid() {
		return s.conn.Remote
	}
	if s.probe != nil {
		return s.probe.Remote
	}
	return netip.AddrPort{}
}

// synchronized says that the state is one after the handshake (RFC 9293, section 3.3.2).
func synchronized(state event.State) bool {
	switch state {
	case event.StateEstablished, event.StateFinWait1, event.StateFinWait2, event.StateTimeWait, event.StateCloseWait,
		event.StateLastACK, event.StateClosing:
		return true
	}
	return false
}

// inHandshake says that an event shows its socket before the end of the handshake.
func inHandshake(ev *event.Event) bool {
	for _, state := range []event.State{ev.State, ev.OldState} {
		switch state {
		case event.StateSYNSent, event.StateSYNRecv, event.StateNewSYNRecv:
			return true
		}
	}
	return false
}

// answers says that connect() gives this errno only after a SYN was sent, also where it waits for it.
func answers(errno event.Errno) bool {
	switch errno {
	case 0, event.EINPROGRESS, event.ETIMEDOUT, event.ECONNREFUSED, event.ECONNRESET:
		return true
	}
	return false
}

// kills says whether an ICMP error can end a connect: tcp_v4_err and tcp_v6_err take those about the path MTU and
// source quench as no error.
func kills(icmp *event.ICMP) bool {
	if icmp == nil {
		return false
	}
	if icmp.From.Is4() || icmp.From.Is4In6() || !icmp.From.IsValid() {
		return icmp.Type != icmpv4SourceQuench && !(icmp.Type == icmpv4Unreachable && icmp.Code == icmpv4FragmentationNeeded) &&
			icmp.Type != icmpv4Redirect
	}
	return icmp.Type != icmpv6PacketTooBig && icmp.Type != icmpv6Redirect
}

// ICMP numbers (include/uapi/linux/icmp.h, icmpv6.h) that decide what an error means for TCP.
const (
	icmpv4Unreachable         = 3
	icmpv4HostUnreachable     = 1 // code
	icmpv4PortUnreachable     = 3 // code
	icmpv4FragmentationNeeded = 4 // code
	icmpv4SourceQuench        = 4
	icmpv4Redirect            = 5

	icmpv6Unreachable        = 1
	icmpv6AddressUnreachable = 3 // code
	icmpv6PacketTooBig       = 2
	icmpv6Redirect           = 137
)
