package verdict

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

	"tcptrace/tracer/event"
)

func TestVerdictLine(t *testing.T) {
	v := Verdict{
		Conn: 36, Target: "192.0.2.10:443", Cause: "no_answer", Outcome: OutcomeFailed, EndedBy: EndedByKernel,
		Errno: event.ETIMEDOUT, Summary: "no answer: 3 SYNs in 7.14 s", Evidence: []uint64{1, 2},
		Contributing: []Contribution{{Cause: "syn_cookie_sent", Evidence: []uint64{3}}},
		Advice:       []string{"look further"}, Confidence: Certain,
		Connect: 7139 * time.Millisecond, HandshakeRTT: 1234567, SYNSent: 3, Duration: 7139100 * time.Microsecond,
		Owner: event.Owner{PID: 4211, Comm: "curl"}, Remote: netip.MustParseAddrPort("192.0.2.10:443"),
	}
	want := `{"type":"verdict","conn":"10","target":"192.0.2.10:443","cause":"no_answer","outcome":"failed","ended_by":"kernel",` +
		`"errno":"ETIMEDOUT","summary":"no answer: 3 SYNs in 7.14 s",` +
		`"contributing":[{"cause":"syn_cookie_sent","evidence":[3]}],"advice":["look further"],"evidence":[1,2],"doubts":[],` +
		`"confidence":"certain","connect_ms":7139,"handshake_rtt_us":1234.567,"syn_sent":3,"duration_ms":7139.1,` +
		`"owner":{"pid":4211,"comm":"curl","uid":0},"remote":"192.0.2.10:443"}`
	if diff := cmp.Diff(want, string(v.AppendLine(nil, "verdict"))); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}

// The generator works by reflection, so a field without a key is found.
func TestVerdictRoundTrip(t *testing.T) {
	generator := rapid.MakeCustom[Verdict](rapid.MakeConfig{Types: map[reflect.Type]*rapid.Generator[any]{
		reflect.TypeFor[netip.AddrPort](): rapid.Custom(func(t *rapid.T) any {
			if rapid.Bool().Draw(t, "unknown") {
				return netip.AddrPort{}
			}
			return netip.AddrPortFrom(netip.IPv6Loopback(), rapid.Uint16().Draw(t, "port"))
		}),
	}})
	rapid.Check(t, func(t *rapid.T) {
		want := generator.Draw(t, "verdict")
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Verdict
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{}), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", text, diff)
		}
	})
}

func TestVerdictJSONErrorNamesTheKey(t *testing.T) {
	tests := []struct{ text, want string }{
		{`{"conn":1}`, `key "conn": not a string`},
		{`{"evidence":[1,-2]}`, `key "evidence": element 1: out of range`},
		{`{"doubts":"none"}`, `key "doubts": not a list`},
		{`{"advice":[1]}`, `key "advice": element 0: not a string`},
		{`{"contributing":[{},{"cause":1}]}`, `key "contributing": element 1: key "cause": not a string`},
	}
	for _, tt := range tests {
		var v Verdict
		if err := v.UnmarshalJSON([]byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.text, err, tt.want)
		}
	}
}

func TestWriterWritesWhatVerdictsThemselvesWrite(t *testing.T) {
	w := NewWriter()
	owners := []event.Owner{{}, {PID: 4211, Comm: "curl"}, {PID: 812, Comm: "nginx", UID: 33}}
	remotes := []netip.AddrPort{{}, netip.MustParseAddrPort("192.0.2.10:443"), netip.MustParseAddrPort("[2001:db8::1]:443")}
	rapid.Check(t, func(t *rapid.T) {
		v := Verdict{
			Conn: event.ConnID(rapid.IntRange(0, 2).Draw(t, "conn")), Cause: "refused", Confidence: Likely,
			Owner: rapid.SampledFrom(owners).Draw(t, "owner"), Remote: rapid.SampledFrom(remotes).Draw(t, "remote"),
		}
		if got, want := string(w.AppendLine(nil, &v, "verdict")), string(v.AppendLine(nil, "verdict")); got != want {
			t.Fatalf("got\n%s\nwant\n%s", got, want)
		}
	})
}
