package tracer_test

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
	"tcptrace/tracer"
)

// Being watched takes a connection about half of what it takes anyway (README, Cost). That is measured by CPU time, and
// beside the same connections untraced, so that it holds on any machine; what is tolerated here is ten times as much.
func TestWatchingCostsConnectionsLittle(t *testing.T) {
	const (
		connections = 500
		rounds      = 3
		usual       = 0.5
	)
	h := newHost(t)
	var untraced, traced []time.Duration
	for range rounds {
		untraced = append(untraced, cpuOf(t, h, connections))
		tr := open(t, tracer.Options{NewOnly: true})
		traced = append(traced, cpuOf(t, h, connections))
		if err := tr.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// What else this process and the machine do only adds to it.
	without, with := slices.Min(untraced), slices.Min(traced)
	if with > without+time.Duration(10*usual*float64(without)) {
		t.Errorf("%d connections take %v of CPU time untraced, %v traced", connections, without, with)
	}
	t.Logf("%v a connection untraced, %v traced", without/connections, with/connections)
}

// cpuOf is what n connections take this process, with both ends and the softirqs on top of them.
func cpuOf(t *testing.T, h *lab.Host, n int) time.Duration {
	t.Helper()
	before := processTime(t)
	connectAndClose(t, h, n)
	return processTime(t) - before
}

func processTime(t *testing.T) time.Duration {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}
