package verdict

import (
	"fmt"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
)

// leastHalf is how long a connection must have been closed on one side alone for that to be told.
const leastHalf = time.Second

// entered is the offset at which the connection came into a state; not ok when that was not seen.
func (s *story) entered(state event.State) (offset time.Duration, ok bool) {
	ev := s.firstWhere(func(ev *event.Event) bool { return ev.State == state })
	if ev == nil {
		return 0, false
	}
	return ev.Offset, true
}

// halfClosed is how long only one side had closed, and when that began. Once the application has let go of it, a
// connection in FIN_WAIT2 is no socket any more, and when the peer closed is not seen: then there is no time.
func (s *story) halfClosed() (since, length time.Duration) {
	switch s.closedBy() {
	case timeline.ByPeer:
		since, ok := s.entered(event.StateCloseWait)
		until, closed := s.entered(event.StateLastACK)
		if ok && closed {
			return since, until - since
		}
	case timeline.ByLocal:
		since, ok := s.entered(event.StateFinWait1)
		_, acknowledged := s.entered(event.StateFinWait2)
		if ok && acknowledged {
			return since, s.end - since
		}
	}
	return 0, 0
}

// closedAt tells the moment at which the first side closed, and how long the other one took to follow.
func (s *story) closedAt() string {
	since, length := s.halfClosed()
	switch {
	case s.simultaneousClose():
		return s.sinceEstablished(s.end) + ", and the other side closed at the same moment"
	case length < leastHalf:
		return s.sinceEstablished(s.end)
	}
	follower := "the peer"
	if s.closedBy() == timeline.ByPeer {
		follower = s.closer()
	}
	return fmt.Sprintf("%s; half-closed for %s, until %s closed too", s.sinceEstablished(since), duration(length), follower)
}

// simultaneousClose says that both FINs were on their way at once.
func (s *story) simultaneousClose() bool {
	_, ok := s.entered(event.StateClosing)
	return ok
}

// simultaneousOpen says that both ends sent a SYN and neither listened.
func (s *story) simultaneousOpen() bool {
	if s.conn == nil || !s.client() {
		return false
	}
	done := s.first(event.Established)
	return done != nil && done.OldState == event.StateSYNRecv
}

// openedTogether is a clause about a simultaneous open.
func (s *story) openedTogether() string {
	if s.simultaneousOpen() {
		return ": both ends sent a SYN at the same time, and neither listened (simultaneous open)"
	}
	return ""
}
