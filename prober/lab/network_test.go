package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"tcptrace/prober"
)

func TestConnectMakesBothFamiliesUsableAtOnce(t *testing.T) {
	needKernel(t)
	n := newNetwork(t)
	a, b := addHost(t, n, "a"), addHost(t, n, "b")
	must(t, n.Connect(testContext(t),
		End{a, prefixes("192.0.2.1/24", "2001:db8::1/64")}, End{b, prefixes("192.0.2.2/24", "2001:db8::2/64")}))
	for _, addr := range []string{"192.0.2.2:80", "[2001:db8::2]:80"} {
		remote := netip.MustParseAddrPort(addr)
		must(t, b.Listen(remote))
		if got, err := connect(a, remote, prober.Options{}); err != nil || got.err != nil || got.retries != 0 {
			t.Errorf("connect to %v: %+v, %v; want connected by the first SYN", remote, got, err)
		}
	}
}

// A neighbour's question for an address goes to a group, which the kernel joins some time after the address was added.
// Many networks at once keep it busy.
func TestConnectWaitsUntilNeighboursAreHeard(t *testing.T) {
	needKernel(t)
	var running sync.WaitGroup
	for range 40 {
		running.Go(func() {
			n := new(Network)
			defer n.Close()
			a, errA := n.AddHost("a")
			b, errB := n.AddHost("b")
			if err := errors.Join(errA, errB); err != nil {
				t.Error(err)
				return
			}
			err := n.Connect(testContext(t), End{a, prefixes("2001:db8::aa:aaaa/64")}, End{b, prefixes("2001:db8::bb:bbbb/64")})
			if err != nil {
				t.Error(err)
				return
			}
			for host, group := range map[*Host]string{a: "ff0200000000000000000001ffaaaaaa", b: "ff0200000000000000000001ffbbbbbb"} {
				err := host.Do(func() error {
					groups, err := os.ReadFile("/proc/thread-self/net/igmp6")
					if err == nil && !strings.Contains(string(groups), group) {
						t.Errorf("%s is not in its group %s yet:\n%s", host.Name, group, groups)
					}
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
}

func TestRouterForwardsBothFamilies(t *testing.T) {
	needKernel(t)
	n := newNetwork(t)
	client, router, server := addHost(t, n, "client"), addHost(t, n, "router"), addHost(t, n, "server")
	must(t, n.Connect(testContext(t),
		End{client, prefixes("192.0.2.2/24", "2001:db8:1::2/64")}, End{router, prefixes("192.0.2.1/24", "2001:db8:1::1/64")}))
	must(t, n.Connect(testContext(t),
		End{router, prefixes("198.51.100.1/24", "2001:db8:2::1/64")}, End{server, prefixes("198.51.100.2/24", "2001:db8:2::2/64")}))
	must(t, router.Forward())
	for _, route := range []struct {
		host     *Host
		dst, via string
	}{
		{client, "0.0.0.0/0", "192.0.2.1"}, {client, "::/0", "2001:db8:1::1"},
		{server, "192.0.2.0/24", "198.51.100.1"}, {server, "2001:db8:1::/64", "2001:db8:2::1"},
	} {
		must(t, route.host.AddRoute(netip.MustParsePrefix(route.dst), netip.MustParseAddr(route.via)))
	}
	dropped, err := router.DropForward(Drop{Port: 81})
	must(t, err)

	for _, addr := range []string{"198.51.100.2:80", "[2001:db8:2::2]:80"} {
		remote := netip.MustParseAddrPort(addr)
		must(t, server.Listen(remote))
		if got, err := connect(client, remote, prober.Options{}); err != nil || got.err != nil || got.retries != 0 {
			t.Errorf("connect to %v: %+v, %v; want connected by the first SYN", remote, got, err)
		}
	}
	if packets, err := dropped.Packets(); packets != 0 || err != nil {
		t.Errorf("the rule for another port dropped %d packets, %v; want none", packets, err)
	}
}

func TestChainReachesItsServerThroughEveryRouter(t *testing.T) {
	needKernel(t)
	for _, routers := range []int{1, 3} {
		c, err := NewChain(testContext(t), newNetwork(t), routers)
		must(t, err)
		if len(c.Routers) != routers {
			t.Errorf("%d routers, want %d", len(c.Routers), routers)
		}
		for _, addr := range []netip.Addr{c.ServerV4, c.ServerV6} {
			remote := netip.AddrPortFrom(addr, 80)
			must(t, c.Server.Listen(remote))
			if got, err := connect(c.Client, remote, prober.Options{}); err != nil || got.err != nil || got.retries != 0 {
				t.Errorf("connect to %v: %+v, %v; want connected by the first SYN", remote, got, err)
			}
		}
	}
	for _, routers := range []int{0, maxRouters + 1} {
		if _, err := NewChain(testContext(t), newNetwork(t), routers); err == nil {
			t.Errorf("a chain with %d routers is built", routers)
		}
	}
}

func TestRouterRejectsOnePort(t *testing.T) {
	needKernel(t)
	c, err := NewChain(testContext(t), newNetwork(t), 1)
	must(t, err)
	must(t, c.Routers[0].RejectForward(81))
	for _, addr := range []netip.Addr{c.ServerV4, c.ServerV6} {
		for port, fails := range map[uint16]bool{80: false, 81: true} {
			remote := netip.AddrPortFrom(addr, port)
			must(t, c.Server.Listen(remote))
			got, err := connect(c.Client, remote, prober.Options{SYNRetries: 1})
			must(t, err)
			if (got.err != nil) != fails {
				t.Errorf("connect to %v: %+v; want it to fail: %v", remote, got, fails)
			}
		}
	}
}

func TestListenOnlyCompletesHandshakesThatNobodyAccepts(t *testing.T) {
	needKernel(t)
	n := newNetwork(t)
	host := addHost(t, n, "host")
	local := netip.MustParseAddrPort("127.0.0.1:80")
	must(t, host.ListenOnly(local))
	for range 2 {
		if got, err := connect(host, local, prober.Options{}); err != nil || got.err != nil {
			t.Errorf("connect: %+v, %v; want connected", got, err)
		}
	}
}

func TestListenersSpeakPlainTCP(t *testing.T) {
	needKernel(t)
	host := addHost(t, newNetwork(t), "host")
	listener, err := host.listen(netip.MustParseAddrPort("127.0.0.1:80"), 0)
	must(t, err)
	defer listener.Close()
	raw, err := listener.SyscallConn()
	must(t, err)
	protocol := -1
	must(t, raw.Control(func(fd uintptr) { protocol, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PROTOCOL) }))
	if protocol != unix.IPPROTO_TCP || err != nil {
		t.Errorf("protocol %d, %v; want %d", protocol, err, unix.IPPROTO_TCP)
	}
}

func TestDropFirstSYNsDropsExactlyThese(t *testing.T) {
	needKernel(t)
	n := newNetwork(t)
	host := addHost(t, n, "host")
	local := netip.MustParseAddrPort("127.0.0.1:80")
	must(t, host.Listen(local))
	rule, err := host.DropInput(Drop{Port: 80, FirstSYNs: 1})
	must(t, err)

	for i, retries := range []int{1, 0, 0} {
		if got, err := connect(host, local, prober.Options{}); err != nil || got.err != nil || got.retries != retries {
			t.Errorf("connect %d: %+v, %v; want connected after %d retries", i, got, err, retries)
		}
	}
	if packets, err := rule.Packets(); packets != 1 || err != nil {
		t.Errorf("the rule dropped %d packets, %v; want 1", packets, err)
	}
}

func TestSysctlIsSetInTheHostAlone(t *testing.T) {
	needKernel(t)
	const name, file = "net/ipv4/tcp_syn_retries", "/proc/sys/net/ipv4/tcp_syn_retries"
	before, err := os.ReadFile(file)
	must(t, err)
	n := newNetwork(t)
	host, other := addHost(t, n, "host"), addHost(t, n, "other")
	must(t, host.Sysctl(name, "3"))

	read := func(h *Host) (value string) {
		must(t, h.Do(func() error {
			content, err := os.ReadFile(file)
			value = strings.TrimSpace(string(content))
			return err
		}))
		return value
	}
	if got := read(host); got != "3" {
		t.Errorf("on the host it is %s, want 3", got)
	}
	if got := read(other); got != "6" {
		t.Errorf("on another host it is %s, want the kernel's 6", got)
	}
	if after, err := os.ReadFile(file); err != nil || string(after) != string(before) {
		t.Errorf("outside it went from %s to %s, %v", before, after, err)
	}
}

func TestSysctlRefusesWhatIsNotTheNamespacesOwn(t *testing.T) {
	var host Host // refused before anything is done
	for _, name := range []string{
		"kernel/hostname", "net/../kernel/hostname", "/net/ipv4/ip_forward", "net", "", "net//ipv4/ip_forward",
	} {
		if err := host.Sysctl(name, "1"); err == nil || !strings.Contains(err.Error(), "not a sysctl of a network namespace") {
			t.Errorf("Sysctl(%q): %v; want a refusal", name, err)
		}
	}
}

func TestSysctlThatTheKernelDoesNotHave(t *testing.T) {
	needKernel(t)
	host := addHost(t, newNetwork(t), "host")
	if err := host.Sysctl("net/ipv4/tcp_no_such_thing", "1"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v; want an error that is os.ErrNotExist", err)
	}
}

func TestDoRunsInTheHostAndLeavesNoThreadThere(t *testing.T) {
	needKernel(t)
	host := addHost(t, newNetwork(t), "host")
	wantErr := errors.New("the function's own error")
	err := host.Do(func() error {
		var stat unix.Stat_t
		if err := unix.Stat("/proc/thread-self/ns/net", &stat); err != nil {
			return err
		}
		if got := uint32(stat.Ino); got != host.Inode() {
			t.Errorf("ran in namespace %d, want %d", got, host.Inode())
		}
		return wantErr
	})
	if err != wantErr {
		t.Errorf("Do returned %v, want %v", err, wantErr)
	}
	want := []string{fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), host.NetNS().FD())}
	if diff := cmp.Diff(want, awaitUsers(t, host.Inode(), len(want))); diff != "" {
		t.Errorf("what keeps the namespace (-want +got):\n%s", diff)
	}
}

func TestWaitForALinkEndsWithItsContext(t *testing.T) {
	needKernel(t)
	n := newNetwork(t)
	a := addHost(t, n, "a")
	must(t, a.addVeth("eth0", addHost(t, n, "b"), "eth0"))
	must(t, a.setUp("eth0")) // without the other end it never gets a carrier
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(nil)
	if err := a.awaitUp(ctx, "eth0"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v; want an error that is context.Canceled", err)
	}
}

func TestCloseTakesTheNamespacesDown(t *testing.T) {
	needKernel(t)
	n := newNetwork(t)
	a, b := addHost(t, n, "a"), addHost(t, n, "b")
	must(t, n.Connect(testContext(t), End{a, prefixes("192.0.2.1/24")}, End{b, prefixes("192.0.2.2/24")}))
	remote := netip.MustParseAddrPort("192.0.2.2:80")
	must(t, b.Listen(remote))
	must(t, b.ListenOnly(netip.MustParseAddrPort("192.0.2.2:81")))
	must(t, b.ServeDNS(netip.MustParseAddrPort("192.0.2.2:53"), nil))
	_, err := b.DropInput(Drop{Port: 82})
	must(t, err)
	if got, err := connect(a, remote, prober.Options{}); err != nil || got.err != nil {
		t.Fatalf("connect: %+v, %v; want connected", got, err)
	}
	witnesses := []*witness{watchNamespace(t, a.NetNS().FD()), watchNamespace(t, b.NetNS().FD())}

	must(t, n.Close())
	for _, w := range witnesses {
		w.awaitEnd(t)
	}
	for _, host := range []*Host{a, b} {
		if found := awaitUsers(t, host.Inode(), 0); len(found) != 0 {
			t.Errorf("%s is still kept by %v", host.Name, found)
		}
		if fd := host.NetNS().FD(); fd != -1 {
			t.Errorf("%s still has file descriptor %d", host.Name, fd)
		}
	}
}

func TestClosedNetworkRefusesWork(t *testing.T) {
	needKernel(t)
	n := new(Network)
	host := addHost(t, n, "host")
	must(t, n.Close())
	must(t, n.Close())
	_, addErr := n.AddHost("late")
	_, dropErr := host.DropInput(Drop{})
	for name, err := range map[string]error{
		"AddHost":   addErr,
		"DropInput": dropErr,
		"Do":        host.Do(func() error { t.Error("Do ran its function"); return nil }),
		"Listen":    host.Listen(netip.MustParseAddrPort("127.0.0.1:80")),
		"AddRoute":  host.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("127.0.0.1")),
	} {
		if !errors.Is(err, errClosed) {
			t.Errorf("%s: %v; want %v", name, err, errClosed)
		}
	}
}

func TestLabsLeaveTheMachinesNamespaceAlone(t *testing.T) {
	needKernel(t)
	// A module that a firewall rule loads brings sysctls of its own, for every namespace.
	_, err := addHost(t, newNetwork(t), "host").ForgetIdle(time.Second, ForgetWithReset)
	must(t, err)
	before := machine(t)
	// Where this lab can be had at all, the machine is at its disposal.
	labs := slices.DeleteFunc(Labs(), func(l Lab) bool { return l.Name == "conntrack-full" })
	if testing.Short() {
		labs = labs[:3]
	}
	for _, l := range labs {
		n, scene, err := Build(testContext(t), l)
		if _, missing := errors.AsType[*NotHereError](err); missing && l.Needs != "" {
			continue
		}
		must(t, err)
		_, err = scene.Client.DropInput(Drop{Port: 1})
		must(t, err)
		if diff := cmp.Diff(before, machine(t)); diff != "" {
			t.Errorf("%s changed (-before +while built):\n%s", l.Name, diff)
		}
		must(t, n.Close())
	}
	if diff := cmp.Diff(before, machine(t)); diff != "" {
		t.Errorf("changed (-before +after):\n%s", diff)
	}
}

// state is what a lab could spoil in the namespace of this process.
type state struct {
	Links, Tables []string
	Sysctls       map[string]string
}

func machine(t *testing.T) state {
	t.Helper()
	s := state{Sysctls: make(map[string]string)}
	links, err := netlink.LinkList()
	must(t, err)
	for _, link := range links {
		s.Links = append(s.Links, link.Attrs().Name)
	}
	here, err := netns.Get()
	must(t, err)
	defer here.Close()
	nft, err := nftables.New(nftables.WithNetNSFd(int(here)))
	must(t, err)
	tables, err := nft.ListTables()
	must(t, err)
	for _, table := range tables {
		s.Tables = append(s.Tables, table.Name)
	}
	must(t, filepath.WalkDir("/proc/sys/net", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasSuffix(path, "_count") {
			return err // a count is no setting
		}
		// Some can only be written.
		if content, err := os.ReadFile(path); err == nil {
			s.Sysctls[path] = string(content)
		}
		return nil
	}))
	return s
}
