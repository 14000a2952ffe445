package verdict

import (
	"fmt"
	"slices"

	"tcptrace/tracer/event"
)

// keptHere says that data never left this host, though the kernel tried, and the peer's window had room for it.
func (s *story) keptHere() bool {
	if s.pending.timer != windowTimer || s.pending.count == 0 {
		return false
	}
	closing := s.last(event.Close)
	if closing == nil || closing.Traffic == nil {
		return s.pending.kept()
	}
	return closing.Traffic.KeptHere()
}

// kept says that the latest probe was none: there was room for what waits.
func (p pending) kept() bool { return p.last != nil && p.last.KeptHere }

// keptSummary tells what was kept, and how often it was tried again.
func (s *story) keptSummary() string {
	text := "data could not be sent from this host, though the peer's window has room" + s.unsent() +
		", tried again " + count(s.pending.count, "time")
	if last := s.pending.last; last != nil && last.LocalCongestion {
		text += ", every half second, as this host refuses to send it"
	}
	if s.cutOff() {
		text += ": " + s.cutOffBy()
	}
	return text
}

// keptDoubts are about data that something kept here which nobody saw.
func (s *story) keptDoubts() []string {
	if s.cutOff() || len(s.dropped(dropOut)) > 0 {
		return nil
	}
	return []string{"what kept it here was not seen"}
}

// hereAdvice is lookHere, and the way out where data was kept here by what nobody saw.
func (s *story) hereAdvice() []string {
	if here := s.lookHere(); here != nil || !s.keptHere() {
		return here
	}
	return []string{s.lookAtRoute()}
}

// lookHere is where to look where an established connection's packets did not get beyond this host, or its link; nil where
// nothing says so.
func (s *story) lookHere() []string {
	if s.cutOff() {
		return []string{s.lookAtRoute()}
	}
	if s.link().NoCarrier {
		return []string{s.lookAtCarrier()}
	}
	if len(s.sinceHeard(s.neighbourDrops())) > 0 {
		return neighbourAdvice(s)
	}
	if drops := s.sinceHeard(s.dropped(dropOut)); len(drops) > 0 {
		return []string{s.lookAt(drops)}
	}
	if s.heldAtDeath() {
		return []string{s.lookAtHolder()}
	}
	return nil
}

// sinceHeard are the events since the peer was heard last: what was dropped before that did no lasting harm.
func (s *story) sinceHeard(events []*event.Event) []*event.Event {
	closing := s.last(event.Close)
	if closing == nil || closing.Idle == 0 { // not known
		return events
	}
	heard := closing.Offset - closing.Idle
	return slices.DeleteFunc(events, func(ev *event.Event) bool { return ev.Offset < heard })
}

// cutOff says that this host had no way to the remote end when it was asked, soon after the end.
func (s *story) cutOff() bool {
	r := s.route()
	return s.established && r != nil && r.Errno != 0
}

func (s *story) cutOffBy() string {
	r := s.route()
	if r.SourceGone {
		return fmt.Sprintf("it does not have the address %s any more", address(s.local()))
	}
	return fmt.Sprintf("it has no route to %s now (%s%s)", address(s.remote()), r.Errno, routeKinds[r.Errno])
}

func (s *story) lookAtRoute() string {
	return fmt.Sprintf("look at what became of the way out: %s from %s, ip addr, ip link", s.routeGet(), address(s.local()))
}
