package timeline

import (
	"iter"
	"slices"
	"time"

	"tcptrace/tracer/event"
)

// DefaultWindow is how long a [Sequencer] holds events back when nothing else was asked for. Each CPU's records come
// in order; those of two CPUs pass each other by the time between a hook and the commit to the ring, microseconds
// unless a host preempts one of its virtual CPUs just there.
const DefaultWindow = 5 * time.Millisecond

// Sequencer puts the events of several CPUs into the order of their hooks. It has no clock: the caller says what
// time it is. The zero value works, with [DefaultWindow]. It is not safe for concurrent use.
type Sequencer struct {
	// Window is how long an event is held back for earlier ones to overtake it; 0 means DefaultWindow.
	Window time.Duration

	// held is in order from first on; what is before that was yielded. Events come so nearly in order that most only
	// have to be added.
	held  []*event.Event
	first int
}

// Push takes an event in.
func (s *Sequencer) Push(ev *event.Event) {
	s.reclaim()
	at := len(s.held)
	if at > s.first && precedes(ev, s.held[at-1]) {
		at, _ = slices.BinarySearchFunc(s.held[s.first:], ev, func(held, ev *event.Event) int {
			if precedes(ev, held) {
				return 1
			}
			return -1 // one that is alike has come first
		})
		at += s.first
	}
	s.held = slices.Insert(s.held, at, ev)
}

// reclaim makes room at the end out of what was yielded.
func (s *Sequencer) reclaim() {
	if len(s.held) < cap(s.held) || s.first <= len(s.held)/2 {
		return
	}
	s.held = slices.Delete(s.held, 0, s.first)
	s.first = 0
}

// Ready yields, in order, the events older than the window at the time now (CLOCK_MONOTONIC) and forgets them. One
// that comes after its successors were yielded is yielded at once: late is better than never.
func (s *Sequencer) Ready(now time.Duration) iter.Seq[*event.Event] {
	window := s.Window
	if window == 0 {
		window = DefaultWindow
	}
	return s.until(func(ev *event.Event) bool { return ev.Mono+window <= now })
}

// Flush yields all that is held, in order.
func (s *Sequencer) Flush() iter.Seq[*event.Event] {
	return s.until(func(*event.Event) bool { return true })
}

// Held is how many events wait.
func (s *Sequencer) Held() int { return len(s.held) - s.first }

func (s *Sequencer) until(due func(*event.Event) bool) iter.Seq[*event.Event] {
	return func(yield func(*event.Event) bool) {
		for s.Held() > 0 && due(s.held[s.first]) {
			if !yield(s.pop()) {
				return
			}
		}
	}
}

func (s *Sequencer) pop() *event.Event {
	ev := s.held[s.first]
	s.held[s.first] = nil // do not keep the event alive
	s.first++
	if s.first == len(s.held) {
		s.held, s.first = s.held[:0], 0
	}
	return ev
}

// precedes orders by time; records of one connection with the same time by the number that the kernel gave them.
func precedes(a, b *event.Event) bool {
	switch {
	case a.Mono != b.Mono:
		return a.Mono < b.Mono
	case a.Conn != b.Conn:
		return a.Conn < b.Conn
	}
	return a.Nth < b.Nth
}
