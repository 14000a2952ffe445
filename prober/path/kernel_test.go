package path

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tcptrace/prober"
	"tcptrace/prober/lab"
)

// needKernel skips a test that needs privilege where there is none, unless the kernel tests are demanded.
func needKernel(t *testing.T) {
	t.Helper()
	n := new(lab.Network)
	_, err := n.AddHost("trial")
	if err == nil {
		must(t, n.Close())
		return
	}
	if errors.Is(err, unix.EPERM) && os.Getenv("TCPTRACE_KERNEL_TESTS") != "1" {
		t.Skipf("needs CAP_SYS_ADMIN: %v", err)
	}
	t.Fatal(err)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// servicePort is where the servers of these tests listen, and otherPort where they do as well.
const (
	servicePort = 443
	otherPort   = 80
)

// newChain is a chain whose server listens on both ports.
func newChain(t *testing.T, routers int) *lab.Chain {
	t.Helper()
	n := new(lab.Network)
	t.Cleanup(func() { must(t, n.Close()) })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, err := lab.NewChain(ctx, n, routers)
	must(t, err)
	for _, addr := range []netip.Addr{c.ServerV4, c.ServerV6} {
		for _, port := range []uint16{servicePort, otherPort} {
			must(t, c.Server.Listen(netip.AddrPortFrom(addr, port)))
		}
	}
	return c
}

// find traces from the chain's client to a port of the server.
func find(t *testing.T, c chain, port uint16, opts Options) *Route {
	t.Helper()
	opts.Probe.NetNS = c.Client.NetNS()
	remote := c.server(port)
	route := &Route{Remote: remote}
	if err := Trace(t.Context(), remote, opts, func(a Answer) { route.Add(a) }); err != nil {
		t.Error(err)
	}
	return route
}

// outline is a route without what differs from run to run: a line per hop, who answered, and how.
func outline(r *Route) []string {
	var lines []string
	for _, h := range r.Hops {
		kinds := make(map[Kind]bool)
		for _, a := range h.Answers {
			kinds[a.Kind] = true
		}
		if h.Heard() > 0 {
			delete(kinds, Silence)
		}
		lines = append(lines, fmt.Sprintf("%d %v %v", h.TTL, h.Addr(), slices.Sorted(maps.Keys(kinds))))
	}
	return lines
}

// hop is what should be found: who answers, and how.
type hop struct {
	who  int // a router, from 0; or nobody, or server
	kind Kind
}

const (
	nobody = -1 - iota
	server
)

// asked bounds the hops where somebody has to be waited for.
const asked = 6

// ways a route begins.
var (
	oneRouter  = []hop{{0, Expired}}
	twoRouters = []hop{{0, Expired}, {1, Expired}}
	toServer   = []hop{{0, Expired}, {1, Expired}, {2, Expired}, {server, Accepted}} // by three
)

// andSilence goes on with hops where nobody answers, to the last.
func andSilence(hops []hop) []hop {
	return append(slices.Clip(hops), slices.Repeat([]hop{{nobody, Silence}}, asked-len(hops))...)
}

// chain is a lab in one address family.
type chain struct {
	*lab.Chain
	v6 bool
}

func (c chain) server(port uint16) netip.AddrPort {
	if c.v6 {
		return netip.AddrPortFrom(c.ServerV6, port)
	}
	return netip.AddrPortFrom(c.ServerV4, port)
}

func (c chain) addr(who int) netip.Addr {
	switch {
	case who == nobody:
		return netip.Addr{}
	case who == server:
		return c.server(1).Addr()
	case c.v6:
		return c.RouterV6(who)
	}
	return c.RouterV4(who)
}

func (c chain) outline(hops []hop) []string {
	var lines []string
	for i, h := range hops {
		lines = append(lines, fmt.Sprintf("%d %v %v", i+1, c.addr(h.who), []Kind{h.kind}))
	}
	return lines
}

// words fills in what the families have different in a summary: who the routers are, and how ICMP numbers a prohibition.
func (c chain) words(summary string) string {
	prohibited := "type 3, code 13"
	if c.v6 {
		prohibited = "type 1, code 1"
	}
	return strings.NewReplacer("R1", c.addr(0).String(), "R2", c.addr(1).String(), "PROHIBITED", prohibited).Replace(summary)
}

// roundTrip is what differs from run to run in a summary.
var roundTrip = regexp.MustCompile(` after [0-9.]+[mµ]?s`)

// labTest is a lab, and what is to be found there.
type labTest struct {
	name     string
	routers  int
	lossy    bool // a hop may have to be asked again
	opts     Options
	port     uint16 // 0 means servicePort
	breaking func(*lab.Chain) error
	hops     []hop
	compare  []hop // to the other port; nil: as hops
	cause    string
	summary  string
	remark   string // among the advice
}

var labTests = []labTest{
	{
		name: "two routers", routers: 2,
		hops:    []hop{{0, Expired}, {1, Expired}, {server, Accepted}},
		cause:   "connected",
		summary: "reached at hop 3: it answers with a SYN-ACK; port 80 accepts, at hop 3",
	},
	{
		name: "four routers", routers: 4,
		hops:    []hop{{0, Expired}, {1, Expired}, {2, Expired}, {3, Expired}, {server, Accepted}},
		cause:   "connected",
		summary: "reached at hop 5: it answers with a SYN-ACK; port 80 accepts, at hop 5",
	},
	{
		name: "a closed port", routers: 2, port: 81,
		hops:    []hop{{0, Expired}, {1, Expired}, {server, Refused}},
		compare: []hop{{0, Expired}, {1, Expired}, {server, Accepted}},
		cause:   "refused",
		summary: "reached at hop 3, which refuses: it answers with a RST; port 80 accepts, at hop 3",
	},
	{
		name: "a silent router", routers: 3,
		breaking: func(c *lab.Chain) error { return c.Routers[1].StaySilent() },
		hops:     []hop{{0, Expired}, {nobody, Silence}, {2, Expired}, {server, Accepted}},
		cause:    "connected",
		summary:  "reached at hop 4: it answers with a SYN-ACK; port 80 accepts, at hop 4",
	},
	{
		name: "a router that drops SYNs to one port", routers: 3,
		breaking: func(c *lab.Chain) error {
			_, err := c.Routers[1].DropForward(lab.Drop{Port: servicePort})
			return err
		},
		hops:    andSilence(twoRouters),
		compare: toServer,
		cause:   "no_answer",
		summary: "hop 2 (R2) is the last that answers; hop 3 or the link to it drops SYNs to port 443 but not to port 80",
		remark:  "look for a firewall that filters by port, from hop 2 to hop 3",
	},
	{
		name: "silent routers of which one drops SYNs to one port", routers: 3,
		breaking: func(c *lab.Chain) error {
			_, err := c.Routers[2].DropForward(lab.Drop{Port: servicePort})
			return errors.Join(err, c.Routers[1].StaySilent(), c.Routers[2].StaySilent())
		},
		hops:    andSilence(oneRouter),
		compare: []hop{{0, Expired}, {nobody, Silence}, {nobody, Silence}, {server, Accepted}},
		cause:   "no_answer",
		summary: "hop 1 (R1) is the last that answers; one of the hops 2 to 4, or a link between them, drops SYNs to port 443 but not to port 80",
		remark:  "look for a firewall that filters by port, from hop 1 to hop 4",
	},
	{
		name: "a server that drops everything", routers: 2,
		breaking: func(c *lab.Chain) error {
			_, err := c.Server.DropInput(lab.Drop{})
			return err
		},
		hops:    andSilence(twoRouters),
		cause:   "no_answer",
		summary: "hop 2 (R2) is the last that answers; hop 3 or the link to it drops SYNs to port 443, and to port 80 alike",
	},
	{
		// A route's errors come five in a row, and then one a second: nothing must be asked beyond the end.
		name: "a router that prohibits", routers: 3, opts: Options{Sequential: true, Queries: 2},
		breaking: func(c *lab.Chain) error {
			return errors.Join(c.Routers[1].Prohibit(netip.PrefixFrom(c.ServerV4, 30)), c.Routers[1].Prohibit(netip.PrefixFrom(c.ServerV6, 64)))
		},
		hops:  []hop{{0, Expired}, {1, Rejected}},
		cause: "rejected_by_icmp",
		summary: "hop 2 (R2) rejects SYNs to port 443: communication administratively prohibited (ICMP PROHIBITED); " +
			"SYNs to port 80 are rejected by R2",
	},
	{
		name: "a router that prohibits one port", routers: 3,
		breaking: func(c *lab.Chain) error { return c.Routers[1].RejectForward(servicePort) },
		hops:     []hop{{0, Expired}, {1, Expired}, {1, Rejected}},
		compare:  toServer,
		cause:    "rejected_by_icmp",
		summary: "hop 2 (R2) rejects SYNs to port 443: communication administratively prohibited (ICMP PROHIBITED); " +
			"port 80 accepts, at hop 4",
	},
	{
		name: "the server's answers get lost on their way back", routers: 2,
		breaking: func(c *lab.Chain) error { return c.Routers[0].LoseTCPTowards("eth0") },
		hops:     andSilence(twoRouters),
		cause:    "no_answer",
		summary:  "hop 2 (R2) is the last that answers; hop 3 or the link to it drops SYNs to port 443, and to port 80 alike",
	},
	{
		name: "some answers get lost on their way back", routers: 2, lossy: true,
		// Two are lost of those that each hop behind the first gives to two ports, three times.
		breaking: func(c *lab.Chain) error { return c.Routers[0].LoseTowards("eth0", lostAnswers) },
		hops:     []hop{{0, Expired}, {1, Expired}, {server, Accepted}},
		cause:    "connected",
		summary:  "reached at hop 3: it answers with a SYN-ACK; port 80 accepts, at hop 3",
	},
}

const lostAnswers = 2

// labWait is much for an answer in a lab: every hop is asked several times.
const labWait = 400 * time.Millisecond

func TestRoutesInTheLab(t *testing.T) {
	needKernel(t)
	for _, test := range labTests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			built := newChain(t, test.routers)
			if test.breaking != nil {
				must(t, test.breaking(built))
			}
			var families sync.WaitGroup
			for _, v6 := range []bool{false, true} {
				families.Go(func() { test.check(t, chain{built, v6}) })
			}
			families.Wait()
		})
	}
}

