package main

import (
	"errors"
	"net/netip"
	"sync"
	"time"

	"tcptrace/prober/scan"
	"tcptrace/tracer"
	"tcptrace/tracer/event"
)

// kernelTimes is what the kernel's events say of a scan's targets: when each first SYN was sent, and when which answer
// came. A target is known by its address and port, of which a scan has each once.
//
// Nothing is kept of an event but what it means, so it reads the trace itself: a feed would make room for each of some
// hundred thousand.
type kernelTimes struct {
	tracer   *tracer.Tracer
	byRemote map[netip.AddrPort]int32
	ended    chan error // has why reading ended

	mu    sync.Mutex
	views []kernelView // by target
	since time.Duration
}

// kernelView is the kernel's side of one target's connects. Times are CLOCK_MONOTONIC; 0 is not yet.
type kernelView struct {
	began    time.Duration // the first connect
	answered time.Duration // established
	ended    time.Duration // the last attempt was over without
	syns     int32
}

func newKernelTimes(tr *tracer.Tracer, targets []scan.Target) *kernelTimes {
	k := &kernelTimes{
		tracer: tr, byRemote: make(map[netip.AddrPort]int32, len(targets)), views: make([]kernelView, len(targets)),
		ended: make(chan error, 1),
	}
	for i := range targets {
		addr := targets[i].Addr
		k.byRemote[netip.AddrPortFrom(addr.Addr().WithZone(""), addr.Port())] = int32(i)
	}
	return k
}

// read takes events until the trace is flushed, or closed.
func (k *kernelTimes) read() {
	var ev event.Event
	for {
		if err := k.tracer.Read(&ev); err != nil {
			k.ended <- err
			return
		}
		k.add(&ev)
	}
}

// finish ends the trace and takes what it had recorded.
func (k *kernelTimes) finish() error {
	err := errors.Join(k.tracer.Detach(), k.tracer.Flush())
	if err != nil {
		return err
	}
	if err := <-k.ended; !errors.Is(err, tracer.ErrFlushed) {
		return err
	}
	return nil
}

// begin forgets what was seen before now: a round begins.
func (k *kernelTimes) begin(now time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.views)
	k.since = now
}

func (k *kernelTimes) add(ev *event.Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if ev.Role != event.RoleClient || ev.Mono < k.since {
		return
	}
	target, ok := k.byRemote[ev.Remote]
	if !ok {
		return
	}
	view := &k.views[target]
	switch ev.Kind {
	case event.Connect:
		if view.began == 0 {
			view.began = ev.Mono
		}
		view.ended = 0
		view.syns++
	case event.SYNRetransmit:
		if ev.Errno == 0 {
			view.syns++
		}
	case event.Established:
		view.answered = ev.Mono
	case event.Close:
		if view.answered == 0 {
			view.ended = ev.Mono
		}
	}
}

func (k *kernelTimes) view(target int32) kernelView {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.views[target]
}

// complete says whether all has been seen that a result wants to know.
func (k *kernelTimes) complete(r *scan.Result) bool {
	view := k.view(r.Target)
	if r.Outcome == scan.Connected {
		return view.answered != 0
	}
	return view.ended != 0
}

// improve puts the kernel's times into a result, where it has them.
func (k *kernelTimes) improve(r *scan.Result) {
	view := k.view(r.Target)
	if view.began == 0 {
		return
	}
	if view.syns > 0 {
		r.SYNs = view.syns
	}
	var answered time.Duration
	switch r.Outcome {
	case scan.Connected, scan.Reset:
		answered = view.answered
	case scan.Refused, scan.Unreachable:
		answered = view.ended
	}
	if answered > view.began {
		r.Connect, r.Clock = answered-view.began, scan.KernelClock
	}
}
