package sockets

import (
	"encoding/json"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"tcptrace/tracer/event"
)

const hz = 250

// settled are the sysctls of a kernel that nobody has touched.
var settled = event.Sysctls{
	SYNRetries: 6, SYNLinearTimeouts: 4, HasSYNLinearTimeouts: true, SYNACKRetries: 5, Retries1: 3, Retries2: 15,
	RTOMax: 2 * time.Minute, KeepaliveIdle: 2 * time.Hour, KeepaliveInterval: 75 * time.Second, KeepaliveCount: 9,
	FinTimeout: time.Minute, SYNCookies: 1,
}

// established is a socket in which nothing happens.
func established() *Socket {
	sysctls := settled
	return &Socket{
		Local: netip.MustParseAddrPort("192.0.2.1:40000"), Remote: netip.MustParseAddrPort("198.51.100.2:443"),
		State: event.StateEstablished, Held: true, RTO: 200 * time.Millisecond, Options: &event.Options{}, Sysctls: &sysctls,
		Traffic: &event.Traffic{SendWindow: 65535}, LastSent: time.Minute, LastReceived: time.Minute, LastACK: time.Minute,
	}
}

func TestForecastOfEachTimer(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	tests := []struct {
		name string
		set  func(*Socket)
		want Forecast // but for its latest times
	}{
		{"nothing runs", func(*Socket) {}, Forecast{}},
		{"a listener", func(x *Socket) { x.State = event.StateListen }, Forecast{}},
		{"data, not sent again yet", func(x *Socket) {
			x.InFlight, x.Retransmit = 1, Timer{TimerRetransmit, 100 * ms}
		}, Forecast{
			Next: Next{What: Retransmit, In: 100 * ms, Attempt: 1, Of: 16}, Ends: true,
			GivesUp: 1044500 * ms, Rule: "time_model", Errno: event.ETIMEDOUT,
		}},
		{"data, sent again", func(x *Socket) {
			x.InFlight, x.RTO, x.Retransmits, x.Retransmitted = 1, 800*ms, 2, true
			x.Retransmitting, x.Retransmit = 500*ms, Timer{TimerRetransmit, 700 * ms}
		}, Forecast{
			Next: Next{What: Retransmit, In: 700 * ms, Attempt: 3, Of: 16}, Ends: true,
			GivesUp: 1043900 * ms, Rule: "time_model", Errno: event.ETIMEDOUT,
		}},
		{"data, under a user timeout", func(x *Socket) {
			x.Options.UserTimeout = 5 * s
			x.InFlight, x.RTO, x.Retransmits, x.Retransmitted = 1, 1600*ms, 3, true
			x.Retransmitting, x.Retransmit = 1400*ms, Timer{TimerRetransmit, 1600 * ms}
		}, Forecast{
			Next: Next{What: Retransmit, In: 1600 * ms, Attempt: 4, Of: 4}, Ends: true,
			GivesUp: 3600 * ms, Rule: "user_timeout", Errno: event.ETIMEDOUT,
		}},
		{"data in flight whose timer the user timeout shortened", func(x *Socket) {
			x.Options.UserTimeout = 3 * s
			x.InFlight, x.RTO, x.Retransmits, x.Retransmitted = 1, 3200*ms, 4, true
			x.Retransmitting, x.Retransmit = 2*s, Timer{TimerRetransmit, s}
		}, Forecast{
			Next: Next{What: GiveUp, In: s}, Ends: true, GivesUp: s, Rule: "user_timeout", Errno: event.ETIMEDOUT,
		}},
		{"a shut window whose timer the user timeout shortened", func(x *Socket) {
			x.Options.UserTimeout, x.RTO, x.Backoff, x.Probes = 3*s, 200*ms, 4, 4
			x.Traffic.SendWindow, x.Retransmit = 0, Timer{TimerPersist, s}
			x.Probed, x.Probing = true, 2*s
		}, Forecast{
			Next: Next{What: GiveUp, In: s}, Ends: true, GivesUp: s, Rule: "user_timeout", Errno: event.ETIMEDOUT, Answered: AnsweredSame,
		}},
		{"data that the queue of this host refuses", func(x *Socket) {
			x.RTO, x.Backoff, x.Probes = 200*ms, 0, 5
			x.Traffic.Unsent, x.Retransmit = 100, Timer{TimerPersist, 100 * ms}
			x.Probed, x.Probing = true, 2400*ms
		}, Forecast{
			Next: Next{What: WindowProbe, In: 100 * ms, Attempt: 6, Of: 15}, Ends: true,
			GivesUp: 5100 * ms, Rule: "count", Errno: event.ETIMEDOUT,
		}},
		{"a loss probe first", func(x *Socket) {
			x.InFlight, x.Retransmit = 1, Timer{TimerTLP, 50 * ms}
		}, Forecast{
			Next: Next{What: LossProbe, In: 50 * ms}, Ends: true,
			GivesUp: 1044650 * ms, Rule: "time_model", Errno: event.ETIMEDOUT,
		}},
		{"an error that ICMP told", func(x *Socket) {
			x.Options.UserTimeout, x.SoftError = 5*s, event.EHOSTUNREACH
			x.InFlight, x.Retransmits, x.Retransmitted = 1, 1, true
			x.Retransmitting, x.RTO, x.Retransmit = 4900*ms, 400*ms, Timer{TimerRetransmit, 100 * ms}
		}, Forecast{
			Next: Next{What: GiveUp, In: 100 * ms}, Ends: true, GivesUp: 100 * ms, Rule: "user_timeout", Errno: event.EHOSTUNREACH,
		}},
		{"a window shut in silence", func(x *Socket) {
			x.Sysctls.Retries2 = 3
			x.Traffic.SendWindow, x.Retransmit = 0, Timer{TimerPersist, 100 * ms}
		}, Forecast{
			Next: Next{What: WindowProbe, In: 100 * ms, Attempt: 1, Of: 3}, Ends: true,
			GivesUp: 2900 * ms, Rule: "count", Errno: event.ETIMEDOUT, Answered: AnsweredNever,
		}},
		{"keepalive, idle", func(x *Socket) {
			x.Options.KeepAlive, x.Keepalive = true, Timer{TimerKeepalive, 2*time.Hour - time.Minute}
		}, Forecast{
			Next: Next{What: KeepaliveProbe, In: 2*time.Hour - time.Minute, Attempt: 1, Of: 9}, Ends: true,
			GivesUp: 2*time.Hour - time.Minute + 9*75*s, Rule: "count", Errno: event.ETIMEDOUT, Reset: true,
		}},
		{"keepalive, probing", func(x *Socket) {
			x.Options.KeepAlive, x.Options.KeepaliveIdle, x.Options.KeepaliveInterval, x.Options.KeepaliveCount = true, 10*s, 5*s, 3
			x.LastReceived, x.LastACK, x.Probes = 17*s, 17*s, 2
			x.Keepalive = Timer{TimerKeepalive, 3 * s}
		}, Forecast{
			Next: Next{What: KeepaliveProbe, In: 3 * s, Attempt: 3, Of: 3}, Ends: true,
			GivesUp: 8 * s, Rule: "count", Errno: event.ETIMEDOUT, Reset: true,
		}},
		{"keepalive, whose timer was armed before the sysctl was made shorter", func(x *Socket) {
			x.Options.KeepAlive, x.Sysctls.KeepaliveIdle, x.Sysctls.KeepaliveCount = true, 10*s, 1
			x.Keepalive = Timer{TimerKeepalive, time.Hour}
		}, Forecast{
			Next: Next{What: KeepaliveProbe, In: time.Hour, Attempt: 1, Of: 1}, Ends: true,
			GivesUp: time.Hour + 75*s, Rule: "count", Errno: event.ETIMEDOUT, Reset: true,
		}},
		{"a SYN", func(x *Socket) {
			x.State, x.Options.SYNRetries, x.Sysctls.SYNLinearTimeouts = event.StateSYNSent, 2, 0
			x.InFlight, x.RTO, x.Retransmits, x.Retransmitted = 1, 2*s, 1, true
			x.Retransmitting, x.Retransmit = 1500*ms, Timer{TimerRetransmit, 1500 * ms}
		}, Forecast{
			Next: Next{What: SYNRetransmit, In: 1500 * ms, Attempt: 2, Of: 2}, Ends: true,
			GivesUp: 5500 * ms, Rule: "count", Errno: event.ETIMEDOUT,
		}},
		{"an orphan", func(x *Socket) {
			x.State, x.Orphan, x.Held, x.Sysctls.OrphanRetries = event.StateFinWait1, true, false, 2
			x.InFlight, x.Retransmit = 1, Timer{TimerRetransmit, 200 * ms}
		}, Forecast{
			Next: Next{What: Retransmit, In: 200 * ms, Attempt: 1, Of: 3}, Ends: true, GivesUp: 3 * s, Rule: "orphan",
		}},
		{"a long FIN_WAIT2", func(x *Socket) {
			x.State, x.Orphan, x.Held, x.Linger2 = event.StateFinWait2, true, false, 90*s
			x.Keepalive = Timer{TimerFinWait2, 10 * s}
		}, Forecast{Next: Next{What: Release, In: 40 * s}, Ends: true, GivesUp: 40 * s, Rule: RuleFinTimeout}},
		{"TIME_WAIT", func(x *Socket) {
			*x = Socket{State: event.StateTimeWait, Substate: event.StateTimeWait, Lifetime: Timer{TimerTimeWait, 42 * s}}
		}, Forecast{Next: Next{What: Release, In: 42 * s}, Ends: true, GivesUp: 42 * s, Rule: RuleTimeWait}},
		{"a half-open request", func(x *Socket) {
			x.State, x.Sysctls.SYNACKRetries, x.Lifetime = event.StateNewSYNRecv, 2, Timer{TimerRetransmit, 500 * ms}
			x.Retransmits, x.Backoff = 1, 1
		}, Forecast{Next: Next{What: SYNACKRetransmit, In: 500 * ms, Attempt: 2, Of: 2}, Ends: true, GivesUp: 4500 * ms, Rule: "count"}},
		{"a half-open request whose SYN came again, twice", func(x *Socket) {
			x.State, x.Sysctls.SYNACKRetries, x.Lifetime = event.StateNewSYNRecv, 2, Timer{TimerRetransmit, 500 * ms}
			x.Retransmits, x.Backoff = 3, 1
		}, Forecast{Next: Next{What: SYNACKRetransmit, In: 500 * ms, Attempt: 4, Of: 4}, Ends: true, GivesUp: 4500 * ms, Rule: "count"}},
		{"a half-open request of a kernel that limits its waits", func(x *Socket) {
			x.State, x.Sysctls.SYNACKRetries, x.Lifetime = event.StateNewSYNRecv, 4, Timer{TimerRetransmit, 500 * ms}
			x.Sysctls.SYNACKRTOMax, x.Sysctls.RTOMax = true, 2*s
		}, Forecast{Next: Next{What: SYNACKRetransmit, In: 500 * ms, Attempt: 1, Of: 4}, Ends: true, GivesUp: 8500 * ms, Rule: "count"}},
		{"and of one that does not", func(x *Socket) {
			x.State, x.Sysctls.SYNACKRetries, x.Lifetime = event.StateNewSYNRecv, 4, Timer{TimerRetransmit, 500 * ms}
			x.Sysctls.RTOMax = 2 * s
		}, Forecast{Next: Next{What: SYNACKRetransmit, In: 500 * ms, Attempt: 1, Of: 4}, Ends: true, GivesUp: 30500 * ms, Rule: "count"}},
		{"one whose options are not known", func(x *Socket) {
			x.Options, x.Sysctls, x.InFlight = nil, nil, 1
			x.Retransmits, x.Retransmit = 3, Timer{TimerRetransmit, 900 * ms}
		}, Forecast{Next: Next{What: Retransmit, In: 900 * ms, Attempt: 4}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := established()
			tt.set(s)
			got := s.Forecast(hz)
			late := cmpopts.IgnoreFields(Forecast{}, "Latest", "Earliest")
			if diff := cmp.Diff(tt.want, got, late, cmpopts.IgnoreFields(Next{}, "Latest")); diff != "" {
				t.Errorf("forecast (-want +got):\n%s", diff)
			}
			if got.Ends && (got.Earliest > got.GivesUp || got.Latest < got.GivesUp || got.Next.Latest < got.Next.In) {
				t.Errorf("bounds: %+v", got)
			}
		})
	}
}