// check asks for both ports at once, as the command does, and without any privilege.
func (test *labTest) check(t *testing.T, c chain) {
	opts := test.opts
	opts.MaxHops, opts.Wait = asked, labWait
	var route, compare *Route
	var ports sync.WaitGroup
	ports.Go(func() { route = findAsNobody(t, c, cmp.Or(test.port, servicePort), opts) })
	ports.Go(func() { compare = findAsNobody(t, c, otherPort, opts) })
	ports.Wait()
	if diff := gocmp.Diff(c.outline(test.hops), outline(route)); diff != "" {
		t.Errorf("IPv6 %v: the route (-want +got):\n%s", c.v6, diff)
	}
	other := test.compare
	if other == nil {
		other = test.hops
	}
	if diff := gocmp.Diff(c.outline(other), outline(compare)); diff != "" {
		t.Errorf("IPv6 %v: the route to port %d (-want +got):\n%s", c.v6, otherPort, diff)
	}
	v := Judge(route, compare, false)
	if summary := roundTrip.ReplaceAllString(v.Summary, ""); v.Cause != test.cause || summary != c.words(test.summary) {
		t.Errorf("IPv6 %v: %s: %q, want\n%s: %q", c.v6, v.Cause, summary, test.cause, c.words(test.summary))
	}
	if test.remark != "" && !slices.Contains(v.Advice, test.remark) {
		t.Errorf("IPv6 %v: the advice %q lacks %q", c.v6, v.Advice, test.remark)
	}
}

