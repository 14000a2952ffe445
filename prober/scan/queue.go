package scan

import "time"

// waiting is a connect whose time comes at due.
type waiting struct {
	due    time.Duration
	fd     int32
	serial uint32 // of the connection that fd had then
}

// queue holds what waits, in the order in which it was added, which is that of its times: all of a queue wait equally
// long. The zero value is empty.
type queue struct {
	items []waiting
	head  int
}

func (q *queue) push(w waiting) {
	if q.head > len(q.items)/2 && q.head > 1024 {
		q.items = q.items[:copy(q.items, q.items[q.head:])]
		q.head = 0
	}
	q.items = append(q.items, w)
}

// len is how many wait.
func (q *queue) len() int { return len(q.items) - q.head }

// first is what waits longest.
func (q *queue) first() (w waiting, ok bool) {
	if q.head == len(q.items) {
		return waiting{}, false
	}
	return q.items[q.head], true
}

// drop takes the first away.
func (q *queue) drop() { q.head++ }

// pacer spaces beginnings evenly. The zero value lets everything begin at once.
type pacer struct {
	interval time.Duration
	next     time.Duration
}

// arrears is how far a pacer that fell behind may catch up at once.
const arrears = 5 * time.Millisecond

// due says whether one may begin now, and if so counts it.
func (p *pacer) due(now time.Duration) bool {
	if p.interval == 0 {
		return true
	}
	if now < p.next {
		return false
	}
	p.next = max(p.next, now-arrears) + p.interval
	return true
}
