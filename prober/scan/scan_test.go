package scan_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
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
