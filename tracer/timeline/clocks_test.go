package timeline

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"tcptrace/tracer/event"
	"tcptrace/tracer/schedule"
)

// kept is a connection with keepalive on, established 10 ms after its first event.
func kept(t *Tracker, options event.Options) *event.Event {
	options.KeepAlive = true
	first := connect(1, 0)
	first.Options, first.Sysctls = &options, established()
	t.Add(first)
	ev := &event.Event{Kind: event.Established, Conn: 1, Mono: 10 * ms, State: event.StateEstablished, Options: &options, Sysctls: established()}
	t.Add(ev)
	return ev
}

// established are the sysctls that rule established connections, at their defaults.
func established() *event.Sysctls {
	sysctls := defaults()
	sysctls.Retries2 = 15
	sysctls.KeepaliveIdle, sysctls.KeepaliveInterval, sysctls.KeepaliveCount = 2*time.Hour, 75*time.Second, 9
	return sysctls
}

// forecastOf is what an event says of what comes next.
type forecastOf struct {
	Attempt, Expected                int
	Predicted, Latest, Next, GivesUp time.Duration
}

func of(ev *event.Event) forecastOf {
	return forecastOf{ev.Attempt, ev.AttemptsExpected, ev.Predicted, ev.Latest, ev.NextDue, ev.GivesUp}
}

// in250 is what the timer wheel may add at HZ=250.
func in250(d time.Duration) time.Duration { return schedule.WheelDelay(d, 250) }

func check(t *testing.T, what string, ev *event.Event, want forecastOf) {
	t.Helper()
	if got := of(ev); got != want {
		t.Errorf("%s:\n got %+v\nwant %+v", what, got, want)
	}
	if ev.Late != 0 {
		t.Errorf("%s: late by %v", what, ev.Late)
	}
}

func TestKeepaliveProbesAreDueFromThePeersLastSegment(t *testing.T) {
	tracker := New(Config{HZ: 250})
	const base = 10 * ms
	idle, interval := 2*time.Second, 3*time.Second
	done := kept(tracker, event.Options{KeepaliveIdle: idle, KeepaliveInterval: interval, KeepaliveCount: 3})
	check(t, "established", done, forecastOf{Expected: 3, Next: base + 2*time.Second, GivesUp: base + 11*time.Second})

	probe := func(at, idle time.Duration) *event.Event {
		ev := &event.Event{Kind: event.KeepaliveProbe, Conn: 1, Mono: at, Idle: idle}
		tracker.Add(ev)
		return ev
	}
	check(t, "first probe", probe(2040*ms, 2028*ms), forecastOf{1, 3, base + idle, base + idle + in250(idle), 5040 * ms, 11040 * ms})
	check(t, "second probe", probe(5060*ms, 5048*ms), forecastOf{2, 3, 5040 * ms, 5040*ms + in250(interval), 8060 * ms, 11060 * ms})

	answer := &event.Event{Kind: event.KeepaliveAnswer, Conn: 1, Mono: 5100 * ms}
	tracker.Add(answer)
	// The timer still runs for the interval that began with the last probe.
	check(t, "answer", answer, forecastOf{Expected: 3, Next: 8060 * ms, GivesUp: 17060 * ms})
	check(t, "after the answer", probe(8100*ms, 3*time.Second), forecastOf{1, 3, 8060 * ms, 8060*ms + in250(interval), 11100 * ms, 17100 * ms})
}

func TestAKeepaliveIdleTimeAboveTheIntervalCountsFromTheAnswer(t *testing.T) {
	tracker := New(Config{HZ: 250})
	idle := 5 * time.Second
	kept(tracker, event.Options{KeepaliveIdle: idle, KeepaliveInterval: time.Second, KeepaliveCount: 3})
	tracker.Add(&event.Event{Kind: event.KeepaliveProbe, Conn: 1, Mono: 5020 * ms, Idle: 5008 * ms})
	answer := &event.Event{Kind: event.KeepaliveAnswer, Conn: 1, Mono: 5100 * ms}
	tracker.Add(answer)
	check(t, "answer", answer, forecastOf{Expected: 3, Next: 10100 * ms, GivesUp: 13100 * ms})
}

