package main

import (
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/sockdiag"
	"tcptrace/tracer/timeline"
)

// When to ask whether the socket of a connection of which nothing is heard is still there, and how often.
const (
	quietClosing = 5 * time.Second // on its way to CLOSE, where it seldom stays
	quietOpen    = time.Minute
	lookEvery    = 5 * time.Second
	mostLooks    = 256 // at a time
)

// unseenEnds finds connections whose end no hook has seen: some kernels run no BPF program on top of certain tasks. Without
// it they would stay open for ever. The zero value, with find, is ready.
type unseenEnds struct {
	// find says of connections of one network namespace which have no socket any more; none where that cannot be told.
	find func(netns uint32, all []*timeline.Connection) (gone []*timeline.Connection)

	next   time.Duration                  // when to look again, on CLOCK_MONOTONIC
	looked map[event.ConnID]time.Duration // when each was asked for last
	gone   map[event.ConnID]bool          // had no socket then: its close may be on its way
}

// look asks at the time now, and has the session close what was found gone twice.
func (u *unseenEnds) look(s *session, now time.Duration) {
	if now < u.next {
		return
	}
	u.next = now + lookEvery
	if u.looked == nil {
		u.looked, u.gone = make(map[event.ConnID]time.Duration), make(map[event.ConnID]bool)
	}
	open := s.tracker.OpenConnections()
	u.forget(open)
	byNetNS, left := make(map[uint32][]*timeline.Connection), mostLooks
	for _, c := range open {
		if left > 0 && u.due(c, now) {
			byNetNS[c.NetNS] = append(byNetNS[c.NetNS], c)
			u.looked[c.ID] = now
			left--
		}
	}
	for netns, all := range byNetNS {
		for _, c := range u.find(netns, all) {
			if u.gone[c.ID] {
				s.handleEvent(unseenClose(c, now))
			}
			u.gone[c.ID] = true
		}
	}
}

// due says that nothing was heard of a connection for so long that its end may have been missed.
func (u *unseenEnds) due(c *timeline.Connection, now time.Duration) bool {
	if !c.Local.IsValid() || !c.Remote.IsValid() || c.Local.Port() == 0 || len(c.Events) == 0 {
		return false
	}
	quiet := quietOpen
	switch c.State {
	case event.StateFinWait1, event.StateFinWait2, event.StateClosing, event.StateLastACK, event.StateTimeWait:
		quiet = quietClosing
	case event.StateEstablished, event.StateCloseWait:
	default:
		return false
	}
	if u.gone[c.ID] {
		return true // for the second time
	}
	return now-max(c.Events[len(c.Events)-1].Mono, u.looked[c.ID]) >= quiet
}

// forget drops what is known of connections that have ended.
func (u *unseenEnds) forget(open []*timeline.Connection) {
	live := make(map[event.ConnID]bool, len(open))
	for _, c := range open {
		live[c.ID] = true
	}
	for id := range u.looked {
		if !live[id] {
			delete(u.looked, id)
			delete(u.gone, id)
		}
	}
}

// unseenClose stands for the close that was not seen. It has neither a number nor a total, so the verdict has its doubt.
func unseenClose(c *timeline.Connection, now time.Duration) *event.Event {
	return &event.Event{
		Kind: event.Close, Conn: c.ID, Time: time.Now(), Mono: now, NetNS: c.NetNS, Role: c.Role,
		State: event.StateClose, OldState: c.State, Unseen: true,
	}
}

// without gives those of the connections of a network namespace that have no socket any more. What cannot be asked lives.
func (o *oracle) without(netns uint32, all []*timeline.Connection) (gone []*timeline.Connection) {
	_ = o.in(netns, func() error {
		finder, err := sockdiag.NewFinder()
		if err != nil {
			return err
		}
		defer finder.Close()
		for _, c := range all {
			if lives, err := finder.Lives(c.Local, c.Remote, c.Cookie); err == nil && !lives {
				gone = append(gone, c)
			}
		}
		return nil
	})
	return gone
}