func TestLossIsThatOfTheHopsBehindIt(t *testing.T) {
	needKernel(t)
	c := chain{newChain(t, 2), false}
	must(t, c.Routers[0].LoseTowards("eth0", lostAnswers))
	route := find(t, c, servicePort, Options{Wait: labWait})
	var silent int
	for _, h := range route.Hops {
		silent += len(h.Answers) - h.Heard()
	}
	// A SYN-ACK that got lost is sent again, but to nobody who waits: an answer counts once.
	if first := route.Hops[0].Loss(); silent != lostAnswers || first != 0 {
		t.Errorf("%d SYNs unanswered, of the first hop %.0f%%; want %d, none of the first hop's", silent, first*100, lostAnswers)
	}
}

func TestSequentialUsesOnePort(t *testing.T) {
	needKernel(t)
	c := chain{newChain(t, 2), false}
	if ports := find(t, c, servicePort, Options{Sequential: true}).Ports(); len(ports) != 1 {
		t.Errorf("from ports %v; want one", ports)
	}
	given := prober.Options{SourcePort: 4711}
	if ports := find(t, c, servicePort, Options{Probe: given}).Ports(); !slices.Equal(ports, []uint16{4711}) {
		t.Errorf("from ports %v; want 4711", ports)
	}
	if ports := find(t, c, servicePort, Options{}).Ports(); len(ports) < 3 {
		t.Errorf("at once, from ports %v; want one for each SYN", ports)
	}
}