func TestThePeersOwnSegmentsPutKeepaliveOff(t *testing.T) {
	tracker := New(Config{HZ: 250})
	kept(tracker, event.Options{KeepaliveIdle: 2 * time.Second})
	ev := &event.Event{Kind: event.KeepaliveProbe, Conn: 1, Mono: 9 * time.Second, Idle: 1996 * ms, Attempt: 1}
	tracker.Add(ev)
	heard := 7004 * ms
	check(t, "probe", ev, forecastOf{1, 9, heard + 2*time.Second, heard + 2*time.Second + in250(2*time.Second), 84 * time.Second, 684 * time.Second})
}

// The kernel says how long the peer has been silent, so a connection that is older than the trace has its schedule too.
func TestKeepaliveOfAnOlderConnectionIsForetold(t *testing.T) {
	tracker := New(Config{HZ: 250})
	options := &event.Options{KeepAlive: true, KeepaliveIdle: 2 * time.Second, KeepaliveInterval: 3 * time.Second, KeepaliveCount: 3}
	ev := &event.Event{
		Kind: event.KeepaliveProbe, Conn: 1, Mono: 100 * time.Second, Attempt: 2, Idle: 5080 * ms, PreExisting: true,
		Options: options, Sysctls: established(), State: event.StateEstablished,
	}
	tracker.Add(ev)
	heard := -5080 * ms
	latest := heard + 2*time.Second + in250(2*time.Second) + 3*time.Second + in250(3*time.Second)
	check(t, "probe", ev, forecastOf{2, 3, heard + 5*time.Second, latest, 3 * time.Second, 6 * time.Second})
}

func TestTheUserTimeoutTakesThePlaceOfTheCount(t *testing.T) {
	tracker := New(Config{HZ: 250})
	options := event.Options{KeepaliveIdle: 2 * time.Second, KeepaliveInterval: 3 * time.Second, KeepaliveCount: 9, UserTimeout: 7 * time.Second}
	done := kept(tracker, options)
	if done.GivesUp != 8010*ms || done.AttemptsExpected != 2 {
		t.Errorf("gives up at %v after %d probes", done.GivesUp, done.AttemptsExpected)
	}
}

func TestOptionsSetOnALiveConnectionMoveItsKeepalive(t *testing.T) {
	before := event.Options{KeepAlive: true, KeepaliveIdle: 10 * time.Second, KeepaliveInterval: 3 * time.Second, KeepaliveCount: 3}
	off := before
	off.KeepAlive = false
	set := func(o event.Options, change func(*event.Options)) *event.Options {
		change(&o)
		return &o
	}
	const at, base = 4 * time.Second, 10 * ms
	cases := []struct {
		name          string
		before, after *event.Options
		next, givesUp time.Duration
	}{
		{"a shorter idle time arms the timer for the rest", &before,
			set(before, func(o *event.Options) { o.KeepaliveIdle = 5 * time.Second }), base + 5*time.Second, base + 14*time.Second},
		{"one that is over already fires at once", &before,
			set(before, func(o *event.Options) { o.KeepaliveIdle = 2 * time.Second }), at, at + 9*time.Second},
		{"the interval leaves the next probe alone", &before,
			set(before, func(o *event.Options) { o.KeepaliveInterval = time.Second }), base + 10*time.Second, base + 13*time.Second},
		{"so does the count", &before,
			set(before, func(o *event.Options) { o.KeepaliveCount = 1 }), base + 10*time.Second, base + 13*time.Second},
		{"and the user timeout", &before,
			set(before, func(o *event.Options) { o.UserTimeout = time.Second }), base + 10*time.Second, base + 13*time.Second},
		{"turned on, it waits for the whole idle time", &off, &before, at + 10*time.Second, at + 19*time.Second},
		{"turned off, there is no more", &before, &off, 0, 0},
	}
	for _, c := range cases {
		tracker := New(Config{HZ: 250})
		tracker.Add(&event.Event{Kind: event.Connect, Conn: 1, Sysctls: established(), Options: c.before})
		tracker.Add(&event.Event{Kind: event.Established, Conn: 1, Mono: base})
		ev := &event.Event{Kind: event.OptionsChanged, Conn: 1, Mono: at, Options: c.after, Sysctls: established()}
		tracker.Add(ev)
		if ev.NextDue != c.next || ev.GivesUp != c.givesUp {
			t.Errorf("%s: next at %v, gives up at %v, want %v and %v", c.name, ev.NextDue, ev.GivesUp, c.next, c.givesUp)
		}
	}
}

