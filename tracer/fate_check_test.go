package tracer_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tcptrace/tracer/event"
	"tcptrace/tracer/schedule"
	"tcptrace/tracer/verdict"
)

// busy is by how much a busy machine may be late to run a timer, on top of the timer wheel's own rounding and of what
// its threads were late by at the time.
func busy() time.Duration {
	if testing.Short() { // in an emulated machine
		return 400 * time.Millisecond
	}
	return 200 * time.Millisecond
}

// jiffies is by how much sooner than the clock has it a timer may fire: of its jiffies the first had begun already, and
// those that a virtual machine missed come all at once.
const jiffies = 20 * time.Millisecond

// expectPlayed checks that it came to its end at all.
func (l *life) expectPlayed(t *testing.T) {
	t.Helper()
	switch {
	case l.err != nil:
		t.Fatal(l.err)
	case !l.probe.Connected || l.probe.GaveUp != "":
		t.Fatalf("connected: %t (%s), gave up: %q", l.probe.Connected, l.probe.Errno, l.probe.GaveUp)
	case l.client == nil:
		t.Fatal("no event of the client's was seen")
	}
}

// late says that the peer had its way only when the connection's timers had begun to ask for it; empty when it was in
// time.
func (l *life) late() string {
	established := l.one(event.Established)
	inTime := l.idle == 0 || l.load == nothing && l.peer != gone // then there is nothing to be in time for
	if established == nil || inTime && l.turned != 0 {
		return ""
	}
	took := l.turned - established.Mono
	if l.turned != 0 && took < time.Duration(l.idle)*time.Second {
		return ""
	}
	return fmt.Sprintf("the peer had its way %s after the handshake", took)
}

// overtaken says that a window probe went out within jiffies before the user timeout; empty when none did. The kernel looks
// at its clock before such a probe, to end the connection, and again after it, to wait for what remains. When the timeout is
// over by then, it subtracts without a sign, and waits for another RTO (tcp_clamp_probe0_to_user_timeout).
func (l *life) overtaken() string {
	if l.load != dataUnsent || l.userTimeout == 0 || l.client == nil {
		return ""
	}
	for _, ev := range l.fires() {
		remaining := l.userTimeout - ev.Elapsed
		if remaining > 0 && remaining <= jiffies+l.clock.paused(ev.Mono-remaining, ev.Mono+remaining) {
			return fmt.Sprintf("a window probe left %s before the user timeout", remaining)
		}
	}
	return ""
}

func (l *life) check(t *testing.T, missing string) {
	t.Helper()
	if missing != "" {
		t.Fatalf("an event is missing: %s\n%s", missing, l.describe())
	}
	if diff := cmp.Diff(l.sent(), l.seen()); diff != "" {
		t.Errorf("what the timers sent, and what came of it (-captured +traced):\n%s", diff)
	}
	expectWhole(t, l.client.Events, os.Getpid())
	l.checkTimers(t)
	l.checkEnd(t)
	l.checkVerdict(t)
	if t.Failed() {
		t.Log(l.describe())
	}
}

// checkTimers expects the timer's packets when the story so far had foretold them, and as the schedule has it.
func (l *life) checkTimers(t *testing.T) {
	t.Helper()
	for i, ev := range l.fires() {
		if ev.Predicted == 0 && l.foretells(ev.Kind, i) && !l.disturbed(ev) {
			t.Errorf("%s %d at %s was not foretold", ev.Kind, i+1, ev.Offset)
		}
		if ev.Late > l.slack(ev.Latest, ev.Offset) {
			t.Errorf("%s %d at %s is late by %s", ev.Kind, i+1, ev.Offset, ev.Late)
		}
	}
	said := l.said(t)
	for i := 1; i < len(said); i++ {
		then, now := said[i-1], said[i].after.Offset-said[i-1].base
		slack := l.slack(then.base+then.next.Latest, said[i].after.Offset)
		giveUp := then.next.Last && now > then.next.Due+jiffies // or else the limit was not reached yet
		if giveUp || now < then.next.Due-l.haste(then.after, said[i].after) || now > then.next.Latest+slack {
			t.Errorf("%s at %s, due at %s to %s, to give up: %t", said[i].after.Kind, now, then.next.Due, then.next.Latest,
				then.next.Last)
		}
	}
	if l.peer == silent {
		for _, s := range said {
			l.checkAnnotation(t, s)
		}
	}
}

