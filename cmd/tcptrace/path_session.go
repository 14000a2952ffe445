package main

import (
	"net/netip"
	"time"

	"tcptrace/prober/path"
	"tcptrace/tracer/event"
	"tcptrace/tracer/host"
	"tcptrace/tracer/verdict"
)

// journey is the search for the way to one address of a target.
type journey struct {
	target      string
	remote      netip.AddrPort
	sequential  bool
	compare     uint16 // the other port; 0: none
	interrupted bool

	route *path.Route
	other *path.Route // to the other port; nil: none
	names map[netip.Addr]string
}

func newJourney(target string, remote netip.AddrPort, compare uint16) *journey {
	j := &journey{target: target, remote: remote, compare: compare, names: make(map[netip.Addr]string)}
	j.route = &path.Route{Remote: remote}
	if compare != 0 {
		j.other = &path.Route{Remote: netip.AddrPortFrom(remote.Addr(), compare)}
	}
	return j
}

// pathSink is somewhere that journeys go when they have ended.
type pathSink interface {
	Meta(meta)
	Resolution(*event.Resolution)
	Lost(lost)
	Journey(*journey)
	Verdict(verdict.Verdict, told)
	Summary(*summary)
	Flush()
}

// watcher is a sink that also shows journeys which are still under way.
type watcher interface {
	// Watch shows these, in place of those that it showed last.
	Watch([]*journey)
}

// pathSession makes verdicts of journeys and says both, live or from a recording. It is not safe for concurrent use.
type pathSession struct {
	meta  meta
	sinks []pathSink
	names nameBook
	sum   summary
	began time.Duration // CLOCK_MONOTONIC
}

// newPathSession is a session about to begin, or one in the middle of another stream.
func newPathSession(m meta, sinks ...pathSink) *pathSession {
	s := &pathSession{meta: m, sinks: sinks, names: newNameBook(false), began: host.Monotonic()}
	s.sum.Causes = make(map[verdict.Cause]uint64)
	s.sum.LostByKind = make(map[event.Kind]uint64)
	return s
}

// begin starts the stream.
func (s *pathSession) begin() { s.say(func(out pathSink) { out.Meta(s.meta) }) }

// resolved takes what became of a target's name, before the journeys to its addresses.
func (s *pathSession) resolved(r *event.Resolution) {
	s.say(func(out pathSink) { out.Resolution(r) })
	if !s.names.open(r) {
		s.deliver(verdict.OfName(r.Target, *r, nil), told{ofName: true, final: true})
	}
}

// ended takes a journey that is over, and judges it.
func (s *pathSession) ended(j *journey) {
	s.say(func(out pathSink) { out.Journey(j) })
	v := j.verdict()
	r, all, last := s.names.add(&event.Probe{Target: j.target}, v)
	s.deliver(v, told{final: r == nil})
	if last {
		s.deliver(verdict.OfName(j.target, *r, all), told{ofName: true, final: true})
	}
}

func (s *pathSession) handleLost(l lost) {
	s.sum.LostByKind[l.Kind] += l.Count
	s.sum.Lost += l.Count
	s.say(func(out pathSink) { out.Lost(l) })
}

func (s *pathSession) deliver(v verdict.Verdict, about told) {
	about.at = host.Monotonic()
	s.sum.Causes[v.Cause]++
	if about.final && v.Outcome != verdict.OutcomeConnected {
		s.sum.ExitStatus = exitFailed
	}
	s.say(func(out pathSink) { out.Verdict(v, about) })
}

// finish ends the stream.
func (s *pathSession) finish(interrupted bool) *summary {
	s.sum.Interrupted, s.sum.Duration = interrupted, host.Monotonic()-s.began
	s.say(func(out pathSink) { out.Summary(&s.sum) })
	s.flush()
	return &s.sum
}

func (s *pathSession) flush() { s.say(func(out pathSink) { out.Flush() }) }

func (s *pathSession) watch(journeys []*journey) {
	s.say(func(out pathSink) {
		if w, ok := out.(watcher); ok {
			w.Watch(journeys)
		}
	})
}

func (s *pathSession) say(to func(pathSink)) {
	for _, out := range s.sinks {
		to(out)
	}
}

// verdict is what the journey comes to, in the words of all verdicts.
func (j *journey) verdict() verdict.Verdict {
	found := path.Judge(j.route, j.other, j.interrupted)
	return verdict.Verdict{
		Target: j.target, Remote: j.remote, Local: j.local(),
		Cause: verdict.Cause(found.Cause), Outcome: verdict.Outcome(found.Outcome), Confidence: verdict.Confidence(found.Confidence),
		EndedBy: verdict.EndedByProbe, Errno: found.Errno,
		Summary: found.Summary, Advice: found.Advice, Doubts: found.Doubts,
		HandshakeRTT: found.RTT, SYNSent: found.SYNSent,
	}
}

// local is this host's end, where all SYNs left from the same.
func (j *journey) local() netip.AddrPort {
	var local netip.AddrPort
	for _, h := range j.route.Hops {
		for _, a := range h.Answers {
			switch {
			case !local.IsValid():
				local = a.Local
			case a.Local != local:
				return netip.AddrPort{}
			}
		}
	}
	return local
}