func TestAnIntervalChangedBetweenProbesHoldsFromTheNext(t *testing.T) {
	tracker := New(Config{HZ: 250})
	options := event.Options{KeepaliveIdle: 2 * time.Second, KeepaliveInterval: 3 * time.Second, KeepaliveCount: 3}
	kept(tracker, options)
	tracker.Add(&event.Event{Kind: event.KeepaliveProbe, Conn: 1, Mono: 2010 * ms, Idle: 2 * time.Second})
	options.KeepAlive, options.KeepaliveInterval = true, time.Second
	tracker.Add(&event.Event{Kind: event.OptionsChanged, Conn: 1, Mono: 3 * time.Second, Options: &options})
	ev := &event.Event{Kind: event.KeepaliveProbe, Conn: 1, Mono: 5020 * ms, Idle: 5010 * ms}
	tracker.Add(ev)
	check(t, "second probe", ev, forecastOf{2, 3, 5010 * ms, 5010*ms + in250(3*time.Second), 6020 * ms, 7020 * ms})
}

func TestAMissingKeepaliveProbeWidensTheBoundsOfTheNext(t *testing.T) {
	tracker := New(Config{HZ: 250})
	kept(tracker, event.Options{KeepaliveIdle: 2 * time.Second, KeepaliveInterval: 3 * time.Second})
	ev := &event.Event{Kind: event.KeepaliveProbe, Conn: 1, Mono: 5100 * ms, Attempt: 2, Idle: 5088 * ms}
	tracker.Add(ev)
	latest := 5010*ms + in250(2*time.Second) + in250(3*time.Second)
	check(t, "second probe", ev, forecastOf{2, 9, 5010 * ms, latest, 8100 * ms, 29100 * ms})
}

func TestNothingIsForetoldOfKeepaliveThatIsOffOrUnknown(t *testing.T) {
	tracker := New(Config{HZ: 250})
	done := &event.Event{Kind: event.Established, Conn: 1, Options: &event.Options{}, Sysctls: established()}
	tracker.Add(done)
	blind := &event.Event{Kind: event.KeepaliveProbe, Conn: 2, Mono: time.Second, Idle: time.Second, Attempt: 3}
	tracker.Add(blind)
	if done.NextDue != 0 || done.GivesUp != 0 || blind.Predicted != 0 || blind.NextDue != 0 || blind.Attempt != 3 {
		t.Errorf("%+v\n%+v", of(done), of(blind))
	}
}

func retransmission(at time.Duration, attempt int, elapsed, rto time.Duration) *event.Event {
	return &event.Event{
		Kind: event.Retransmit, Trigger: "rto", Conn: 1, Mono: at, Attempt: attempt, Elapsed: elapsed, RTO: rto,
		State: event.StateEstablished,
	}
}

func TestRetransmissionsAreDueFromTheLastOneAndEndByTheTimeOfTheFirst(t *testing.T) {
	tracker := New(Config{HZ: 250})
	tracker.Add(&event.Event{Kind: event.Established, Conn: 1, Options: &event.Options{UserTimeout: 2 * time.Second}, Sysctls: established()})
	steps := []struct {
		at, elapsed, rto time.Duration
		want             forecastOf
	}{
		{1204 * ms, 0, 400 * ms, forecastOf{1, 4, 0, 0, 1604 * ms, 3204 * ms}},
		{1610 * ms, 406 * ms, 800 * ms, forecastOf{2, 4, 1604 * ms, 1604*ms + in250(400*ms), 2410 * ms, 3204 * ms}},
		{2420 * ms, 1216 * ms, 1600 * ms, forecastOf{3, 3, 2410 * ms, 2410*ms + in250(800*ms), 3204 * ms, 3204 * ms}},
	}
	for i, step := range steps {
		ev := retransmission(step.at, i+1, step.elapsed, step.rto)
		tracker.Add(ev)
		want := step.want
		want.Expected = ev.AttemptsExpected
		check(t, "retransmission", ev, want)
		if ev.AttemptsExpected < i+1 || ev.AttemptsExpected > 4 {
			t.Errorf("retransmission %d of %d", i+1, ev.AttemptsExpected)
		}
	}
}