// slack is by how much what was to be there at due, an offset, may come later: it came at then.
func (l *life) slack(due, then time.Duration) time.Duration {
	started := l.client.Started()
	return busy() + l.clock.paused(started+due, started+then)
}

// haste is by how much sooner than the clock has it a timer may fire that was set at one event, and fired at another:
// the jiffies of a machine that stood still are behind, and then come all at once.
func (l *life) haste(set, fired *event.Event) time.Duration {
	const before = 100 * time.Millisecond
	return jiffies + l.clock.paused(set.Mono-before, fired.Mono)
}

// disturbed says that the machine stood still on the way to an event: the kernel's own clocks, which it read before,
// and the event's time need not agree then.
func (l *life) disturbed(ev *event.Event) bool {
	return l.clock.paused(l.client.Started(), ev.Mono) > 0
}

// foretells says whether the story has what it takes to foretell a packet of that kind, with i before it. The first
// that tells of a timer which something unseen has set cannot be foretold; an answer to a window probe is such a thing.
func (l *life) foretells(kind event.Kind, i int) bool {
	return kind == event.KeepaliveProbe || i > 0 && l.peer == silent
}

// fires are the events of the timer that the load leads to.
func (l *life) fires() []*event.Event {
	var fires []*event.Event
	for i := range l.client.Events {
		ev := &l.client.Events[i]
		switch {
		case ev.Kind != l.timer():
		case ev.Kind == event.Retransmit && ev.Trigger != "rto": // something else sent it
		case ev.Kind == event.WindowProbe && ev.Len != 0: // it is data for what was left of the window
		default:
			fires = append(fires, ev)
		}
	}
	return fires
}

// timer is the kind of event that the load leads to. What a peer acknowledges leads to no other than nothing does.
func (l *life) timer() event.Kind {
	if l.load == dataInTransit && l.peer == silent {
		return event.Retransmit
	}
	return l.probes()
}

// checkEnd expects the end that the settings lead to.
func (l *life) checkEnd(t *testing.T) {
	t.Helper()
	last := l.one(event.Close)
	var errno, write event.Errno
	switch {
	case l.peer == gone:
		errno = event.ECONNRESET
		l.checkReset(t, last)
	case l.held > 0:
		l.checkAlive(t, last)
	default:
		errno = event.ETIMEDOUT
		l.checkDeath(t, last)
	}
	if errno != 0 {
		write = event.EPIPE
	}
	if last.Errno != errno || l.probe.HoldErrno != errno || l.probe.WriteErrno != write {
		t.Errorf("closed with %q, a read got %q and a write %q; want %q, and for the write %q", last.Errno, l.probe.HoldErrno,
			l.probe.WriteErrno, errno, write)
	}
	keepalive := errno == event.ETIMEDOUT && l.load == nothing
	if reset := l.held == 0 && l.one(event.ResetSent) != nil; reset != keepalive {
		t.Errorf("the kernel tells the peer: %t, want %t", reset, keepalive)
	}
}

// one is the last event of a kind, nil where there is none.
func (l *life) one(kind event.Kind) *event.Event {
	for i := len(l.client.Events) - 1; i >= 0; i-- {
		if ev := &l.client.Events[i]; ev.Kind == kind {
			return ev
		}
	}
	return nil
}