// drawSocket draws any socket, as a kernel of any state of mind could tell of it.
func drawSocket(t *rapid.T) *Socket {
	d := rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.Int64Range(-int64(time.Hour), math.MaxInt32*int64(time.Millisecond)).Draw(t, "d"))
	})
	n := rapid.IntRange(-1, 300)
	timer := func(names ...string) Timer {
		return Timer{rapid.SampledFrom(names).Draw(t, "timer"), d.Draw(t, "left")}
	}
	s := &Socket{
		State:          event.State(rapid.IntRange(0, int(event.StateBoundInactive)).Draw(t, "state")),
		Orphan:         rapid.Bool().Draw(t, "orphan"),
		Retransmit:     timer("", TimerRetransmit, TimerTLP, TimerReorder, TimerPersist),
		Keepalive:      timer("", TimerKeepalive, TimerFinWait2),
		Lifetime:       timer("", "", "", TimerTimeWait),
		RTO:            d.Draw(t, "rto"),
		Retransmits:    n.Draw(t, "retransmits"),
		Probes:         n.Draw(t, "probes"),
		Backoff:        n.Draw(t, "backoff"),
		Retransmitting: d.Draw(t, "retransmitting"),
		Retransmitted:  rapid.Bool().Draw(t, "retransmitted"),
		Probing:        d.Draw(t, "probing"),
		Probed:         rapid.Bool().Draw(t, "probed"),
		LastSent:       d.Draw(t, "sent"),
		LastReceived:   d.Draw(t, "received"),
		LastACK:        d.Draw(t, "ack"),
		InFlight:       n.Draw(t, "in flight"),
		Linger2:        d.Draw(t, "linger2"),
		ThinLinear:     rapid.Bool().Draw(t, "thin"),
		Traffic:        &event.Traffic{SendWindow: rapid.IntRange(0, 1).Draw(t, "window")},
	}
	if rapid.Bool().Draw(t, "known") {
		s.Options = &event.Options{
			SYNRetries: n.Draw(t, "syncnt"), UserTimeout: d.Draw(t, "user timeout"), KeepAlive: true,
			KeepaliveIdle: d.Draw(t, "idle"), KeepaliveInterval: d.Draw(t, "interval"), KeepaliveCount: n.Draw(t, "count"),
			RTOMax: d.Draw(t, "rto max"),
		}
		s.Sysctls = &event.Sysctls{
			SYNRetries: n.Draw(t, "syn retries"), SYNLinearTimeouts: n.Draw(t, "linear"), SYNACKRetries: n.Draw(t, "synack retries"),
			Retries2: n.Draw(t, "retries2"), OrphanRetries: n.Draw(t, "orphan retries"), FinTimeout: d.Draw(t, "fin timeout"),
		}
	}
	return s
}

