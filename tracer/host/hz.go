package host

import (
	"bytes"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// HZ is how many ticks a second the running kernel's timers have (CONFIG_HZ).
//
// The kernel says so to everybody, and exactly: the coarse clocks advance once a tick, and their resolution is TICK_NSEC,
// a second divided by HZ and rounded (posix_get_coarse_res in kernel/time/posix-timers.c). Counting ticks for a while
// would not do, as a virtual machine gets them late and several at a time.
func HZ() (int, error) {
	var tick unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &tick); err != nil {
		return 0, fmt.Errorf("ask for the length of a tick: %w", err)
	}
	return ticksPerSecond(time.Duration(tick.Nano()))
}

func ticksPerSecond(tick time.Duration) (int, error) {
	if tick <= 0 || tick > time.Second {
		return 0, fmt.Errorf("the kernel says that a tick takes %s", tick)
	}
	return int((time.Second + tick/2) / tick), nil
}

// Release is the running kernel's release, as uname -r has it.
func Release() (string, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "", fmt.Errorf("ask for the kernel's release: %w", err)
	}
	release, _, _ := bytes.Cut(name.Release[:], []byte{0})
	return string(release), nil
}
