package timeline

import (
	"time"

	"tcptrace/tracer/schedule"
)

// beginnings are the forecasts that were made last of timers which only begin: nearly all sockets of a host have the same
// settings, and to forecast to the end of a handshake that takes a millisecond costs as much as the rest of its story. A nil
// one remembers nothing.
type beginnings struct {
	syn       beginning[synBeginning]
	synack    beginning[schedule.SYNACK]
	keepalive beginning[schedule.Keepalive]
}

// beginning is a forecast, and what it was made from.
type beginning[From comparable] struct {
	from     From
	forecast schedule.Forecast
	known    bool
}

type synBeginning struct {
	rules schedule.SYN
	rto   time.Duration
}

// firstSYN is what follows the first SYN, where the timer is rto after it (0: not reported).
func (b *beginnings) firstSYN(rules schedule.SYN, rto time.Duration) schedule.Forecast {
	anew := func() schedule.Forecast { return rules.After(0, 0, rto) }
	if b == nil {
		return anew()
	}
	return b.syn.of(synBeginning{rules, rto}, anew)
}

// firstSYNACK is what follows the first SYN-ACK.
func (b *beginnings) firstSYNACK(rules schedule.SYNACK) schedule.Forecast {
	anew := func() schedule.Forecast { return rules.After(0, 0) }
	if b == nil {
		return anew()
	}
	return b.synack.of(rules, anew)
}

// heard is what follows a segment of the peer's.
func (b *beginnings) heard(rules schedule.Keepalive) schedule.Forecast {
	anew := func() schedule.Forecast { return rules.After(0, 0) }
	if b == nil {
		return anew()
	}
	return b.keepalive.of(rules, anew)
}

// of is the forecast from the same as before, or a new one.
func (b *beginning[From]) of(from From, anew func() schedule.Forecast) schedule.Forecast {
	if !b.known || b.from != from {
		*b = beginning[From]{from, anew(), true}
	}
	return b.forecast
}
