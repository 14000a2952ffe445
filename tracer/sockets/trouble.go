package sockets

import (
	"time"

	"tcptrace/tracer/event"
)

// Trouble is why a connection hangs, by a name that outputs have. Empty: it does not.
type Trouble string

// The troubles, the worst first.
const (
	Retransmitting Trouble = "retransmitting"  // data was sent again, and nothing acknowledges it
	Connecting     Trouble = "connecting"      // a SYN was sent again, and nothing answers it
	Probing        Trouble = "probing"         // keepalive probes are not answered
	KeptHere       Trouble = "kept_here"       // data cannot be sent from this host
	WindowShut     Trouble = "window_shut"     // the peer does not read
	Unacknowledged Trouble = "unacknowledged"  // data is in flight for longer than its answer should take
	ClosedByPeer   Trouble = "closed_by_peer"  // and not by this end
	Unanswered     Trouble = "synack_repeated" // the client does not complete the handshake
)

// troubles has a row for each, in the order in which they matter.
var troubles = []struct {
	trouble Trouble
	meaning string
	is      func(*Socket) bool
}{
	{Retransmitting, "data was sent again, and nothing acknowledges it", (*Socket).isRetransmitting},
	{Connecting, "nothing answers the SYN", (*Socket).isConnecting},
	{Probing, "keepalive probes are not answered", (*Socket).isProbing},
	{KeptHere, "data cannot be sent from this host, though the peer's window has room: a route or a firewall here", (*Socket).isKeptHere},
	{WindowShut, "the peer's window is shut: its application does not read", (*Socket).isShut},
	{Unacknowledged, "data is in flight, and nothing acknowledges it", (*Socket).isUnacknowledged},
	{ClosedByPeer, "the peer has closed it, this end's application has not", (*Socket).isClosedByPeer},
	{Unanswered, "the client does not complete the handshake", (*Socket).isUnanswered},
}

// Trouble is the worst trouble of the socket.
func (s *Socket) Trouble() Trouble {
	for _, row := range troubles {
		if row.is(s) {
			return row.trouble
		}
	}
	return ""
}

// Meaning is the trouble in words.
func (t Trouble) Meaning() string {
	for _, row := range troubles {
		if row.trouble == t {
			return row.meaning
		}
	}
	return ""
}

// rank orders troubles; those without any come last.
func (t Trouble) rank() int {
	for i, row := range troubles {
		if row.trouble == t {
			return i
		}
	}
	return len(troubles)
}

func (s *Socket) isRetransmitting() bool {
	return s.State != event.StateSYNSent && !s.Mini() && s.Retransmits > 0 && s.Retransmit.Armed()
}

func (s *Socket) isConnecting() bool { return s.State == event.StateSYNSent && s.Retransmits > 0 }

// isProbing leaves out a first probe whose answer may still be on its way.
func (s *Socket) isProbing() bool {
	if s.Live().Name != TimerKeepalive || s.Probes == 0 {
		return false
	}
	return s.Probes > 1 || s.Options != nil && s.sinceArmed(s.keepalive(0).Interval) > patience
}

// isKeptHere leaves out what only waits for its turn: that is sent before a probe is.
func (s *Socket) isKeptHere() bool {
	return s.Retransmit.Name == TimerPersist && s.Probes > 0 && s.Traffic != nil && s.Traffic.KeptHere()
}

func (s *Socket) isShut() bool {
	return s.Retransmit.Name == TimerPersist && !s.isKeptHere() || s.shutInFlight() && s.Retransmit.Armed()
}

// patience is how long an ACK may take before its absence is a trouble: any busy connection waits for one.
const patience = time.Second

func (s *Socket) isUnacknowledged() bool {
	return s.State != event.StateSYNSent && s.InFlight > 0 && min(s.LastSent, s.LastACK) > patience
}

func (s *Socket) isClosedByPeer() bool { return s.State == event.StateCloseWait }

func (s *Socket) isUnanswered() bool { return s.State == event.StateNewSYNRecv && s.Retransmits > 0 }
