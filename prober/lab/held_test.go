package lab

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"tcptrace/tracer/event"
)

// ending is how the connection of a lab should end, seen from user space.
type ending struct {
	hold, exchange, write event.Errno
	// When it should end, from the connect. The first is the timers' own; the second is with what the timer wheel may add
	// (kernel/time/timer.c, HZ=100 at the worst) and with the round-trip time in the retransmission timeout.
	min, max time.Duration
	// Segments sent again: by the timers, and perhaps by a tail loss probe.
	minRetrans, maxRetrans int
	state                  event.State
}

var endings = map[string]ending{
	"broken-pipe": {exchange: event.EPIPE, write: event.EPIPE, state: event.StateClose},
	// Idle for 3.5 s; then the first timer that finds that the 1.4 s of tcp_retries2 2 have passed since the first
	// retransmission. With a retransmission timeout of 0.2 s, timers are after 0.2, 0.6, 1.4 and 3 s; with a little more
	// the third finds it.
	"dropped-while-idle": {exchange: event.ETIMEDOUT, write: event.EPIPE, min: 5100 * time.Millisecond, max: 7500 * time.Millisecond,
		minRetrans: 2, maxRetrans: 4, state: event.StateClose},
	"keepalive-timeout": {hold: event.ETIMEDOUT, write: event.EPIPE, min: 4 * time.Second, max: 4500 * time.Millisecond,
		state: event.StateClose},
	// As retransmission-timeout, but the last segment is small and passes: that makes the first retransmission a fast one.
	"large-segments-lost": {hold: event.ETIMEDOUT, write: event.EPIPE, min: 3 * time.Second, max: 7500 * time.Millisecond,
		minRetrans: 3, maxRetrans: 20, state: event.StateClose},
	"recv-blocked-keepalive": {hold: event.ETIMEDOUT, write: event.EPIPE, min: 11 * time.Second, max: 12 * time.Second,
		state: event.StateClose},
	"recv-blocked-user-timeout": {hold: event.ETIMEDOUT, write: event.EPIPE, min: 8 * time.Second, max: 9 * time.Second,
		state: event.StateClose},
	"reset-while-idle": {exchange: event.ECONNRESET, write: event.EPIPE, min: 2500 * time.Millisecond, max: 2500 * time.Millisecond,
		state: event.StateClose},
	// The same with the 3 s of tcp_retries2 3: at the timer after 6.2 s, or at that after 3 s if it comes a little later.
	"retransmission-timeout": {hold: event.ETIMEDOUT, write: event.EPIPE, min: 3200 * time.Millisecond, max: 7500 * time.Millisecond,
		minRetrans: 3, maxRetrans: 5, state: event.StateClose},
	// Tried after 0.2, 0.6 and 1.4 s, and given up after 3 s.
	"retransmission-timeout-kept-here": {hold: event.ETIMEDOUT, write: event.EPIPE, min: 3 * time.Second, max: 3500 * time.Millisecond,
		state: event.StateClose},
	"still-open": {min: 3500 * time.Millisecond, max: 3500 * time.Millisecond, state: event.StateEstablished},
	"user-timeout": {hold: event.ETIMEDOUT, write: event.EPIPE, min: 3 * time.Second, max: 3400 * time.Millisecond,
		state: event.StateClose},
	"user-timeout-in-flight": {hold: event.ETIMEDOUT, write: event.EPIPE, min: 2200 * time.Millisecond, max: 3 * time.Second,
		minRetrans: 3, maxRetrans: 4, state: event.StateClose},
	"user-timeout-zero-window": {hold: event.ETIMEDOUT, write: event.EPIPE, min: 2200 * time.Millisecond, max: 3 * time.Second,
		maxRetrans: 1, state: event.StateClose},
	// Probes after 0.2, 0.6 and 1.4 s, and the timer after 3 s; twice that if the window's last bytes took a probe.
	"zero-window-timeout": {hold: event.ETIMEDOUT, write: event.EPIPE, min: 3 * time.Second, max: 6500 * time.Millisecond,
		maxRetrans: 1, state: event.StateClose},
}

func TestLabsOfEstablishedConnectionsEndAsTheySay(t *testing.T) {
	needKernel(t)
	t.Parallel()
	labs := toPlay(t, slices.Concat(idleLabs, dataLabs, mtuLabs, windowLabs), endings, true)
	play(t, labs, len(labs))
}

func (want ending) counted() []count { return nil }

func (want ending) problems(l *played) (problems []string) {
	p := l.probe
	if !p.Connected || p.GaveUp != "" {
		problems = append(problems, fmt.Sprintf("%+v: not connected, or cut short", p))
	}
	if p.HoldErrno != want.hold || p.ExchangeErrno != want.exchange || p.WriteErrno != want.write || p.State != want.state {
		problems = append(problems, fmt.Sprintf("hold %v, exchange %v, write %v in %v; want %v, %v, %v in %v",
			p.HoldErrno, p.ExchangeErrno, p.WriteErrno, p.State, want.hold, want.exchange, want.write, want.state))
	}
	problems = append(problems, span(l.took, want.min, want.max)...)
	return append(problems, sentAgain(p, want.minRetrans, want.maxRetrans)...)
}