func TestForecastTakesAnySocket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSocket(t)
		j := Judge(s, rapid.SampledFrom([]int{0, 100, 250, 1000}).Draw(t, "hz"))
		if f := j.Forecast; f.Ends && (f.Rule == "" || f.Next.What == "") {
			t.Fatalf("%+v ends by no rule", f)
		}
		if j.Trouble != "" && j.Trouble.Meaning() == "" {
			t.Fatalf("trouble %s has no meaning", j.Trouble)
		}
	})
}

func TestSocketLineReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := Judge(drawSocket(t), hz)
		text, err := json.Marshal(j)
		if err != nil {
			t.Fatal(err)
		}
		var back Judged
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		again, err := json.Marshal(back)
		if err != nil || string(again) != string(text) {
			t.Fatalf("%s is read as %s (%v)", text, again, err)
		}
	})
}

func TestTroubles(t *testing.T) {
	const s = time.Second
	tests := []struct {
		want Trouble
		set  func(*Socket)
	}{
		{"", func(*Socket) {}},
		{Retransmitting, func(x *Socket) { x.InFlight, x.Retransmits, x.Retransmit = 1, 1, Timer{TimerRetransmit, s} }},
		{Connecting, func(x *Socket) {
			x.State, x.InFlight, x.Retransmits, x.Retransmit = event.StateSYNSent, 1, 1, Timer{TimerRetransmit, s}
			x.Traffic.SendWindow = 0
		}},
		{"", func(x *Socket) {
			x.State, x.InFlight, x.Retransmit = event.StateSYNSent, 1, Timer{TimerRetransmit, s}
			x.Traffic.SendWindow = 0
		}},
		{Probing, func(x *Socket) { x.Probes, x.Keepalive = 2, Timer{TimerKeepalive, s} }},
		{Probing, func(x *Socket) { x.Probes, x.Keepalive = 1, Timer{TimerKeepalive, s} }},
		{"", func(x *Socket) { x.Probes, x.Keepalive = 1, Timer{TimerKeepalive, 75*s - time.Millisecond} }},
		{WindowShut, func(x *Socket) { x.Retransmit = Timer{TimerPersist, s} }},
		{KeptHere, func(x *Socket) { x.Probes, x.Traffic.Unsent, x.Retransmit = 1, 100, Timer{TimerPersist, s} }},
		{WindowShut, func(x *Socket) { x.Traffic.Unsent, x.Retransmit = 100, Timer{TimerPersist, s} }},
		{WindowShut, func(x *Socket) {
			x.Probes, x.Traffic.Unsent, x.Traffic.SendWindow, x.Retransmit = 1, 100, 99, Timer{TimerPersist, s}
		}},
		{WindowShut, func(x *Socket) { x.InFlight, x.Traffic.SendWindow, x.Retransmit = 1, 0, Timer{TimerRetransmit, s} }},
		{Unacknowledged, func(x *Socket) { x.InFlight, x.Retransmit = 1, Timer{TimerRetransmit, s} }},
		{"", func(x *Socket) { x.InFlight, x.LastSent, x.Retransmit = 1, s/2, Timer{TimerRetransmit, s} }},
		{ClosedByPeer, func(x *Socket) { x.State = event.StateCloseWait }},
		{Unanswered, func(x *Socket) { x.State, x.Retransmits = event.StateNewSYNRecv, 1 }},
	}
	for i, tt := range tests {
		x := established()
		tt.set(x)
		if got := x.Trouble(); got != tt.want {
			t.Errorf("socket %d: trouble %q, want %q", i, got, tt.want)
		}
	}
}

