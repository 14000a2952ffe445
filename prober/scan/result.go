package scan

import (
	"fmt"
	"net/netip"
	"time"

	"tcptrace/tracer/event"
)

// Target is one address and port to connect to.
type Target struct {
	Addr  netip.AddrPort
	Name  string // the name that stood for the address; empty: none did
	Label string // what the user calls it, such as the peer that it belongs to; may be empty
}

// String is the target as users know it: by its address, after the name if it has one.
func (t *Target) String() string {
	if t.Name == "" {
		return t.Addr.String()
	}
	return fmt.Sprintf("%s:%d (%s)", t.Name, t.Addr.Port(), t.Addr.Addr())
}

// Outcome is what became of a target.
type Outcome uint8

// The outcomes. The zero value is none of them.
const (
	Connected   Outcome = iota + 1
	Refused             // a RST answered the SYN
	Unreachable         // an ICMP error did, or the last link found nobody with the address
	TimedOut            // nothing did, until the timeout or until the kernel gave up
	Reset               // it was connected, and reset before anybody looked
	LocalError          // this host stood in the way: descriptors, ports, memory, routes, firewall
)

var outcomeNames = [...]string{
	Connected: "connected", Refused: "refused", Unreachable: "unreachable", TimedOut: "timeout", Reset: "reset",
	LocalError: "local_error",
}

// Outcomes lists them all.
func Outcomes() []Outcome {
	return []Outcome{Connected, Refused, Unreachable, TimedOut, Reset, LocalError}
}

// String is the outcome's name in every output.
func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return fmt.Sprintf("outcome(%d)", uint8(o))
}

// ParseOutcome reads what [Outcome.String] wrote.
func ParseOutcome(name string) (Outcome, error) {
	for _, o := range Outcomes() {
		if o.String() == name {
			return o, nil
		}
	}
	return 0, fmt.Errorf("there is no outcome %q", name)
}

// Clock is what a time was measured by.
type Clock uint8

// The clocks, the best last.
const (
	// UserClock is the time at which this program noticed, which its own queue delays.
	UserClock Clock = iota
	// InfoClock is tcpi_rtt: the kernel's own measurement, told without any privilege, of a handshake without retries.
	InfoClock
	// KernelClock is a tracer's: the times of the kernel's own events.
	KernelClock
)

var clockNames = [...]string{UserClock: "user", InfoClock: "tcp_info", KernelClock: "kernel"}

// String is the clock's name in every output.
func (c Clock) String() string {
	if int(c) < len(clockNames) {
		return clockNames[c]
	}
	return fmt.Sprintf("clock(%d)", uint8(c))
}

// ParseClock reads what [Clock.String] wrote.
func ParseClock(name string) (Clock, error) {
	for c, known := range clockNames {
		if known == name {
			return Clock(c), nil
		}
	}
	return 0, fmt.Errorf("there is no clock %q", name)
}

// Result is how a target's connect ended. There is one for each of very many targets, so it is small.
type Result struct {
	Began   time.Duration // when its first connect() was called, from the scan's beginning
	Connect time.Duration // from there to the answer, or to the end, by Clock
	Noticed time.Duration // the same by UserClock
	RTT     time.Duration // of the handshake (tcpi_rtt), where it was exact; 0: unknown
	ICMP    *event.ICMP   // the ICMP error that answered; nil: none did

	Target   int32       // its number among the scan's targets
	SYNs     int32       // sent in all, as the kernel counts them
	Attempts int32       // connects, each from a source port of its own; more than 1 only with Options.Refresh
	Errno    event.Errno // 0 where the kernel had none, as when the timeout was the scan's own
	Outcome  Outcome
	Clock    Clock
}

// AppendText is [Outcome.String] appended; it never fails.
func (o Outcome) AppendText(dst []byte) ([]byte, error) { return append(dst, o.String()...), nil }

// UnmarshalText is [ParseOutcome].
func (o *Outcome) UnmarshalText(text []byte) (err error) {
	*o, err = ParseOutcome(string(text))
	return err
}

// AppendText is [Clock.String] appended; it never fails.
func (c Clock) AppendText(dst []byte) ([]byte, error) { return append(dst, c.String()...), nil }

// UnmarshalText is [ParseClock].
func (c *Clock) UnmarshalText(text []byte) (err error) {
	*c, err = ParseClock(string(text))
	return err
}
