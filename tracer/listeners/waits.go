package listeners

import (
	"slices"
	"time"
)

// Waits is how long connections waited in an accept queue. The zero value is ready to use; its size does not grow.
type Waits struct {
	Count   uint64
	Longest time.Duration
	within  [len(steps) + 1]uint64
}

// steps bound the buckets.
var steps = [...]time.Duration{
	100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond,
	10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute,
}

// Add counts a connection.
func (w *Waits) Add(waited time.Duration) {
	w.Count++
	w.Longest = max(w.Longest, waited)
	bucket, _ := slices.BinarySearch(steps[:], waited)
	w.within[bucket]++
}

// Bucket is how many connections waited for no longer than Within, but for longer than the bucket before says.
type Bucket struct {
	Within time.Duration // 0: longer than any bound
	Count  uint64
}

// Buckets are those that have something, the shortest first.
func (w *Waits) Buckets() []Bucket {
	var all []Bucket
	for i, n := range w.within {
		if n == 0 {
			continue
		}
		b := Bucket{Count: n}
		if i < len(steps) {
			b.Within = steps[i]
		}
		all = append(all, b)
	}
	return all
}

// Within is a bound that this part of the connections, from 0 to 1, did not exceed: that of a bucket, or the longest.
func (w *Waits) Within(part float64) time.Duration {
	var sum uint64
	for i, n := range w.within {
		sum += n
		if n > 0 && float64(sum) >= part*float64(w.Count) {
			if i < len(steps) {
				return min(steps[i], w.Longest)
			}
			break
		}
	}
	return w.Longest
}
