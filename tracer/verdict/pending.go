package verdict

import (
	"fmt"
	"time"

	"tcptrace/tracer/event"
)

// timer is one of the kernel's timers of an established connection.
type timer uint8

const (
	noTimer         timer = iota
	retransmitTimer       // tcp_retransmit_timer: data, or a FIN, that nobody acknowledges
	keepaliveTimer        // tcp_keepalive_timer
	windowTimer           // tcp_probe_timer, and tcp_retransmit_timer at a window that shrank: the peer takes no data
)

// stampGrain is how far apart two readings of icsk_probes_tstamp can be: it is in jiffies.
const stampGrain = 20 * time.Millisecond

// pending is what waited for an answer of the peer as a connection, or its trace, ended. The zero value is nothing.
type pending struct {
	timer timer
	count int // retransmissions of the same data, or probes in a row, without an answer
	// sent counts the probes of a shut window, those that were answered too.
	sent int
	// held counts the retransmissions that found the last copy of the data still on this host (EBUSY, skb_still_in_host_queue).
	held int
	last *event.Event // the latest packet that the timer sent; nil where none was seen
	// told says that the timer's own events show it to the end: as many as the socket counted.
	told bool
}

// readPending follows the timers through the story to its end. What the socket had counted at its close overrules what
// was seen of it.
func (s *story) readPending() {
	var p pending
	for i := range s.conn.Events {
		p.follow(&s.conn.Events[i])
	}
	p.told = p.timer != noTimer
	if closing := s.last(event.Close); closing != nil {
		p = s.countedAt(closing, p)
	}
	s.pending = p
}

func (p *pending) follow(ev *event.Event) {
	switch ev.Kind {
	case event.KeepaliveAnswer:
		p.answer()
	case event.KeepaliveProbe:
		*p = pending{timer: keepaliveTimer, count: ev.Attempt, last: ev}
	case event.WindowProbe:
		p.windowProbe(ev, ev.Attempt)
	case event.Retransmit:
		switch {
		case ev.Trigger != "rto": // the timer goes on afterwards
		case ev.Attempt == 0: // the window shrank: tcp_retransmit_timer counts no retransmission then
			p.windowProbe(ev, p.count+1)
		default:
			p.retransmit(ev)
		}
	}
}

// answer is an acknowledgement. One of a window probe need not have opened the window.
func (p *pending) answer() {
	if p.timer != windowTimer {
		*p = pending{}
	}
	p.count = 0
}

func (p *pending) retransmit(ev *event.Event) {
	held := 0
	if ev.Errno == event.EBUSY {
		held = 1
		if p.timer == retransmitTimer && ev.Attempt > p.count { // of the same data
			held += p.held
		}
	}
	*p = pending{timer: retransmitTimer, count: ev.Attempt, held: held, last: ev}
}

func (p *pending) windowProbe(ev *event.Event, count int) {
	sent := 1
	if p.timer == windowTimer && (ev.Kind != event.WindowProbe || ev.Mono-p.last.Mono <= ev.Elapsed+stampGrain) {
		sent += p.sent // or else the window was open meanwhile
	}
	*p = pending{timer: windowTimer, count: count, sent: max(sent, count), last: ev}
}

// countedAt is what waited at the close. An acknowledgement ends retransmissions as it ends probes, and no probe is sent
// while data is in flight, so that the counters name the timer; keepalive and window probes share one.
func (s *story) countedAt(closing *event.Event, seen pending) pending {
	p := seen
	switch {
	case closing.Retransmits > 0:
		p.timer, p.count = retransmitTimer, closing.Retransmits
	case closing.ProbesOut > 0:
		p.timer, p.count = s.whoseProbes(seen), closing.ProbesOut
	default:
		return s.uncounted(closing, seen)
	}
	p.told = p == seen || s.resetSentFor("KEEPALIVE_TIMEOUT") && p.timer == keepaliveTimer
	if p.timer != seen.timer {
		p.last, p.sent = nil, 0
	}
	return p
}

