package scan_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
	"tcptrace/prober/scan"
)

// crowd is a lab with targets, and the host to scan them from.
type crowd struct {
	client  *lab.Host
	targets []scan.Target
	manners []lab.Manner // of each target
}

// newCrowd builds a crowd that goes with the test. Without privilege it skips, unless the kernel tests are demanded.
func newCrowd(t testing.TB, c lab.Crowd) crowd {
	t.Helper()
	network := new(lab.Network)
	t.Cleanup(func() {
		if err := network.Close(); err != nil {
			t.Error(err)
		}
	})
	client, err := c.Build(t.Context(), network)
	if errors.Is(err, unix.EPERM) && os.Getenv("TCPTRACE_KERNEL_TESTS") != "1" {
		t.Skipf("needs root: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	built := crowd{client: client}
	for _, target := range c.Targets() {
		built.targets = append(built.targets, scan.Target{Addr: target.Addr})
		built.manners = append(built.manners, target.Manner)
	}
	return built
}

// run scans the whole crowd and gives the results by target.
func (c crowd) run(t testing.TB, ctx context.Context, opts scan.Options) []scan.Result {
	t.Helper()
	opts.NetNS = c.client.NetNS()
	s, err := scan.New(c.targets, opts)
	if err != nil {
		t.Fatal(err)
	}
	results := make([]scan.Result, len(c.targets))
	err = s.Run(ctx, func(batch []scan.Result) {
		for _, r := range batch {
			if results[r.Target].Outcome != 0 {
				t.Errorf("%v has two results: %+v and %+v", c.targets[r.Target].Addr, results[r.Target], r)
			}
			results[r.Target] = r
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return results
}

// of counts counts of the manners, in their order.
func of(answering, silent, refusing, slow, unreachable int) (counts [5]int) {
	return [5]int{answering, silent, refusing, slow, unreachable}
}

func TestEachMannerHasItsOutcome(t *testing.T) {
	c := newCrowd(t, lab.Crowd{IPv4: of(600, 100, 100, 100, 20), IPv6: of(300, 50, 50, 50, 10)})
	const timeout = 6 * time.Second // well beyond the slowest answer
	wants := map[lab.Manner]scan.Outcome{
		lab.Answering: scan.Connected, lab.Silent: scan.TimedOut, lab.Refusing: scan.Refused,
		lab.Slow: scan.Connected, lab.Unreachable: scan.Unreachable,
	}
	for i, r := range c.run(t, t.Context(), scan.Options{Timeout: timeout}) {
		target, manner := c.targets[i].Addr, c.manners[i]
		if r.Outcome != wants[manner] {
			t.Errorf("%v (%v): %v %v; want %v", target, manner, r.Outcome, r.Errno, wants[manner])
			continue
		}
		switch manner {
		case lab.Slow:
			if delay := lab.SlowDelay(target.Addr()); r.Connect < delay {
				t.Errorf("%v answered after %v; want no less than %v", target, r.Connect, delay)
			}
		case lab.Silent:
			if r.Connect < timeout || r.SYNs < 2 {
				t.Errorf("%v timed out after %v and %d SYNs; want the whole timeout, and retries", target, r.Connect, r.SYNs)
			}
		case lab.Unreachable:
			if r.ICMP == nil || r.ICMP.From != routerOf(target.Addr()) {
				t.Errorf("%v was unreachable by %+v; want the router named", target, r.ICMP)
			}
		}
	}
}

// routerOf is the lab's host that sends the ICMP errors.
func routerOf(target netip.Addr) netip.Addr {
	if target.Is4() {
		return netip.MustParseAddr("10.79.0.2")
	}
	return netip.MustParseAddr("2001:db8:79::2")
}

func TestScanFindsAllThatAnswerInAShortTime(t *testing.T) {
	c := newCrowd(t, lab.Crowd{IPv4: of(6000, 1500, 500, 0, 0), IPv6: of(4000, 1000, 500, 0, 0)})
	connected := 0
	for _, r := range c.run(t, t.Context(), scan.Options{Timeout: 100 * time.Millisecond}) {
		if r.Outcome == scan.Connected {
			connected++
		}
	}
	if connected != 10000 {
		t.Errorf("%d of 10000 answering targets were found", connected)
	}
}

func TestKernelsTimeIsNoLaterThanOurs(t *testing.T) {
	c := newCrowd(t, lab.Crowd{IPv4: of(2000, 0, 0, 0, 0)})
	exact := 0
	for _, r := range c.run(t, t.Context(), scan.Options{}) {
		if r.Clock != scan.InfoClock {
			continue
		}
		exact++
		if r.Connect > r.Noticed || r.RTT > r.Connect || r.RTT == 0 {
			t.Errorf("connected after %v, noticed after %v, a round trip of %v", r.Connect, r.Noticed, r.RTT)
		}
	}
	// A SYN-ACK that another CPU delivers late, after a retry, has no exact time.
	if exact < 1900 {
		t.Errorf("%d of 2000 handshakes have the kernel's time", exact)
	}
}

func TestMaxPendingBoundsWhatIsInProgress(t *testing.T) {
	c := newCrowd(t, lab.Crowd{IPv4: of(0, 300, 0, 0, 0)})
	const timeout, most = 300 * time.Millisecond, 100
	results := c.run(t, t.Context(), scan.Options{Timeout: timeout, MaxPending: most})
	for i, r := range results {
		pending := 0
		for _, other := range results {
			if other.Began <= r.Began && r.Began < other.Began+timeout {
				pending++
			}
		}
		if pending > most {
			t.Fatalf("%d were in progress when target %d began; want at most %d", pending, i, most)
		}
	}
}

func TestRateBoundsWhatBegins(t *testing.T) {
	c := newCrowd(t, lab.Crowd{IPv4: of(200, 0, 0, 0, 0)})
	began := time.Now()
	results := c.run(t, t.Context(), scan.Options{Rate: 400})
	// The first begins at once; each worker may make up for a few milliseconds.
	if took := time.Since(began); took < 450*time.Millisecond {
		t.Errorf("200 connects at 400 a second took %v; want half a second", took)
	}
	for i, r := range results {
		if r.Outcome != scan.Connected {
			t.Errorf("target %d: %v", i, r.Outcome)
		}
	}
}

func TestRefreshFindsWhatLostItsSYNs(t *testing.T) {
	c := newCrowd(t, lab.Crowd{IPv4: of(1000, 0, 0, 0, 0), Loss: 60})
	const timeout = 900 * time.Millisecond // the kernel alone sends one SYN
	count := func(refresh time.Duration) (connected int) {
		for _, r := range c.run(t, t.Context(), scan.Options{Timeout: timeout, Refresh: refresh}) {
			if r.Outcome != scan.Connected {
				continue
			}
			connected++
			if r.Attempts > 1 && (r.SYNs < r.Attempts || r.Connect < time.Duration(r.Attempts-1)*refresh) {
				t.Errorf("the %dth attempt connected after %v and %d SYNs", r.Attempts, r.Connect, r.SYNs)
			}
		}
		return connected
	}
	// Of 1000 a share of 0.4 answers the first SYN, and 1 - 0.6^4 one of four: by chance one scan in a billion is off by more.
	if n := count(0); n < 300 || n > 500 {
		t.Errorf("%d of 1000 connected by their first SYN; want about 400", n)
	}
	if n := count(200 * time.Millisecond); n < 800 {
		t.Errorf("%d of 1000 connected by one of at least four SYNs; want at least 870 or so", n)
	}
}

func TestAnInterruptKeepsWhatHasEnded(t *testing.T) {
	c := newCrowd(t, lab.Crowd{IPv4: of(500, 500, 0, 0, 0)})
	ctx, cancel := context.WithCancel(t.Context())
	s, err := scan.New(c.targets, scan.Options{NetNS: c.client.NetNS(), Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	connected := 0
	err = s.Run(ctx, func(batch []scan.Result) {
		for _, r := range batch {
			if r.Outcome != scan.Connected || c.manners[r.Target] != lab.Answering {
				t.Errorf("%v target %d: %v", c.manners[r.Target], r.Target, r.Outcome)
			}
			connected++
		}
		if connected == 500 {
			cancel()
		}
	})
	if err != nil || connected != 500 {
		t.Errorf("%d results, %v; want all that answered", connected, err)
	}
	if p := s.Progress(); p.Ended != 500 || p.Began != 1000 {
		t.Errorf("progress %+v; want all begun, half of them ended", p)
	}
}

func TestAnInterruptAtAnyMomentKeepsWhatHasEnded(t *testing.T) {
	c := newCrowd(t, lab.Crowd{IPv4: of(2000, 500, 500, 0, 0)})
	for range 40 {
		after := rand.N(150 * time.Millisecond) // all of it begins, or most
		s, err := scan.New(c.targets, scan.Options{NetNS: c.client.NetNS(), Timeout: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), after)
		told := make([]int, len(c.targets))
		results := 0
		err = s.Run(ctx, func(batch []scan.Result) {
			for _, r := range batch {
				told[r.Target]++
				results++
			}
		})
		cancel()
		if p := s.Progress(); err != nil || results != p.Ended || p.Ended > p.Began || slices.Max(told) > 1 {
			t.Fatalf("interrupted after %v: %d results, of one target %d; %+v, %v", after, results, slices.Max(told), p, err)
		}
	}
}

func TestWhatThisHostRefusesIsALocalError(t *testing.T) {
	network := new(lab.Network)
	defer network.Close()
	newCrowd(t, lab.Crowd{}) // skips without privilege
	host, err := network.AddHost("alone")
	if err != nil {
		t.Fatal(err)
	}
	for name, opts := range map[string]scan.Options{
		"no route":                     {},
		"a source that is not ours":    {Source: netip.MustParseAddr("192.0.2.1")},
		"a source of the other family": {Source: netip.MustParseAddr("2001:db8::1")},
	} {
		c := crowd{client: host, targets: []scan.Target{{Addr: netip.MustParseAddrPort("198.51.100.1:80")}}}
		if r := c.run(t, t.Context(), opts)[0]; r.Outcome != scan.LocalError || r.Errno == 0 {
			t.Errorf("%s: %v %v; want a local error", name, r.Outcome, r.Errno)
		}
	}
}

func TestMoreTargetsThanOneTableOfDescriptorsHolds(t *testing.T) {
	c := newCrowd(t, lab.Crowd{IPv4: of(1000, 1000, 0, 0, 0)})
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	few := limit
	few.Cur = 500
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Error(err)
		}
	}()
	counts := make(map[scan.Outcome]int)
	results := c.run(t, t.Context(), scan.Options{Timeout: 2 * time.Second})
	var first, last time.Duration
	for _, r := range results {
		counts[r.Outcome]++
		last = max(last, r.Began)
	}
	if counts[scan.Connected] != 1000 || counts[scan.TimedOut] != 1000 {
		t.Errorf("outcomes %v; want each half of the targets", counts)
	}
	if last-first > time.Second {
		t.Errorf("the last target began after %v: it waited for room", last)
	}
}

func TestTargetsOfAnEmptyList(t *testing.T) {
	c := crowd{client: nil}
	s, err := scan.New(c.targets, scan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context(), func([]scan.Result) { t.Error("there is a result") }); err != nil {
		t.Error(err)
	}
}

// BenchmarkRefresh compares what it costs to restart an unanswered connect with the same socket and with a new one.
func BenchmarkRefresh(b *testing.B) {
	c := newCrowd(b, lab.Crowd{IPv4: of(0, 1, 0, 0, 0)})
	to := &unix.SockaddrInet4{Addr: c.targets[0].Addr.Addr().As4(), Port: int(c.targets[0].Addr.Port())}
	for name, restart := range scan.Restarts {
		b.Run(name, func(b *testing.B) {
			err := c.client.Do(func() error { return restart(to, b.N) })
			if err != nil {
				b.Fatal(err)
			}
		})
	}
}
