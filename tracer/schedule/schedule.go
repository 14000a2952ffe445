package schedule

import "time"

// Step is one transmission of a timer: a retransmission or a probe.
type Step struct {
	Attempt int           // from 1
	Offset  time.Duration // nominal, from where the schedule counts
	Latest  time.Duration // with the lateness of this timer and of all before it
}

// End is when the kernel gives up, as offsets from where the schedule counts.
type End struct {
	Offset time.Duration // nominal
	Latest time.Duration // with the lateness of all timers
	// Earliest is Offset, save where late timers can reach a time limit one or more transmissions sooner than
	// exact ones would.
	Earliest time.Duration
	Rule     Rule // by which clause, nominally

	// Errno is what the application reads (tcp_write_err). An error that ICMP reported in the meantime
	// (sk_err_soft) takes its place. Empty where no application has the socket.
	Errno string
	// Reset says that the kernel sends the peer a RST as it gives up. Keepalive does; no other timer tells the peer.
	Reset bool
}

// Forecast is what follows a real transmission. All times are offsets from where the schedule counts.
type Forecast struct {
	Due    time.Duration // nominal next fire of the timer
	Latest time.Duration // the latest that the timer wheel allows
	Last   bool          // the next fire, if it is on time, gives up instead of sending

	GivesUp       time.Duration // nominal; 0: never
	GivesUpLatest time.Duration // with the lateness of all timers from now on; 0: never
	// GivesUpEarliest is GivesUp, save where late timers can reach a time limit one or more transmissions sooner.
	GivesUpEarliest time.Duration
	Total           int  // transmissions expected in all, those already made included; 0: no end of them
	Rule            Rule // by which clause it gives up, nominally; 0: never
}

// timedOut is the errno of every timer that gives up, unless an ICMP error came before.
const timedOut = "ETIMEDOUT"

// later is f with its nominal and its latest times moved to another origin.
func (f Forecast) later(nominal, latest time.Duration) Forecast {
	f.Due += nominal
	f.Latest += latest
	if f.GivesUp > 0 {
		f.GivesUp += nominal
		f.GivesUpLatest += latest
		f.GivesUpEarliest += nominal
	}
	return f
}
