package lab

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"tcptrace/prober"
)

// namespace is a network namespace without a name: its handle, and what lives inside, are all that keeps it.
type namespace struct {
	inode  uint32
	handle *prober.NetNS

	mu     sync.RWMutex // held for writing to close the handle, for reading while a syscall needs it
	closed bool
}

// newNamespace makes a network namespace. No thread of the process stays in it.
func newNamespace() (*namespace, error) {
	home, err := prober.CurrentNetNS()
	if err != nil {
		return nil, err
	}
	defer home.Close()
	var handle *prober.NetNS
	// The thread ends with the function, so it may well leave home.
	err = home.Do(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		handle, err = prober.CurrentNetNS()
		return err
	})
	if err != nil {
		return nil, err
	}
	return &namespace{inode: handle.Inode(), handle: handle}, nil
}

// do runs fn on a thread that is in the namespace, and waits for it. As long as fn runs, the namespace cannot go.
func (ns *namespace) do(fn func() error) error {
	var own *prober.NetNS
	err := ns.withFD(func(fd int) (err error) {
		own, err = prober.NetNSFromFD(fd)
		return err
	})
	if err != nil {
		return err
	}
	defer own.Close()
	return own.Do(fn)
}

// withFD runs fn with the namespace's file descriptor, which stays open as long as fn runs. It is an error to ask after
// close.
func (ns *namespace) withFD(fn func(fd int) error) error {
	ns.mu.RLock()
	defer ns.mu.RUnlock()
	if ns.closed {
		return errClosed
	}
	return fn(ns.handle.FD())
}

// close gives the namespace up. The kernel removes it once nothing inside needs it any more. Closing again does nothing.
func (ns *namespace) close() error {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.closed {
		return nil
	}
	ns.closed = true
	return ns.handle.Close()
}
