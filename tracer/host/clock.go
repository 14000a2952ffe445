package host

import (
	"time"

	"golang.org/x/sys/unix"
)

// Monotonic is CLOCK_MONOTONIC, the clock that events carry: bpf_ktime_get_ns reads it too.
func Monotonic() time.Duration {
	var now unix.Timespec
	// It can fail only for a clock that does not exist.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return time.Duration(now.Nano())
}
