package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tcptrace/prober"
	"tcptrace/tracer/event"
)

// failure is how the connect of a lab should fail, seen from user space.
type failure struct {
	errno, errno6 event.Errno // errno6 is that over IPv6, where it is another one
	synchronous   bool
	gaveUp        string
	icmpFrom      string // who sends an ICMP error; the twin's router has another address
	// When it should fail. The first is the timers' own; the second is with what the timer wheel may add.
	min, max time.Duration
	counts   []count
}

// count is what a host's TCP must have counted.
type count struct {
	host, group, name string
	min, max          int
}

const many = 1 << 30

// What hosts count of three SYNs; of two where there are no linear timeouts, of four where the last timer comes a moment too
// early to be the last.
var (
	nothingArrives = count{"server", "Tcp", "InSegs", 0, 0}
	allArrive      = count{"server", "Tcp", "InSegs", 2, 4}
	allAnswered    = count{"server", "Tcp", "OutSegs", 2, many} // a SYN-ACK may be sent again by itself
	noAnswerSeen   = count{"client", "Tcp", "InSegs", 0, 0}
)

var failures = map[string]failure{
	"abandoned-by-application":            {gaveUp: "timeout", min: 400 * time.Millisecond, max: 500 * time.Millisecond, counts: []count{nothingArrives}},
	"conntrack-full":                      {errno: event.ETIMEDOUT, min: 3 * time.Second, max: 3500 * time.Millisecond, counts: []count{{"server", "Tcp", "InSegs", 2 * conntrackLimit, 2 * conntrackLimit}}},
	"denied-by-policy":                    {errno: event.EPERM, synchronous: true, counts: []count{nothingArrives}},
	"dropped-by-local-input":              {errno: event.ETIMEDOUT, min: 3 * time.Second, max: 3500 * time.Millisecond, counts: []count{allArrive, allAnswered, noAnswerSeen}},
	"dropped-by-local-input-bad-checksum": {errno: event.ETIMEDOUT, min: 3 * time.Second, max: 3500 * time.Millisecond, counts: []count{{"client", "Tcp", "InCsumErrors", 2, 4}}},
	"dropped-by-local-input-rp-filter":    {errno: event.ETIMEDOUT, min: 3 * time.Second, max: 3500 * time.Millisecond, counts: []count{allArrive, allAnswered, noAnswerSeen, {"client", "TcpExt", "IPReversePathFilter", 2, many}}},
	"dropped-by-local-input-xdp":          {errno: event.ETIMEDOUT, min: 3 * time.Second, max: 3500 * time.Millisecond, counts: []count{allArrive, allAnswered, noAnswerSeen}},
	"dropped-by-local-output":             {errno: event.ETIMEDOUT, min: 3 * time.Second, max: 3500 * time.Millisecond, counts: []count{nothingArrives, {"client", "Tcp", "OutSegs", 1, 1}, {"client", "TcpExt", "TCPRetransFail", 1, 3}}},
	"dropped-by-local-output-legacy":      {errno: event.ETIMEDOUT, min: 3 * time.Second, max: 3500 * time.Millisecond, counts: []count{nothingArrives, {"client", "Tcp", "OutSegs", 1, 1}, {"client", "TcpExt", "TCPRetransFail", 1, 3}}},
	// Of retries there are 3, or 7 with linear timeouts.
	"dropped-by-local-output-queue":       {errno: event.ETIMEDOUT, min: 2500 * time.Millisecond, max: 5 * time.Second, counts: []count{nothingArrives, {"client", "TcpExt", "TCPRetransFail", 3, 7}}},
	"neighbour-unresolved":                {errno: event.EHOSTUNREACH, icmpFrom: "192.0.2.1", min: 3 * time.Second, max: 3500 * time.Millisecond, counts: []count{nothingArrives}},
	"neighbour-unresolved-by-application": {gaveUp: "timeout", min: 2 * time.Second, max: 2100 * time.Millisecond, counts: []count{nothingArrives}},
	"neighbour-unresolved-no-carrier":     {errno: event.EHOSTUNREACH, icmpFrom: "192.0.2.1", min: 3 * time.Second, max: 3500 * time.Millisecond, counts: []count{nothingArrives}},
	"neighbour-unresolved-quick":          {errno: event.EHOSTUNREACH, icmpFrom: "192.0.2.1", min: 750 * time.Millisecond, max: 900 * time.Millisecond, counts: []count{nothingArrives}},
	"no-answer-way-back":                  {errno: event.ETIMEDOUT, min: 3 * time.Second, max: 3500 * time.Millisecond, counts: []count{allArrive, allAnswered, noAnswerSeen}},
	"no-answer-by-application":            {gaveUp: "timeout", min: 2500 * time.Millisecond, max: 2600 * time.Millisecond, counts: []count{nothingArrives}},
	"no-route":                            {errno: event.ENETUNREACH, synchronous: true, counts: []count{nothingArrives}},
	"no-route-blackhole":                  {errno: event.EINVAL, synchronous: true, counts: []count{nothingArrives}},
	"no-route-prohibit":                   {errno: event.EACCES, synchronous: true, counts: []count{nothingArrives}},
	"no-route-unreachable":                {errno: event.EHOSTUNREACH, synchronous: true, counts: []count{nothingArrives}},
	"ports-exhausted":                     {errno: event.EADDRNOTAVAIL, synchronous: true, counts: []count{{"client", "Tcp", "ActiveOpens", 2, 2}}},
	"ports-exhausted-time-wait":           {errno: event.EADDRNOTAVAIL, synchronous: true, counts: []count{{"client", "Tcp", "ActiveOpens", 2, 2}, {"client", "Tcp", "CurrEstab", 0, 0}}},
	"rejected-by-icmp": {errno: event.EHOSTUNREACH, errno6: event.EACCES, icmpFrom: "203.0.113.1",
		min: 30 * time.Millisecond, max: 100 * time.Millisecond},
	// The third SYN is due after 2 seconds, or after 3 where there are no linear timeouts.
	"rejected-by-icmp-after-retries": {errno: event.EHOSTUNREACH, icmpFrom: "203.0.113.1",
		min: 2 * time.Second, max: 3500 * time.Millisecond},
	// At the second SYN; or at the first where a busy kernel did not get to it inside connect().
	"rejected-by-icmp-inside-connect": {errno: event.EHOSTUNREACH, errno6: event.EACCES, icmpFrom: "192.0.2.254", max: 1100 * time.Millisecond},
	"rejected-by-icmp-then-silence":   {errno: event.EHOSTUNREACH, errno6: event.EACCES, icmpFrom: "192.0.2.254", max: 3500 * time.Millisecond, counts: []count{nothingArrives}},
}

