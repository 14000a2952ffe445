package main

import (
	"iter"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
	"tcptrace/tracer/verdict"
)

// probeGrace is how long the kernel's view of a probe may go on after the probe's own close() before the verdict does
// without the rest: a round trip for the last FIN, to a peer that may be busy, and the settle window. It is measured by
// the feed's time, which stands still while events wait to be taken.
const probeGrace = 2 * time.Second

// mostSpare is the memory of how many events is kept for others: what pends at 130,000 a second ([gather], and the window in
// which one may overtake another).
const mostSpare = 2048

// session makes verdicts of what is seen, and says both. It is the one way from events to output, live or from a
// recording, and has no clock: the caller says what time it is. Live, every input goes to the sinks in the order in
// which it was handled; a recording hands the same inputs back in that order, so the verdicts are the same.
//
// It is not safe for concurrent use.
type session struct {
	meta    meta
	sinks   []sink
	facts   verdict.Facts
	pending timeline.Sequencer
	spare   []*event.Event // memory for those that will be pending
	tracker *timeline.Tracker
	probes  probeJoin
	names   nameBook
	totals  *tally
	// ask asks the host what a verdict would rest on; nil: there is nobody to ask, as in a replay, which has the answers.
	ask     func(verdict.Question) *verdict.Host
	answers map[answerKey]*verdict.Host
	shown   func(verdict.Verdict, told) bool
	count   int // verdicts shown
	// status is the exit status, where something else than the verdicts decides it; nil otherwise.
	status *int
}

// newSession starts the stream. shown tells which verdicts count for [session.verdicts]; nil means all.
func newSession(m meta, shown func(verdict.Verdict, told) bool, sinks ...sink) *session {
	s := &session{
		meta:  m,
		sinks: sinks,
		facts: verdict.Facts{
			Traced:      m.Untraced == "",
			WhyUntraced: m.Untraced,
			Hooks:       m.Hooks,
			Costs:       m.Costs,
			Lost:        make(map[event.Kind]uint64),
		},
		tracker: timeline.New(timeline.Config{HZ: m.HZ}),
		probes:  newProbeJoin(),
		names:   newNameBook(m.Held),
		totals:  newTally(),
		answers: make(map[answerKey]*verdict.Host),
		shown:   shown,
	}
	s.say(func(out sink) { out.Meta(m) })
	return s
}

// handleOutlook takes what is expected of what follows. It rests on settings, so no verdict rests on it.
func (s *session) handleOutlook(o outlook) { s.say(func(out sink) { out.Outlook(o) }) }

// handleEvent takes a copy of an event as it comes from the kernel, nearly in order. It is said by a later advance.
func (s *session) handleEvent(ev *event.Event) {
	kept := s.takeSpare()
	*kept = *ev
	s.pending.Push(kept)
}

// keepEvent is handleEvent that takes the event itself, and gives memory for another.
func (s *session) keepEvent(ev *event.Event) (spare *event.Event) {
	s.pending.Push(ev)
	return s.takeSpare()
}

func (s *session) takeSpare() *event.Event {
	last := len(s.spare) - 1
	if last < 0 {
		return new(event.Event)
	}
	ev := s.spare[last]
	s.spare = s.spare[:last]
	return ev
}

// release says the events, and keeps their memory for others.
func (s *session) release(events iter.Seq[*event.Event]) {
	for ev := range events {
		s.handleOrdered(ev)
		if len(s.spare) < mostSpare {
			s.spare = append(s.spare, ev)
		}
	}
}

// handleOrdered takes an event that is in order already.
func (s *session) handleOrdered(ev *event.Event) {
	c := s.tracker.Add(ev)
	if s.meta.Subject == aboutProbes {
		s.probes.note(c)
	}
	s.totals.addEvent(ev)
	s.say(func(out sink) { out.Event(c, ev) })
}

// handleProbe takes the outcome of a probe. Its verdict waits for the kernel's view of it, if there is one.
func (s *session) handleProbe(p *event.Probe) {
	if !s.facts.Traced {
		s.inquire(nil, p)
	}
	s.say(func(out sink) { out.Probe(p) })
	if !s.facts.Traced {
		s.judgeProbe(p, nil, p.StartedMono+p.Lifetime)
		return
	}
	s.probes.wait(p)
}

// handleResolution takes what became of a target's name, before the probes of its addresses.
func (s *session) handleResolution(r *event.Resolution, now time.Duration) {
	s.say(func(out sink) { out.Resolution(r) })
	if s.names.open(r) {
		return
	}
	s.deliver(verdict.OfName(r.Target, *r, nil), told{at: now, ofName: true, final: true})
}

// handleLost takes a count of records that the kernel side could not deliver, since the last such count.
func (s *session) handleLost(l lost) {
	s.facts.Lost[l.Kind] += l.Count
	s.totals.addLost(l)
	s.say(func(out sink) { out.Lost(l) })
}

