package path

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"tcptrace/prober"
	"tcptrace/tracer/event"
)

// As long as nobody knows where the route ends, only so many hops are asked at once, and each a little later than the one
// before: what is asked beyond the end connects to the destination for nothing, or uses up what a router spends on ICMP
// errors (five in a row and then one a second, in ip_error of net/ipv4/route.c).
const (
	window = 8
	pace   = 10 * time.Millisecond
)

// Trace asks for the route to remote and tells each answer, one at a time, as it comes. It asks every hop once before it
// asks any again, from the first to the one that ends the route, or to the last of the options.
//
// SYNs that a ctx cuts short are not told. A route that leads nowhere is a result; an error means that there was not even
// a try, as with [prober.Connect].
func Trace(ctx context.Context, remote netip.AddrPort, opts Options, tell func(Answer)) error {
	if err := opts.Validate(); err != nil {
		return err
	}
	t := &tracing{remote: remote, opts: opts.withDefaults(), tell: tell, probes: make(map[int]context.CancelFunc)}
	t.last = t.opts.MaxHops
	if t.opts.Sequential && t.opts.Probe.SourcePort == 0 {
		hold, err := prober.HoldPort(remote.Addr(), &t.opts.Probe)
		if err != nil {
			return err
		}
		defer hold.Close()
		t.opts.Probe.SourcePort = hold.Port()
	}
	for query := 1; query <= t.opts.Queries && ctx.Err() == nil; query++ {
		if err := t.round(ctx, query); err != nil {
			return err
		}
	}
	return nil
}

// tracing is one search for a route.
type tracing struct {
	remote netip.AddrPort
	opts   Options
	tell   func(Answer)

	mu     sync.Mutex
	last   int                        // the last hop worth asking
	probes map[int]context.CancelFunc // under way, by hop
	err    error                      // the first
}

// round asks each hop once.
func (t *tracing) round(ctx context.Context, query int) error {
	var probes sync.WaitGroup
	slots := make(chan struct{}, t.width(query))
	for ttl := t.opts.FirstHop; ctx.Err() == nil; ttl++ {
		slots <- struct{}{}
		if query == 1 && !t.opts.Sequential && ttl > t.opts.FirstHop {
			pause(ctx, pace)
		}
		if !t.wanted(ttl) {
			break
		}
		probes.Go(func() {
			defer func() { <-slots }()
			t.ask(ctx, ttl, query)
		})
	}
	probes.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// width is how many hops are asked at a time. After the first round the end is known, or far.
func (t *tracing) width(query int) int {
	switch {
	case t.opts.Sequential:
		return 1
	case query == 1:
		return window
	}
	return MaxHops
}

// pause ends early with ctx.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func (t *tracing) wanted(ttl int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return ttl <= t.last && t.err == nil
}

// ask sends one SYN and waits for its answer.
func (t *tracing) ask(ctx context.Context, ttl, query int) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !t.begin(ttl, cancel) {
		return
	}
	probe, err := prober.Connect(ctx, "", t.remote, t.opts.probe(ttl), nil)
	t.end(ctx, ttl, query, probe, err)
}

// begin enters a probe, unless it is not wanted any more.
func (t *tracing) begin(ttl int, cancel context.CancelFunc) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ttl > t.last || t.err != nil {
		return false
	}
	t.probes[ttl] = cancel
	return true
}

// end takes a probe's outcome.
func (t *tracing) end(ctx context.Context, ttl, query int, probe *event.Probe, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.probes, ttl)
	switch {
	case ttl > t.last, t.err != nil:
		return
	case err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded):
		t.err = err
		t.stopAfter(0)
		return
	case err != nil, ctx.Err() != nil && probe.GaveUp != "":
		return
	}
	a := answerOf(probe, ttl, query)
	if a.final() {
		t.stopAfter(ttl)
	}
	if a.Kind == Unsent {
		t.last = 0 // there is nothing more to learn from hops
	}
	t.tell(a)
}

// stopAfter makes ttl the last hop worth asking.
func (t *tracing) stopAfter(ttl int) {
	t.last = min(t.last, ttl)
	for beyond, cancel := range t.probes {
		if beyond > t.last {
			cancel()
		}
	}
}
