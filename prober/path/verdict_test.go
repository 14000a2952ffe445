package path

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tcptrace/prober"
	"tcptrace/tracer/event"
)

var destination = netip.MustParseAddrPort("203.0.113.9:443")

// answers builds the answers of one query for each hop: "*" for silence, "+" and "-" for the destination's SYN-ACK and RST,
// "!" and an address for a prohibition, "x" for a SYN that was not sent, and else the address of a router.
func answers(query int, hops ...string) []Answer {
	var all []Answer
	for i, who := range hops {
		a := Answer{TTL: i + 1, Query: query, Kind: Silence, Local: netip.MustParseAddrPort("192.0.2.1:40000")}
		switch address, prohibited := strings.CutPrefix(who, "!"); {
		case who == "*":
		case who == "+":
			a.Kind, a.From, a.RTT = Accepted, destination.Addr(), 3*time.Millisecond
		case who == "-":
			a.Kind, a.From, a.Errno = Refused, destination.Addr(), event.ECONNREFUSED
		case who == "x":
			a.Kind, a.Errno = Unsent, event.ENETUNREACH
		case prohibited:
			a.Kind, a.From = Rejected, netip.MustParseAddr(address)
			a.ICMP = &event.ICMP{Type: 3, Code: 13, Name: event.ICMPName(false, 3, 13), From: a.From}
		default:
			a.Kind, a.From = Expired, netip.MustParseAddr(address)
			a.ICMP = &event.ICMP{Type: 11, Name: event.ICMPName(false, 11, 0), From: a.From}
		}
		all = append(all, a)
	}
	return all
}

// route asks every hop once for each of the queries.
func route(queries ...[]string) *Route {
	r := &Route{Remote: destination}
	for i, hops := range queries {
		for _, a := range answers(i+1, hops...) {
			r.Add(a)
		}
	}
	return r
}

func toPort80(hops ...string) *Route {
	r := route(hops)
	r.Remote = netip.AddrPortFrom(destination.Addr(), 80)
	return r
}

func hops(s string) []string { return strings.Fields(s) }