// checkReset expects an end right after the first packet that the peer did not know what to do with.
func (l *life) checkReset(t *testing.T, last *event.Event) {
	t.Helper()
	fires := l.fires()
	since, want := l.turned, 0
	if l.load != dataInTransit {
		want = 1
	}
	if len(fires) > 0 {
		since = fires[len(fires)-1].Mono
	}
	if len(fires) < want || len(fires) > want && l.load != dataUnsent { // the window may have been probed before
		t.Errorf("%d packets of the timer's, want %d", len(fires), want)
	}
	if took := last.Mono - since; took > busy()+l.clock.paused(since, last.Mono) {
		t.Errorf("reset after %s on loopback", took)
	}
}

// checkAlive expects that no timer was overdue when the application had seen enough.
func (l *life) checkAlive(t *testing.T, last *event.Event) {
	t.Helper()
	fires := l.fires()
	if len(fires) < 2 {
		t.Fatalf("%d packets of the timer's, want 2 at least", len(fires))
	}
	before := fires[len(fires)-1]
	if answer := l.one(event.KeepaliveAnswer); answer != nil && answer.Mono > before.Mono {
		before = answer
	}
	wait := before.NextDue - before.Offset
	latest := before.NextDue + 2*schedule.WheelDelay(wait, hz(t))
	if before.NextDue == 0 || last.Offset > latest+l.slack(latest, last.Offset) {
		t.Errorf("alive at %s, after %s at %s with the next due at %s", last.Offset, before.Kind, before.Offset,
			before.NextDue)
	}
}

// checkDeath expects that whatever the schedule said at any time came true.
func (l *life) checkDeath(t *testing.T, death *event.Event) {
	t.Helper()
	said := l.said(t)
	if len(l.fires()) == 0 {
		t.Fatal("the timer sent nothing before")
	}
	for i, s := range said {
		left := time.Duration(max(s.next.Total-i, 0) + 1)
		slack := left*busy() + l.clock.paused(s.after.Mono, death.Mono)
		if at := death.Offset - s.base; at > s.next.GivesUpLatest+slack {
			t.Errorf("it died at %s; said at %s: at %s to %s", at, s.after.Offset-s.base, s.next.GivesUp, s.next.GivesUpLatest)
		}
	}
	last := said[len(said)-1]
	at := death.Offset - last.base
	haste := l.haste(last.after, death)
	if at < last.next.Due-haste || at > last.next.Latest+l.slack(last.base+last.next.Latest, death.Offset) {
		t.Errorf("it died at %s, with its timer set for %s to %s", at, last.next.Due, last.next.Latest)
	}
	// A fire that is late beyond the wheel's bound can meet a limit that it was to come before.
	if late := at > last.next.Latest; !last.next.Last && !late && at < last.next.GivesUpEarliest-haste {
		t.Errorf("it died at %s, when it was to send again; the end was to be at %s", at, last.next.GivesUp)
	}
}

// checkAnnotation expects of the event what the schedule says.
func (l *life) checkAnnotation(t *testing.T, s saying) {
	t.Helper()
	nextDue := s.next.Due
	if s.next.Last {
		nextDue = s.next.GivesUp
	}
	off := max((s.after.NextDue - s.base - nextDue).Abs(), (s.after.GivesUp - s.base - s.next.GivesUp).Abs())
	if (off > jiffies || s.after.AttemptsExpected != s.next.Total) && !l.disturbed(s.after) {
		t.Errorf("%s at %s says: next at %s, end at %s, %d in all; want %s, %s and %d", s.after.Kind, s.after.Offset-s.base,
			s.after.NextDue-s.base, s.after.GivesUp-s.base, s.after.AttemptsExpected, nextDue, s.next.GivesUp, s.next.Total)
	}
}

func (l *life) checkVerdict(t *testing.T) {
	t.Helper()
	facts := verdict.Facts{Probe: l.probe, Traced: true, Hooks: make(map[event.Kind]string)}
	for _, h := range watch(t).tracer.Hooks() {
		facts.Hooks[h.Kind] = string(h.Mechanism)
	}
	if v := verdict.Of(l.client, facts); v.Cause != l.cause {
		t.Errorf("the verdict is %s (%s), want %s", v.Cause, v.Summary, l.cause)
	}
}
