package main

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"tcptrace/prober/scan"
	"tcptrace/tracer/event"
)

// scanStats is what one round of a scan comes to.
type scanStats struct {
	Round   int           // from 1
	Refresh time.Duration // 0: none
	Timeout time.Duration
	Took    time.Duration

	Targets    int
	Outcomes   map[scan.Outcome]int
	Unfinished int // in progress when it was interrupted
	Untried    int
	Clocks     map[scan.Clock]int // of those that connected
	Connects   int                // restarts included
	// LateAnswers is how many RSTs this namespace sent beyond those that closed our connections: answers to abandoned
	// SYNs, and whatever else it reset meanwhile. -1: unknown, or nothing was abandoned.
	LateAnswers int
	LostEvents  uint64

	ByTimeout  []timeoutShare
	Latency    latencies
	Noticed    latencies // how much later than the kernel this program noticed answers
	BySYN      []synShare
	ByFamily   []familyShare
	Labels     int
	LabelsSome int // labels of which at least one target connected
	Reasons    []scanReason
	Slowest    []int // results, the slowest first
}

// timeoutShare is how many would have connected with that timeout.
type timeoutShare struct {
	Timeout   time.Duration
	Connected int
}

// synShare is how many connected by their SYNs-th SYN.
type synShare struct {
	SYNs      int
	Connected int
}

type familyShare struct {
	Family    string
	Targets   int
	Connected int
	Median    time.Duration
}

// scanReason is why targets did not connect.
type scanReason struct {
	scanReasonKey
	Count int
}

type scanReasonKey struct {
	Outcome scan.Outcome
	Errno   event.Errno
	ICMP    string // its name, empty without
}

// seedTimeouts are the timeouts whose success is told.
var seedTimeouts = []time.Duration{
	100 * time.Millisecond, 200 * time.Millisecond, 300 * time.Millisecond, 400 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second, time.Minute,
	2 * time.Minute, 5 * time.Minute, 10 * time.Minute,
}

// slowestShown is how many of the slowest targets are named.
const slowestShown = 5

// newScanStats sums up a round: results has a result for each target, or a zero one where there is none.
func newScanStats(targets []scan.Target, results []scan.Result, timeout time.Duration) *scanStats {
	s := &scanStats{
		Timeout: timeout, Targets: len(targets), LateAnswers: -1,
		Outcomes: make(map[scan.Outcome]int), Clocks: make(map[scan.Clock]int),
	}
	syns := make(map[int]int)
	reasons := make(map[scanReasonKey]int)
	for i := range results {
		r := &results[i]
		if r.Outcome == 0 {
			continue
		}
		s.Outcomes[r.Outcome]++
		if r.Outcome != scan.Connected {
			reasons[reasonOf(r)]++
			continue
		}
		s.Clocks[r.Clock]++
		if r.SYNs > 0 {
			syns[int(r.SYNs)]++
		}
	}
	times := make(sortedTimes, 0, s.Outcomes[scan.Connected])
	times.collect(results, func(_ int, r *scan.Result) (time.Duration, bool) { return r.Connect, true })
	s.Latency, s.ByTimeout = summarize(times), shareByTimeout(times, timeout)
	times.collect(results, func(_ int, r *scan.Result) (time.Duration, bool) {
		return r.Noticed - r.Connect, r.Clock != scan.UserClock
	})
	s.Noticed = summarize(times)
	for _, n := range slices.Sorted(maps.Keys(syns)) {
		s.BySYN = append(s.BySYN, synShare{n, syns[n]})
	}
	s.ByFamily = sharesByFamily(targets, results, times)
	s.Labels, s.LabelsSome = countLabels(targets, results)
	s.Reasons = sortReasons(reasons)
	s.Slowest = slowest(results)
	return s
}

func reasonOf(r *scan.Result) scanReasonKey {
	key := scanReasonKey{Outcome: r.Outcome, Errno: r.Errno}
	if r.Outcome == scan.Unreachable && r.ICMP != nil {
		key.ICMP = r.ICMP.Name
	}
	return key
}

// finished is how many targets have a result.
func (s *scanStats) finished() int {
	n := 0
	for _, count := range s.Outcomes {
		n += count
	}
	return n
}

// failed is how many have another result than being connected.
func (s *scanStats) failed() int { return s.finished() - s.Outcomes[scan.Connected] }

// shareByTimeout counts, in sorted times to connect, what each timeout would have left, up to the one that there was.
func shareByTimeout(connects []time.Duration, timeout time.Duration) []timeoutShare {
	var shares []timeoutShare
	for _, t := range seedTimeouts {
		if t >= timeout {
			break
		}
		n, _ := slices.BinarySearch(connects, t+1)
		shares = append(shares, timeoutShare{t, n})
	}
	return append(shares, timeoutShare{timeout, len(connects)})
}