// The kernel's stamp is older than the event of the first, by what the timer took to send it.
func TestRetransmissionsAreForetoldThoughTheFirstWasReportedLate(t *testing.T) {
	for _, test := range []struct {
		late     time.Duration
		foretold bool
	}{
		{7 * ms, true},
		{100 * ms, false}, // some other data
	} {
		tracker := New(Config{HZ: 250})
		tracker.Add(&event.Event{Kind: event.Established, Conn: 1, Options: &event.Options{}, Sysctls: established()})
		tracker.Add(retransmission(1*time.Second, 1, 0, 400*ms))
		ev := retransmission(1400*ms, 2, 400*ms+test.late, 800*ms)
		tracker.Add(ev)
		if (ev.Predicted != 0) != test.foretold {
			t.Errorf("reported %v after its stamp: %+v", test.late, of(ev))
		}
	}
}

// model(15) of 200 ms up to 120 s: 924.6 s from the first retransmission on.
func TestRetransmissionsOfAnOlderConnectionAreForetold(t *testing.T) {
	tracker := New(Config{HZ: 250})
	ev := retransmission(100*time.Second, 3, 1200*ms, 1600*ms)
	ev.Options, ev.Sysctls, ev.PreExisting = &event.Options{}, established(), true
	tracker.Add(ev)
	model := schedule.Data{Retries2: 15, HZ: 250}.After(3, 1400*ms, 200*ms, 1600*ms)
	want := model.GivesUp - 1400*ms
	check(t, "third retransmission", ev, forecastOf{3, model.Total, 0, 0, 1600 * ms, want})
	if want < 924*time.Second || want > 1050*time.Second {
		t.Errorf("it gives up %v after the third", want)
	}
}

func TestAnAcknowledgementBeginsTheRetransmissionsAnew(t *testing.T) {
	tracker := New(Config{HZ: 250})
	tracker.Add(&event.Event{Kind: event.Established, Conn: 1, Options: &event.Options{}, Sysctls: established()})
	tracker.Add(retransmission(1*time.Second, 1, 0, 400*ms))
	tracker.Add(retransmission(1400*ms, 2, 400*ms, 800*ms))
	again := retransmission(10*time.Second, 1, 0, 400*ms)
	tracker.Add(again)
	if again.Predicted != 0 || again.NextDue != 10400*ms || again.GivesUp < 10*time.Second+924*time.Second {
		t.Errorf("%+v", of(again))
	}
}

func TestWhatElseSetsTheTimerLeavesTheNextRetransmissionUnforetold(t *testing.T) {
	for _, trigger := range []string{"fast", "tlp"} {
		tracker := New(Config{HZ: 250})
		tracker.Add(&event.Event{Kind: event.Established, Conn: 1, Options: &event.Options{}, Sysctls: established()})
		tracker.Add(retransmission(1*time.Second, 1, 0, 400*ms))
		other := &event.Event{Kind: event.Retransmit, Trigger: trigger, Conn: 1, Mono: 1100 * ms, RTO: 400 * ms}
		tracker.Add(other)
		ev := retransmission(1510*ms, 2, 510*ms, 800*ms)
		tracker.Add(ev)
		if other.NextDue != 0 || ev.Predicted != 0 || ev.NextDue != 2310*ms {
			t.Errorf("%s: %+v, then %+v", trigger, of(other), of(ev))
		}
	}
}

func TestTheEndOfAnOrphanIsNotForetold(t *testing.T) {
	tracker := New(Config{HZ: 250})
	tracker.Add(&event.Event{Kind: event.Established, Conn: 1, Options: &event.Options{}, Sysctls: established()})
	ev := retransmission(1*time.Second, 1, 0, 400*ms)
	ev.State = event.StateFinWait1
	tracker.Add(ev)
	if ev.GivesUp != 0 || ev.AttemptsExpected != 0 || ev.NextDue != 1400*ms {
		t.Errorf("%+v", of(ev))
	}
}

