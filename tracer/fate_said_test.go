package tracer_test

import (
	"testing"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/schedule"
)

// A saying is what the schedule says after an event, by the fate's own settings. Its times count from base.
type saying struct {
	after *event.Event
	base  time.Duration
	next  schedule.Forecast
}

// said is what the schedule says as often as something is known of its timer, and of no other that comes in between.
func (l *life) said(t *testing.T) []saying {
	t.Helper()
	switch {
	case l.load == dataUnsent:
		return l.saidOfWindow(t)
	case l.peer != silent:
		return nil
	case l.load == dataInTransit:
		return l.saidOfData(t)
	}
	return l.saidOfKeepalive(t)
}

// saidOfKeepalive counts from the handshake, the last that came from the peer.
func (l *life) saidOfKeepalive(t *testing.T) []saying {
	t.Helper()
	rules := schedule.Keepalive{
		Idle: time.Duration(l.idle) * time.Second, Interval: time.Duration(l.interval) * time.Second, Count: l.count,
		UserTimeout: l.userTimeout, HZ: hz(t),
	}
	established := l.one(event.Established)
	said := []saying{{established, established.Offset, rules.After(0, 0)}}
	for i, ev := range l.fires() {
		said = append(said, saying{ev, established.Offset, rules.After(i+1, ev.Offset-established.Offset)})
	}
	return said
}

// saidOfData counts from the first retransmission, which comes an RTO after the data, or after a loss probe that came
// within another.
func (l *life) saidOfData(t *testing.T) []saying {
	t.Helper()
	fires := l.fires()
	if len(fires) == 0 {
		return nil
	}
	first := fires[0]
	rto := first.RTO >> first.Backoff
	rules := schedule.Data{Retries2: l.retries2, UserTimeout: l.userTimeout, RTO: rto, HZ: hz(t)}
	if l.retries2 == 0 {
		rules.Retries2 = l.client.Sysctls.Retries2
	}
	wait := first.Mono - l.turned
	most := 2*(rto+schedule.WheelDelay(rto, hz(t))+busy()) + l.clock.paused(l.turned, first.Mono)
	if wait < rto-jiffies-l.clock.paused(l.turned, first.Mono) || wait > most {
		t.Errorf("sent again after %s, with an RTO of %s", wait, rto)
	}
	var said []saying
	for i, ev := range fires {
		base := ev.Offset - ev.Elapsed - rto // the schedule counts from the data, an RTO before
		said = append(said, saying{ev, base, rules.After(i+1, ev.Offset-base, rto, ev.RTO)})
	}
	return said
}

// saidOfWindow counts from the first probe.
func (l *life) saidOfWindow(t *testing.T) []saying {
	t.Helper()
	fires := l.fires()
	if len(fires) == 0 {
		return nil
	}
	first := fires[0]
	rto := first.RTO >> first.Backoff
	rules := schedule.ZeroWindow{
		Retries2: l.retries2, UserTimeout: l.userTimeout, RTO: rto, Answered: l.peer == answering, HZ: hz(t),
	}
	if l.retries2 == 0 {
		rules.Retries2 = l.client.Sysctls.Retries2
	}
	most := rto + schedule.WheelDelay(rto, hz(t)) + busy() + l.clock.paused(l.turned, first.Mono)
	if wait := first.Mono - l.turned; wait > most {
		t.Errorf("probed after %s, with an RTO of %s", wait, rto)
	}
	var said []saying
	for i, ev := range fires {
		base := ev.Offset - ev.Elapsed
		unanswered := i + 1
		if l.peer == answering {
			unanswered = 0
		}
		said = append(said, saying{ev, base, rules.After(i+1, unanswered, ev.Offset-base, 0)})
	}
	return said
}
