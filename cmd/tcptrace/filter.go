package main

import (
	"cmp"
	"slices"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
	"tcptrace/tracer/verdict"
)

// filtered thins out what reaches a sink, and nothing that verdicts rest on. Where verdicts decide what is shown,
// events wait for theirs.
type filtered struct {
	sink
	quiet     bool // no events at all
	awaits    bool // show the events of a connection with its verdict, if that is shown
	showsKind func(event.Kind) bool
	shows     func(verdict.Verdict, told) bool
	terse     bool // hide the keepalive of healthy connections
	chatter   chatter
	rate      rateLimit
	limit     int // show no more verdicts than these; 0: all
	shown     int // verdicts
}

// newFiltered shows on out what flags ask for. Terse is for people: without what says only that nothing has happened.
func newFiltered(out sink, flags *filterFlags, quiet, terse bool) *filtered {
	return &filtered{
		sink:      out,
		quiet:     quiet,
		terse:     terse && len(flags.Kinds) == 0,
		awaits:    flags.Problems || len(flags.Causes) > 0,
		showsKind: flags.showsKind,
		shows:     flags.shows,
		rate:      rateLimit{most: flags.MaxEvents},
		limit:     flags.Count,
	}
}

// full says that as many verdicts were shown as were asked for.
func (f *filtered) full() bool { return f.limit > 0 && f.shown >= f.limit }

// Meta says what the session is about. Of probes that tcptrace makes itself nothing is too much.
func (f *filtered) Meta(m meta) {
	f.chatter.hides = f.terse && m.Subject == aboutConnections
	f.sink.Meta(m)
}

func (f *filtered) Event(c *timeline.Connection, ev *event.Event) {
	if !f.awaits {
		f.event(c, ev)
	}
}

func (f *filtered) event(c *timeline.Connection, ev *event.Event) {
	if !f.chatter.hides {
		f.show(c, ev)
		return
	}
	for _, o := range f.chatter.pass(occurrence{c, ev}) {
		f.show(o.connection, o.event)
	}
}

func (f *filtered) show(c *timeline.Connection, ev *event.Event) {
	if f.quiet || f.full() || !f.showsKind(ev.Kind) {
		return
	}
	shown, standsFor := f.rate.take(ev.Mono)
	if !shown {
		return
	}
	if standsFor > 1 {
		sampled := *ev
		sampled.Count = max(ev.Count, 1) + standsFor - 1
		ev = &sampled
	}
	f.sink.Event(c, ev)
}

// rateLimit shows so many events of each second, and counts the others: the next one that is shown stands for them. The
// zero value shows all.
type rateLimit struct {
	most   int
	second time.Duration // the one that is being counted
	shown  int           // of it
	hidden int           // since the last that was shown
}

// take says whether an event at the time mono is shown, and for how many it then stands.
func (r *rateLimit) take(mono time.Duration) (shown bool, standsFor int) {
	if r.most == 0 {
		return true, 1
	}
	if second := mono.Truncate(time.Second); second != r.second {
		r.second, r.shown = second, 0
	}
	if r.shown >= r.most {
		r.hidden++
		return false, 0
	}
	r.shown++
	standsFor, r.hidden = 1+r.hidden, 0
	return true, standsFor
}

func (f *filtered) Probe(p *event.Probe) {
	if !f.quiet {
		f.sink.Probe(p)
	}
}

func (f *filtered) Resolution(r *event.Resolution) {
	if !f.quiet {
		f.sink.Resolution(r)
	}
}

func (f *filtered) Answer(a answer) {
	if !f.quiet {
		f.sink.Answer(a)
	}
}

func (f *filtered) Verdict(v verdict.Verdict, about told) {
	if f.full() || !f.shows(v, about) {
		return
	}
	f.shown++
	if f.awaits && about.connection != nil {
		f.story(about.connection)
	}
	if about.connection != nil {
		f.unanswered(about.connection)
	}
	f.sink.Verdict(v, about)
}

// unanswered shows the last probe of a connection if no answer to it came.
func (f *filtered) unanswered(c *timeline.Connection) {
	if o, waits := f.chatter.release(c.ID); waits {
		f.show(o.connection, o.event)
	}
}

// Summary adds what was not shown.
func (f *filtered) Summary(s *summary) {
	told := *s
	told.AnsweredProbes = f.chatter.answered
	f.sink.Summary(&told)
}

// story shows the events of both ends in their order.
func (f *filtered) story(c *timeline.Connection) {
	var lines []occurrence
	for _, end := range []*timeline.Connection{c, c.Peer} {
		if end == nil {
			continue
		}
		for i := range end.Events {
			lines = append(lines, occurrence{end, &end.Events[i]})
		}
	}
	slices.SortFunc(lines, func(a, b occurrence) int { return cmp.Compare(a.event.N, b.event.N) })
	for _, l := range lines {
		f.event(l.connection, l.event)
	}
}
