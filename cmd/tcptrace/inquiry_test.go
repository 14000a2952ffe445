package main

import (
	"encoding/json"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tcptrace/prober/lab"
	"tcptrace/tracer/event"
	"tcptrace/tracer/verdict"
)

func TestWhatTheHostSaidIsReadAsItWasWritten(t *testing.T) {
	compare := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	for _, want := range []answer{
		{about: answerKey{conn: 5}, host: verdict.Host{Route: &verdict.Route{Errno: event.EHOSTUNREACH}}},
		{about: answerKey{conn: 5}, host: verdict.Host{Route: &verdict.Route{Errno: event.EINVAL, SourceGone: true}}},
		{about: answerKey{conn: 5}, host: verdict.Host{Link: &verdict.Link{Name: "g", Tunnel: "gre", Remote: server4.Addr(), VRF: "blue"}}},
		{about: answerKey{conn: 5}, host: verdict.Host{Link: &verdict.Link{Name: "eth0", NoCarrier: true}}},
		{about: answerKey{cookie: 7}, host: verdict.Host{Route: &verdict.Route{Device: "eth0", Gateway: server6.Addr()}}},
		{about: answerKey{conn: 6}, host: verdict.Host{Ports: &verdict.Ports{First: 32768, Last: 60999, InUse: 3, TimeWait: 2}, Somaxconn: 4096}},
		{about: answerKey{conn: 6}, host: verdict.Host{Conntrack: &verdict.Conntrack{Count: 0, Max: 8}}},
		{about: answerKey{conn: 6}, host: verdict.Host{XDP: "eth0"}},
		{about: answerKey{conn: 6}, host: verdict.Host{NFQueue: &verdict.NFQueue{Number: 5, Port: 4294963001, Waiting: 4}}},
		{about: answerKey{conn: 6}, host: verdict.Host{Backlog: &verdict.Backlog{Device: "eth0", Queue: "tbf 8001:", Waiting: 4}}},
		{about: answerKey{conn: 6}, host: verdict.Host{Neighbour: &verdict.Neighbour{Addr: server6.Addr(), State: "FAILED"}}},
	} {
		text, err := json.Marshal(encodeHost(want))
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseLine(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(answer{}, answerKey{}), compare); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

func TestPortsThatConnectPassesOver(t *testing.T) {
	remote, source := netip.MustParseAddrPort("192.0.2.10:443"), netip.MustParseAddr("192.0.2.1")
	tests := []struct {
		name          string
		local, remote string
		state         event.State
		taken         bool
	}{
		{"connected there", "192.0.2.1:40000", "192.0.2.10:443", event.StateEstablished, true},
		{"in TIME_WAIT there", "192.0.2.1:40000", "192.0.2.10:443", event.StateTimeWait, true},
		{"connected elsewhere", "192.0.2.1:40000", "192.0.2.11:443", event.StateEstablished, false},
		{"from another address", "192.0.2.2:40000", "192.0.2.10:443", event.StateEstablished, false},
		{"listens", "0.0.0.0:40001", "0.0.0.0:0", event.StateListen, true},
		{"below the range", "192.0.2.1:39999", "192.0.2.10:443", event.StateEstablished, false},
		{"beyond the range", "192.0.2.1:40002", "192.0.2.10:443", event.StateEstablished, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			count := newPortCount(40000, 40001, source, remote)
			count.add(netip.MustParseAddrPort(test.local), netip.MustParseAddrPort(test.remote), test.state)
			want := verdict.Ports{First: 40000, Last: 40001}
			if test.taken {
				want.InUse = 1
			}
			if test.state == event.StateTimeWait {
				want.TimeWait = 1
			}
			if got := *count.ports(); got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
}

func TestReservedPortsAreTaken(t *testing.T) {
	count := newPortCount(40000, 40009, netip.Addr{}, netip.MustParseAddrPort("192.0.2.10:443"))
	count.reserve(39990, 40001)
	count.reserve(40009, 50000)
	if got := *count.ports(); got != (verdict.Ports{First: 40000, Last: 40009, InUse: 3}) {
		t.Errorf("%+v, want 3 in use", got)
	}
}

func TestAHostIsLeftInPeaceAfterAnAnswer(t *testing.T) {
	var now time.Duration
	o := newOracle(nil)
	o.clock = func() time.Duration {
		now += time.Millisecond // so long does an answer take
		return now
	}
	question := verdict.Question{Conntrack: true}
	if o.ask(question) == nil {
		t.Fatal("no answer to the first question")
	}
	refused := 0
	for o.ask(question) == nil {
		refused++
	}
	if refused != restraint-1 {
		t.Errorf("%d questions were refused after an answer that took a millisecond, one each millisecond; want %d", refused, restraint-1)
	}
}

func TestNobodyAnswersForANamespaceThatIsGone(t *testing.T) {
	if h := newOracle(nil).ask(verdict.Question{NetNS: 1, Route: true, Remote: server4}); h != nil {
		t.Errorf("%+v", h)
	}
}

// Routes that refuse, and ports that are all taken, are recognised by asking the host, live and in a replay.
func TestVerdictsOfLabsRestOnWhatTheHostSays(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	for name, want := range map[string]string{
		"no-route-blackhole":        "a blackhole route",
		"no-route-prohibit":         "a prohibit route",
		"no-route-unreachable":      "an unreachable route",
		"ports-exhausted":           "all 2 ports of 40000-40001 towards it are taken, 0 in TIME_WAIT",
		"ports-exhausted-time-wait": "all 2 ports of 40000-40001 towards it are taken, 2 in TIME_WAIT",
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "recording")
			live := tcptraceRun(t, "lab", name, "-o", "json", "--record", file)
			v := live.lines(t).only(t, typeVerdict)
			if v.Confidence != string(verdict.Certain) || !strings.Contains(v.Summary, want) || len(v.Doubts) != 0 {
				t.Errorf("%s, %q, doubts %q; want it certain because of %s", v.Confidence, v.Summary, v.Doubts, want)
			}
			live.lines(t).only(t, typeHost)
			replayed := tcptraceRun(t, "replay", "-o", "json", file).lines(t).only(t, typeVerdict)
			if diff := cmp.Diff(v, replayed, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Errorf("(-live +replayed):\n%s", diff)
			}
		})
	}
}

// What other programs do in a network namespace is asked about there, not where watch runs.
func TestWatchAsksInTheNamespaceOfTheConnection(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	p := newAcceptPair(t)
	far := "198.51.100.10:443"
	acceptMust(t, p.client.AddDeadRoute(netip.MustParsePrefix("198.51.100.0/24"), lab.RouteBlackhole))
	watch := acceptCommand{args: []string{"watch", "--netns", acceptNetNS(p.client), "-c", "1", "-o", "json"}}.start(t)
	watch.awaitTrace(t)
	acceptCommand{args: []string{"connect", far}, host: p.client}.run(t)
	v := watch.wait(t).lines(t).only(t, typeVerdict)
	if v.Cause != string(verdict.NoRoute) || v.Confidence != string(verdict.Certain) {
		t.Errorf("%s, %s: %s %q", v.Cause, v.Confidence, v.Summary, v.Doubts)
	}
}
