package main

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"

	"tcptrace/tracer"
	"tcptrace/tracer/event"
	"tcptrace/tracer/host"
	"tcptrace/tracer/listeners"
	"tcptrace/tracer/timeline"
)

// followedKinds are what a listener's clients go through. The last two say what became of a connection otherwise.
var followedKinds = []event.Kind{
	event.SYNReceived, event.SYNACKRetransmit, event.SYNACKTimeout, event.Accept, event.AcceptQueueFull, event.SYNQueueFull,
	event.Established, event.Close,
}

// follow tells what happens to the clients of listeners until it has been enough, and then what it comes to.
func (c *listenersCommand) follow(ctx context.Context, a *app, reader *listenersReader, m meta, rec *recording) error {
	tr, err := c.openTrace(followedKinds)
	if err != nil {
		return err
	}
	defer tr.Close()
	a.noticeTrouble(tr)
	all, err := reader.read()
	if err != nil {
		return err
	}
	describeTrace(&m, tr)
	followed := c.newFollower(m, c.followSinks(a, rec))
	followed.list = reader.read
	followed.ledger.Open(all)
	return c.trace.within(ctx, func(ctx context.Context, interrupted func() bool) error {
		f := newFeed(tr, followed)
		err := f.run(ctx, followed.done)
		if err == nil {
			err = f.drain()
		}
		if err != nil {
			return err
		}
		refused, err := tr.Refusals()
		if err != nil {
			return noTraceErrorf("%w", err)
		}
		followed.finish(c.asked(refused), host.Monotonic(), interrupted())
		return nil
	})
}

// asked leaves the refusals of listeners that the user asked for. The kernel side has looked at owners and namespaces.
func (c *listenersCommand) asked(all []tracer.Refusals) []tracer.Refusals {
	return slices.DeleteFunc(all, func(r tracer.Refusals) bool {
		return r.Local.IsValid() && c.filter.LocalPort != 0 && r.Local.Port() != c.filter.LocalPort
	})
}

func (c *listenersCommand) followSinks(a *app, rec *recording) []followSink {
	shown := newFollowPrinter(a.stdout, c.output.painter(a.stdout), &c.output, &c.detail)
	sinks := []followSink{&thinned{followSink: shown, shows: c.showsKind, most: c.mostEvents()}}
	if rec != nil {
		sinks = append(sinks, &followJSON{newJSONRenderer(rec.out, c.detail.Verbose)})
	}
	return sinks
}

// newFollowPrinter prints as the flags want it, without a bound.
func newFollowPrinter(out flusher, paint painter, output *outputFlags, detail *detailFlags) followSink {
	if output.Format == formatJSON {
		return &followJSON{newJSONRenderer(out, detail.Verbose)}
	}
	return &followText{
		textRenderer: newTextRenderer(out, textConfig{Painter: paint, Quiet: detail.Quiet, Verbose: detail.Verbose}),
		lines:        listenersText{out: out, paint: paint},
	}
}

// eventsForPeople is how many events a second people are shown, unless they ask for more.
const eventsForPeople = 50

// mostEvents is how many events a second are printed; 0: all.
func (c *listenersCommand) mostEvents() int {
	if c.output.Format == formatText {
		return cmp.Or(c.filter.MaxEvents, eventsForPeople)
	}
	return c.filter.MaxEvents
}

// showsKind says which events are printed: what went wrong, accepts, and for those who want to know all, SYNs.
func (c *listenersCommand) showsKind(kind event.Kind) bool {
	switch {
	case c.detail.Quiet:
		return false
	case len(c.filter.Kinds) > 0:
		return c.filter.showsKind(kind)
	case kind == event.Accept:
		return !c.filter.Problems
	case kind == event.SYNReceived:
		return c.detail.Verbose && !c.filter.Problems
	}
	return true
}

// followSink is a way to write what happens to listeners' clients.
type followSink interface {
	Meta(meta)
	Event(*timeline.Connection, *event.Event)
	Lost(lost)
	// more tells of events that were not shown.
	more(hiddenEvents)
	// passed says that what happened until then, on CLOCK_MONOTONIC, has been told.
	passed(time.Duration)
	account(*accountLine, time.Duration)
	end(followTotals)
	Flush()
}

// followTotals is what everything comes to.
type followTotals struct {
	Events      uint64 // that were told, each by itself or in another one's count
	Kinds       map[event.Kind]uint64
	Refused     listeners.Refused
	Lost        uint64
	Over        time.Duration
	Interrupted bool
}

// follower makes of events what becomes of the clients of each listener.
type follower struct {
	sinks   []followSink
	pending timeline.Sequencer
	tracker *timeline.Tracker
	ledger  listeners.Ledger
	totals  followTotals
	began   time.Duration                         // CLOCK_MONOTONIC
	most    int                                   // events; 0: no end of them
	list    func() ([]*listeners.Listener, error) // nil: there is nobody to ask for those that are new
	listed  time.Duration                         // CLOCK_MONOTONIC: when somebody was asked
	events  int
	counts  func(event.Kind) bool
}

func (c *listenersCommand) newFollower(m meta, sinks []followSink) *follower {
	f := &follower{
		sinks: sinks, tracker: timeline.New(timeline.Config{HZ: m.HZ}), began: host.Monotonic(),
		most: c.filter.Count, counts: c.showsKind, totals: followTotals{Kinds: make(map[event.Kind]uint64)},
	}
	f.say(func(out followSink) { out.Meta(m) })
	f.flush()
	return f
}

// done says that as many events were told as were asked for.
func (f *follower) done() bool { return f.most > 0 && f.events >= f.most }