// windowProbe is the n-th probe of a shut window, with an RTO of 200 ms.
func windowProbe(n int, at time.Duration, attempt int, elapsed time.Duration) *event.Event {
	return &event.Event{
		Kind: event.WindowProbe, Conn: 1, Mono: at, Attempt: attempt, Elapsed: elapsed, RTO: 200 * ms << n, Backoff: n,
	}
}

func TestWindowProbesAreDueFromTheLastOne(t *testing.T) {
	tracker := New(Config{HZ: 250})
	sysctls := established()
	sysctls.Retries2 = 3
	tracker.Add(&event.Event{Kind: event.Established, Conn: 1, Options: &event.Options{}, Sysctls: sysctls})
	for i, step := range []struct {
		at, elapsed time.Duration
		want        forecastOf
	}{
		{1000 * ms, 0, forecastOf{1, 3, 0, 0, 1400 * ms, 3800 * ms}},
		{1404 * ms, 404 * ms, forecastOf{2, 3, 1400 * ms, 1400*ms + in250(400*ms), 2204 * ms, 3804 * ms}},
		{2220 * ms, 1220 * ms, forecastOf{3, 3, 2204 * ms, 2204*ms + in250(800*ms), 3820 * ms, 3820 * ms}},
	} {
		ev := windowProbe(i+1, step.at, i+1, step.elapsed)
		tracker.Add(ev)
		check(t, "probe", ev, step.want)
	}
}

func TestAnAnswerStartsTheWaitForTheNextWindowProbe(t *testing.T) {
	tracker := New(Config{HZ: 250})
	tracker.Add(&event.Event{Kind: event.Established, Conn: 1, Options: &event.Options{}, Sysctls: established()})
	tracker.Add(windowProbe(1, 1000*ms, 1, 0))
	tracker.Add(&event.Event{Kind: event.KeepaliveAnswer, Conn: 1, Mono: 1050 * ms})
	seen := windowProbe(2, 1460*ms, 1, 460*ms)
	tracker.Add(seen)
	if seen.Predicted != 1450*ms || seen.Latest != 1450*ms+in250(400*ms) || seen.NextDue != 2260*ms {
		t.Errorf("%+v", of(seen))
	}
	unseen := windowProbe(3, 2400*ms, 1, 1400*ms)
	tracker.Add(unseen)
	if unseen.Predicted != 0 || unseen.NextDue != 4000*ms {
		t.Errorf("%+v", of(unseen))
	}
}

func TestTheUserTimeoutEndsAShutWindowThatIsAnswered(t *testing.T) {
	tracker := New(Config{HZ: 250})
	tracker.Add(&event.Event{Kind: event.Established, Conn: 1, Options: &event.Options{UserTimeout: 3 * time.Second}, Sysctls: established()})
	tracker.Add(windowProbe(1, 1000*ms, 1, 0))
	ev := windowProbe(2, 1420*ms, 1, 420*ms)
	tracker.Add(ev)
	if ev.GivesUp != 4000*ms {
		t.Errorf("%+v", of(ev))
	}
}

// What is known of the window's probes before the trace is how often the wait has doubled.
func TestWindowProbesOfAnOlderConnectionAreForetold(t *testing.T) {
	tracker := New(Config{HZ: 250})
	ev := windowProbe(3, 100*time.Second, 1, 1500*ms)
	ev.Options, ev.Sysctls, ev.PreExisting = &event.Options{UserTimeout: 10 * time.Second}, established(), true
	tracker.Add(ev)
	if ev.NextDue != 1600*ms || ev.GivesUp != 8500*ms || ev.Predicted != 0 {
		t.Errorf("%+v", of(ev))
	}
}

func synack(at time.Duration, attempt int) *event.Event {
	return &event.Event{Kind: event.SYNACKRetransmit, Conn: 1, Role: event.RoleServer, Mono: at, Attempt: attempt}
}