// sharesByFamily tells the families of targets apart. It needs memory for the times of all that connected.
func sharesByFamily(targets []scan.Target, results []scan.Result, memory sortedTimes) []familyShare {
	shares := []familyShare{{Family: "IPv4"}, {Family: "IPv6"}}
	familyOf := func(target int) int {
		if targets[target].Addr.Addr().Is4() {
			return 0
		}
		return 1
	}
	for i := range targets {
		share := &shares[familyOf(i)]
		share.Targets++
		if results[i].Outcome == scan.Connected {
			share.Connected++
		}
	}
	var present []familyShare
	for family, share := range shares {
		if share.Targets > 0 {
			memory.collect(results, func(i int, r *scan.Result) (time.Duration, bool) { return r.Connect, familyOf(i) == family })
			share.Median = quantile(memory, 0.5)
			present = append(present, share)
		}
	}
	return present
}

// sortedTimes are times of targets that connected. One piece of memory does for all the kinds of them, which are not
// needed at a time.
type sortedTimes []time.Duration

// collect makes them those that of tells, with its number, of each result; where it says so.
func (t *sortedTimes) collect(results []scan.Result, of func(int, *scan.Result) (time.Duration, bool)) {
	*t = (*t)[:0]
	for i := range results {
		if results[i].Outcome != scan.Connected {
			continue
		}
		if d, wanted := of(i, &results[i]); wanted {
			*t = append(*t, d)
		}
	}
	slices.Sort(*t)
}

// countLabels counts what users have names for, and of how many at least one target connected.
func countLabels(targets []scan.Target, results []scan.Result) (labels, some int) {
	connected := make(map[string]bool)
	for i := range targets {
		if label := targets[i].Label; label != "" {
			connected[label] = connected[label] || results[i].Outcome == scan.Connected
		}
	}
	for _, yes := range connected {
		if yes {
			some++
		}
	}
	return len(connected), some
}

func sortReasons(counts map[scanReasonKey]int) []scanReason {
	reasons := make([]scanReason, 0, len(counts))
	for key, n := range counts {
		reasons = append(reasons, scanReason{key, n})
	}
	slices.SortFunc(reasons, func(a, b scanReason) int {
		return cmp.Or(-cmp.Compare(a.Count, b.Count), cmp.Compare(a.Outcome, b.Outcome), cmp.Compare(a.Errno, b.Errno),
			cmp.Compare(a.ICMP, b.ICMP))
	})
	return reasons
}

// slowest gives the connects that took longest.
func slowest(results []scan.Result) []int {
	var found []int // sorted, never more than are shown
	for i := range results {
		if results[i].Outcome != scan.Connected {
			continue
		}
		place, _ := slices.BinarySearchFunc(found, results[i].Connect, func(n int, d time.Duration) int {
			return -cmp.Compare(results[n].Connect, d)
		})
		if place < slowestShown {
			found = slices.Insert(found, place, i)
			found = found[:min(len(found), slowestShown)]
		}
	}
	return found
}

// latencies are how long many things took, exactly: from all of them.
type latencies struct {
	Count                         int
	Min, Max, Mean, Deviation     time.Duration
	P50, P75, P90, P95, P99, P999 time.Duration
}

// summarize sums up sorted times.
func summarize(sorted []time.Duration) latencies {
	if len(sorted) == 0 {
		return latencies{}
	}
	var sum, squares float64
	for _, d := range sorted {
		sum += float64(d)
	}
	mean := sum / float64(len(sorted))
	for _, d := range sorted {
		squares += (float64(d) - mean) * (float64(d) - mean)
	}
	return latencies{
		Count: len(sorted), Min: sorted[0], Max: sorted[len(sorted)-1],
		Mean: time.Duration(mean), Deviation: time.Duration(math.Sqrt(squares / float64(len(sorted)))),
		P50: quantile(sorted, 0.5), P75: quantile(sorted, 0.75), P90: quantile(sorted, 0.9), P95: quantile(sorted, 0.95),
		P99: quantile(sorted, 0.99), P999: quantile(sorted, 0.999),
	}
}

// quantile is the least of sorted times that at least that share of them does not exceed; 0 of none.
func quantile(sorted []time.Duration, share float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	n := int(math.Ceil(share*float64(len(sorted)))) - 1
	return sorted[min(max(n, 0), len(sorted)-1)]
}