func (f *follower) say(to func(followSink)) {
	for _, out := range f.sinks {
		to(out)
	}
}

func (f *follower) flush() { f.say(followSink.Flush) }

func (f *follower) handleEvent(ev *event.Event) {
	kept := *ev // the feed uses ev again
	f.pending.Push(&kept)
}

func (f *follower) handleLost(l lost) {
	f.totals.Lost += l.Count
	f.say(func(out followSink) { out.Lost(l) })
}

func (f *follower) advance(now time.Duration) {
	for ev := range f.pending.Ready(now) {
		f.handleOrdered(ev)
	}
	for _, c := range f.tracker.Settled(now) {
		f.tracker.Forget(c.ID)
	}
	f.say(func(out followSink) { out.passed(now - lateness) })
	f.flush()
}

// lateness is how long after it happened an event may be told at the latest, of those that are not held up.
const lateness = 100 * time.Millisecond

// handleOrdered takes an event that is in order already. What accepted connections go through is not followed.
func (f *follower) handleOrdered(ev *event.Event) {
	f.meet(ev)
	a := f.ledger.Add(ev)
	if a == nil {
		if f.tracker.Connection(ev.Conn) != nil {
			f.tracker.Add(ev)
		}
		return
	}
	c := f.tracker.Add(ev)
	n := uint64(max(1, ev.Count))
	f.totals.Events += n
	f.totals.Kinds[ev.Kind] += n
	if !f.done() {
		f.say(func(out followSink) { out.Event(c, ev) })
		if f.counts(ev.Kind) {
			f.events++
		}
	}
	if ev.Kind == event.Accept {
		f.tracker.Forget(ev.Conn)
	}
}

// meet looks for listeners that are new, now and then. One that is gone already is known by the events' addresses alone.
func (f *follower) meet(ev *event.Event) {
	const every = time.Second
	if f.list == nil || !f.ledger.Misses(ev) || ev.Mono-f.listed < every {
		return
	}
	f.listed = ev.Mono
	if all, err := f.list(); err == nil {
		f.ledger.Open(all)
	}
}

// finish tells what became of each listener's clients.
func (f *follower) finish(refused []tracer.Refusals, now time.Duration, interrupted bool) {
	for ev := range f.pending.Flush() {
		f.handleOrdered(ev)
	}
	for i := range refused {
		r := &refused[i]
		counted := listeners.Refused{
			SYNs: r.SYNs, FinalACKs: r.FinalACKs, SYNDrops: r.QueueDrops, Cookies: r.CookiesSent,
			UntoldOverflows: r.UntoldOverflows, UntoldQueueFull: r.UntoldQueueFull,
		}
		f.ledger.Settle(r.NetNS, r.Local, r.Owner, r.Max, counted)
		f.totals.Refused.Add(counted)
	}
	f.totals.Over, f.totals.Interrupted = now-f.began, interrupted
	f.say(func(out followSink) {
		for _, a := range f.ledger.Accounts() {
			out.account(encodeAccount(a), f.totals.Over)
		}
		out.end(f.totals)
		out.Flush()
	})
}

// hiddenEvents are events of one kind and listener in one second that were not shown.
type hiddenEvents struct {
	hiddenKey
	Mono  time.Duration // of the first
	Time  time.Time
	Count uint64 // what they stood for
}

type hiddenKey struct {
	Kind  event.Kind
	NetNS uint32
	Local netip.AddrPort
}

// thinned shows so many events of each second, and says how many more there were.
type thinned struct {
	followSink
	shows  func(event.Kind) bool
	most   int // 0: all
	second time.Duration
	shown  int
	hidden map[hiddenKey]*hiddenEvents
}

func (t *thinned) Event(c *timeline.Connection, ev *event.Event) {
	if !t.shows(ev.Kind) {
		return
	}
	if second := ev.Mono.Truncate(time.Second); second > t.second {
		t.tellHidden()
		t.second, t.shown = second, 0
	}
	if t.most == 0 || t.shown < t.most {
		t.shown++
		t.followSink.Event(c, ev)
		return
	}
	t.hide(ev)
}

func (t *thinned) hide(ev *event.Event) {
	if t.hidden == nil {
		t.hidden = make(map[hiddenKey]*hiddenEvents)
	}
	key := hiddenKey{ev.Kind, ev.NetNS, ev.Local}
	h := t.hidden[key]
	if h == nil {
		h = &hiddenEvents{hiddenKey: key, Mono: ev.Mono, Time: ev.Time}
		t.hidden[key] = h
	}
	h.Count += uint64(max(1, ev.Count))
}

func (t *thinned) passed(now time.Duration) {
	if len(t.hidden) > 0 && now >= t.second+time.Second {
		t.tellHidden()
	}
}

// tellHidden says what of the last second was not shown.
func (t *thinned) tellHidden() {
	all := make([]hiddenEvents, 0, len(t.hidden))
	for _, h := range t.hidden {
		all = append(all, *h)
	}
	slices.SortFunc(all, func(a, b hiddenEvents) int {
		return cmp.Or(cmp.Compare(a.Mono, b.Mono), cmp.Compare(a.Kind, b.Kind), a.Local.Compare(b.Local))
	})
	for _, h := range all {
		t.more(h)
	}
	clear(t.hidden)
}

func (t *thinned) account(a *accountLine, over time.Duration) {
	t.tellHidden()
	t.followSink.account(a, over)
}

func (t *thinned) end(totals followTotals) {
	t.tellHidden()
	t.followSink.end(totals)
}
