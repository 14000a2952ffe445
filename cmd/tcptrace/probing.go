package main

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"tcptrace/prober"
	"tcptrace/tracer/event"
	"tcptrace/tracer/host"
)

// target is one HOST:PORT.
type target struct {
	text string
	host string
	port uint16
}

// isLiteral says that the host is an address: there is nothing to look up, and nothing else to try.
func (t *target) isLiteral() bool {
	_, err := netip.ParseAddr(t.host)
	return err == nil
}

// isLocal says that the host is an address of the network namespace of the calling thread. Of a name it is not known.
func (t *target) isLocal() bool {
	addr, err := netip.ParseAddr(t.host)
	if err != nil {
		return false
	}
	way, err := host.LookUp(host.RouteQuery{Remote: addr})
	return addr.IsLoopback() || err == nil && way.Route().Local
}

// parseTargets reads targets that are connected to by that interface, or by any if it is empty.
func parseTargets(args []string, device string) ([]target, error) {
	var targets []target
	for _, arg := range args {
		name, port, err := prober.ParseTarget(arg)
		if err != nil {
			return nil, usageErrorf("%w", err)
		}
		if addr, err := netip.ParseAddr(name); err == nil && device == "" {
			if err := prober.CheckZone(addr); err != nil {
				return nil, usageErrorf("%w", err)
			}
		}
		targets = append(targets, target{arg, name, port})
	}
	return targets, nil
}

// probing is a plan: which targets to connect to, how, and how often.
type probing struct {
	targets  []target
	options  prober.Options
	resolver prober.Resolver
	family   prober.Family
	repeat   repeatFlags
	race     bool // the first connect that succeeds ends all others, as with Happy Eyeballs
}

// turn is one of the repeated connects to all targets: where to tell of it, and how to end it.
type turn struct {
	run     int
	feed    *feed
	session *session
	end     context.CancelCauseFunc
}

// run carries the plan out and tells the feed's session about it. It returns when every connect has ended, which an
// ended ctx hastens; its error is about a connect that could not even be tried.
func (p *probing) run(ctx context.Context, f *feed, s *session) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var all sync.WaitGroup
	failures := make(chan error, 1)
	next := time.NewTimer(0)
	defer next.Stop()
	for run := 1; run <= p.repeat.Count; run++ {
		select {
		case <-next.C:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		next.Reset(p.repeat.Interval)
		for _, t := range p.targets {
			all.Go(func() {
				if err := p.probe(ctx, t, turn{run, f, s, end}); err != nil {
					select {
					case failures <- err:
					default: // one sentence is enough
					}
				}
			})
		}
	}
	all.Wait()
	select {
	case err := <-failures:
		return err
	default:
		return nil
	}
}

// probe looks a target up and connects to all its addresses at once.
func (p *probing) probe(ctx context.Context, t target, turn turn) error {
	resolution := p.resolver.Resolve(ctx, t.host, p.family)
	if ctx.Err() != nil && len(resolution.Addresses) == 0 {
		return nil // interrupted: that says nothing about the name
	}
	resolution.Target = t.text
	turn.feed.do(func() { turn.session.handleResolution(&resolution, host.Monotonic()) })
	var addresses sync.WaitGroup
	errs := make([]error, len(resolution.Addresses))
	for i, address := range resolution.Addresses {
		addresses.Go(func() { errs[i] = p.connect(ctx, t, address, &resolution, turn) })
	}
	addresses.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *probing) connect(ctx context.Context, t target, address netip.Addr, r *event.Resolution, turn turn) error {
	probe, err := prober.Connect(ctx, t.text, netip.AddrPortFrom(address, t.port), p.options, nil)
	if err != nil {
		return err
	}
	if p.race && probe.Connected {
		turn.end(prober.ErrSuperseded)
	}
	probe.Run = turn.run
	probe.Resolve = r.Took
	turn.feed.do(func() { turn.session.handleProbe(probe) })
	return nil
}
