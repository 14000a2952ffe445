package prober

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tcptrace/tracer/event"
)

// patience is how long a test waits for what should come at once.
const patience = 20 * time.Second

// newTestNetNS makes an unnamed network namespace with its loopback up, and removes it after the test. Without the
// privilege to do so the test is skipped, and fails where kernel tests are demanded.
func newTestNetNS(t *testing.T) *NetNS {
	t.Helper()
	var ns *NetNS
	err := onThrowawayThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		ns, err = CurrentNetNS()
		return err
	})
	if errors.Is(err, unix.EPERM) && os.Getenv("TCPTRACE_KERNEL_TESTS") != "1" {
		t.Skip("making a network namespace needs CAP_SYS_ADMIN")
	}
	if err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	t.Cleanup(func() { ns.Close() })
	inside(t, ns, func() error { return setUp("lo") })
	return ns
}

// inside runs fn in ns and fails the test with its error.
func inside(t *testing.T, ns *NetNS, fn func() error) {
	t.Helper()
	if err := ns.Do(fn); err != nil {
		t.Fatal(err)
	}
}

// setUp sets an interface of this thread's namespace up.
func setUp(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

// link joins two namespaces by a veth pair: name in a with the addresses as, and "peer" in b with bs.
func link(t *testing.T, a *NetNS, name string, as []string, b *NetNS, bs []string) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	inside(t, a, func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "peer", PeerNamespace: netlink.NsFd(b.FD())})
	})
	inside(t, b, func() error { return configure("peer", bs) })
	inside(t, a, func() error { return configure(name, as) })
}

// configure gives an interface its addresses, usable at once, and sets it up.
func configure(name string, addrs []string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	for _, text := range addrs {
		addr, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(link, addr); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(link)
}

// addRoute adds a route of the kind, such as unix.RTN_PROHIBIT, or by via.
func addRoute(t *testing.T, ns *NetNS, dst string, kind int, via netip.Addr) {
	t.Helper()
	prefix, err := netlink.ParseIPNet(dst)
	if err != nil {
		t.Fatal(err)
	}
	route := &netlink.Route{Dst: prefix, Type: kind}
	if via.IsValid() {
		route.Gw = via.AsSlice()
	}
	inside(t, ns, func() error { return netlink.RouteAdd(route) })
}

// sysctl writes a sysctl of the namespace.
func sysctl(t *testing.T, ns *NetNS, path, value string) {
	t.Helper()
	inside(t, ns, func() error { return os.WriteFile("/proc/sys/net/"+path, []byte(value), 0) })
}

// onTCP makes the namespace do what exprs say with every TCP packet at a hook.
func onTCP(t *testing.T, ns *NetNS, hook *nftables.ChainHook, exprs ...expr.Any) {
	t.Helper()
	conn, err := nftables.New(nftables.WithNetNSFd(ns.FD()))
	if err != nil {
		t.Fatal(err)
	}
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "test"})
	chain := conn.AddChain(&nftables.Chain{Name: "test", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: hook, Priority: nftables.ChainPriorityFilter})
	match := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
	}
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(match, exprs...)})
	if err := conn.Flush(); err != nil {
		t.Fatalf("add an nftables rule: %v", err)
	}
}

// drop is what a firewall does that answers nothing.
var drop = &expr.Verdict{Kind: expr.VerdictDrop}

// listen serves every connection at addr in the namespace with handle until the test ends.
func listen(t *testing.T, ns *NetNS, addr string, handle func(*net.TCPConn)) netip.AddrPort {
	t.Helper()
	return listenWith(t, net.ListenConfig{}, ns, addr, handle)
}

// listenFastOpen is listen for a server that takes data with the SYN.
func listenFastOpen(t *testing.T, ns *NetNS, handle func(*net.TCPConn)) netip.AddrPort {
	t.Helper()
	const pending = 16
	config := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) (err error) {
		controlErr := conn.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_TCP, unix.TCP_FASTOPEN, pending)
		})
		return cmp.Or(controlErr, err)
	}}
	return listenWith(t, config, ns, "127.0.0.1:0", handle)
}

func listenWith(t *testing.T, config net.ListenConfig, ns *NetNS, addr string, handle func(*net.TCPConn)) netip.AddrPort {
	t.Helper()
	var listener net.Listener
	inside(t, ns, func() (err error) {
		listener, err = config.Listen(t.Context(), "tcp", addr)
		return err
	})
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				handle(conn.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		running.Wait()
	})
	return listener.Addr().(*net.TCPAddr).AddrPort()
}

// tcpExt reads one of the namespace's TcpExt counters.
func tcpExt(t *testing.T, ns *NetNS, counter string) int {
	t.Helper()
	var table []byte
	inside(t, ns, func() (err error) {
		table, err = os.ReadFile("/proc/thread-self/net/netstat")
		return err
	})
	names, values, _ := strings.Cut(string(table), "\n")
	i := slices.Index(strings.Fields(names), counter)
	if i < 0 {
		t.Fatalf("no counter %s", counter)
	}
	n, err := strconv.Atoi(strings.Fields(values)[i])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// untilClosed waits for the peer to close.
func untilClosed(conn *net.TCPConn) {
	var buf [512]byte
	for {
		if _, err := conn.Read(buf[:]); err != nil {
			return
		}
	}
}

// connect is Connect that must at least have tried.
func connect(t *testing.T, remote netip.AddrPort, opts Options) *event.Probe {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	p, err := Connect(ctx, remote.String(), remote, opts, nil)
	if err != nil {
		t.Fatalf("Connect(%v) did not try: %v", remote, err)
	}
	return p
}

// unused is a port of the namespace's loopback where nothing listens.
func unused(t *testing.T, ns *NetNS, host string) netip.AddrPort {
	t.Helper()
	var addr netip.AddrPort
	inside(t, ns, func() error {
		listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return err
		}
		addr = listener.Addr().(*net.TCPAddr).AddrPort()
		return listener.Close()
	})
	return addr
}
