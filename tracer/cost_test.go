package tracer_test

import (
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"
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

// A trace begins in some 20 times the time in which the kernel's types are read, which is a part of it (0.15 s here, README,
// Cost). The two are measured beside each other, so that the comparison holds on any machine; what is tolerated here is ten
// times as much.
func TestTracingBeginsSoon(t *testing.T) {
	const (
		rounds = 3
		usual  = 20
	)
	var reading, opening []time.Duration
	for range rounds {
		began := time.Now()
		if _, err := btf.LoadKernelSpec(); err != nil {
			t.Fatal(err)
		}
		reading = append(reading, time.Since(began))
		began = time.Now()
		tr := open(t, tracer.Options{Basis: tracer.NewBasis(""), MaxConnections: 65536})
		opening = append(opening, time.Since(began))
		if err := tr.Close(); err != nil {
			t.Fatal(err)
		}
	}
	read, opened := slices.Min(reading), slices.Min(opening)
	if opened > 10*usual*read {
		t.Errorf("a trace takes %v to begin, the kernel's types %v to read", opened, read)
	}
	t.Logf("a trace begins in %v, the kernel's types are read in %v", opened, read)
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
