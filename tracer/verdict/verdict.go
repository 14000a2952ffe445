// Package verdict says why a connection went as it did: a cause, the evidence, and what could not be seen.
//
// It is pure. A rule is a row of a table (match -> cause, summary, advice), the most specific first; the rules are
// tested by scenario files: events in, verdict out. A recording replayed gives the same verdicts as live.
package verdict

import (
	"net/netip"
	"time"

	"tcptrace/tracer/event"
)

// Cause is what was wrong with a connection, not who lost patience first: that is [EndedBy]. The names are the
// contract's; a name never changes its meaning.
type Cause string

// Outcome is how a connection stands at the verdict.
type Outcome string

// The outcomes.
const (
	OutcomeConnected Outcome = "connected" // a probe's handshake completed
	OutcomeFailed    Outcome = "failed"    // no handshake, or killed afterwards
	OutcomeClosed    Outcome = "closed"    // it was established and ended in order
	OutcomeOpen      Outcome = "open"      // tracing ended first
)

// EndedBy is who ended it.
type EndedBy string

// Who can end a connection.
const (
	EndedByKernel      EndedBy = "kernel"
	EndedByApplication EndedBy = "application"
	EndedByUserTimeout EndedBy = "user_timeout"
	EndedByPeer        EndedBy = "peer"
	EndedByProbe       EndedBy = "probe"
)

// Confidence is how sure a verdict is. It is never Certain when a doubt could change the cause.
type Confidence string

// The confidences.
const (
	Certain  Confidence = "certain"
	Likely   Confidence = "likely"
	Possible Confidence = "possible"
)

// Contribution is an earlier act of the story: what also went wrong, and the events that show it.
type Contribution struct {
	Cause    Cause    `json:"cause"`
	Evidence []uint64 `json:"evidence,omitempty"`
	Summary  string   `json:"summary,omitempty"`
}

// Verdict is the answer about one connection, or about one name with several addresses (then Conn is 0).
type Verdict struct {
	Conn         event.ConnID
	Target       string
	Cause        Cause
	Outcome      Outcome
	EndedBy      EndedBy
	Errno        event.Errno
	Summary      string // one sentence with the numbers in it
	Contributing []Contribution
	Advice       []string
	Evidence     []uint64 // event numbers
	Doubts       []string
	Confidence   Confidence

	Resolve       time.Duration
	Connect       time.Duration
	HandshakeRTT  time.Duration
	SYNSent       int
	BytesSent     int64
	BytesAcked    int64
	BytesReceived int64
	Retransmits   int
	Duration      time.Duration
	IdleBeforeEnd time.Duration
	Owner         event.Owner
	Local         netip.AddrPort
	Remote        netip.AddrPort
}

// Facts is what a verdict may rest on besides the connection's own events.
type Facts struct {
	Probe *event.Probe // what the probe saw, when the connection is one of ours
	// Traced is false in the degraded mode, where there are no kernel events at all; WhyUntraced is then the
	// sentence that says why.
	Traced      bool
	WhyUntraced string
	// Hooks is how each event kind is seen ("fentry", "kprobe", "tracepoint"); a kind that is missing cannot be
	// seen on this kernel. Costs says in a clause what that means for verdicts; of a kind that is seen, what the
	// hook that could be had misses of it.
	Hooks map[event.Kind]string
	Costs map[event.Kind]string
	// Lost counts the records that the kernel side could not deliver, by kind, over the whole trace.
	Lost map[event.Kind]uint64
	// Host is what the host said of the connection when it was asked; nil: it was not.
	Host *Host
	// Running says that the trace ended while the connection still lived.
	Running bool
	// Interrupted says that the user ended the trace (^C), so a handshake in progress gets the cause so far.
	Interrupted bool
}
