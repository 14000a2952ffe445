package timeline

import (
	"testing"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/schedule"
)

// soon is how long the kernel waits with what a queue of this host refused.
const soon = schedule.ResourceProbe

func refused(kind event.Kind, at time.Duration) *event.Event {
	return &event.Event{Kind: kind, Conn: 1, Mono: at, Errno: event.ENOBUFS, LocalCongestion: true}
}

func TestASYNThatIsRefusedIsDueSoon(t *testing.T) {
	tracker := New(Config{HZ: 250})
	sysctls := established()
	sysctls.SYNRetries, sysctls.SYNLinearTimeouts = 3, 0
	tracker.Add(&event.Event{
		Kind: event.Connect, Conn: 1, Role: event.RoleClient, State: event.StateSYNSent, RTO: time.Second, Options: &event.Options{}, Sysctls: sysctls,
	})
	again := func(attempt int, at time.Duration) *event.Event {
		ev := refused(event.SYNRetransmit, at)
		ev.Attempt, ev.RTO = attempt, time.Second
		tracker.Add(ev)
		return ev
	}
	check(t, "first", again(1, 1010*ms), forecastOf{1, 3, time.Second, time.Second + in250(time.Second), 1510 * ms, 2510 * ms})
	check(t, "second", again(2, 1514*ms), forecastOf{2, 3, 1510 * ms, 1510*ms + in250(soon), 2014 * ms, 2514 * ms})

	taken := &event.Event{Kind: event.SYNRetransmit, Conn: 1, Mono: 2020 * ms, Attempt: 3, RTO: 2 * time.Second}
	tracker.Add(taken)
	check(t, "taken", taken, forecastOf{3, 3, 2014 * ms, 2014*ms + in250(soon), 4020 * ms, 4020 * ms})
}

func TestAWindowProbeThatIsRefusedIsDueSoon(t *testing.T) {
	tracker := New(Config{HZ: 250})
	kept(tracker, event.Options{})
	try := func(attempt int, at, elapsed time.Duration) *event.Event {
		ev := refused(event.WindowProbe, at)
		ev.Attempt, ev.Elapsed, ev.RTO, ev.State = attempt, elapsed, 200*ms, event.StateEstablished
		tracker.Add(ev)
		return ev
	}
	first := try(1, 1210*ms, 0)
	if first.NextDue != 1710*ms {
		t.Errorf("the next is due at %v", first.NextDue)
	}
	second := try(2, 1714*ms, 504*ms)
	if second.NextDue != 2214*ms || second.Predicted != 1710*ms || second.Late != 0 || second.GivesUp != second.Mono+time.Duration(second.AttemptsExpected-1)*soon {
		t.Errorf("%+v", second)
	}
}

func TestAKeepaliveProbeThatIsRefusedDoesNotCount(t *testing.T) {
	tracker := New(Config{HZ: 250})
	kept(tracker, event.Options{KeepaliveIdle: 2 * time.Second, KeepaliveInterval: 3 * time.Second, KeepaliveCount: 3})
	try := func(at, idle time.Duration) *event.Event {
		ev := refused(event.KeepaliveProbe, at)
		ev.Attempt, ev.Idle = 1, idle
		tracker.Add(ev)
		return ev
	}
	try(2040*ms, 2028*ms)
	second := try(2544*ms, 2532*ms)
	if second.Attempt != 1 || second.Predicted != 2540*ms || second.Late != 0 || second.NextDue != 3044*ms {
		t.Errorf("%+v", second)
	}
	taken := &event.Event{Kind: event.KeepaliveProbe, Conn: 1, Mono: 3050 * ms, Idle: 3038 * ms, Attempt: 1}
	tracker.Add(taken)
	check(t, "taken", taken, forecastOf{1, 3, 3044 * ms, 3044*ms + in250(soon), 6050 * ms, 12050 * ms})
}