func TestLabsOfFailedConnectsFailAsTheySay(t *testing.T) {
	needKernel(t)
	t.Parallel()
	labs := slices.Concat(localLabs, outputLabs, icmpLabs, inputLabs, patienceLabs)
	// superseded has two connects, and a test of its own.
	labs = slices.DeleteFunc(labs, func(l Lab) bool { return l.Name == "superseded" })
	all := toPlay(t, labs, failures, false)
	play(t, all, len(all))
}

// readCounters are the contents of /proc/net/snmp and /proc/net/netstat on each host, by its name, and what
// /proc/net/sockstat has of TCP in the same form.
func readCounters(n *Network) (map[string][]byte, error) {
	counters := make(map[string][]byte)
	for _, host := range n.Hosts() {
		err := host.Do(func() error {
			for _, name := range []string{"snmp", "netstat"} {
				content, err := os.ReadFile("/proc/thread-self/net/" + name)
				if err != nil {
					return err
				}
				counters[host.Name] = append(counters[host.Name], content...)
			}
			content, err := os.ReadFile("/proc/thread-self/net/sockstat")
			counters[host.Name] = append(counters[host.Name], inTwoLines(content, "TCP:")...)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return counters, nil
}

// inTwoLines finds a line of names, each with its value behind it, and makes it a line of names and one of values.
func inTwoLines(content []byte, group string) string {
	names, values := group, group
	for line := range strings.Lines(string(content)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != group {
			continue
		}
		for pair := range slices.Chunk(fields[1:], 2) {
			names, values = names+" "+pair[0], values+" "+pair[len(pair)-1]
		}
	}
	return names + "\n" + values + "\n"
}

func (c count) holds(counters map[string][]byte) bool {
	got, err := strconv.Atoi(counter(counters[c.host], c.group, c.name))
	return err == nil && got >= c.min && got <= c.max
}

// skipIfNotHere skips a lab that says what it needs, and that it is missing.
func skipIfNotHere(t *testing.T, l Lab, err error) {
	t.Helper()
	if missing, ok := errors.AsType[*NotHereError](err); ok && l.Needs != "" {
		t.Skip(missing)
	}
}

func (want failure) counted() []count { return want.counts }

func (want failure) problems(l *played) (problems []string) {
	p := l.probe
	if p.Remote.Addr().Is6() && want.errno6 != 0 {
		want.errno = want.errno6
	}
	if p.Connected || p.Errno != want.errno || p.Synchronous != want.synchronous || p.GaveUp != want.gaveUp {
		problems = append(problems, fmt.Sprintf("connected %t, %v, synchronous %t, gave up %q; want %v, synchronous %t, gave up %q",
			p.Connected, p.Errno, p.Synchronous, p.GaveUp, want.errno, want.synchronous, want.gaveUp))
	}
	from := ""
	if p.ICMP != nil {
		from = p.ICMP.From.String()
	}
	if wantFrom := senderOver(p.Remote.Addr(), want.icmpFrom); from != wantFrom {
		problems = append(problems, fmt.Sprintf("an ICMP error from %q, want one from %q", from, wantFrom))
	}
	return append(problems, span(p.Connect, want.min, want.max)...)
}

// senderOver is who sends over the address family of remote what from sends over IPv4.
func senderOver(remote netip.Addr, from string) string {
	if remote.Is4() || from == "" {
		return from
	}
	return map[string]string{
		siteV4.link.client.Addr().String(): siteV6.link.client.Addr().String(),
		siteV4.router.Addr().String():      siteV6.router.Addr().String(),
		siteV4.beyond.String():             siteV6.beyond.String(),
	}[from]
}

// Of two connects that race, one has to win before the other can lose.
func TestSupersededLosesTheRace(t *testing.T) {
	needKernel(t)
	t.Parallel()
	l, err := Find("superseded")
	must(t, err)
	n, scene, err := Build(testContext(t), l)
	must(t, err)
	defer n.Close()
	if !scene.Race {
		t.Fatal("nobody would end the loser")
	}
	ctx, won := context.WithCancelCause(testContext(t))
	defer won(nil)
	probes := make([]*event.Probe, len(scene.Targets))
	var running sync.WaitGroup
	for i, target := range scene.Targets {
		running.Go(func() {
			p, err := prober.Connect(ctx, target, netip.MustParseAddrPort(target), scene.Options, nil)
			if err != nil {
				t.Error(err)
				return
			}
			probes[i] = p
			if p.Connected {
				won(prober.ErrSuperseded)
			}
		})
	}
	running.Wait()
	loser, winner := probes[0], probes[1]
	if loser == nil || loser.Connected || loser.GaveUp != "superseded" || loser.Errno != 0 || !loser.Remote.Addr().Is6() {
		t.Errorf("%+v; want it superseded", loser)
	}
	if winner == nil || !winner.Connected || winner.TotalRetrans != 1 || !winner.Remote.Addr().Is4() {
		t.Errorf("%+v; want it connected by the second SYN", winner)
	}
}

func TestWhatIsSmallPassesWhereLargeSegmentsAreLost(t *testing.T) {
	needKernel(t)
	t.Parallel()
	for name, s := range map[string]site{"IPv4": siteV4, "IPv6": siteV6} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNetwork(t)
			scene, err := buildLargeSegmentsLost(testContext(t), n, s)
			must(t, err)
			// So large that it fills a packet of the narrow link, and no larger.
			fits := make([]byte, narrowMTU-ipv6HeaderLen-tcpHeaderLen-12) // 12 for timestamps
			fits[len(fits)-1] = '!'
			remote := s.farService()
			p := probe(t, scene.Client, remote, prober.Options{Send: fits, Expect: []byte("!")})
			if !p.ExpectMet || p.TotalRetrans != 0 {
				t.Errorf("%d bytes: %+v; want them back", len(fits), p)
			}
			lost := append(make([]byte, 21), fits...)
			p = probe(t, scene.Client, remote, prober.Options{Send: lost, Expect: []byte("!"), Timeout: time.Second})
			if !p.Connected || p.ExpectMet || p.BytesAcked != 0 || p.ICMP != nil || p.TotalRetrans == 0 {
				t.Errorf("%d bytes: %+v; want silence", len(lost), p)
			}
		})
	}
}

