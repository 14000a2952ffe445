package tracer

import "time"

// wait is how long to wait for records. The kernel side wakes us for the first record of a tick only (submit in
// bpf/emit.bpf.h): what follows it within the tick is there when we look again two ticks later, at the latest. So after a
// record the wait is short, and only once nothing has come in one is it long. The zero value waits for ever at first.
type wait struct {
	deadline time.Time // of whoever reads; zero: none
	came     bool      // a record, since the last wait began
}

const (
	// longWait is for a record whose hook was put off for more than two ticks between seeing the tick and handing in the
	// record, which a busy hypervisor may do to it.
	longWait = time.Second
	// slackOfWait is what the wait is longer than two ticks, for a reader that wakes exactly with a tick.
	slackOfWait = time.Millisecond
	// slowestHZ is the slowest tick that kernels are built with.
	slowestHZ = 100
)

// next is until when to wait now.
func (w *wait) next(now time.Time, hz int) time.Time {
	if hz <= 0 {
		hz = slowestHZ
	}
	until := now.Add(longWait)
	if w.came {
		until = now.Add(2*time.Second/time.Duration(hz) + slackOfWait)
	}
	w.came = false
	if !w.deadline.IsZero() && w.deadline.Before(until) {
		return w.deadline
	}
	return until
}

// over says whether the reader's own deadline has passed.
func (w *wait) over(now time.Time) bool { return !w.deadline.IsZero() && !now.Before(w.deadline) }