// advance says what is ripe at the time now (CLOCK_MONOTONIC): events that nothing can overtake any more, and the
// verdicts of connections whose story is told.
func (s *session) advance(now time.Duration) {
	s.release(s.pending.Ready(now))
	s.judgeSettled(now)
	s.flush()
}

// restTick is how long a session is left alone where no connection is open: nothing can become ripe.
const restTick = time.Minute

// patience is for how long nothing need be said, as long as nothing happens: an open connection whose story is not about to
// be told is looked after every few seconds ([unseenEnds]).
func (s *session) patience() time.Duration {
	switch {
	case s.pending.Held() > 0 || s.probes.waits() || s.tracker.Telling():
		return idleTick
	case s.tracker.Open():
		return lookEvery
	}
	return restTick
}

// waits says that probes ended whose verdict still waits for the kernel's view of them.
func (s *session) waits() bool { return s.probes.waits() }

// finish ends the stream at the time now: verdicts so far about what still lives, and the summary.
func (s *session) finish(now time.Duration, interrupted bool) *summary {
	s.release(s.pending.Flush())
	s.judgeSettled(now)
	s.facts.Interrupted = interrupted
	probes := s.probes.rest()
	s.inquireAll(nil, probes)
	s.say(func(out sink) { out.Stop(stop{Mono: now, Interrupted: interrupted}) })
	for _, p := range probes {
		s.judgeProbe(p, s.probes.connection(p), now)
		s.probes.forget(p)
	}
	for _, c := range s.untold() {
		s.judgeConnection(c, now)
	}
	sum := s.totals.summary(now, interrupted)
	if s.status != nil {
		sum.ExitStatus = *s.status
	}
	s.say(func(out sink) { out.Summary(sum) })
	s.flush()
	return sum
}

// untold gives the connections whose story the end of the trace cuts off: what still lives, or the kernel's view of
// probes that never told theirs, as in a recording that was cut short.
func (s *session) untold() []*timeline.Connection {
	if s.meta.Subject == aboutProbes {
		return s.probes.orphans()
	}
	return s.tracker.OpenConnections()
}

// verdicts is how many verdicts have been given that the user asked for.
func (s *session) verdicts() int { return s.count }

func (s *session) judgeSettled(now time.Duration) {
	before := s.totals.verdicts
	ended := s.tracker.Settled(now)
	stories := s.settle(ended)
	ripe := s.probes.ripe(now)
	s.inquireAll(stories, ripe)
	for _, c := range stories {
		s.judgeConnection(c, now)
		s.tracker.Forget(c.ID)
	}
	for _, p := range ripe {
		c := s.probes.connection(p)
		s.judgeProbe(p, c, now)
		s.probes.forget(p)
		if c != nil {
			s.tracker.Forget(c.ID)
		}
	}
	if len(ended) > 0 && s.totals.verdicts == before {
		// No verdict says that stories ended here, and what comes later is seen without them.
		s.say(func(out sink) { out.Settled(now) })
	}
}

// settle takes connections whose story is told, and gives those that have verdicts of their own. Where verdicts are about
// probes, the others wait for theirs, or are forgotten.
func (s *session) settle(ended []*timeline.Connection) []*timeline.Connection {
	switch s.meta.Subject {
	case aboutConnections:
		return ended
	case aboutProbes:
		for _, c := range ended {
			if !s.probes.settled(c) {
				s.tracker.Forget(c.ID)
			}
		}
	}
	return nil
}

// judgeConnection gives the verdict about a connection, unless it is the far end of another one on this host: the
// two are one story, which the client's verdict tells.
func (s *session) judgeConnection(c *timeline.Connection, now time.Duration) {
	if c.FarEnd() {
		return
	}
	facts := s.facts
	facts.Host = s.answerAbout(c, nil)
	facts.Running = !c.Closed && !c.Expired
	v := verdict.Of(c, facts)
	s.deliver(v, told{at: now, connection: c, final: true, warnings: warningsAbout(c, v, s.meta.HZ)})
}

// judgeProbe gives the verdict about a probe, c being the kernel's view of it or nil, and the one about its name
// when it was the last of the name's addresses.
func (s *session) judgeProbe(p *event.Probe, c *timeline.Connection, now time.Duration) {
	facts := s.facts
	facts.Probe, facts.Host = p, s.answerAbout(c, p)
	v := verdict.Of(c, facts)
	r, ofName, last := s.names.add(p, v)
	s.deliver(v, told{at: now, connection: c, probe: p, final: r == nil})
	if last {
		s.deliver(verdict.OfName(p.Target, *r, ofName), told{at: now, ofName: true, final: true})
	}
}

func (s *session) deliver(v verdict.Verdict, about told) {
	if s.shown == nil || s.shown(v, about) {
		s.count++
	}
	s.totals.addVerdict(v, about)
	s.say(func(out sink) { out.Verdict(v, about) })
}

func (s *session) say(to func(sink)) {
	for _, out := range s.sinks {
		to(out)
	}
}

func (s *session) flush() { s.say(func(out sink) { out.Flush() }) }
