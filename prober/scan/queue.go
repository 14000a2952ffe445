package scan

import "time"

// waiting is a connect whose time comes at due.
type waiting struct {
	due    time.Duration
	fd     int32
	serial uint32 // of the connection that fd had then
}

// queue holds what waits, in the order in which it was added, which is that of its times: all of a queue wait equally
// long. The zero value is empty. It never moves what it holds: a slice that grows to a million leaves behind as much
// again, in pieces that nothing else has a use for.
type queue struct {
	oldest, newest *queueBlock
	head, end      int // places of the longest waiting in oldest, and of the next to come in newest
	size           int
	spare          *queueBlock // one that was emptied
}

// queueBlock is a page of a queue.
type queueBlock struct {
	items [255]waiting
	next  *queueBlock
}

func (q *queue) push(w waiting) {
	if q.newest == nil || q.end == len(q.newest.items) {
		q.extend()
	}
	q.newest.items[q.end] = w
	q.end++
	q.size++
}

// extend adds a block at the end.
func (q *queue) extend() {
	block := q.spare
	if q.spare = nil; block == nil {
		block = new(queueBlock)
	}
	if q.newest == nil {
		q.oldest, q.head = block, 0
	} else {
		q.newest.next = block
	}
	q.newest, q.end = block, 0
}

// len is how many wait.
func (q *queue) len() int { return q.size }

// first is what waits longest.
func (q *queue) first() (w waiting, ok bool) {
	if q.size == 0 {
		return waiting{}, false
	}
	return q.oldest.items[q.head], true
}

// drop takes the first away.
func (q *queue) drop() {
	q.size--
	q.head++
	if q.head < len(q.oldest.items) {
		return
	}
	q.spare, q.oldest, q.head = q.oldest, q.oldest.next, 0
	q.spare.next = nil
	if q.oldest == nil {
		q.newest = nil
	}
}

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
