package main

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"tcptrace/prober"
	"tcptrace/prober/path"
	"tcptrace/tracer"
	"tcptrace/tracer/event"
)

// pathPlan is which ways to look for, and how.
type pathPlan struct {
	targets  []target
	options  path.Options
	resolver prober.Resolver
	family   prober.Family
	compare  uint16
	numeric  bool
}

const (
	// pathsAtOnce bounds how many ways are looked for at a time: each has some hops under way, and first hops in common,
	// whose routers limit their ICMP errors.
	pathsAtOnce = 8
	// namePatience is how long a reverse lookup may take.
	namePatience = 2 * time.Second
)

// run carries the plan out, under a trace if tr is not nil, and tells s.
func (p *pathPlan) run(ctx context.Context, tr *tracer.Tracer, s *pathSession) error {
	r := &pathRun{plan: p, session: s, clock: newKernelClock(tr != nil), asked: make(map[netip.Addr]bool), names: make(map[netip.Addr]string)}
	r.feed = newFeed(tr, r)
	ended := make(chan error, 1)
	go func() {
		err := r.probe(ctx)
		r.feed.do(func() { ended <- err })
	}()
	// An interrupt ends the probes, and they end the feed: their last words are still wanted.
	var probed bool
	var failed error
	err := r.feed.run(context.WithoutCancel(ctx), func() bool {
		select {
		case failed = <-ended:
			probed = true
		default:
		}
		return probed && !r.waits()
	})
	if err == nil {
		err = r.feed.drain()
	}
	s.watch(nil)
	return errors.Join(untried(failed), err)
}

// pathRun brings together what probes find, what the kernel says of them, and what addresses are called.
type pathRun struct {
	plan    *pathPlan
	session *pathSession
	feed    *feed
	clock   *kernelClock

	journeys []*underway
	asked    map[netip.Addr]bool // for names
	names    map[netip.Addr]string
	lookups  int // under way
}

// underway is a journey that has not been judged.
type underway struct {
	*journey
	waiting []waitingAnswer
	over    bool // nothing more will be asked
}

// waitingAnswer waits for the kernel's time of it.
type waitingAnswer struct {
	route  *path.Route
	answer path.Answer
}

// probe looks for all ways. Its error is about one that could not even be tried.
func (r *pathRun) probe(ctx context.Context) error {
	var all sync.WaitGroup
	slots := make(chan struct{}, pathsAtOnce)
	errs := make([]error, len(r.plan.targets))
	for i, t := range r.plan.targets {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			errs[i] = r.probeTarget(ctx, t)
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *pathRun) probeTarget(ctx context.Context, t target) error {
	resolution := r.plan.resolver.Resolve(ctx, t.host, r.plan.family)
	if ctx.Err() != nil {
		return nil
	}
	resolution.Target = t.text
	r.feed.do(func() { r.session.resolved(&resolution) })
	var addresses sync.WaitGroup
	errs := make([]error, len(resolution.Addresses))
	for i, address := range resolution.Addresses {
		addresses.Go(func() { errs[i] = r.travel(ctx, t.text, netip.AddrPortFrom(address, t.port)) })
	}
	addresses.Wait()
	return errors.Join(errs...)
}

// travel looks for the way to one address, and to the other port beside it.
func (r *pathRun) travel(ctx context.Context, target string, remote netip.AddrPort) error {
	j := &underway{journey: newJourney(target, remote, r.plan.compare)}
	j.sequential = r.plan.options.Sequential || r.plan.options.Probe.SourcePort != 0
	r.feed.do(func() { r.journeys = append(r.journeys, j) })
	var ports sync.WaitGroup
	errs := make([]error, len(j.routes()))
	for i, route := range j.routes() {
		ports.Go(func() {
			errs[i] = path.Trace(ctx, route.Remote, r.plan.options, func(a path.Answer) {
				r.feed.do(func() { r.take(ctx, j, route, a) })
			})
		})
	}
	ports.Wait()
	err := errors.Join(errs...)
	interrupted := ctx.Err() != nil
	r.feed.do(func() { r.arrive(j, interrupted, err) })
	return err
}

// take has an answer of a journey. All that follows runs between events, one at a time.
func (r *pathRun) take(ctx context.Context, j *underway, route *path.Route, a path.Answer) {
	if a.Answered() {
		r.lookUp(ctx, a.From)
	}
	if r.clock.wants(&a) {
		j.waiting = append(j.waiting, waitingAnswer{route, a})
		return
	}
	r.clock.forget(a.Cookie)
	route.Add(a)
}

// arrive notes that nothing more will be asked. One that failed is dropped: its error is told in its stead.
func (r *pathRun) arrive(j *underway, interrupted bool, err error) {
	j.over, j.interrupted = true, interrupted
	if err != nil {
		r.journeys = slices.DeleteFunc(r.journeys, func(other *underway) bool { return other == j })
	}
}

// lookUp finds the name of an address, once.
func (r *pathRun) lookUp(ctx context.Context, addr netip.Addr) {
	if r.plan.numeric || r.asked[addr] {
		return
	}
	r.asked[addr] = true
	r.lookups++
	go func() {
		ctx, cancel := context.WithTimeout(ctx, namePatience)
		defer cancel()
		name := r.plan.resolver.ReverseName(ctx, addr)
		r.feed.do(func() {
			r.names[addr] = name
			r.lookups--
		})
	}()
}

// waits says that there is a journey which is not judged yet.
func (r *pathRun) waits() bool { return len(r.journeys) > 0 || r.lookups > 0 }

func (r *pathRun) handleEvent(ev *event.Event) { r.clock.note(ev) }

func (r *pathRun) handleLost(l lost) { r.session.handleLost(l) }

// advance gives answers their times, judges the journeys that are complete, and shows the others.
func (r *pathRun) advance(now time.Duration) {
	var still []*underway
	var shown []*journey
	for _, j := range r.journeys {
		j.settle(r.clock, now)
		j.names = r.names
		if j.over && len(j.waiting) == 0 && r.lookups == 0 {
			r.session.ended(j.journey)
			continue
		}
		still, shown = append(still, j), append(shown, j.journey)
	}
	r.journeys = still
	r.session.watch(shown)
	r.session.flush()
}

// settle adds the answers whose time is known, or will not be.
func (j *underway) settle(clock *kernelClock, now time.Duration) {
	var still []waitingAnswer
	for _, w := range j.waiting {
		if !clock.settle(&w.answer, now) {
			still = append(still, w)
			continue
		}
		w.route.Add(w.answer)
	}
	j.waiting = still
}
