package verdict

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tcptrace/tracer/event"
)

func TestTheHostIsAskedWhatTheVerdictRestsOn(t *testing.T) {
	wants := map[string]string{
		"no_route":                   "route link",
		"no_route_blackhole":         "route link",
		"no_route_prohibited":        "route link",
		"no_route_any_more":          "route link",
		"no_route_degraded":          "route link",
		"denied_by_policy":           "", // EPERM is no route's
		"ports_exhausted":            "route ports",
		"conntrack_full_asked":       "conntrack",
		"conntrack_full":             "conntrack",
		"dropped_by_local_output":    "",
		"accept_queue_full":          "listener",
		"accept_queue_full_listener": "listener",
		"syn_queue_full":             "listener",
		"connected_probe":            "",
		"neighbour_waits":            "neighbour link nfqueue backlog",
		"kept_here_user_timeout":     "route link",
		"unreachable_address_gone":   "route",
		"abandoned_by_application":   "neighbour link",
		"no_answer":                  "link xdp nfqueue",
		"no_answer_so_far":           "link xdp nfqueue",
		"dropped_by_local_input":     "",
		"refused":                    "",
		"rejected_by_icmp":           "",
		"rejected_by_icmp_tunnel":    "link",
	}
	for _, sc := range loadScenarios(t) {
		want, listed := wants[sc.name]
		if !listed {
			continue
		}
		delete(wants, sc.name)
		tracker, facts := sc.track()
		c, facts := sc.of(sc.judged, tracker, facts)
		for _, other := range append((&story{conn: c}).others(), c) {
			if other != nil {
				other.NetNS = 4026531840
			}
		}
		facts.Host = nil
		if got := asked(Ask(c, facts)); got != want {
			t.Errorf("%s: asks %q, want %q", sc.name, got, want)
		}
	}
	for name := range wants {
		t.Errorf("there is no scenario %s", name)
	}
}

func asked(q Question) string {
	var words []string
	for _, part := range []struct {
		asked bool
		word  string
	}{{q.Route, "route"}, {q.Ports, "ports"}, {q.Conntrack, "conntrack"}, {q.Neighbour, "neighbour"}, {q.Link, "link"}, {q.XDP, "xdp"}, {q.NFQueue, "nfqueue"}, {q.Backlog, "backlog"}, {q.Listener != 0, "listener"}} {
		if part.asked {
			words = append(words, part.word)
		}
	}
	return strings.Join(words, " ")
}

func TestAQuestionTellsWhatDecidesTheRoute(t *testing.T) {
	p := &event.Probe{
		Remote: netip.MustParseAddrPort("192.0.2.10:443"), Local: netip.MustParseAddrPort("10.0.0.5:0"),
		Synchronous: true, Errno: event.ENETUNREACH, Options: &event.Options{Mark: 7, Device: 3},
	}
	want := Question{Remote: p.Remote, Local: p.Local, Mark: 7, Device: 3, Route: true, Link: true}
	if diff := cmp.Diff(want, Ask(nil, Facts{Probe: p}), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNothingIsAskedAboutNobody(t *testing.T) {
	if q := Ask(nil, Facts{Probe: &event.Probe{Synchronous: true, Errno: event.EACCES}}); q.Asks() {
		t.Errorf("without a remote end: %+v", q)
	}
}
