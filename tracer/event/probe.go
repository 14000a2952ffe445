package event

import (
	"net/netip"
	"time"
)

// Probe is one connect that tcptrace made itself, as user space saw it. Without privilege it is all there is; with
// the kernel's events it tells what the application would have seen.
//
// The zero value of a field means unknown or not applicable.
type Probe struct {
	Target string         // as the user wrote it
	Remote netip.AddrPort // the address that was tried
	Local  netip.AddrPort // the address that the kernel chose
	Cookie uint64         // SO_COOKIE, read before connect: joins this to the kernel's events
	Run    int            // which of --count connects this is, from 1

	Started     time.Time     // just before connect()
	StartedMono time.Duration // the same on CLOCK_MONOTONIC
	Resolve     time.Duration // what resolving the name took; 0 for a literal address
	Connect     time.Duration // from Started to the outcome, in user space
	Lifetime    time.Duration // from Started to close()

	Connected bool
	Errno     Errno // of connect() or SO_ERROR; 0 when Connected or GaveUp
	// Synchronous says that connect() itself returned Errno, so no SYN was answered, and perhaps none was sent.
	Synchronous bool
	// GaveUp says why the probe closed the socket before there was an outcome: "timeout" (--timeout), "interrupted" or
	// "superseded" (another connect won a race); empty when there was an outcome.
	GaveUp  string
	Timeout time.Duration // --timeout, where given
	ICMP    *ICMP         // from the socket's error queue (IP_RECVERR)

	// From TCP_INFO just before close().
	HasInfo      bool
	RTT          time.Duration // tcpi_rtt; a handshake time only when TotalRetrans is 0
	TotalRetrans int           // tcpi_total_retrans: after connect, how many SYNs were repeated
	Retransmits  int           // tcpi_retransmits: unanswered repeats just now
	State        State         // tcpi_state

	BytesSent     int64  // by --send, and by what followed it
	BytesAcked    int64  // tcpi_bytes_acked, without the SYN
	BytesReceived int64  // until --expect matched or the end
	Expected      string // --expect, where given
	ExpectMet     bool
	ExchangeErrno Errno // of a send or receive after the connect: the last exchange, where there were several
	PeerClosed    bool  // read() returned the end of the stream: the peer has closed its side

	// Of a connection that was held idle, blocked in read(). When HeldFor is not 0, and HoldErrno, PeerClosed and GaveUp
	// are, the hold ended by itself and left the connection open.
	HeldFor   time.Duration // how long the hold lasted; 0 when there was none
	HoldErrno Errno         // what ended the connection meanwhile, as read() or SO_ERROR told
	// WriteErrno is what one more write got after the connection's end. It is 0 when none was tried: the connection
	// lived, or the probe had nothing to do after its exchange.
	WriteErrno Errno

	Options *Options // those that the probe set
}

// Resolution is how a name became addresses, or did not.
type Resolution struct {
	Target    string
	Name      string
	Addresses []netip.Addr
	Took      time.Duration
	Err       string // one clause, such as "no such host"; empty when there are addresses
}
