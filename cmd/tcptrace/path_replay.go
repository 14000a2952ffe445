package main

import "tcptrace/tracer/event"

// pathReplay hands a session of paths what a recording says of them.
type pathReplay struct {
	printer func(meta) pathSink
	meta    meta

	session *pathSession // nil: nothing was about paths so far
	alone   bool         // the recording is about nothing else
	journey *journey     // whose verdict is still to come
}

// begin takes a recording that is about nothing else.
func (p *pathReplay) begin() {
	p.session, p.alone = newPathSession(p.meta, p.printer(p.meta)), true
	p.session.begin()
}

// handle takes a line, and says whether it was about a path.
func (p *pathReplay) handle(line any) bool {
	switch line := line.(type) {
	case *journey:
		if p.session == nil {
			p.session = newPathSession(p.meta, p.printer(p.meta))
		}
		p.journey = line
	case recordedHop:
		p.add(line)
	case told:
		if p.journey == nil {
			return p.alone // about a name, which the session judges itself
		}
		p.session.ended(p.journey)
		p.journey = nil
	case *event.Resolution:
		if p.alone {
			p.session.resolved(line)
		}
		return p.alone
	case lost:
		if p.alone {
			p.session.handleLost(line)
		}
		return p.alone
	default:
		return false
	}
	return true
}

// add takes a hop of the journey. Those of another, in a recording that was tampered with, are left out.
func (p *pathReplay) add(hop recordedHop) {
	if p.journey == nil {
		return
	}
	for _, route := range p.journey.routes() {
		if route.Remote != hop.remote {
			continue
		}
		for _, a := range hop.answers {
			route.Add(a)
		}
	}
	for addr, name := range hop.names {
		p.journey.names[addr] = name
	}
}