func TestJudge(t *testing.T) {
	tests := []struct {
		name        string
		route       *Route
		compare     *Route
		interrupted bool
		cause       string
		outcome     string
		summary     string
		advice      string // one of
		doubt       string // one of
	}{
		{
			name: "reached", route: route(hops("192.0.2.2 +")),
			cause: "connected", outcome: connected, summary: "reached at hop 2: it answers with a SYN-ACK after 3ms",
		},
		{
			name: "reached, but not the other port", route: route(hops("192.0.2.2 192.0.2.6 +")), compare: toPort80("192.0.2.2", "*", "*"),
			cause: "connected", outcome: connected,
			summary: "reached at hop 3: it answers with a SYN-ACK after 3ms; SYNs to port 80 get no further than hop 1 (192.0.2.2)",
		},
		{
			name: "refused in the destination's name", route: route(hops("192.0.2.2 -")), compare: toPort80("192.0.2.2", "192.0.2.6", "+"),
			cause: "refused", outcome: failed,
			summary: "something at hop 2 answers SYNs to port 443 with RSTs in the destination's name; SYNs to port 80 get to hop 3",
			advice:  "look for a firewall that rejects port 443 with a reset between hop 1 and the destination",
		},
		{
			name: "the destination prohibits", route: route(hops("192.0.2.2 !203.0.113.9")),
			cause: "rejected_by_icmp", outcome: failed,
			summary: "the destination itself (hop 2) rejects SYNs to port 443: communication administratively prohibited (ICMP type 3, code 13)",
		},
		{
			name: "never sent", route: route(hops("x")),
			cause: "no_route", outcome: failed, summary: "no SYN left this host: connect failed at once with ENETUNREACH",
		},
		{
			name: "a circle", route: route(hops("192.0.2.2 192.0.2.6 192.0.2.10 192.0.2.6 192.0.2.10")),
			cause: "no_answer", outcome: failed, summary: "the SYNs go in a circle: hop 2 (192.0.2.6) comes again as hop 4",
		},
		{
			name: "farther than was asked", route: route(hops("192.0.2.2 192.0.2.6")),
			cause: "no_answer", outcome: failed, summary: "the route is longer than 2 hops: hop 2 (192.0.2.6) is the last that was asked",
			advice: "ask more: --max-hops",
		},
		{
			name: "silence", route: route(hops("192.0.2.2 * *")),
			cause: "no_answer", outcome: failed, summary: "hop 1 (192.0.2.2) is the last that answers; hop 2 or the link to it drops SYNs to port 443",
			advice: "is it only this port? --compare-port 80 asks for another beside it",
			doubt:  "if hop 2 is a router that never answers, it may be one behind it, or the destination",
		},
		{
			name: "silence, and sooner for the other port", route: route(hops("192.0.2.2 192.0.2.6 *")), compare: toPort80("192.0.2.2", "*"),
			cause: "no_answer", outcome: failed,
			summary: "hop 2 (192.0.2.6) is the last that answers; hop 3 or the link to it drops SYNs to port 443, and those to port 80 get no further than hop 1 (192.0.2.2)",
		},
		{
			name: "nobody", route: route(hops("* *")),
			cause: "no_answer", outcome: failed,
			summary: "nobody answers: hop 1 or the link to it drops SYNs to port 443, or no ICMP error finds its way back",
		},
		{
			name: "nobody, but to the other port", route: route(hops("* * *")), compare: toPort80("*", "192.0.2.6", "+"),
			cause: "no_answer", outcome: failed,
			summary: "nobody answers: one of the hops 1 to 2, or a link between them, drops SYNs to port 443 but not to port 80",
		},
		{
			name: "interrupted at once", route: &Route{Remote: destination}, interrupted: true,
			cause: "no_answer", outcome: open, summary: "interrupted before anybody answered",
		},
		{
			name: "interrupted on the way", route: route(hops("192.0.2.2 192.0.2.6")), interrupted: true,
			cause: "no_answer", outcome: open, summary: "interrupted: so far hop 2 (192.0.2.6) is the last that answers",
			doubt: "interrupted: not every hop was asked as often as it should have been",
		},
		{
			name: "a router's limit", route: route(hops("192.0.2.2 192.0.2.6 +"), hops("* 192.0.2.6 +")),
			cause: "connected", outcome: connected, summary: "reached at hop 3: it answers with a SYN-ACK after 3ms",
			advice: "hop 1 (192.0.2.2) answers only some SYNs, while hops behind it answer all: routers limit their ICMP errors; no SYN is lost there",
		},
		{
			name: "loss", route: route(hops("192.0.2.2 192.0.2.6 +"), hops("192.0.2.2 * *")),
			cause: "connected", outcome: connected, summary: "reached at hop 3: it answers with a SYN-ACK after 3ms",
			advice: "from hop 2 (192.0.2.6) on, some SYNs, or the answers to them, get lost",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := Judge(test.route, test.compare, test.interrupted)
			if v.Cause != test.cause || v.Outcome != test.outcome || v.Summary != test.summary {
				t.Errorf("%s, %s: %q; want %s, %s: %q", v.Cause, v.Outcome, v.Summary, test.cause, test.outcome, test.summary)
			}
			if test.advice != "" && !slices.Contains(v.Advice, test.advice) {
				t.Errorf("the advice %q lacks %q", v.Advice, test.advice)
			}
			if test.doubt != "" && !slices.Contains(v.Doubts, test.doubt) {
				t.Errorf("the doubts %q lack %q", v.Doubts, test.doubt)
			}
			if v.Confidence == certain && len(v.Doubts) > 0 {
				t.Errorf("certain, in spite of %q", v.Doubts)
			}
		})
	}
}

func TestSeveralRoutersAtAHopAreADoubtWhenPortsDiffer(t *testing.T) {
	r := route(hops("192.0.2.2 +"))
	for i, who := range []string{"192.0.2.3", "192.0.2.2"} {
		a := answers(i+2, who)[0]
		a.Local = netip.MustParseAddrPort("192.0.2.1:40001")
		r.Add(a)
	}
	v := Judge(r, nil, false)
	if len(v.Doubts) != 1 || !strings.HasPrefix(v.Doubts[0], "several routers answer as hop 1") {
		t.Errorf("doubts %q", v.Doubts)
	}
	if got := r.Hops[0].Addrs(); len(got) != 2 || got[0] != netip.MustParseAddr("192.0.2.2") {
		t.Errorf("%v answered; want the most frequent first", got)
	}
}

// A route ends at the nearest hop that ends it, and every answer is somewhere, in whatever order they come. Nothing that
// can be put together breaks a verdict.
func TestRouteInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) *Route {
			words := rapid.SliceOfN(rapid.SampledFrom(hops("* + - x !192.0.2.6 192.0.2.2 192.0.2.6 192.0.2.10")), 0, 12).Draw(t, label)
			all := rapid.Permutation(answers(1, words...)).Draw(t, label+" order")
			r := &Route{Remote: destination}
			for _, a := range all {
				r.Add(a)
			}
			end := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "!") || strings.Contains("+-x", w) })
			if end < 0 {
				end = len(words) - 1
			}
			if len(r.Hops) != end+1 || r.Ended() != (end >= 0 && r.Hops[end].final() != nil) {
				t.Fatalf("%d hops of %q", len(r.Hops), words)
			}
			for i, h := range r.Hops {
				if h.TTL != i+1 || len(h.Answers) != 1 {
					t.Fatalf("hop %d: %+v", i+1, h)
				}
			}
			return r
		}
		main, other := draw("route"), draw("other")
		if !rapid.Bool().Draw(t, "compare") {
			other = nil
		}
		if v := Judge(main, other, rapid.Bool().Draw(t, "interrupted")); v.Cause == "" || v.Outcome == "" || v.Summary == "" {
			t.Fatalf("%+v", v)
		}
	})
}