func TestSortPutsHangingFirstThenWhatEndsFirst(t *testing.T) {
	all := []Judged{
		{Socket: Socket{ID: 6}},
		{Socket: Socket{ID: 5}, Forecast: Forecast{Ends: true, GivesUp: 9}},
		{Socket: Socket{ID: 4}, Forecast: Forecast{Ends: true, GivesUp: 3}},
		{Socket: Socket{ID: 3}, Trouble: ClosedByPeer},
		{Socket: Socket{ID: 2}, Trouble: Retransmitting, Forecast: Forecast{Ends: true, GivesUp: 5}},
		{Socket: Socket{ID: 1}, Trouble: Retransmitting, Forecast: Forecast{Ends: true, GivesUp: 1}},
	}
	Sort(all)
	for i := range all {
		if all[i].ID != ID(i+1) {
			t.Fatalf("place %d has socket %d", i+1, all[i].ID)
		}
	}
}

func TestCensusJoinsOwners(t *testing.T) {
	api, server := event.Owner{PID: 7, Comm: "api"}, event.Owner{PID: 8, Comm: "server"}
	port := func(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
	var c Census
	for _, s := range []*Socket{
		{ID: 1, State: event.StateListen, Local: port("0.0.0.0:80"), Owner: server, Options: &event.Options{SYNRetries: 3}},
		{ID: 2, State: event.StateListen, Local: port("192.0.2.1:80"), Owner: api},
		{ID: 3, State: event.StateEstablished, Local: port("192.0.2.1:4000"), Owner: api, Inode: 9, Held: true},
		{ID: 3, State: event.StateEstablished, Local: port("192.0.2.1:4000"), Inode: 9, Held: true},
		{ID: 4, State: event.StateEstablished, Local: port("192.0.2.1:4001"), Inode: 9, Held: true},
		{ID: 5, State: event.StateEstablished, Local: port("192.0.2.1:80")},
		{ID: 6, State: event.StateCloseWait, Local: port("192.0.2.9:80")},
		{ID: 7, State: event.StateNewSYNRecv, Local: port("192.0.2.1:80"), Listener: 1},
		{ID: 8, State: event.StateFinWait1, Local: port("192.0.2.1:80"), Orphan: true},
		{ID: 9, State: event.StateTimeWait, Local: port("192.0.2.1:80")},
		{ID: 10, State: event.StateEstablished, Local: port("192.0.2.1:80"), NetNS: 5},
	} {
		c.Add(s)
	}
	type owned struct {
		comm, via string
	}
	want := map[ID]owned{
		3: {"api", ""}, 4: {"api", ""}, 5: {"api", "listener"}, 6: {"server", "listener"}, 7: {"server", "listener"},
		8: {}, 9: {}, 10: {},
	}
	got := make(map[ID]owned)
	for _, s := range c.Sockets() {
		got[s.ID] = owned{s.Owner.Comm, s.Owner.Via}
		if s.ID == 7 && (s.Options == nil || s.Options.SYNRetries != 3) {
			t.Errorf("the request has options %+v, want its listener's", s.Options)
		}
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(owned{})); diff != "" {
		t.Errorf("owners (-want +got):\n%s", diff)
	}
}

func TestFilterOfOwnersAndEnds(t *testing.T) {
	s := established()
	s.Owner = event.Owner{PID: 7, Comm: "api", UID: 1000, Cgroup: "/a/b", Container: "abcdef"}
	s.NetNS, s.UID, s.HasUID = 5, 33, true
	orphan := established()
	orphan.UID, orphan.HasUID, orphan.Held, orphan.Orphan = 1000, true, false, true
	tests := []struct {
		name          string
		filter        Filter
		owned, orphan bool
	}{
		{"none", Filter{}, true, true},
		{"its pid", Filter{PIDs: []int{3, 7}}, true, false},
		{"another pid", Filter{PIDs: []int{3}}, false, false},
		{"its name", Filter{Comms: []string{"api"}}, true, false},
		{"its user", Filter{UIDs: []uint32{1000}}, true, true},
		{"the user that made it", Filter{UIDs: []uint32{33}}, false, false},
		{"its cgroup", Filter{Cgroup: "/a/b"}, true, false},
		{"a cgroup above", Filter{Cgroup: "/a"}, true, false},
		{"the root", Filter{Cgroup: "/"}, true, false},
		{"a cgroup of a longer name", Filter{Cgroup: "/a/bc"}, false, false},
		{"its container", Filter{Container: "abc"}, true, false},
		{"its namespace", Filter{NetNS: []uint32{5}}, true, false},
		{"either port", Filter{Port: 443}, true, true},
		{"local port", Filter{LocalPort: 443}, false, false},
		{"remote port", Filter{RemotePort: 443}, true, true},
		{"network", Filter{Network: netip.MustParsePrefix("198.51.100.0/24")}, true, true},
		{"another network", Filter{Network: netip.MustParsePrefix("203.0.113.0/24")}, false, false},
		{"IPv4", Filter{Family: 4}, true, true},
		{"IPv6", Filter{Family: 6}, false, false},
		{"state", Filter{States: []event.State{event.StateEstablished}}, true, true},
		{"another state", Filter{States: []event.State{event.StateCloseWait}}, false, false},
	}
	for _, tt := range tests {
		if got := tt.filter.Passes(s); got != tt.owned {
			t.Errorf("%s: the owned socket passes: %t, want %t", tt.name, got, tt.owned)
		}
		if got := tt.filter.Passes(orphan); got != tt.orphan {
			t.Errorf("%s: the orphan passes: %t, want %t", tt.name, got, tt.orphan)
		}
	}
}

func TestStatesAreCountedAndMeanSomething(t *testing.T) {
	var all []*Socket
	add := func(n int, s Socket) {
		for range n {
			one := s
			all = append(all, &one)
		}
	}
	service := netip.MustParseAddrPort("198.51.100.2:443")
	add(300, Socket{State: event.StateTimeWait, Remote: service})
	add(20, Socket{State: event.StateTimeWait, Remote: netip.MustParseAddrPort("198.51.100.3:443")})
	add(2, Socket{State: event.StateCloseWait, Owner: event.Owner{PID: 7, Comm: "api"}, LastReceived: 2 * time.Hour, LastACK: 2 * time.Hour})
	add(64, Socket{State: event.StateNewSYNRecv, Local: service, Retransmits: 2})
	add(1, Socket{State: event.StateEstablished, Owner: event.Owner{PID: 7, Comm: "api"}, LastReceived: 3 * time.Hour, LastACK: 2 * time.Hour})
	add(1, Socket{State: event.StateFinWait1, Orphan: true})
	limits := Limits{Ports: 1000, MaxTimeWait: 3200, MaxSYNBacklog: 128, SYNCookies: 1}
	want := []string{
		"320 TIME_WAIT: closed less than a minute ago; 300 to 198.51.100.2:443; 30 % of the local ports (1000); 10 % of tcp_max_tw_buckets (3200)",
		"64 NEW_SYN_RECV: half-open; 64 at 198.51.100.2:443; 50 % of tcp_max_syn_backlog (128); 64 SYN-ACKs were repeated; " +
			"SYN cookies take over when the queue is full",
		"2 CLOSE_WAIT: the peer has closed, api has not: a leak if they grow; the oldest is idle for 2h",
		"1 ESTABLISHED: 1 is without keepalive and idle for over an hour",
		"1 FIN_WAIT1: this end has closed, the peer does not acknowledge it; 1 is nobody's any more",
	}
	var got []string
	for _, g := range Groups(all) {
		got = append(got, counted(g.Count, g.State.String(), g.State.String())+": "+g.Meaning(limits))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
}
