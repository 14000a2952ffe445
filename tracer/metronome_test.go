package tracer_test

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/tracer/host"
)

// A metronome knows when the machine was late. One thread on each CPU asks to be woken up at short intervals: a timer
// of the kernel's may be late as well while nobody wakes it.
type metronome struct {
	stop chan struct{}
	all  sync.WaitGroup

	mu     sync.Mutex
	pauses map[int][]pause // by CPU
	err    error
}

// A pause is a time in which a thread was to run and did not, on CLOCK_MONOTONIC.
type pause struct{ from, to time.Duration }

// Between two beats, and what is no pause but the usual wait for a CPU.
const (
	beat     = 10 * time.Millisecond
	notAlone = 20 * time.Millisecond
)

// startMetronome begins to beat. Its pauses can be asked for once it was stopped.
func startMetronome(t *testing.T) *metronome {
	t.Helper()
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		t.Fatal(err)
	}
	m := &metronome{stop: make(chan struct{}), pauses: make(map[int][]pause)}
	for cpu := range len(allowed) * 64 {
		if allowed.IsSet(cpu) {
			m.all.Go(func() { m.beat(cpu) })
		}
	}
	return m
}

// beat runs on one CPU. Its thread ends with it, as nobody else may have it.
func (m *metronome) beat(cpu int) {
	runtime.LockOSThread()
	var only unix.CPUSet
	only.Set(cpu)
	if err := unix.SchedSetaffinity(0, &only); err != nil {
		m.note(func() { m.err = err })
		return
	}
	wait := unix.NsecToTimespec(beat.Nanoseconds())
	for last := host.Monotonic(); ; {
		select {
		case <-m.stop:
			return
		default:
		}
		// An interrupted sleep is a short one.
		_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &wait, nil)
		now := host.Monotonic()
		if due := last + beat; now-due > notAlone {
			m.note(func() { m.pauses[cpu] = append(m.pauses[cpu], pause{due, now}) })
		}
		last = now
	}
}

func (m *metronome) note(what func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	what()
}

func (m *metronome) end(t *testing.T) {
	t.Helper()
	close(m.stop)
	m.all.Wait()
	if m.err != nil {
		t.Fatal(m.err)
	}
}

// paused is for how long, within a span of time, nobody was woken up on the CPU where that was the longest.
func (m *metronome) paused(from, to time.Duration) time.Duration {
	var longest time.Duration
	for _, pauses := range m.pauses {
		var sum time.Duration
		for _, p := range pauses {
			sum += max(min(p.to, to)-max(p.from, from), 0)
		}
		longest = max(longest, sum)
	}
	return longest
}
