// Package event is the vocabulary of tcptrace: what the kernel did to a TCP connection, and when.
//
// It is pure: values only, no clocks, files or kernel. Everything the kernel reports becomes an [Event] in
// package tracer; everything that is said to a user starts from one.
package event

import (
	"net/netip"
	"strconv"
	"time"
)

// ConnID names one connection for as long as it lives: from connect, or from the SYN that a listener took, to
// CLOSE. A struct sock that connects twice has two. It is opaque, never zero for a known connection, and holds
// no kernel address.
type ConnID uint64

// String is how the id is written in every output.
func (id ConnID) String() string { return strconv.FormatUint(uint64(id), 36) }

// Slot is a place for the connection among so many, a power of two. Others may have the same: ids are numbers that rise, and are
// spread here.
func (id ConnID) Slot(places int) int {
	const golden = 0x9e3779b97f4a7c15 // 2^64 by the golden ratio
	return int(uint64(id) * golden >> 32 % uint64(places))
}

// ParseConnID reads what [ConnID.String] wrote.
func ParseConnID(s string) (ConnID, error) {
	id, err := strconv.ParseUint(s, 36, 64)
	return ConnID(id), err
}

// Event is one thing that the kernel did, or saw, on one connection.
//
// The zero value of a field means that it is unknown or does not apply to the kind. Fields marked "timeline"
// are filled by package timeline, the others by the kernel side.
type Event struct {
	N    uint64        // number in the trace, from 1; timeline
	Nth  uint32        // number within the connection, from 1, counted in the kernel even for records that were lost
	Time time.Time     // wall clock
	Mono time.Duration // CLOCK_MONOTONIC at the hook
	Kind Kind

	Offset time.Duration // from the connection's first event; timeline

	Conn   ConnID
	Cookie uint64 // SO_COOKIE, where the socket has one
	NetNS  uint32 // inode of the network namespace
	Local  netip.AddrPort
	Remote netip.AddrPort
	Role   Role

	State    State
	OldState State

	// ISN and PeerISN are the initial sequence numbers of this end and of the other. NAT keeps them, so they
	// join the two ends of a connection when both are on this host.
	ISN     uint32
	PeerISN uint32

	Attempt          int // which retry this is, from 1
	AttemptsExpected int // of how many; timeline

	Predicted time.Duration // offset at which this was due, counted from the previous real transmission; timeline
	Latest    time.Duration // the latest offset that the timer wheel allows; timeline
	Late      time.Duration // how far beyond Latest; timeline
	NextDue   time.Duration // offset at which the timer fires next; timeline
	GivesUp   time.Duration // offset at which the kernel ends it if nothing answers; timeline
	RTO       time.Duration // the retransmission timer after this event
	Backoff   int           // icsk_backoff
	Idle      time.Duration // since the peer's last segment: on probes, what keepalive counts from; also on close
	// TTL is the time to live, or hop limit, with which a packet of the peer came: the RST of reset_received, what completed
	// the handshake of established (a client's SYN-ACK, a server's final ACK), and what was dropped on its way in.
	TTL int
	// Elapsed is what the kernel holds against its limit of time: since the first retransmission of the data
	// (retransmit), since the first SYN (syn_retransmit), or since the first window probe (window_probe).
	Elapsed time.Duration

	Options *Options // what rules this socket's life: on connect, established and options_changed
	Sysctls *Sysctls // the same, of the socket's own network namespace

	TCPSeq uint32
	TCPAck uint32
	Len    int // payload bytes
	IfName string
	// TCPFlags are those of a packet that was dropped, or that was answered with a RST, such as "SYN+ACK".
	TCPFlags string
	// Direction is that of a packet that was dropped, seen from NetNS: "in", "out", or "forward" through a namespace that
	// is neither end's. NetNS is where it was dropped, which need not be where the connection's socket is.
	Direction string
	// Hook is how far a packet that was dropped had come, by netfilter's hooks: "prerouting", "input", "forward", "output" or
	// "postrouting". It is where a firewall's rule was, if that dropped it.
	Hook string
	// Neighbour is who did not answer on the link, of a packet that was dropped for that: a gateway, or the peer itself.
	Neighbour netip.Addr

	Owner   Owner
	Context Context

	Errno    Errno
	Reason   string // drop or reset reason, by the running kernel's own name
	Location string // kernel function; empty also where the kernel hides its symbols
	ICMP     *ICMP
	Queue    *Queue

	Stage  string // accept_queue_full: "syn" or "ack"; synack_timeout: "ack" if its final ACK was put off
	Action string // syn_queue_full: "cookie" or "drop"
	// Trigger is, of retransmit, "rto", "fast" or "tlp"; of synack_retransmit, "rto" or "syn" (its SYN came again); and of
	// options_changed, "timer" if none was changed, but a timer goes by options that nobody had been told of: those of a
	// connection that is older than the trace, or that nobody followed before its accept.
	Trigger  string
	Waited   time.Duration // accept: time in the accept queue
	ClosedBy string        // close: "local", "peer" or "kernel"; timeline
	Count    int           // how many events this one stands for; 0 means 1
	Total    uint32        // close: how many records the kernel side numbered for this connection

	// Retransmits and ProbesOut are icsk_retransmits and icsk_probes_out at close: which timer was running.
	Retransmits int
	ProbesOut   int

	Traffic *Traffic // close: what the connection carried

	// PreExisting says that the connection is older than the trace.
	PreExisting bool
	// Unseen says, of a close, that no hook saw it: when the kernel was asked, the socket was gone.
	Unseen bool
	// ByCookie says, of an established server, that a SYN cookie completed the handshake: there was no half-open
	// request, and what the SYN had asked for beyond the cookie's few bits is lost.
	ByCookie bool
	// KeptHere says, of a window probe, that the peer's window has room, as [Traffic.KeptHere] does of a close.
	KeptHere bool
	// LocalCongestion says, of a retransmission or a probe, that a queue or a filter of this host refused it (NET_XMIT_DROP of a
	// device's queue or egress). The kernel tries again after half a second, whatever the RTO.
	LocalCongestion bool
	// Ambiguous says that several listeners share the port, and that the one told of may not be the one that refused.
	Ambiguous bool
}

