package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tcptrace/prober"
)

// needKernel skips a test that needs privilege where there is none, unless the kernel tests are demanded.
func needKernel(t *testing.T) {
	t.Helper()
	ns, err := newNamespace()
	if err == nil {
		ns.close()
		return
	}
	if errors.Is(err, unix.EPERM) && os.Getenv("TCPTRACE_KERNEL_TESTS") != "1" {
		t.Skipf("needs CAP_SYS_ADMIN: %v", err)
	}
	t.Fatal(err)
}

// testContext ends long after everything in a test should have, on an emulated CPU that others share, too.
func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func addHost(t *testing.T, n *Network, name string) *Host {
	t.Helper()
	host, err := n.AddHost(name)
	must(t, err)
	return host
}

// newNetwork is a network that is closed with the test.
func newNetwork(t *testing.T) *Network {
	t.Helper()
	n := new(Network)
	t.Cleanup(func() { must(t, n.Close()) })
	return n
}

func prefixes(ss ...string) []netip.Prefix {
	ps := make([]netip.Prefix, len(ss))
	for i, s := range ss {
		ps[i] = netip.MustParsePrefix(s)
	}
	return ps
}

// outcome is how one connect went.
type outcome struct {
	err     error // nil or a unix.Errno
	took    time.Duration
	retries int // SYNs that were sent again
}

// connect makes a blocking connect with a plain socket in the host's namespace.
func connect(host *Host, remote netip.AddrPort, options prober.Options) (o outcome, err error) {
	err = host.Do(func() error {
		fd, err := unix.Socket(family(remote.Addr()), unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		defer unix.Close(fd)
		if options.SYNRetries != 0 {
			if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_SYNCNT, options.SYNRetries); err != nil {
				return fmt.Errorf("TCP_SYNCNT: %w", err)
			}
		}
		start := time.Now()
		o.err = retryConnect(fd, sockaddr(remote))
		o.took = time.Since(start)
		if o.err == nil {
			info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
			if err != nil {
				return fmt.Errorf("TCP_INFO: %w", err)
			}
			o.retries = int(info.Total_retrans)
		}
		return nil
	})
	return o, err
}

// retryConnect goes on when a signal interrupts it: an interrupted connect goes on by itself, and is waited for.
func retryConnect(fd int, to unix.Sockaddr) error {
	err := unix.Connect(fd, to)
	for err == unix.EINTR || err == unix.EALREADY {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		if _, err = unix.Poll(fds, -1); err != nil {
			continue
		}
		errno, sockoptErr := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if sockoptErr != nil {
			return sockoptErr
		}
		if errno == 0 {
			return nil
		}
		return unix.Errno(errno)
	}
	return err
}

func family(addr netip.Addr) int {
	if addr.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func sockaddr(addr netip.AddrPort) unix.Sockaddr {
	if addr.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())}
	}
	return &unix.SockaddrInet6{Addr: addr.Addr().As16(), Port: int(addr.Port())}
}

// witness tells when the kernel has really taken a namespace down: a veth pair goes with the namespace of either end, and
// the witness has the other end.
type witness struct {
	host *Host
	name string
}

// watchNamespace puts one end of a veth pair into the namespace behind fd.
func watchNamespace(t *testing.T, fd int) *witness {
	t.Helper()
	w := &witness{host: addHost(t, newNetwork(t), "witness"), name: "witness"}
	must(t, w.host.netlink(func(nl *netlink.Handle) error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = w.name
		return nl.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "watched", PeerNamespace: netlink.NsFd(fd)})
	}))
	return w
}

// awaitEnd waits until the namespace is gone.
func (w *witness) awaitEnd(t *testing.T) {
	t.Helper()
	changes, err := w.host.changes(unix.RTMGRP_LINK)
	must(t, err)
	defer changes.Close()
	must(t, changes.SetReadDeadline(time.Now().Add(20*time.Second)))
	for {
		_, err := w.host.isUp(w.name)
		var gone netlink.LinkNotFoundError
		if errors.As(err, &gone) {
			return
		}
		must(t, err)
		if _, err := changes.Receive(); err != nil {
			t.Fatalf("the namespace is still there: %v", err)
		}
	}
}

// users are the processes' threads and file descriptors that keep a network namespace.
func users(t *testing.T, inode uint32) []string {
	t.Helper()
	var found []string
	want := fmt.Sprintf("net:[%d]", inode)
	for _, pattern := range []string{"/proc/[0-9]*/task/[0-9]*/ns/net", "/proc/[0-9]*/fd/[0-9]*"} {
		links, err := filepath.Glob(pattern)
		must(t, err)
		for _, link := range links {
			// A process may end while it is looked at.
			if target, err := os.Readlink(link); err == nil && target == want {
				found = append(found, link)
			}
		}
	}
	return found
}

// awaitUsers are the users, once they are no more than n: a thread that has done its work may take a moment to end.
func awaitUsers(t *testing.T, inode uint32, n int) []string {
	t.Helper()
	found := users(t, inode)
	for deadline := time.Now().Add(5 * time.Second); len(found) > n && time.Now().Before(deadline); {
		found = users(t, inode)
	}
	return found
}
