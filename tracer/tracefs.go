package tracer

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

const tracefs = "/sys/kernel/tracing"

// withTracefs calls fn where classic tracepoints can be looked up. Where no tracefs is mounted, as in many
// containers and small guests, it is mounted for fn alone: in a mount namespace of the one thread that runs fn, so
// that the host never sees it, not even when we are killed.
func withTracefs(fn func()) error {
	if tracefsMounted() {
		fn()
		return nil
	}
	done := make(chan error)
	go func() {
		// Never unlocked: the thread dies with the goroutine, and its mount namespace with the thread.
		runtime.LockOSThread()
		err := mountTracefs()
		if err == nil {
			fn()
		}
		done <- err
	}()
	return <-done
}

func tracefsMounted() bool {
	for _, events := range []string{tracefs + "/events", "/sys/kernel/debug/tracing/events"} {
		if _, err := os.Stat(events); err == nil {
			return true
		}
	}
	return false
}

func mountTracefs() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace for tracefs: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts private: %w", err)
	}
	if err := unix.Mount("tracefs", tracefs, "tracefs", 0, ""); err != nil {
		return fmt.Errorf("mount tracefs on %s: %w", tracefs, err)
	}
	return nil
}