func received(sysctls *event.Sysctls) *event.Event {
	return &event.Event{Kind: event.SYNReceived, Conn: 1, Role: event.RoleServer, Sysctls: sysctls, State: event.StateNewSYNRecv}
}

func TestSYNACKRetriesAreForetold(t *testing.T) {
	tracker := New(Config{HZ: 250})
	first := received(established())
	tracker.Add(first)
	check(t, "first", first, forecastOf{Expected: 5, Next: time.Second, GivesUp: 63 * time.Second})
	second := synack(1020*ms, 1)
	tracker.Add(second)
	check(t, "second", second, forecastOf{1, 5, time.Second, time.Second + in250(time.Second), 3020 * ms, 63020 * ms})
}

// Not every kernel that has an RTO maximum limits the waits between SYN-ACKs by it.
func TestSYNACKRetriesHeedTheRTOMaximumOfSomeKernels(t *testing.T) {
	for heeds, want := range map[bool]forecastOf{
		false: {Expected: 5, Next: time.Second, GivesUp: 63 * time.Second},
		true:  {Expected: 5, Next: time.Second, GivesUp: 11 * time.Second},
	} {
		tracker := New(Config{HZ: 250})
		first := received(established())
		first.Sysctls.SYNACKRTOMax, first.Sysctls.RTOMax = heeds, 2*time.Second
		tracker.Add(first)
		check(t, "first", first, want)
	}
}

// A SYN that comes again is answered at once. That counts as no timeout, and the timer starts again as it was.
func TestARepeatedSYNIsNoTimeout(t *testing.T) {
	tracker := New(Config{HZ: 250})
	tracker.Add(received(established()))
	tracker.Add(synack(1020*ms, 1))
	asked := synack(2000*ms, 2)
	tracker.Add(asked)
	check(t, "asked for", asked, forecastOf{2, 6, 0, 0, 4 * time.Second, 64 * time.Second})
	third := synack(4030*ms, 3)
	tracker.Add(third)
	check(t, "on the timer", third, forecastOf{3, 6, 4 * time.Second, 4*time.Second + in250(2*time.Second), 8030 * ms, 64030 * ms})
}

// What made the kernel send it again is known; the time only hints at it: as a rule client and server send again at the
// same time, and a kernel that hears of its ticks late sends early by the clock.
func TestWhatSendsASYNACKAgainIsNotATimeoutByItsTime(t *testing.T) {
	tracker := New(Config{HZ: 250})
	tracker.Add(received(established()))
	asked := synack(1010*ms, 1)
	asked.Trigger = "syn"
	tracker.Add(asked)
	check(t, "asked for", asked, forecastOf{1, 6, 0, 0, 2010 * ms, 64010 * ms})
	early := synack(1990*ms, 2)
	early.Trigger = "rto"
	tracker.Add(early)
	check(t, "on the timer", early, forecastOf{2, 6, 0, 0, 3990 * ms, 63990 * ms})
	third := synack(4*time.Second, 3)
	third.Trigger = "rto"
	tracker.Add(third)
	check(t, "on the timer once more", third, forecastOf{3, 6, 3990 * ms, 3990*ms + in250(2*time.Second), 8 * time.Second, 64 * time.Second})
}

func TestSYNACKRetriesAreNotForetoldAfterAGap(t *testing.T) {
	tracker := New(Config{HZ: 250})
	tracker.Add(received(established()))
	ev := synack(3040*ms, 2)
	tracker.Add(ev)
	if ev.Attempt != 2 || ev.Predicted != 0 || ev.NextDue != 0 {
		t.Errorf("%+v", of(ev))
	}
}

