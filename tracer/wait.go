package tracer

import "time"

// wait is how long to wait for records. The kernel side wakes us once in 4 ms only (submit in bpf/emit.bpf.h): what
// follows is there when we look again after that time. A hook may also be put off between deciding to wake nobody and
// handing in its record, by a busy hypervisor for as long as that pleases. So after a record the wait is short, and each
// one in which nothing comes makes the next twice as long: nothing lies there unread for longer than it was late.
type wait struct {
	deadline time.Time     // of whoever reads; zero: none
	pause    time.Duration // the last one; zero: none since a record came
}

const (
	// shortWait is longer than WAKE_EVERY_NS.
	shortWait = 9 * time.Millisecond
	longWait  = 8 * time.Second
)

// came says that a record came.
func (w *wait) came() { w.pause = 0 }

// next is until when to wait now.
func (w *wait) next(now time.Time) time.Time {
	w.pause = min(max(2*w.pause, shortWait), longWait)
	until := now.Add(w.pause)
	if !w.deadline.IsZero() && w.deadline.Before(until) {
		return w.deadline
	}
	return until
}

// over says whether the reader's own deadline has passed.
func (w *wait) over(now time.Time) bool { return !w.deadline.IsZero() && !now.Before(w.deadline) }
