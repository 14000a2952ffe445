package timeline

import (
	"cmp"
	"container/heap"
	"iter"
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

	held     eventHeap
	arrivals uint64
}

// Push takes an event in.
func (s *Sequencer) Push(ev *event.Event) {
	s.arrivals++
	heap.Push(&s.held, heldEvent{ev, s.arrivals})
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
func (s *Sequencer) Held() int { return len(s.held) }

func (s *Sequencer) until(due func(*event.Event) bool) iter.Seq[*event.Event] {
	return func(yield func(*event.Event) bool) {
		for len(s.held) > 0 && due(s.held[0].event) {
			if !yield(heap.Pop(&s.held).(heldEvent).event) {
				return
			}
		}
	}
}

type heldEvent struct {
	event   *event.Event
	arrival uint64
}

// compare orders by time; records of one connection with the same time by the number that the kernel gave them,
// and what is left by arrival.
func (h heldEvent) compare(other heldEvent) int {
	return cmp.Or(
		cmp.Compare(h.event.Mono, other.event.Mono),
		cmp.Compare(h.event.Conn, other.event.Conn),
		cmp.Compare(h.event.Nth, other.event.Nth),
		cmp.Compare(h.arrival, other.arrival),
	)
}

type eventHeap []heldEvent

func (h eventHeap) Len() int           { return len(h) }
func (h eventHeap) Less(i, j int) bool { return h[i].compare(h[j]) < 0 }
func (h eventHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)        { *h = append(*h, x.(heldEvent)) }

func (h *eventHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last] = heldEvent{} // do not keep the event alive
	*h = (*h)[:last]
	return x
}
