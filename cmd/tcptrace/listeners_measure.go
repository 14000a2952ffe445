package main

import (
	"context"
	"time"

	"tcptrace/prober"
	"tcptrace/tracer"
	"tcptrace/tracer/event"
	"tcptrace/tracer/listeners"
)

// measure lists the listeners with what happened to them in --interval, or until ^C.
func (c *listenersCommand) measure(ctx context.Context, a *app, reader *listenersReader) ([]*listeners.Listener, error) {
	counted := &acceptCount{}
	tr, err := c.openTrace([]event.Kind{event.Accept})
	switch {
	case err == nil:
		defer tr.Close()
	case c.trace.RequireTrace:
		return nil, err
	default:
		a.notice("accepts are not counted: %s", whyUntraced(err))
	}
	first, err := reader.read()
	if err != nil {
		return nil, err
	}
	counted.ledger.Open(first)
	began := time.Now()
	if err := c.wait(ctx, tr, counted); err != nil {
		return nil, err
	}
	over := time.Since(began)
	second, err := reader.read()
	if err != nil {
		return nil, err
	}
	listeners.Since(first, second, over)
	if tr != nil {
		counted.ledger.Accepted(second)
	}
	return second, nil
}

// wait counts what is accepted until the interval is over.
func (c *listenersCommand) wait(ctx context.Context, tr *tracer.Tracer, counted *acceptCount) error {
	bounded, cancel := context.WithTimeout(ctx, c.Interval)
	defer cancel()
	f := newFeed(tr, counted)
	if err := f.run(bounded, func() bool { return false }); err != nil {
		return err
	}
	return f.drain()
}

// openTrace starts a trace of those kinds, in the network namespaces that are listed.
func (c *listenersCommand) openTrace(kinds []event.Kind) (*tracer.Tracer, error) {
	filter, err := kernelFilter(&c.filter, &c.trace)
	if err != nil {
		return nil, err
	}
	if len(filter.NetNS) == 0 && !c.AllNetNS {
		var here *prober.NetNS
		filter.NetNS = []uint32{here.Inode()}
	}
	return openTracer(&c.kernel, tracer.Options{Filter: filter, Kinds: kinds, Context: c.detail.Verbose})
}

// acceptCount counts accepts by listener.
type acceptCount struct{ ledger listeners.Ledger }

func (c *acceptCount) handleEvent(ev *event.Event) { c.ledger.Add(ev) }

func (c *acceptCount) handleLost(lost) {}

func (c *acceptCount) advance(time.Duration) {}
