package timeline

import (
	"math"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"tcptrace/tracer/event"
	"tcptrace/tracer/schedule"
)

const ms = time.Millisecond

var (
	here  = netip.MustParseAddrPort("10.0.0.5:40000")
	there = netip.MustParseAddrPort("192.0.2.10:443")
	curl  = event.Owner{PID: 812, Comm: "curl", UID: 1000}
)

// defaults are the sysctls of a kernel with linear timeouts.
func defaults() *event.Sysctls {
	return &event.Sysctls{SYNRetries: 6, SYNLinearTimeouts: 4, HasSYNLinearTimeouts: true, SYNACKRetries: 5}
}

func connect(id event.ConnID, at time.Duration) *event.Event {
	return &event.Event{
		Kind: event.Connect, Conn: id, Mono: at, Local: here, Remote: there, Role: event.RoleClient, Owner: curl,
		Options: &event.Options{}, Sysctls: defaults(), State: event.StateSYNSent,
	}
}

func TestTrackerNumbersEventsFromOne(t *testing.T) {
	tracker := New(Config{})
	for want := uint64(1); want <= 3; want++ {
		ev := connect(event.ConnID(want), 0)
		tracker.Add(ev)
		if ev.N != want {
			t.Errorf("event %d has number %d", want, ev.N)
		}
	}
}

func TestTrackerFillsOwnerAndTupleOfSoftirqEvents(t *testing.T) {
	tracker := New(Config{HZ: 250})
	tracker.Add(connect(1, 0))
	bare := &event.Event{Kind: event.SYNRetransmit, Conn: 1, Mono: 1020 * ms, Attempt: 1}
	tracker.Add(bare)
	// The kernel clears the port on the way to CLOSE.
	closing := &event.Event{
		Kind: event.Close, Conn: 1, Mono: 1100 * ms, Local: netip.AddrPortFrom(here.Addr(), 0), Remote: there,
		OldState: event.StateSYNSent,
	}
	tracker.Add(closing)
	for _, ev := range []*event.Event{bare, closing} {
		if ev.Owner != curl || ev.Local != here || ev.Remote != there || ev.Role != event.RoleClient {
			t.Errorf("%s: owner %v, local %v, remote %v, role %v", ev.Kind, ev.Owner, ev.Local, ev.Remote, ev.Role)
		}
	}
}

func TestTrackerReplacesTheListenersAddressOfAChild(t *testing.T) {
	tracker := New(Config{})
	c := tracker.Add(&event.Event{Kind: event.StateChange, Conn: 1, Local: netip.MustParseAddrPort("0.0.0.0:443")})
	tracker.Add(&event.Event{Kind: event.Established, Conn: 1, Local: there, Remote: here})
	if c.Local != there || c.Remote != here {
		t.Errorf("local %v, remote %v", c.Local, c.Remote)
	}
}

func TestOwnerPassesFromListenerToWhoAccepts(t *testing.T) {
	listener := event.Owner{PID: 1, Comm: "systemd", Via: "listener"}
	worker := event.Owner{PID: 2, Comm: "nginx", Cgroup: "/web"}
	cases := []struct {
		name                 string
		have, reported, want event.Owner
	}{
		{"unknown stays what it was", worker, event.Owner{}, worker},
		{"listener first", event.Owner{}, listener, listener},
		{"then who accepts", listener, worker, worker},
		{"never back", worker, listener, worker},
		{"the same process, less known", worker, event.Owner{PID: 2}, worker},
		{"handed to another process", worker, event.Owner{PID: 3, Comm: "app"}, event.Owner{PID: 3, Comm: "app"}},
	}
	for _, c := range cases {
		if got := newerOwner(c.have, c.reported); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestSYNRetriesAreDueFromThePreviousRealTransmission(t *testing.T) {
	tracker := New(Config{HZ: 250})
	rules := schedule.SYN{Retries: 6, LinearTimeouts: 4, HZ: 250}
	start := 50 * time.Second
	first := connect(1, start)
	tracker.Add(first)
	forecast := rules.After(0, 0, 0)
	if first.NextDue != forecast.Due || first.GivesUp != forecast.GivesUp || first.AttemptsExpected != 10 || first.Attempt != 0 {
		t.Errorf("connect: next due %v, gives up %v, of %d", first.NextDue, first.GivesUp, first.AttemptsExpected)
	}
	for i, at := range []time.Duration{1020 * ms, 2044 * ms, 3200 * ms} {
		ev := &event.Event{Kind: event.SYNRetransmit, Conn: 1, Mono: start + at}
		tracker.Add(ev)
		want := *ev
		want.Attempt, want.AttemptsExpected = i+1, 10
		want.Offset, want.Predicted, want.Latest = at, forecast.Due, forecast.Latest
		want.Late = 0
		if over := at - forecast.Latest; over > 4*ms {
			want.Late = over
		}
		forecast = rules.After(i+1, at, 0)
		want.NextDue, want.GivesUp = forecast.Due, forecast.GivesUp
		if diff := cmp.Diff(want, *ev, cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})); diff != "" {
			t.Errorf("retry %d (-want +got):\n%s", i+1, diff)
		}
		if late := ev.Late > 0; late != (at == 3200*ms) {
			t.Errorf("retry %d is late by %v", i+1, ev.Late)
		}
	}
}