// Kernel event kinds come from the connection itself; see [Kind].

// Owner is who the socket belongs to, never the task that happened to be on the CPU.
type Owner struct {
	PID       int
	Comm      string
	UID       uint32 // meaningful only when PID is not 0
	Cgroup    string // path in the cgroup v2 hierarchy
	Container string // container id found in that path
	CgroupID  uint64
	// Via is "listener" as long as a server's connection has not been accepted and so still has its
	// listener's owner; otherwise it is empty.
	Via string
}

// Known says whether there is an owner at all: unknown is unknown, never process 0.
func (o Owner) Known() bool { return o.PID != 0 }

// Context is where the hook ran, which says nothing about ownership.
type Context struct {
	PID  int
	Comm string
	CPU  int
}

// ICMP is an ICMP error that concerned the connection.
type ICMP struct {
	Type int        `json:"type"`
	Code int        `json:"code"`
	Name string     `json:"name"`
	From netip.Addr `json:"from"`
	MTU  int        `json:"mtu"` // of the link that the packet was too big for; 0: it was not, or nobody says
}

// Queue is the length and limit of the queue concerned.
type Queue struct {
	Len int `json:"len"`
	Max int `json:"max"`
}

// Traffic is what a connection carried, as its struct tcp_sock counted it. All sizes are bytes of data: SYN and FIN do
// not count.
type Traffic struct {
	BytesSent     int64 // with retransmissions
	BytesAcked    int64
	BytesReceived int64
	Retransmits   int // segments sent again, in its whole life (total_retrans)

	Unacked int // sent, but not acknowledged (snd_nxt - snd_una)
	Unsent  int // written by the application, but never sent (write_seq - snd_nxt)
	Unread  int // received, but not read by the application (rcv_nxt - copied_seq)

	SendWindow int // the peer's last window (snd_wnd)
}

// KeptHere says that what waits to be sent fits into the peer's window, and nothing is on its way. While the timer runs that
// probes a shut window, that means that sending fails on this host, for want of a route or by a firewall: the kernel has no
// other timer for that (tcp_write_xmit, tcp_check_probe_timer).
func (t *Traffic) KeptHere() bool {
	const segment = 65535 // none is longer
	return t.Unacked == 0 && t.Unsent > 0 && t.SendWindow >= min(t.Unsent, segment)
}

// Options are the socket's own settings. Zero means "not set: the sysctl rules", as in the kernel.
type Options struct {
	SYNRetries        int           // TCP_SYNCNT (icsk_syn_retries)
	UserTimeout       time.Duration // TCP_USER_TIMEOUT
	KeepAlive         bool          // SO_KEEPALIVE
	KeepaliveIdle     time.Duration // TCP_KEEPIDLE
	KeepaliveInterval time.Duration // TCP_KEEPINTVL
	KeepaliveCount    int           // TCP_KEEPCNT
	RTOMax            time.Duration // TCP_RTO_MAX_MS; 0 also where the kernel has no such option
	Linger2           time.Duration // TCP_LINGER2; negative: an orphan in FIN_WAIT2 is reset at once
	Backlog           int           // of a listener: what sk_max_ack_backlog holds
	Mark              uint32        // SO_MARK, which may decide the route; 0 is what sockets begin with
	Device            int           // SO_BINDTODEVICE, by the device's number in its network namespace
}

// Sysctls are the settings of the socket's own network namespace that rule its life.
type Sysctls struct {
	SYNRetries           int // tcp_syn_retries
	SYNLinearTimeouts    int // tcp_syn_linear_timeouts; 0 where the kernel has no such sysctl
	HasSYNLinearTimeouts bool
	SYNACKRetries        int           // tcp_synack_retries
	Retries1             int           // tcp_retries1
	Retries2             int           // tcp_retries2
	OrphanRetries        int           // tcp_orphan_retries
	RTOMax               time.Duration // tcp_rto_max_ms; 0 where the kernel has no such sysctl
	KeepaliveIdle        time.Duration // tcp_keepalive_time
	KeepaliveInterval    time.Duration // tcp_keepalive_intvl
	KeepaliveCount       int           // tcp_keepalive_probes
	FinTimeout           time.Duration // tcp_fin_timeout
	AbortOnOverflow      bool          // tcp_abort_on_overflow
	SYNCookies           int           // tcp_syncookies
	// SYNACKRTOMax says that the RTO maximum, the listener's own or RTOMax, is that of SYN-ACKs too (6.19); otherwise theirs
	// is always 120 s.
	SYNACKRTOMax bool
}
