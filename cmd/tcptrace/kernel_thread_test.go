package main

import (
	"errors"
	"runtime"

	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
)

// onLostThread runs fn on a thread of its own, which ends with it, so that fn may leave it in any state.
func onLostThread(fn func() error) error {
	ended := make(chan error)
	go func() {
		runtime.LockOSThread() // without unlocking: the thread ends with the goroutine
		ended <- fn()
	}()
	return <-ended
}

// enterNetNS moves this thread into a host's network namespace.
func enterNetNS(h *lab.Host) error {
	return unix.Setns(h.NetNS().FD(), unix.CLONE_NEWNET)
}

// hideTypes makes this thread, and what is forked from it, see a kernel that does not describe its types.
func hideTypes() error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return err
	}
	return errors.Join(
		unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("none", "/sys/kernel/btf", "tmpfs", unix.MS_RDONLY, ""),
	)
}