func TestSYNSeenAtTheDeviceBelongsToItsRetry(t *testing.T) {
	tracker := New(Config{HZ: 250})
	tracker.Add(connect(1, 0))
	steps := []struct {
		kind event.Kind
		at   time.Duration
		want int
	}{
		{event.SYNSent, 10 * time.Microsecond, 0},
		{event.SYNSent, 1020 * ms, 1},
		{event.SYNRetransmit, 1020*ms + 5*time.Microsecond, 1},
		{event.SYNRetransmit, 2040 * ms, 2}, // this one failed locally, no device saw it
		{event.SYNSent, 3060 * ms, 3},
		{event.SYNRetransmit, 3060*ms + 5*time.Microsecond, 3},
	}
	for _, step := range steps {
		ev := &event.Event{Kind: step.kind, Conn: 1, Mono: step.at}
		tracker.Add(ev)
		if ev.Attempt != step.want || ev.Late != 0 {
			t.Errorf("%s at %v: attempt %d, late %v, want attempt %d", step.kind, step.at, ev.Attempt, ev.Late, step.want)
		}
	}
}

func TestAFailedRetransmitIsStillAnAttempt(t *testing.T) {
	tracker := New(Config{HZ: 250})
	tracker.Add(connect(1, 0))
	for i, at := range []time.Duration{1020 * ms, 2040 * ms} {
		ev := &event.Event{Kind: event.SYNRetransmit, Conn: 1, Mono: at, Errno: event.EPERM}
		tracker.Add(ev)
		if ev.Attempt != i+1 {
			t.Errorf("attempt %d, want %d", ev.Attempt, i+1)
		}
	}
}

func TestAMissingRetryWidensTheBoundsOfTheNext(t *testing.T) {
	tracker := New(Config{HZ: 250})
	tracker.Add(connect(1, 0))
	ev := &event.Event{Kind: event.SYNRetransmit, Conn: 1, Mono: 2090 * ms, Attempt: 2}
	tracker.Add(ev)
	exact := schedule.SYN{Retries: 6, LinearTimeouts: 4, HZ: 250}.After(1, 1000*ms, 0)
	if ev.Predicted != exact.Due || ev.Latest <= exact.Latest || ev.Late != ev.Offset-ev.Latest {
		t.Errorf("predicted %v, latest %v, late %v", ev.Predicted, ev.Latest, ev.Late)
	}
}

// The kernel says how long ago the first SYN was.
func TestSYNRetriesOfAnOlderConnectionAreForetold(t *testing.T) {
	tracker := New(Config{HZ: 250})
	rules := &event.Event{Kind: event.OptionsChanged, Trigger: "timer", Conn: 1, Mono: 107 * time.Second, PreExisting: true, Role: event.RoleClient,
		Options: &event.Options{}, Sysctls: &event.Sysctls{SYNRetries: 4}}
	third := &event.Event{Kind: event.SYNRetransmit, Conn: 1, Mono: 107 * time.Second, Attempt: 3, RTO: 8 * time.Second, Elapsed: 7100 * ms}
	fourth := &event.Event{Kind: event.SYNRetransmit, Conn: 1, Mono: 115100 * ms, Attempt: 4, RTO: 16 * time.Second, Elapsed: 15200 * ms}
	for _, ev := range []*event.Event{rules, third, fourth} {
		tracker.Add(ev)
	}
	check(t, "the first that is seen", third, forecastOf{3, 4, 0, 0, 8 * time.Second, 24 * time.Second})
	check(t, "the next", fourth, forecastOf{4, 4, 8 * time.Second, 8*time.Second + in250(8*time.Second), 24100 * ms, 24100 * ms})
}

