package lint

import (
	"time"

	"tcptrace/tracer/event"
)

// Settings are what rules the life of a connection, and as much of its present as matters. The zero value of a setting
// is the kernel's default, and that of a circumstance is that it does not hold.
type Settings struct {
	State event.State // unknown: settings without a socket, which are judged as those of an established one
	Local bool        // both ends are on this host, and nothing in between can forget the connection

	KeepAlive         bool          // SO_KEEPALIVE
	KeepaliveIdle     time.Duration // TCP_KEEPIDLE, or tcp_keepalive_time; 0 means 2 h
	KeepaliveInterval time.Duration // TCP_KEEPINTVL, or tcp_keepalive_intvl; 0 means 75 s
	KeepaliveCount    int           // TCP_KEEPCNT, or tcp_keepalive_probes; 0 means 9
	UserTimeout       time.Duration // TCP_USER_TIMEOUT; 0: none

	Retries2 int           // tcp_retries2; 0 means 15
	RTO      time.Duration // 0 means 200 ms
	RTOMax   time.Duration // TCP_RTO_MAX_MS, or tcp_rto_max_ms; 0 means 120 s
	HZ       int           // ticks per second; 0: unknown

	Orphan   bool          // the application has closed it, and nobody is left to mind
	Idle     time.Duration // how long nothing has come from the peer
	InFlight bool          // data is waiting for its acknowledgement, or that is what is asked about
	Shut     bool          // the peer's window is shut on data, or that is what is asked about
}

// Warning is one thing that is wrong, or a surprise.
type Warning struct {
	ID       string // never changes its meaning
	Sentence string // what is so, with its numbers
	Advice   string // what to set instead
}

// Check is what is wrong with the settings, the worst first. Sockets that carry no connection yet, or no application's
// any more, have no warnings.
func Check(s Settings) []Warning {
	if !s.carriesData() {
		return nil
	}
	facts := factsOf(s)
	var warnings []Warning
	for _, rule := range rules {
		if rule.applies(facts) {
			warnings = append(warnings, Warning{ID: rule.id, Sentence: rule.sentence(facts), Advice: rule.advice(facts)})
		}
	}
	return warnings
}

// carriesData says whether there is an application with a connection that was established and is not at its end.
func (s Settings) carriesData() bool {
	switch s.State {
	case event.StateUnknown, event.StateEstablished, event.StateFinWait1, event.StateFinWait2, event.StateCloseWait:
		return !s.Orphan
	}
	return false
}
