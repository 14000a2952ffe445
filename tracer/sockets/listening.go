package sockets

import "tcptrace/tracer/event"

// Listening is what only a listener has. What sock_diag does not tell is marked; see [Listening.Whole].
type Listening struct {
	// Accept is the queue of connections that nobody has accepted. It holds one more than its Max (sk_acceptq_is_full).
	Accept event.Queue
	// IPv6Only says that it takes no IPv4, though it is bound to IPv6's wildcard.
	IPv6Only bool
	Device   int // index of the network device that it is bound to; 0: none

	// Whole says that the rest is known, too.
	Whole bool
	SYNs  int // half-open requests
	Young int // of them, those whose SYN-ACK was not sent again
	// FastOpen counts the requests with data that TCP_FASTOPEN took before their handshake was complete; a Max of 0 says
	// that it takes none.
	FastOpen event.Queue
	// Deferred is TCP_DEFER_ACCEPT, as the number of SYN-ACKs that the time stands for.
	Deferred  int
	ReusePort bool // SO_REUSEPORT
	Group     int  // listeners that share the port by it, itself among them
}