// A kernel whose timers are as late as the wheel lets them be is never called late, whatever its settings, and ends a
// connection by when it was foretold.
func TestKeepaliveWithinTheWheelsBoundIsNeverLate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		second := func(name string, most int) time.Duration {
			return time.Duration(rapid.IntRange(1, most).Draw(t, name)) * time.Second
		}
		options := event.Options{
			KeepaliveIdle: second("idle", 300), KeepaliveInterval: second("interval", 100),
			KeepaliveCount: rapid.IntRange(1, 12).Draw(t, "count"),
		}
		if rapid.Bool().Draw(t, "with a user timeout") {
			options.UserTimeout = second("user timeout", 1000)
		}
		late := func(d time.Duration) time.Duration {
			return d + time.Duration(rapid.Int64Range(0, int64(in250(d))).Draw(t, "late"))
		}
		tracker := New(Config{HZ: 250})
		latest := kept(tracker, options)
		heard, unanswered, died := 10*ms, 0, false
		fire := heard + late(options.KeepaliveIdle)
		for range 200 {
			over := unanswered >= options.KeepaliveCount
			if options.UserTimeout > 0 {
				over = unanswered > 0 && fire-heard >= options.UserTimeout
			}
			if died = over; died {
				break
			}
			unanswered++
			latest = &event.Event{Kind: event.KeepaliveProbe, Conn: 1, Mono: fire, Attempt: unanswered, Idle: fire - heard}
			tracker.Add(latest)
			if latest.Late != 0 || latest.Predicted == 0 || latest.Offset < latest.Predicted || latest.NextDue < latest.Offset {
				t.Fatalf("probe %d at %v: %+v, late by %v", unanswered, fire, of(latest), latest.Late)
			}
			if unanswered == 1 && rapid.IntRange(0, 2).Draw(t, "answered") == 0 {
				heard, unanswered = fire+ms, 0
				tracker.Add(&event.Event{Kind: event.KeepaliveAnswer, Conn: 1, Mono: heard})
			}
			fire += late(options.KeepaliveInterval)
			if left := heard + options.KeepaliveIdle - fire; left > 0 {
				fire += late(left) // tcp_keepalive_timer found that the peer was heard too lately
			}
		}
		if died && latest.Kind == event.KeepaliveProbe && fire < latest.GivesUp-options.KeepaliveInterval {
			t.Fatalf("it died at %v, foretold for %v", fire, latest.GivesUp)
		}
	})
}

// Recordings may hold anything.
func TestNoEventsUpsetTheClocks(t *testing.T) {
	kinds := []event.Kind{
		event.Connect, event.Established, event.OptionsChanged, event.KeepaliveProbe, event.KeepaliveAnswer, event.WindowProbe,
		event.Retransmit, event.SYNReceived, event.SYNACKRetransmit, event.SYNRetransmit, event.Close,
	}
	extreme := func(t *rapid.T, name string) time.Duration {
		return time.Duration(rapid.OneOf(rapid.Int64Range(0, int64(time.Hour)), rapid.Int64()).Draw(t, name))
	}
	rapid.Check(t, func(t *rapid.T) {
		tracker := New(Config{HZ: rapid.SampledFrom([]int{0, 100, 250, 1000}).Draw(t, "HZ")})
		for range rapid.IntRange(1, 20).Draw(t, "events") {
			ev := &event.Event{
				Conn: 1, Kind: rapid.SampledFrom(kinds).Draw(t, "kind"), Mono: extreme(t, "mono"), Idle: extreme(t, "idle"),
				Elapsed: extreme(t, "elapsed"), RTO: extreme(t, "rto"), Attempt: rapid.Int().Draw(t, "attempt"),
				Backoff: rapid.Int().Draw(t, "backoff"), Trigger: rapid.SampledFrom([]string{"", "rto", "tlp"}).Draw(t, "trigger"),
			}
			if rapid.Bool().Draw(t, "settings") {
				ev.Sysctls = &event.Sysctls{Retries2: rapid.Int().Draw(t, "retries2"), SYNACKRetries: rapid.Int().Draw(t, "synack")}
				ev.Options = &event.Options{
					KeepAlive: true, KeepaliveIdle: extreme(t, "keepidle"), KeepaliveInterval: extreme(t, "keepintvl"),
					KeepaliveCount: rapid.Int().Draw(t, "keepcnt"), UserTimeout: extreme(t, "user timeout"),
					RTOMax: rapid.SampledFrom([]time.Duration{-1, 0, time.Minute, 1 << 62}).Draw(t, "rto max"),
				}
			}
			tracker.Add(ev)
			if ev.Late < 0 || ev.Late > 0 && ev.Late != ev.Offset-ev.Latest {
				t.Fatalf("late by %v: %+v", ev.Late, of(ev))
			}
		}
	})
}