func TestOptionsAreChecked(t *testing.T) {
	for want, opts := range map[string]Options{
		"the first hop must be 1 to 255, not 256":        {FirstHop: 256},
		"the first hop, 5, is beyond the last, 3":        {FirstHop: 5, MaxHops: 3},
		"the number of queries must be 1 to 100, not -1": {Queries: -1},
		"the wait for an answer must be at most 1m0s":    {Wait: time.Hour},
		"the last hop must be 1 to 255, not 300":         {MaxHops: 300},
		"SYN retries must be 1 to 127, not 200":          {Probe: prober.Options{SYNRetries: 200}},
		"":                                               {},
	} {
		err := opts.Validate()
		if (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%+v: %v; want %q", opts, err, want)
		}
	}
}

func TestKernelOutlivesTheWait(t *testing.T) {
	for wait, retries := range map[time.Duration]int{
		DefaultWait: 1, 2 * time.Second: 1, 3 * time.Second: 2, 6 * time.Second: 2, 7 * time.Second: 3, MaxWait: 5,
	} {
		if got := synRetries(wait); got != retries {
			t.Errorf("TCP_SYNCNT %d for a wait of %v; want %d", got, wait, retries)
		}
	}
}

func TestAnswersFromElsewhereAreChecked(t *testing.T) {
	for _, a := range answers(1, hops("192.0.2.2 * + - x !192.0.2.6")...) {
		if err := a.Validate(); err != nil {
			t.Errorf("%+v: %v", a, err)
		}
	}
	good := answers(1, "192.0.2.2")[0]
	for name, spoil := range map[string]func(*Answer){
		"kind":    func(a *Answer) { a.Kind = "maybe" },
		"TTL":     func(a *Answer) { a.TTL = 1 << 30 },
		"nobody":  func(a *Answer) { a.From = netip.Addr{} },
		"no ICMP": func(a *Answer) { a.ICMP = nil },
	} {
		bad := good
		spoil(&bad)
		if bad.Validate() == nil {
			t.Errorf("%s: %+v is accepted", name, bad)
		}
	}
}

func TestKindsOfAnswers(t *testing.T) {
	local := netip.MustParseAddrPort("192.0.2.1:40000")
	v4 := func(typ, code int, from string) *event.ICMP {
		return &event.ICMP{Type: typ, Code: code, From: netip.MustParseAddr(from)}
	}
	for name, test := range map[string]struct {
		probe event.Probe
		want  Kind
	}{
		"SYN-ACK":                   {event.Probe{Connected: true}, Accepted},
		"SYN-ACK, and a RST":        {event.Probe{Errno: event.ECONNRESET}, Accepted},
		"RST":                       {event.Probe{Errno: event.ECONNREFUSED}, Refused},
		"a router":                  {event.Probe{Errno: event.EHOSTUNREACH, ICMP: v4(11, 0, "192.0.2.2")}, Expired},
		"a router, IPv6":            {event.Probe{Errno: event.EHOSTUNREACH, ICMP: v4(3, 0, "2001:db8::2")}, Expired},
		"no route, IPv4":            {event.Probe{Errno: event.ENETUNREACH, ICMP: v4(3, 0, "192.0.2.2")}, Rejected},
		"a port that ICMP closes":   {event.Probe{Errno: event.ECONNREFUSED, ICMP: v4(3, 3, "203.0.113.9")}, Rejected},
		"fragments":                 {event.Probe{Errno: event.EHOSTUNREACH, ICMP: v4(11, 1, "192.0.2.2")}, Rejected},
		"no neighbour":              {event.Probe{Errno: event.EHOSTUNREACH, ICMP: v4(3, 1, "192.0.2.1")}, Unsent},
		"the wait is over":          {event.Probe{GaveUp: "timeout"}, Silence},
		"the kernel's wait is over": {event.Probe{Errno: event.ETIMEDOUT}, Silence},
		"no route here":             {event.Probe{Errno: event.ENETUNREACH, Synchronous: true}, Unsent},
		"refused at once":           {event.Probe{Errno: event.ECONNREFUSED, Synchronous: true}, Unsent},
	} {
		test.probe.Local, test.probe.Remote = local, destination
		a := answerOf(&test.probe, 1, 1)
		if err := a.Validate(); a.Kind != test.want || err != nil {
			t.Errorf("%s: %s, %v; want %s", name, a.Kind, err, test.want)
		}
	}
}