func TestPolicyDeniesOneAddressOnly(t *testing.T) {
	needKernel(t)
	for _, s := range []site{policyV4, policyV6} {
		n := newNetwork(t)
		client, server, err := s.direct(testContext(t), n)
		must(t, err)
		other := netip.AddrPortFrom(s.service().Addr(), servicePort+1)
		must(t, server.Listen(s.service()))
		must(t, server.Listen(other))
		err = n.denyConnect(s.service())
		skipIfNotHere(t, Lab{Needs: "a cgroup v2 hierarchy"}, err)
		must(t, err)
		if p := probe(t, client, s.service(), prober.Options{}); p.Errno != event.EPERM || !p.Synchronous {
			t.Errorf("%+v; want it denied", p)
		}
		if p := probe(t, client, other, prober.Options{}); !p.Connected {
			t.Errorf("%+v; want another port connected", p)
		}
		must(t, n.Close())
	}
}

func TestPolicyGoesWithAKilledProcess(t *testing.T) {
	needKernel(t)
	killKept(t, "denied-by-policy")
	client, server, err := policyV4.direct(testContext(t), newNetwork(t))
	must(t, err)
	must(t, server.Listen(policyV4.service()))
	// The kernel takes the program off in the background.
	for deadline := time.Now().Add(5 * time.Second); ; {
		p := probe(t, client, policyV4.service(), prober.Options{})
		if p.Connected {
			return
		}
		if p.Errno != event.EPERM || time.Now().After(deadline) {
			t.Fatalf("%+v; want it connected", p)
		}
	}
}

func TestFindOwnCgroup(t *testing.T) {
	const hybrid = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
	tests := []struct{ cgroups, mounts, want string }{
		{"0::/user.slice/a.scope\n", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", "/sys/fs/cgroup/user.slice/a.scope"},
		{"9:name=systemd:/\n0::/\n", hybrid, "/sys/fs/cgroup/unified"},
		{"9:name=systemd:/\n", hybrid, ""},
		{"0::/\n", "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n", ""},
	}
	for _, tt := range tests {
		if got, ok := findOwnCgroup(tt.cgroups, tt.mounts); got != tt.want || ok != (tt.want != "") {
			t.Errorf("%q in %q: %q, %t; want %q", tt.cgroups, tt.mounts, got, ok, tt.want)
		}
	}
}