// A recording may hold any number: none is gone up to, one by one.
func TestRetriesOfNoNumberAreNotCountedUpTo(t *testing.T) {
	for _, attempt := range []int{math.MinInt, -1, math.MaxInt} {
		tracker := New(Config{HZ: 250})
		for _, number := range []int{attempt, 1} {
			tracker.Add(&event.Event{Kind: event.SYNRetransmit, Conn: 1, Mono: time.Second, Attempt: number, Elapsed: time.Second,
				Options: &event.Options{}, Sysctls: defaults()})
		}
	}
}

func TestNothingIsPredictedWithoutSysctlsOrTheFirstSYN(t *testing.T) {
	tracker := New(Config{HZ: 250})
	blind := connect(1, 0)
	blind.Sysctls = nil
	tracker.Add(blind)
	again := &event.Event{Kind: event.SYNRetransmit, Conn: 1, Mono: 1020 * ms}
	tracker.Add(again)
	old := &event.Event{Kind: event.SYNRetransmit, Conn: 2, Mono: 1020 * ms, Attempt: 4, Sysctls: defaults(), PreExisting: true}
	tracker.Add(old)
	for _, ev := range []*event.Event{blind, again, old} {
		if ev.Predicted != 0 || ev.NextDue != 0 || ev.GivesUp != 0 || ev.Late != 0 {
			t.Errorf("%+v", ev)
		}
	}
	if again.Attempt != 1 || old.Attempt != 4 {
		t.Errorf("attempts %d and %d", again.Attempt, old.Attempt)
	}
}

func TestTheLastRetryIsFollowedByTheEnd(t *testing.T) {
	tracker := New(Config{HZ: 250})
	first := connect(1, 0)
	first.Options = &event.Options{SYNRetries: 1}
	first.Sysctls.SYNLinearTimeouts = 0
	tracker.Add(first)
	ev := &event.Event{Kind: event.SYNRetransmit, Conn: 1, Mono: 1020 * ms}
	tracker.Add(ev)
	if ev.AttemptsExpected != 1 || ev.NextDue != ev.GivesUp || ev.GivesUp != 3020*ms {
		t.Errorf("of %d, next due %v, gives up %v", ev.AttemptsExpected, ev.NextDue, ev.GivesUp)
	}
}

func TestOptionsChangedMovesTheEnd(t *testing.T) {
	tracker := New(Config{HZ: 250})
	tracker.Add(connect(1, 0))
	tracker.Add(&event.Event{Kind: event.OptionsChanged, Conn: 1, Mono: 100 * ms, Options: &event.Options{SYNRetries: 1}})
	ev := &event.Event{Kind: event.SYNRetransmit, Conn: 1, Mono: 1020 * ms}
	tracker.Add(ev)
	want := schedule.SYN{Retries: 1, LinearTimeouts: 4, HZ: 250}.After(1, 1020*ms, 0)
	if ev.GivesUp != want.GivesUp || ev.AttemptsExpected != want.Total {
		t.Errorf("gives up %v of %d, want %+v", ev.GivesUp, ev.AttemptsExpected, want)
	}
}

func TestBothEndsOnThisHostAreJoinedByTheirSequenceNumbers(t *testing.T) {
	client := connect(1, 0)
	client.ISN = 1001
	// NAT: no address is the same.
	server := &event.Event{
		Kind: event.SYNReceived, Conn: 2, Mono: ms, Role: event.RoleServer, PeerISN: 1001, ISN: 2002,
		Local: netip.MustParseAddrPort("172.16.0.1:8443"), Remote: netip.MustParseAddrPort("10.9.9.9:61000"),
	}
	for name, order := range map[string][]*event.Event{"client first": {client, server}, "server first": {server, client}} {
		tracker := New(Config{})
		for _, ev := range order {
			ev := *ev
			tracker.Add(&ev)
		}
		a, b := tracker.Connection(1), tracker.Connection(2)
		if a.Peer != b || b.Peer != a {
			t.Errorf("%s: not joined", name)
		}
	}
}

func TestEndsWhoseAnswersDifferAreNotJoined(t *testing.T) {
	tracker := New(Config{})
	client := connect(1, 0)
	client.ISN, client.PeerISN = 1001, 3003
	a := tracker.Add(client)
	b := tracker.Add(&event.Event{Kind: event.SYNReceived, Conn: 2, Role: event.RoleServer, PeerISN: 1001, ISN: 2002})
	if a.Peer != nil || b.Peer != nil {
		t.Error("joined")
	}
}