// uncounted is what waited at a close at which the socket counted nothing. A timer that gives up nevertheless is that
// of a shut window: the user timeout ends one whose probes are answered, and one that shrank with data in flight has no
// count. The other timers give up only what they have sent again.
func (s *story) uncounted(closing *event.Event, seen pending) pending {
	switch {
	case closing.Errno != event.ETIMEDOUT:
		return pending{}
	case seen.timer == windowTimer:
		if seen.last.Kind == event.WindowProbe {
			seen.count = 0
		}
		return seen
	case closing.Traffic != nil && closing.Traffic.Unsent+closing.Traffic.Unacked > 0:
		return pending{timer: windowTimer}
	}
	return pending{}
}

// whoseProbes tells the timers apart whose probes the socket counts in one number. Keepalive has nothing to send, a
// shut window has.
func (s *story) whoseProbes(seen pending) timer {
	closing := s.last(event.Close)
	switch {
	case s.resetSentFor("KEEPALIVE_TIMEOUT"):
		return keepaliveTimer
	case seen.timer == keepaliveTimer || seen.timer == windowTimer:
		return seen.timer
	case closing.Traffic != nil && closing.Traffic.Unsent > 0:
		return windowTimer
	case closing.Traffic != nil:
		return keepaliveTimer
	case s.options() != nil && s.options().KeepAlive:
		return keepaliveTimer
	}
	return windowTimer
}

// guessPending is pending for a probe of which the kernel told nothing: what TCP_INFO and its own steps leave. The
// retransmission timer counts what it sends again, so that a timer that ends a connection with data to send and counts
// nothing is that of a shut window.
func (s *story) guessPending() {
	p := s.probe
	switch {
	case p.Retransmits > 0:
		s.pending = pending{timer: retransmitTimer, count: p.Retransmits}
	case p.HasInfo && p.BytesAcked < p.BytesSent:
		if s.deathErrno() == event.ETIMEDOUT {
			s.pending = pending{timer: windowTimer}
		}
	case p.HoldErrno != 0 && p.Options != nil && (p.Options.KeepAlive || p.Options.KeepaliveIdle > 0):
		s.pending = pending{timer: keepaliveTimer}
	}
}

// String tells what waited: "3 keepalive probes unanswered".
func (p pending) String() string {
	switch {
	case p.timer == windowTimer && p.kept():
		return "data that cannot be sent from this host tried again " + count(p.count, "time")
	case p.timer == windowTimer && p.sent > 0 && p.count == 0:
		return count(p.sent, "window probe") + " sent, and answered with the window still shut"
	case p.timer == windowTimer && p.sent > p.count:
		return fmt.Sprintf("%s sent, the last %d of them unanswered", count(p.sent, "window probe"), p.count)
	case p.timer == windowTimer && p.count > 0:
		return count(p.count, "window probe") + " unanswered"
	case p.timer == windowTimer:
		return "how often it was probed was not seen"
	case p.timer == keepaliveTimer && p.count > 0:
		return count(p.count, "keepalive probe") + " unanswered"
	case p.timer == keepaliveTimer:
		return "its keepalive probes unanswered"
	case p.allHeld():
		return count(p.count, "retransmission") + " that found the last copy of the data still on this host (EBUSY)"
	case p.timer == retransmitTimer:
		return count(p.count, "retransmission") + " of the same data unanswered"
	}
	return "which timer ran was not seen"
}

// allHeld says that the data never left this host: every retransmission of it found the last copy still here.
func (p pending) allHeld() bool {
	return p.timer == retransmitTimer && p.held > 0 && p.held == p.count
}

// kinds are those whose events show the timer at work.
func (p pending) kinds() []event.Kind {
	switch p.timer {
	case retransmitTimer:
		return []event.Kind{event.Retransmit}
	case keepaliveTimer:
		return []event.Kind{event.KeepaliveProbe}
	case windowTimer:
		return []event.Kind{event.WindowProbe}
	}
	return nil
}

// foretold is the offset at which the schedule had the kernel give up, as of the timer's latest packet; 0 when nothing
// was foretold.
func (p pending) foretold() time.Duration {
	if p.last == nil {
		return 0
	}
	return p.last.GivesUp
}

// windowShutFor is how long the first window probe was ago at the close, by the kernel's own clock; 0 is not known.
func (s *story) windowShutFor() time.Duration {
	last, closing := s.pending.last, s.last(event.Close)
	if last == nil || closing == nil || last.Elapsed == 0 && s.pending.count > 1 {
		return 0
	}
	return last.Elapsed + closing.Mono - last.Mono
}
