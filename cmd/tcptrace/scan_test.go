package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"tcptrace/prober/scan"
	"tcptrace/tracer"
	"tcptrace/tracer/event"
)

// scanExample is a round in which everything happens.
func scanExample() *scanRound {
	r := &scanRound{Started: time.Date(2026, 3, 1, 14, 7, 52, 0, time.UTC)}
	add := func(addr, label string, result scan.Result) {
		result.Target = int32(len(r.targets))
		result.Attempts = max(result.Attempts, 1)
		r.targets = append(r.targets, scan.Target{Addr: netip.MustParseAddrPort(addr), Label: label})
		r.results = append(r.results, result)
	}
	ms := time.Millisecond
	add("192.0.2.1:443", "alice", scan.Result{Outcome: scan.Connected, Connect: 12 * ms, Noticed: 13 * ms, RTT: 12 * ms, SYNs: 1, Clock: scan.InfoClock})
	add("[2001:db8::1]:443", "alice", scan.Result{Outcome: scan.TimedOut, Connect: 5000 * ms, Noticed: 5000 * ms, SYNs: 5})
	add("192.0.2.2:443", "bob", scan.Result{Outcome: scan.Refused, Errno: event.ECONNREFUSED, Connect: 9 * ms, Noticed: 9 * ms, SYNs: 1})
	add("192.0.2.3:443", "", scan.Result{Outcome: scan.Connected, Connect: 1021 * ms, Noticed: 1021 * ms, SYNs: 2})
	add("192.0.2.4:443", "", scan.Result{Outcome: scan.Connected, Connect: 240 * ms, Noticed: 241 * ms, SYNs: 1, Clock: scan.KernelClock})
	add("192.0.2.5:443", "\x1b[31mmallory", scan.Result{Outcome: scan.Unreachable, Errno: event.EHOSTUNREACH, Connect: 4 * ms, Noticed: 4 * ms, SYNs: 1,
		ICMP: &event.ICMP{Type: 3, Code: 1, Name: "host unreachable", From: netip.MustParseAddr("192.0.2.254")}})
	add("192.0.2.6:443", "", scan.Result{Outcome: scan.LocalError, Errno: event.EADDRNOTAVAIL})
	add("192.0.2.7:443", "", scan.Result{Outcome: scan.Reset, Errno: event.ECONNRESET, Connect: 7 * ms, Noticed: 7 * ms, SYNs: 1})
	add("192.0.2.8:443", "", scan.Result{}) // interrupted
	r.scanStats = newScanStats(r.targets, r.results, 5*time.Second)
	r.Round, r.Took, r.Unfinished, r.Connects = 1, 5021*ms, 1, 9
	return r
}

// scanRendered is what people read of a round.
func scanRendered(r *scanRound, quiet, verbose bool) string {
	var out sinkBuffer
	text := &scanText{out: &out, quiet: quiet, verbose: verbose, location: time.UTC, meta: meta{Untraced: "that needs root"}}
	for i := range r.results {
		if r.results[i].Outcome != 0 {
			text.Target(&targetLine{target: r.targets[i], result: r.results[i]})
		}
	}
	text.Round(r)
	text.Summary(&scanSummary{Rounds: []*scanStats{r.scanStats}, Interrupted: true, Plotted: "latency.svg"})
	return out.String()
}

func TestScanReadsWell(t *testing.T) {
	checkGolden(t, "scan", []byte(scanRendered(scanExample(), false, true)))
	checkGolden(t, "scan-quiet", []byte(scanRendered(scanExample(), true, false)))
}

func TestScanOfRoundsReadsWell(t *testing.T) {
	var out sinkBuffer
	text := &scanText{out: &out, location: time.UTC}
	sum := new(scanSummary)
	for n, refresh := range []time.Duration{0, 2 * time.Second} {
		r := scanExample()
		r.Several, r.Round, r.Refresh, r.LateAnswers = true, n+1, refresh, 3
		r.Changes = compareWith(scanExample()).changes(r.targets, r.results)
		sum.Rounds = append(sum.Rounds, r.scanStats)
		text.Round(r)
	}
	text.Summary(sum)
	checkGolden(t, "scan-rounds", out.Bytes())
}

func TestEachTimeoutCountsWhatItWouldHaveLeft(t *testing.T) {
	want := []timeoutShare{
		{100 * time.Millisecond, 1}, {200 * time.Millisecond, 1}, {300 * time.Millisecond, 2}, {400 * time.Millisecond, 2},
		{500 * time.Millisecond, 2}, {time.Second, 2}, {2 * time.Second, 3}, {5 * time.Second, 3},
	}
	if diff := cmp.Diff(want, scanExample().ByTimeout); diff != "" {
		t.Errorf("by timeout (-want +got):\n%s", diff)
	}
}

func TestScanCountsEveryTargetOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var targets []scan.Target
		var results []scan.Result
		for n, o := range rapid.SliceOf(rapid.IntRange(0, len(scan.Outcomes()))).Draw(t, "outcomes") {
			targets = append(targets, scan.Target{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 80)})
			connect := time.Duration(rapid.Int64Range(1, int64(time.Minute)).Draw(t, "connect"))
			results = append(results, scan.Result{Outcome: scan.Outcome(o), Connect: connect, SYNs: int32(1 + n%12)})
		}
		s := newScanStats(targets, results, time.Minute)
		connected := s.Outcomes[scan.Connected]
		bySYN, reasons := 0, 0
		for _, share := range s.BySYN {
			bySYN += share.Connected
		}
		for _, r := range s.Reasons {
			reasons += r.Count
		}
		if bySYN != connected || s.Latency.Count != connected || reasons != s.failed() || s.finished() != connected+s.failed() {
			t.Errorf("%d connected, %d by SYN, %d latencies; %d failed for %d reasons", connected, bySYN, s.Latency.Count, s.failed(), reasons)
		}
		for i := 1; i < len(s.ByTimeout); i++ {
			if s.ByTimeout[i].Connected < s.ByTimeout[i-1].Connected {
				t.Errorf("a longer timeout connects fewer: %v", s.ByTimeout)
			}
		}
		if !slices.IsSortedFunc(s.Slowest, func(a, b int) int { return int(results[b].Connect - results[a].Connect) }) {
			t.Errorf("the slowest are not in order: %v", s.Slowest)
		}
	})
}

func TestQuantilesAreOfTheTimes(t *testing.T) {
	var sorted []time.Duration
	for n := range 1000 {
		sorted = append(sorted, time.Duration(n+1))
	}
	l := summarize(sorted)
	want := latencies{Count: 1000, Min: 1, Max: 1000, Mean: 500, Deviation: 288, P50: 500, P75: 750, P90: 900, P95: 950, P99: 990, P999: 999}
	if diff := cmp.Diff(want, l); diff != "" {
		t.Errorf("latencies (-want +got):\n%s", diff)
	}
}

// scanRecorded is the JSON of a round.
func scanRecorded(r *scanRound) []byte {
	var out sinkBuffer
	sink := newScanJSON(&out)
	sink.Meta(meta{Subject: aboutTargets, Started: r.Started, Timeout: r.Timeout, Untraced: "that needs root"}, len(r.targets))
	for i := range r.results {
		if r.results[i].Outcome != 0 {
			sink.Target(&targetLine{target: r.targets[i], result: r.results[i]})
		}
	}
	sink.Round(r)
	sink.Summary(&scanSummary{Rounds: []*scanStats{r.scanStats}, ExitStatus: exitFailed})
	return out.Bytes()
}

func TestScanIsJSONLines(t *testing.T) {
	recorded := scanRecorded(scanExample())
	checkGolden(t, "scan.json", recorded)
	for line := range bytes.Lines(recorded) {
		if !json.Valid(line) {
			t.Errorf("no JSON: %s", line)
		}
	}
}

func TestScanIsReadBackAsItWas(t *testing.T) {
	r := scanExample()
	lines := newRecordingReader(bytes.NewReader(scanRecorded(r)))
	var got []scan.Result
	for {
		line, err := lines.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if target, ok := line.(*targetLine); ok {
			target.result.Target = int32(len(got))
			got = append(got, target.result)
		}
	}
	if diff := cmp.Diff(r.results[:8], got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("results (-written +read):\n%s", diff)
	}
}

func TestAReplayedScanReadsAsItDid(t *testing.T) {
	var out sinkBuffer
	r := replay{lines: newRecordingReader(bytes.NewReader(scanRecorded(scanExample()))),
		others: func(first any) otherReplay {
			return newScanReplay(first.(meta), &scanText{out: &out, location: time.UTC})
		}}
	status, err := r.run(t.Context())
	if status != exitFailed || err != nil {
		t.Errorf("replay: status %d, %v", status, err)
	}
	want, _, _ := strings.Cut(scanRendered(scanExample(), false, false), "\n")
	if got, _, _ := strings.Cut(out.String(), "\n"); got != want {
		t.Errorf("replayed as\n%s\nwant\n%s", got, want)
	}
}

