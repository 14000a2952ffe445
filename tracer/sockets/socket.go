package sockets

import (
	"net/netip"
	"time"

	"tcptrace/tracer/event"
)

// ID tells sockets of one listing apart, and is opaque. A socket that is seen twice has the same one.
type ID uint64

// Socket is a TCP socket at one moment. The zero value of a field means that it is unknown, or that it does not apply.
type Socket struct {
	ID       ID
	Listener ID // of a half-open request, whose owner is its listener's
	Mono     time.Duration
	Cookie   uint64 // SO_COOKIE, where the socket has one
	Inode    uint64 // of the file that stands for it
	NetNS    uint32
	Local    netip.AddrPort
	Remote   netip.AddrPort
	State    event.State
	// Substate is FIN_WAIT2 for a TIME_WAIT mini-socket that stands in for that state.
	Substate event.State
	Owner    event.Owner
	FD       int    // the owner's descriptor; meaningful only with an owner
	UID      uint32 // of the socket itself, which it keeps when nobody owns it any more; see HasUID
	HasUID   bool

	// Held says that a file stands for it: it was accepted, and is not closed.
	Held bool
	// Orphan says that its application has closed it (SOCK_DEAD).
	Orphan bool

	Retransmit Timer // that of icsk_pending
	Keepalive  Timer // of SO_KEEPALIVE; of an orphan in FIN_WAIT2, what is left of that state
	Lifetime   Timer // of a mini-socket

	RTO         time.Duration
	RTT         time.Duration // smoothed
	Retransmits int           // icsk_retransmits: of the same data, or SYN; of a request, of its SYN-ACK
	Probes      int           // icsk_probes_out: probes that nothing has answered
	Backoff     int           // icsk_backoff: how often a timer was doubled; of a request, how often it ran out
	// Retransmitting is how long ago the first retransmission was, and of a SYN the first of all; see Retransmitted.
	Retransmitting time.Duration
	Retransmitted  bool
	// Probing is how long ago the first window probe was; see Probed.
	Probing time.Duration
	Probed  bool

	LastSent     time.Duration // since this end sent data last
	LastReceived time.Duration // since the peer's last data
	LastACK      time.Duration // since the peer's last ACK
	SoftError    event.Errno   // what ICMP said; it becomes the error that the application sees when the kernel gives up

	RecvQueue int // bytes that the application has not read, as ss counts them: a FIN is one
	SendQueue int // bytes that the peer has not acknowledged, sent or not; SYN and FIN are one each
	InFlight  int // segments
	Traffic   *event.Traffic

	// Drops are packets that were thrown away at the socket (sk_drops): of a listener, those that made no connection. Iterators
	// tell only a listener's.
	Drops int

	Listening *Listening // of a listener
	// Waiting is how long the first connection of a listener's accept queue has waited; see HasWaiting.
	Waiting    time.Duration
	HasWaiting bool

	Receive *Buffer
	Send    *Buffer

	Linger2    time.Duration // TCP_LINGER2; negative: FIN_WAIT2 is given no time
	ThinLinear bool          // TCP_THIN_LINEAR_TIMEOUTS, or its sysctl
	Options    *event.Options
	Sysctls    *event.Sysctls
}

// Timer is one that may be running.
type Timer struct {
	Name string        // empty: it is not running
	Left time.Duration // negative: overdue
}

// Armed says whether the timer is running.
func (t Timer) Armed() bool { return t.Name != "" }

// The timers' names. Those that ss knows have its names.
const (
	TimerRetransmit = "on"
	TimerTLP        = "tlp"     // ss: on. A tail loss probe, to provoke an ACK before the retransmission is due
	TimerReorder    = "reorder" // ss: on. How long RACK waits for segments that may only be late
	TimerPersist    = "persist" // zero-window probes
	TimerKeepalive  = "keepalive"
	TimerFinWait2   = "fin_wait2" // ss: keepalive
	TimerTimeWait   = "timewait"
)

// Buffer is the memory that one direction of a socket may use. All sizes are bytes of the kernel's memory, of which data
// is a part.
type Buffer struct {
	Asked   int // by SO_RCVBUF or SO_SNDBUF; 0: nobody asked, and the kernel tunes it
	Size    int // sk_rcvbuf or sk_sndbuf: what the kernel made of it, twice as much as was asked for
	Used    int
	Tuned   bool // the kernel makes it grow as it is needed
	Default int  // the middle one of tcp_rmem or tcp_wmem
	Max     int  // the last of them: how far tuning goes
}

// Live is the timer that matters, as ss and its kernel side choose it (inet_diag_msg_common_fill, inet_sk_diag_fill): that of
// retransmissions and probes hides that of keepalive.
func (s *Socket) Live() Timer {
	for _, t := range []Timer{s.Lifetime, s.Retransmit, s.Keepalive} {
		if t.Armed() {
			return t
		}
	}
	return Timer{}
}

// Retries is how often the live timer fired in vain, as ss counts.
func (s *Socket) Retries() int {
	switch s.Live().Name {
	case TimerRetransmit, TimerTLP, TimerReorder:
		return s.Retransmits
	case TimerPersist, TimerKeepalive:
		return s.Probes
	}
	return 0
}

// Idle is how long nothing at all has come from the peer, which is what keepalive counts (keepalive_time_elapsed).
func (s *Socket) Idle() time.Duration { return min(s.LastReceived, s.LastACK) }

// Mini says that it is one of the kernel's mini-sockets, which stand for what no application can have: TIME_WAIT and
// half-open requests.
func (s *Socket) Mini() bool {
	return s.State == event.StateTimeWait || s.State == event.StateNewSYNRecv
}