func TestASocketReplacesAResetWithoutOneAsTheOtherEnd(t *testing.T) {
	tracker := New(Config{})
	client := connect(1, 0)
	client.ISN = 1001
	a := tracker.Add(client)
	reset := tracker.Add(&event.Event{Kind: event.ResetSent, Mono: ms, Role: event.RoleServer, PeerISN: 1001})
	if a.Peer != reset || !reset.Socketless() {
		t.Fatal("the reset is not the other end")
	}
	server := tracker.Add(&event.Event{Kind: event.SYNReceived, Conn: 2, Mono: time.Second, Role: event.RoleServer, PeerISN: 1001})
	if a.Peer != server || server.Peer != a {
		t.Error("the socket is not the other end")
	}
}

func TestMissingCountsGapsAndWhatCloseSaysWasNumbered(t *testing.T) {
	cases := []struct {
		name     string
		nths     []uint32
		total    uint32
		missing  int
		complete bool
	}{
		{"all", []uint32{1, 2, 3}, 3, 0, true},
		{"a gap", []uint32{1, 3}, 3, 1, false},
		{"the first", []uint32{2, 3}, 3, 1, false},
		{"a gap, still open", []uint32{1, 4}, 0, 2, false},
		{"short of the total", []uint32{1, 2}, 4, 2, false},
		{"no total", []uint32{1, 2}, 0, 0, false},
		{"more after the close", []uint32{1, 2, 3, 4}, 3, 0, true},
		{"out of order", []uint32{2, 1, 3}, 3, 0, true},
		{"not numbered", []uint32{0, 0}, 0, 0, false},
	}
	for _, c := range cases {
		tracker := New(Config{})
		var conn *Connection
		for i, nth := range c.nths {
			ev := &event.Event{Kind: event.StateChange, Conn: 1, Nth: nth, Mono: time.Duration(i)}
			if c.total != 0 && i == min(int(c.total), len(c.nths))-1 {
				ev.Kind, ev.Total = event.Close, c.total
			}
			conn = tracker.Add(ev)
		}
		if conn.Missing() != c.missing || conn.Complete() != c.complete {
			t.Errorf("%s: missing %d, complete %v", c.name, conn.Missing(), conn.Complete())
		}
	}
}

func TestClosedByFollowsTheFirstFIN(t *testing.T) {
	cases := []struct {
		name   string
		before []event.Event
		close  event.Event
		want   string
	}{
		{"our FIN first", nil, event.Event{OldState: event.StateFinWait2}, ByLocal},
		{"the peer's FIN first", nil, event.Event{OldState: event.StateLastACK}, ByPeer},
		{"both at once", nil, event.Event{OldState: event.StateClosing}, ByLocal},
		{"given up while connecting", nil, event.Event{OldState: event.StateSYNSent}, ByLocal},
		{"reset", nil, event.Event{OldState: event.StateEstablished, Errno: event.ECONNRESET}, ByPeer},
		{"refused", nil, event.Event{OldState: event.StateSYNSent, Errno: event.ECONNREFUSED}, ByPeer},
		{"unreachable while connected", nil, event.Event{OldState: event.StateEstablished, Errno: event.ECONNREFUSED}, ByKernel},
		{"timer", nil, event.Event{OldState: event.StateEstablished, Errno: event.ETIMEDOUT}, ByKernel},
		{"a half-open request", nil, event.Event{OldState: event.StateNewSYNRecv}, ""},
		{"old state unknown, CLOSE_WAIT seen", []event.Event{{State: event.StateCloseWait}}, event.Event{}, ByPeer},
		{"nothing known", nil, event.Event{}, ""},
	}
	for _, c := range cases {
		tracker := New(Config{})
		for _, ev := range c.before {
			ev.Kind, ev.Conn = event.StateChange, 1
			tracker.Add(&ev)
		}
		c.close.Kind, c.close.Conn = event.Close, 1
		tracker.Add(&c.close)
		if c.close.ClosedBy != c.want {
			t.Errorf("%s: closed by %q, want %q", c.name, c.close.ClosedBy, c.want)
		}
	}
}

func TestAStorySettlesAfterItsLastAct(t *testing.T) {
	tracker := New(Config{})
	tracker.Add(connect(1, 0))
	c := tracker.Add(&event.Event{Kind: event.Close, Conn: 1, Mono: ms, OldState: event.StateSYNSent})
	if got := tracker.Settled(60 * ms); len(got) != 0 {
		t.Fatalf("settled too early: %v", got)
	}
	tracker.Add(&event.Event{Kind: event.ICMPError, Conn: 1, Mono: 2 * ms, ICMP: &event.ICMP{Type: 3, Code: 1}})
	if got := tracker.Settled(61 * ms); len(got) != 1 || got[0] != c || len(c.Events) != 3 || c.Expired {
		t.Fatalf("settled: %v, with %d events", got, len(c.Events))
	}
	if got := tracker.Settled(time.Hour); len(got) != 0 {
		t.Error("settled twice")
	}
	if open := tracker.OpenConnections(); len(open) != 0 {
		t.Errorf("still open: %v", open)
	}
}