func TestKernelsRetriesAreNoQueries(t *testing.T) {
	needKernel(t)
	c := chain{newChain(t, 1), false}
	_, err := c.Server.DropInput(lab.Drop{})
	must(t, err)
	// The kernel repeats the SYN after a second, and up to its timer wheel's slack later.
	route := find(t, c, servicePort, Options{FirstHop: 2, MaxHops: 2, Queries: 1, Wait: 1500 * time.Millisecond})
	if len(route.Hops) != 1 || len(route.Hops[0].Answers) != 1 {
		t.Fatalf("%+v; want one answer", route.Hops)
	}
	if a := route.Hops[0].Answers[0]; a.Kind != Silence || a.Retries != 1 {
		t.Errorf("%s after %d retries; want silence after 1", a.Kind, a.Retries)
	}
}

func TestAnswerToARetryHasNoRoundTrip(t *testing.T) {
	needKernel(t)
	c := chain{newChain(t, 1), false}
	_, err := c.Server.DropInput(lab.Drop{Port: servicePort, FirstSYNs: 1})
	must(t, err)
	route := find(t, c, servicePort, Options{FirstHop: 2, MaxHops: 2, Queries: 1, Wait: 2500 * time.Millisecond})
	if len(route.Hops) != 1 || len(route.Hops[0].Answers) != 1 {
		t.Fatalf("%+v; want one answer", route.Hops)
	}
	if a := route.Hops[0].Answers[0]; a.Kind != Accepted || a.Retries != 1 || a.RTT != 0 {
		t.Errorf("%s after %d retries and %v; want syn_ack after 1, and nobody knows when", a.Kind, a.Retries, a.RTT)
	}
}

func TestNoRouteIsAnAnswerOfThisHost(t *testing.T) {
	needKernel(t)
	c := chain{newChain(t, 1), false}
	remote := netip.MustParseAddrPort("203.0.113.1:443")
	must(t, c.Client.Prohibit(netip.PrefixFrom(remote.Addr(), 32)))
	route := &Route{Remote: remote}
	opts := Options{Probe: prober.Options{NetNS: c.Client.NetNS()}}
	must(t, Trace(t.Context(), remote, opts, func(a Answer) { route.Add(a) }))
	v := Judge(route, nil, false)
	if len(route.Hops) != 1 || len(route.Hops[0].Answers) != 1 || v.Cause != "no_route" || v.SYNSent != 0 {
		t.Errorf("%+v, %+v; want one answer and no_route", route.Hops, v)
	}
}

func TestTraceEndsWithItsContext(t *testing.T) {
	needKernel(t)
	c := chain{newChain(t, 1), false}
	_, err := c.Server.DropInput(lab.Drop{})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	remote := c.server(servicePort)
	opts := Options{Wait: time.Minute, Probe: prober.Options{NetNS: c.Client.NetNS()}}
	began := time.Now()
	must(t, Trace(ctx, remote, opts, func(a Answer) {
		if a.Kind == Silence {
			t.Errorf("%+v; an interrupted SYN is no silence", a)
		}
		cancel()
	}))
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}
