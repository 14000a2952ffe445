package tracer

import (
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"tcptrace/tracer/host"
)

// wallClock turns CLOCK_MONOTONIC into the time of day.
type wallClock struct {
	offset  time.Duration // what to add to get the time since the epoch
	checked time.Duration // CLOCK_MONOTONIC when offset was taken
}

// at follows steps of the host's clock within a second, without asking for it at every event.
func (c *wallClock) at(mono time.Duration) time.Time {
	if c.checked == 0 || mono-c.checked > time.Second {
		now := host.Monotonic()
		c.offset, c.checked = time.Duration(time.Now().UnixNano())-now, now
	}
	return time.Unix(0, int64(mono+c.offset))
}

// measureHZ counts the kernel's ticks for a moment, for kernels whose configuration cannot be read.
func measureHZ(program *ebpf.Program, clock *ebpf.Variable) (int, error) {
	var first, second bpfClockReading
	if err := readClock(program, clock, &first); err != nil {
		return 0, err
	}
	// Long enough to tell 250 from 300: 30 ticks against 36.
	time.Sleep(120 * time.Millisecond)
	if err := readClock(program, clock, &second); err != nil {
		return 0, err
	}
	return nearestHZ(second.Jiffies-first.Jiffies, time.Duration(second.TimeNs-first.TimeNs)), nil
}

func readClock(program *ebpf.Program, clock *ebpf.Variable, reading *bpfClockReading) error {
	if _, err := program.Run(&ebpf.RunOptions{}); err != nil {
		return fmt.Errorf("run read_clock: %w", err)
	}
	return clock.Get(reading)
}

// nearestHZ is the one of the kernel's choices (kernel/Kconfig.hz) that fits best.
func nearestHZ(ticks uint64, elapsed time.Duration) int {
	measured := float64(ticks) / elapsed.Seconds()
	best := 0
	for _, hz := range []int{100, 250, 300, 1000} {
		if best == 0 || abs(measured-float64(hz)) < abs(measured-float64(best)) {
			best = hz
		}
	}
	return best
}

func abs(x float64) float64 {
	if x < 0 {
		return -x
	}
	return x
}
