package listeners

import (
	"net/netip"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/sockets"
)

// Listener is a listening socket at one moment, with what bounds it. The zero value of a field means that it is unknown, or
// that it does not apply.
type Listener struct {
	sockets.Socket // Listening is never nil; Owner is the first of its owners
	// Others are the owners but the first: a listener is often inherited by workers.
	Others []event.Owner
	Limits sockets.Limits // of its network namespace
	Device string         // the name of the one that it is bound to

	// HasSYNs says that Listening.SYNs counts. It always does where iterators tell it; sock_diag tells requests, but not
	// which of several listeners they belong to.
	HasSYNs bool

	Recent   *Recent // nil: nobody looked at it for a while
	Warnings []Warning
}

// Recent is what became of a listener while it was watched.
type Recent struct {
	Over time.Duration
	// Drops is by how much Socket.Drops has grown.
	Drops int
	// Accepted counts the connections that were accepted; see HasAccepted. Of Sharing listeners nothing tells whose they were.
	Accepted    int
	HasAccepted bool
	Sharing     int
}

// Rate is how many connections a second were accepted.
func (r *Recent) Rate() float64 {
	if r.Over <= 0 {
		return 0
	}
	return float64(r.Accepted) / r.Over.Seconds()
}

// Backlog is what bounds both queues: what listen() was asked for, or somaxconn, if that was less (sk_max_ack_backlog).
func (l *Listener) Backlog() int { return l.Listening.Accept.Max }

// Bound is which setting a backlog comes from.
type Bound string

// The bounds. The kernel does not keep what listen() was asked for, if that was more than somaxconn.
const (
	BoundListen    Bound = "listen"    // what listen() was asked for
	BoundSoMaxConn Bound = "somaxconn" // listen() was asked for as much, or more
	BoundEarlier   Bound = "before"    // somaxconn was higher when listen() was called
	BoundUnknown   Bound = ""          // somaxconn is not known
)

// BoundBy says which of the two bounds the backlog.
func (l *Listener) BoundBy() Bound {
	switch limit := l.Limits.SoMaxConn; {
	case limit == 0:
		return BoundUnknown
	case l.Backlog() == limit:
		return BoundSoMaxConn
	case l.Backlog() > limit:
		return BoundEarlier
	}
	return BoundListen
}

// Accept is the accept queue.
func (l *Listener) Accept() event.Queue { return l.Listening.Accept }

// Full says that the accept queue takes no more (sk_acceptq_is_full).
func (l *Listener) Full() bool { return l.Accept().Len > l.Accept().Max }

// SYN is the queue of half-open requests, with the length beyond which SYNs are answered by cookies, or refused. That is the
// backlog (inet_csk_reqsk_queue_is_full), and without SYN cookies less if three quarters of tcp_max_syn_backlog are less
// (tcp_conn_request). The length is right only if HasSYNs.
func (l *Listener) SYN() event.Queue {
	q := event.Queue{Len: l.Listening.SYNs, Max: l.Backlog()}
	if l.reserved() {
		q.Max = l.Limits.MaxSYNBacklog - l.Limits.MaxSYNBacklog/4
	}
	return q
}

// reserved says that the last quarter of tcp_max_syn_backlog is what bounds the SYN queue: it is kept for clients that the
// kernel knows already.
func (l *Listener) reserved() bool {
	most := l.Limits.MaxSYNBacklog
	return l.Limits.HasSYNCookies && l.Limits.SYNCookies == 0 && most > 0 && most-most/4 < l.Backlog()
}

// DeferAccept is TCP_DEFER_ACCEPT as the kernel understood it: how long it waits for a client's first data (retrans_to_secs,
// net/ipv4/tcp.c).
func (l *Listener) DeferAccept() time.Duration {
	const first, longest = time.Second, 2 * time.Minute // TCP_TIMEOUT_INIT, TCP_RTO_MAX
	var period time.Duration
	wait := first
	for range l.Listening.Deferred {
		period += wait
		wait = min(2*wait, longest)
	}
	return period
}

// Takes says whether connections to an address come to a listener, by what it is bound to alone; exactly says that it is
// bound to that very address.
func (l *Listener) Takes(netns uint32, to netip.AddrPort) (takes, exactly bool) {
	bound := l.Local
	switch {
	case netns != l.NetNS || to.Port() != bound.Port():
		return false, false
	case bound.Addr() == to.Addr():
		return true, true
	case !bound.Addr().IsUnspecified():
		return false, false
	case bound.Addr().Is4():
		return to.Addr().Is4(), false
	}
	return to.Addr().Is6() || !l.Listening.IPv6Only, false
}

// Owners are all processes that hold it, as far as they are known.
func (l *Listener) Owners() []event.Owner {
	if !l.Owner.Known() {
		return nil
	}
	return append([]event.Owner{l.Owner}, l.Others...)
}
