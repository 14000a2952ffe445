package event

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

var compareAddresses = cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})

func TestEventLine(t *testing.T) {
	tests := []struct {
		name  string
		event Event
		want  string
	}{
		{
			"nothing known",
			Event{},
			`{"type":"event"}`,
		},
		{
			"connect",
			Event{
				N: 1, Nth: 1,
				Time: time.Date(2026, 5, 4, 14, 7, 52, 120_000_000, time.FixedZone("", 7200)), Mono: 1_234_567_890_123,
				Kind: Connect, Conn: 1295, Cookie: 77, NetNS: 4026531840,
				Local: netip.MustParseAddrPort("10.0.0.5:51834"), Remote: netip.MustParseAddrPort("192.0.2.10:443"),
				Role: RoleClient, State: StateSYNSent, OldState: StateClose, ISN: 4294967295,
				RTO: time.Second, NextDue: time.Second, GivesUp: 131 * time.Second,
				Options: &Options{UserTimeout: 2500 * time.Millisecond},
				Sysctls: &Sysctls{SYNRetries: 6, HasSYNLinearTimeouts: true, KeepaliveIdle: 2 * time.Hour},
				Owner:   Owner{PID: 4211, Comm: "curl", Cgroup: "/user.slice"},
			},
			`{"type":"event","n":1,"nth":1,"time":"2026-05-04T12:07:52.120000000Z","mono_ns":1234567890123,"offset_ms":0,` +
				`"kind":"connect","conn":"zz","cookie":77,"netns":4026531840,"local":"10.0.0.5:51834","remote":"192.0.2.10:443",` +
				`"role":"client","state":"SYN_SENT","old_state":"CLOSE","isn":4294967295,"rto_ms":1000,"next_due_ms":1000,` +
				`"gives_up_ms":131000,"options":{"tcp_user_timeout_ms":2500,"so_keepalive":false},` +
				`"sysctls":{"tcp_syn_retries":6,"tcp_syn_linear_timeouts":0,"tcp_keepalive_time_ms":7200000},` +
				`"owner":{"pid":4211,"comm":"curl","uid":0,"cgroup":"/user.slice"}}`,
		},
		{
			"retry with everything to the nanosecond",
			Event{
				N: 2, Offset: 1021345678, Kind: SYNRetransmit, Attempt: 1, AttemptsExpected: 10,
				Predicted: 1_000_000_000, Latest: 1_032_000_000, Late: 1, Backoff: 1, Errno: ENOBUFS,
				Remote: netip.MustParseAddrPort("[2001:db8::1]:443"),
			},
			`{"type":"event","n":2,"offset_ms":1021.345678,"kind":"syn_retransmit","remote":"[2001:db8::1]:443","attempt":1,` +
				`"attempts_expected":10,"predicted_offset_ms":1000,"latest_offset_ms":1032,"late_ms":0.000001,"backoff":1,` +
				`"errno":"ENOBUFS"}`,
		},
		{
			"rejected, on CPU 0 of an idle task",
			Event{
				Kind: ICMPError, ICMP: &ICMP{Type: 3, Name: "net unreachable", From: netip.MustParseAddr("192.0.2.1")},
				Queue: &Queue{Max: 128}, Context: Context{Comm: "swapper/0"},
			},
			`{"type":"event","kind":"icmp_error","context":{"pid":0,"comm":"swapper/0","cpu":0},` +
				`"icmp":{"type":3,"code":0,"name":"net unreachable","from":"192.0.2.1"},"queue":{"len":0,"max":128}}`,
		},
		{
			"close",
			Event{Kind: Close, Errno: ETIMEDOUT, ClosedBy: "kernel", Total: 12, Retransmits: 10, ProbesOut: 1, PreExisting: true, Count: 2},
			`{"type":"event","kind":"close","errno":"ETIMEDOUT","closed_by":"kernel","count":2,"total":12,"retransmits":10,` +
				`"probes_out":1,"pre_existing":true}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := string(tt.event.AppendLine(nil, "event"))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("line (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProbeAndResolutionLines(t *testing.T) {
	probe := Probe{
		Target: "example.org:443", Run: 1, Connect: 2500 * time.Millisecond, Errno: ECONNREFUSED, Synchronous: true,
		HasInfo: true, RTT: 1234567, State: StateSYNSent,
	}
	want := `{"type":"probe","target":"example.org:443","run":1,"connect_ms":2500,"connected":false,"errno":"ECONNREFUSED",` +
		`"synchronous":true,"has_info":true,"rtt_us":1234.567,"state":"SYN_SENT"}`
	if diff := cmp.Diff(want, string(probe.AppendLine(nil, "probe"))); diff != "" {
		t.Errorf("probe (-want +got):\n%s", diff)
	}
	resolution := Resolution{Target: "nowhere.example:80", Name: "nowhere.example", Took: time.Millisecond, Err: "no such host"}
	want = `{"type":"resolution","target":"nowhere.example:80","name":"nowhere.example","addresses":[],"took_ms":1,"error":"no such host"}`
	if diff := cmp.Diff(want, string(resolution.AppendLine(nil, "resolution"))); diff != "" {
		t.Errorf("resolution (-want +got):\n%s", diff)
	}
}

// values generates values of any field by reflection, so that a field without a key is found.
var values = rapid.MakeConfig{Types: map[reflect.Type]*rapid.Generator[any]{
	reflect.TypeFor[time.Time](): rapid.Custom(func(t *rapid.T) any {
		return time.Unix(rapid.Int64Range(0, 1<<37).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds"))
	}),
	reflect.TypeFor[netip.Addr](): rapid.Custom(func(t *rapid.T) any { return drawAddr(t) }),
	reflect.TypeFor[netip.AddrPort](): rapid.Custom(func(t *rapid.T) any {
		addr := drawAddr(t)
		if !addr.IsValid() {
			return netip.AddrPort{}
		}
		return netip.AddrPortFrom(addr, rapid.Uint16().Draw(t, "port"))
	}),
	reflect.TypeFor[Kind]():  rapid.Custom(func(t *rapid.T) any { return Kind(rapid.IntRange(0, int(kinds)-1).Draw(t, "kind")) }),
	reflect.TypeFor[State](): rapid.Custom(func(t *rapid.T) any { return State(rapid.IntRange(0, int(states)-1).Draw(t, "state")) }),
	reflect.TypeFor[Role]():  rapid.Custom(func(t *rapid.T) any { return Role(rapid.IntRange(0, int(roles)-1).Draw(t, "role")) }),
}}

func drawAddr(t *rapid.T) netip.Addr {
	switch rapid.IntRange(0, 3).Draw(t, "family") {
	case 1:
		return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "v4")))
	case 2:
		return netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "v6")))
	case 3:
		return netip.MustParseAddr("fe80::1").WithZone(rapid.StringMatching(`[a-z"\\é]{1,15}`).Draw(t, "zone"))
	}
	return netip.Addr{}
}

func TestEventRoundTrip(t *testing.T) {
	generator := rapid.MakeCustom[Event](values)
	rapid.Check(t, func(t *rapid.T) {
		want := generator.Draw(t, "event")
		dropImpossible(want.Sysctls)
		var got Event
		checkRoundTrip(t, &want, &got)
	})
}

func TestProbeRoundTrip(t *testing.T) {
	generator := rapid.MakeCustom[Probe](values)
	rapid.Check(t, func(t *rapid.T) {
		want := generator.Draw(t, "probe")
		var got Probe
		checkRoundTrip(t, &want, &got)
	})
}

func TestResolutionRoundTrip(t *testing.T) {
	generator := rapid.MakeCustom[Resolution](values)
	rapid.Check(t, func(t *rapid.T) {
		want := generator.Draw(t, "resolution")
		for i, addr := range want.Addresses {
			if !addr.IsValid() {
				want.Addresses[i] = netip.IPv6Loopback()
			}
		}
		var got Resolution
		checkRoundTrip(t, &want, &got)
	})
}

// dropImpossible takes the linear timeouts away from a kernel that has no such sysctl.
func dropImpossible(s *Sysctls) {
	if s != nil && !s.HasSYNLinearTimeouts {
		s.SYNLinearTimeouts = 0
	}
}

func checkRoundTrip(t *rapid.T, want, got any) {
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, got); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if diff := cmp.Diff(want, got, compareAddresses, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", text, diff)
	}
}

func TestEventJSONErrorNamesTheKey(t *testing.T) {
	tests := []struct{ text, want string }{
		{`{"n":-1}`, `key "n": out of range`},
		{`{"n":"1"}`, `key "n": not a number`},
		{`{"nth":4294967296}`, `key "nth": out of range`},
		{`{"attempt":1.5}`, `key "attempt": out of range`},
		{`{"offset_ms":"1"}`, `key "offset_ms": not a number`},
		{`{"offset_ms":1e300}`, `key "offset_ms": out of range`},
		{`{"time":"yesterday"}`, `key "time": not a time`},
		{`{"time":"9999-12-31T23:59:59-12:00"}`, `key "time": not a time`},
		{`{"kind":"connects"}`, `key "kind": no event kind is called "connects"`},
		{`{"kind":3}`, `key "kind": not a string`},
		{`{"conn":"no id"}`, `key "conn": `},
		{`{"local":"10.0.0.1"}`, `key "local": `},
		{`{"state":"TCP_CLOSE"}`, `key "state": no TCP state`},
		{`{"role":"peer"}`, `key "role": no role`},
		{`{"errno":"oops"}`, `key "errno": no errno`},
		{`{"pre_existing":1}`, `key "pre_existing": neither true nor false`},
		{`{"owner":[]}`, `key "owner": not an object`},
		{`{"owner":{"uid":-1}}`, `key "owner": key "uid": out of range`},
		{`{"icmp":{"from":"nobody"}}`, `key "icmp": key "from": `},
		{`{"options":{"tcp_keepidle_ms":[]}}`, `key "options": key "tcp_keepidle_ms": not a number`},
		{`[]`, `not an object`},
		{`{"n":1`, `unexpected end`},
	}
	for _, tt := range tests {
		got := Event{N: 7}
		err := got.UnmarshalJSON([]byte(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.text, err, tt.want)
		}
		if diff := cmp.Diff(Event{N: 7}, got, compareAddresses); diff != "" {
			t.Errorf("%s changed the event (-want +got):\n%s", tt.text, diff)
		}
	}
}

func TestEventJSONPassesOverUnknownKeysAndNull(t *testing.T) {
	got := Event{Errno: EPERM}
	if err := json.Unmarshal([]byte(`{"type":"event","n":3,"errno":null,"owner":null,"options":null,"from_the_future":{"n":4}}`), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Event{N: 3}, got, compareAddresses); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
}

func TestEventJSONReadsRewrittenNumbers(t *testing.T) {
	var got Event
	if err := got.UnmarshalJSON([]byte(`{"offset_ms":1.021345678e3,"late_ms":1e-06,"rto_ms":1000.0000004}`)); err != nil {
		t.Fatal(err)
	}
	if want := (Event{Offset: 1021345678, Late: 1, RTO: time.Second}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestTextForms(t *testing.T) {
	type all struct {
		Kinds map[Kind]int
		State State
		Role  Role
		Errno Errno
		Conn  ConnID
	}
	want := all{map[Kind]int{Connect: 1, Close: 2}, StateListen, RoleServer, ETIMEDOUT, 36}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(text), `{"Kinds":{"close":2,"connect":1},"State":"LISTEN","Role":"server","Errno":"ETIMEDOUT","Conn":"10"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	var got all
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
}

func FuzzEventJSON(f *testing.F) {
	for _, seed := range []string{
		`{}`,
		`null`,
		`{"n":1,"nth":1,"time":"2026-05-04T12:07:52.12Z","mono_ns":5,"offset_ms":0,"kind":"connect","conn":"zz"}`,
		`{"local":"10.0.0.5:51834","remote":"[fe80::1%eth0]:443","role":"client","state":"SYN_SENT"}`,
		`{"offset_ms":1e3,"late_ms":-0.0000005,"rto_ms":9223372036854.775807,"gives_up_ms":-9223372036854.775808}`,
		`{"owner":{"pid":1,"comm":"\u0000\ud800","uid":0},"icmp":{"type":3,"from":"::ffff:1.2.3.4"},"queue":{}}`,
		`{"options":{"so_keepalive":true},"sysctls":{"tcp_syn_linear_timeouts":0},"errno":"E0","count":-0}`,
		`{"time":"0000-01-01T00:00:00+12:00"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var first, second Event
		if first.UnmarshalJSON(text) != nil {
			return
		}
		again := first.AppendJSON(nil)
		if err := second.UnmarshalJSON(again); err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		if diff := cmp.Diff(first, second, compareAddresses); diff != "" {
			t.Errorf("%s (-first +second):\n%s", again, diff)
		}
	})
}

// busyEvent is what most lines of a busy trace look like.
func busyEvent() *Event {
	return &Event{
		N: 123456, Nth: 2, Time: time.Date(2026, 5, 4, 12, 7, 52, 123456789, time.UTC), Mono: 1234567890123,
		Offset: 1021345678, Kind: SYNRetransmit, Conn: 123456789, Cookie: 4711, NetNS: 4026531840,
		Local: netip.MustParseAddrPort("10.0.0.5:51834"), Remote: netip.MustParseAddrPort("[2001:db8::1]:443"),
		Role: RoleClient, State: StateSYNSent, ISN: 3735928559, Attempt: 1, AttemptsExpected: 10,
		Predicted: time.Second, Latest: 1032 * time.Millisecond, RTO: time.Second, NextDue: 2021345678,
		GivesUp: 131 * time.Second, TCPSeq: 3735928559, IfName: "eth0",
		Owner: Owner{PID: 4211, Comm: "curl", UID: 1000, Cgroup: "/user.slice/session-2.scope", CgroupID: 4242},
	}
}

func TestWriterWritesWhatEventsThemselvesWrite(t *testing.T) {
	generator := rapid.MakeCustom[Event](values)
	rapid.Check(t, func(t *rapid.T) {
		events := rapid.SliceOfN(generator, 1, 3).Draw(t, "events")
		w := NewWriter()
		for _, i := range rapid.SliceOfN(rapid.IntRange(0, len(events)-1), 1, 20).Draw(t, "order") {
			ev := &events[i]
			if rapid.Bool().Draw(t, "later") {
				ev.Time = ev.Time.Add(time.Duration(rapid.Int64Range(0, int64(2*time.Second)).Draw(t, "by")))
				ev.State, ev.OldState = ev.OldState, ev.State
				ev.Local, ev.Remote = ev.Remote, ev.Local
			}
			if got, want := w.AppendLine(nil, ev, "event"), ev.AppendLine(nil, "event"); string(got) != string(want) {
				t.Fatalf("got\n%s\nwant\n%s", got, want)
			}
		}
	})
}

func TestWriterKnowsNothingOfValuesThatChangedInPlace(t *testing.T) {
	options, w := &Options{SYNRetries: 1}, NewWriter()
	ev := &Event{Options: options}
	w.AppendLine(nil, ev, "event")
	options.SYNRetries = 2
	if got, want := w.AppendLine(nil, ev, "event"), ev.AppendLine(nil, "event"); string(got) != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestWriterAllocatesNothingForWhatItKnows(t *testing.T) {
	e, w, buffer := busyEvent(), NewWriter(), make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { buffer = w.AppendLine(buffer[:0], e, "event") }); n != 0 {
		t.Errorf("%v allocations an event, want none", n)
	}
}

func TestEventLineAllocatesNothing(t *testing.T) {
	e, buffer := busyEvent(), make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { buffer = e.AppendLine(buffer[:0], "event") }); n != 0 {
		t.Errorf("%v allocations an event, want none", n)
	}
}

func BenchmarkEventLine(b *testing.B) {
	e, w, buffer := busyEvent(), NewWriter(), make([]byte, 0, 4096)
	for b.Loop() {
		buffer = w.AppendLine(buffer[:0], e, "event")
	}
	b.SetBytes(int64(len(buffer)))
}