func TestScanIsComparedWithAnEarlierOne(t *testing.T) {
	name := filepath.Join(t.TempDir(), "old.json")
	if err := os.WriteFile(name, scanRecorded(scanExample()), 0o644); err != nil {
		t.Fatal(err)
	}
	before, err := readComparison(name)
	if err != nil {
		t.Fatal(err)
	}
	r := scanExample()
	r.results[0] = scan.Result{Outcome: scan.TimedOut}                                  // no more
	r.results[2] = scan.Result{Outcome: scan.Connected, Connect: time.Millisecond}      // only now
	r.results[3].Connect, r.results[4].Connect = 500*time.Millisecond, time.Millisecond // faster
	r.results[7] = scan.Result{Outcome: scan.LocalError}                                // says nothing
	got := before.changes(r.targets, r.results)
	want := &changes{
		Since: r.Started, Compared: 6,
		Gained: []netip.AddrPort{r.targets[2].Addr}, Lost: []netip.AddrPort{r.targets[0].Addr},
		MedianBefore: 240 * time.Millisecond, MedianNow: time.Millisecond,
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}

func TestPlotIsWellFormedAndSmall(t *testing.T) {
	r := scanExample()
	for n := range 20000 {
		r.targets = append(r.targets, scan.Target{})
		r.results = append(r.results, scan.Result{Outcome: scan.Connected, Connect: time.Duration(n%5000+1) * time.Microsecond})
	}
	r.scanStats = newScanStats(r.targets, r.results, 5*time.Second)
	var out bytes.Buffer
	if err := drawScan(&out, r, []time.Duration{0, time.Second, 3 * time.Second}); err != nil {
		t.Fatal(err)
	}
	if marks := strings.Count(out.String(), markStyle); marks != 4 {
		t.Errorf("%d lines mark SYNs; want two in each panel", marks)
	}
	if out.Len() > 1<<20 {
		t.Errorf("the plot has %d bytes", out.Len())
	}
	for decoder := xml.NewDecoder(&out); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestPlotOfNothing(t *testing.T) {
	r := &scanRound{scanStats: newScanStats(nil, nil, time.Second)}
	if err := drawScan(io.Discard, r, nil); err != nil {
		t.Error(err)
	}
}

func TestRefreshBeginsTheScheduleOfSYNsAnew(t *testing.T) {
	got := synTimes(nil, 1, 1500*time.Millisecond, 4*time.Second)
	var want []time.Duration
	for began := time.Duration(0); began < 4*time.Second; began += 1500 * time.Millisecond {
		want = append(want, began)
		if again := began + time.Second; again < 4*time.Second {
			want = append(want, again)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("SYNs (-want +got):\n%s", diff)
	}
}

func TestKernelTimesReplaceOurs(t *testing.T) {
	targets := scanExample().targets
	k := newKernelTimes(nil, targets)
	see := func(target int, took time.Duration, syns int, errno event.Errno) {
		k.add(&tracer.Handshake{Remote: targets[target].Addr, Began: time.Second, Ended: time.Second + took, SYNs: syns, Errno: errno})
	}
	see(0, 1100*time.Millisecond, 2, 0)
	see(2, 3*time.Millisecond, 1, event.ECONNREFUSED)
	k.add(&tracer.Handshake{Remote: netip.MustParseAddrPort("203.0.113.200:1"), Began: 1, Ended: 2}) // nobody's

	for _, c := range []struct{ result, want scan.Result }{
		{scan.Result{Target: 0, Outcome: scan.Connected, Attempts: 1, Connect: 2 * time.Second, SYNs: 1},
			scan.Result{Target: 0, Outcome: scan.Connected, Attempts: 1, Connect: 1100 * time.Millisecond, SYNs: 2, Clock: scan.KernelClock}},
		{scan.Result{Target: 2, Outcome: scan.Refused, Attempts: 1, Connect: time.Second, SYNs: 1},
			scan.Result{Target: 2, Outcome: scan.Refused, Attempts: 1, Connect: 3 * time.Millisecond, SYNs: 1, Clock: scan.KernelClock}},
		{scan.Result{Target: 2, Outcome: scan.Connected, Attempts: 1, Connect: time.Second, SYNs: 1},
			scan.Result{Target: 2, Outcome: scan.Connected, Attempts: 1, Connect: time.Second, SYNs: 1}}, // another answer than that
		{scan.Result{Target: 1, Outcome: scan.TimedOut, Attempts: 1, Connect: time.Second, SYNs: 3},
			scan.Result{Target: 1, Outcome: scan.TimedOut, Attempts: 1, Connect: time.Second, SYNs: 3}},
		{scan.Result{Target: 3, Outcome: scan.Connected, Attempts: 1, Connect: time.Second, SYNs: 1, Clock: scan.InfoClock},
			scan.Result{Target: 3, Outcome: scan.Connected, Attempts: 1, Connect: time.Second, SYNs: 1, Clock: scan.InfoClock}},
	} {
		got := c.result
		k.improve(&got)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("target %d (-want +got):\n%s", c.result.Target, diff)
		}
	}
}

func TestProgressSaysWhenItIsOver(t *testing.T) {
	for _, c := range []struct {
		at      scan.Progress
		elapsed time.Duration
		want    string
	}{
		{scan.Progress{}, 0, "0 of 2,000 tried, 0 ended, 0 pending"},
		{scan.Progress{Began: 500, Ended: 100}, time.Second, "500 of 2,000 tried, 100 ended, 400 pending, over in about 8s"},
		{scan.Progress{Began: 2000, Ended: 1999}, 3 * time.Second, "2,000 of 2,000 tried, 1,999 ended, 1 pending, over in about 2s"},
	} {
		if got := progressText(c.at, 2000, c.elapsed, 5*time.Second); got != c.want {
			t.Errorf("%q; want %q", got, c.want)
		}
	}
}