func TestAHalfOpenRequestExpires(t *testing.T) {
	tracker := New(Config{})
	c := tracker.Add(&event.Event{Kind: event.SYNReceived, Conn: 1, Role: event.RoleServer})
	tracker.Add(&event.Event{Kind: event.SYNACKRetransmit, Conn: 1, Mono: time.Second})
	if got := tracker.Settled(64 * time.Second); len(got) != 0 {
		t.Fatal("it may live for 63 s after its last SYN-ACK")
	}
	if got := tracker.Settled(80 * time.Second); len(got) != 1 || !c.Expired {
		t.Errorf("settled %v, expired %v", got, c.Expired)
	}
}

func TestACompletedHandshakeDoesNotExpire(t *testing.T) {
	tracker := New(Config{})
	tracker.Add(&event.Event{Kind: event.SYNReceived, Conn: 1, Role: event.RoleServer})
	tracker.Add(&event.Event{Kind: event.Established, Conn: 1, Mono: ms, State: event.StateEstablished})
	if got := tracker.Settled(time.Hour); len(got) != 0 || len(tracker.OpenConnections()) != 1 {
		t.Errorf("settled: %v", got)
	}
}

func TestARecordAfterForgettingStillGetsItsOwner(t *testing.T) {
	tracker := New(Config{})
	tracker.Add(connect(1, 0))
	tracker.Add(&event.Event{Kind: event.Close, Conn: 1, Mono: ms})
	tracker.Settled(time.Second)
	tracker.Forget(1)
	late := &event.Event{Kind: event.Error, Conn: 1, Mono: 2 * time.Second, Errno: event.ETIMEDOUT}
	tracker.Add(late)
	if late.Owner != curl || late.Remote != there || late.Offset != 2*time.Second {
		t.Errorf("owner %v, remote %v, offset %v", late.Owner, late.Remote, late.Offset)
	}
	if open := tracker.OpenConnections(); len(open) != 0 {
		t.Errorf("it came to life again: %v", open)
	}
}

func TestEventsStayInTimeOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tracker := New(Config{})
		var c *Connection
		for _, at := range rapid.SliceOfN(rapid.IntRange(0, 50), 1, 20).Draw(t, "times") {
			c = tracker.Add(&event.Event{Kind: event.StateChange, Conn: 1, Mono: time.Duration(at)})
		}
		if !slices.IsSortedFunc(c.Events, func(a, b event.Event) int { return int(a.Mono - b.Mono) }) {
			t.Fatal("not in time order")
		}
	})
}

// A million connections that come and go must not leave anything behind, their sequence numbers included.
func TestMemoryStaysFlat(t *testing.T) {
	tracker := New(Config{})
	churn := func(from, to int) {
		for i := from; i < to; i++ {
			at := time.Duration(i) * ms
			client := connect(event.ConnID(2*i+1), at)
			client.ISN = uint32(i + 1)
			tracker.Add(client)
			tracker.Add(&event.Event{Kind: event.SYNReceived, Conn: event.ConnID(2*i + 2), Mono: at, Role: event.RoleServer, PeerISN: uint32(i + 1)})
			tracker.Add(&event.Event{Kind: event.ResetSent, Mono: at, Role: event.RoleServer, PeerISN: uint32(i + 1)})
			tracker.Add(&event.Event{Kind: event.Close, Conn: event.ConnID(2*i + 1), Mono: at})
			tracker.Add(&event.Event{Kind: event.Close, Conn: event.ConnID(2*i + 2), Mono: at})
			for _, c := range tracker.Settled(at) {
				tracker.Forget(c.ID)
			}
		}
	}
	churn(0, 20_000)
	before := heapInUse()
	churn(20_000, 200_000)
	if grown := int64(heapInUse()) - int64(before); grown > 4<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	for _, c := range tracker.Settled(time.Hour) {
		tracker.Forget(c.ID)
	}
	if n := len(tracker.conns) + len(tracker.ends.clients) + len(tracker.ends.servers) + len(tracker.due); n != 0 {
		t.Errorf("%d entries left behind", n)
	}
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestAForgottenConnectionDoesNotSettle(t *testing.T) {
	tracker := New(Config{})
	tracker.Add(connect(1, 0))
	tracker.Add(&event.Event{Kind: event.Close, Conn: 1, Mono: ms})
	tracker.Forget(1)
	if got := tracker.Settled(time.Hour); len(got) != 0 {
		t.Errorf("settled: %v", got)
	}
}
