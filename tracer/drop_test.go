package tracer_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
	"tcptrace/tracer"
	"tcptrace/tracer/event"
)

// A firewall rule drops TCP segments from or to a port.
type firewall struct {
	hook     *nftables.ChainHook
	priority *nftables.ChainPriority
	side     side16
	verdict  []expr.Any // nil: drop
}

// side16 is where in a TCP header a port is.
type side16 uint32

const (
	fromPort side16 = 0
	toPort   side16 = 2
)

// add puts the rule in force on h, for as long as that lives.
func (f firewall) add(t *testing.T, h *lab.Host, port uint16) {
	t.Helper()
	verdict := f.verdict
	if verdict == nil {
		verdict = []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}
	}
	err := h.Do(func() error {
		nft, err := nftables.New()
		if err != nil {
			return err
		}
		table := nft.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "test"})
		chain := nft.AddChain(&nftables.Chain{
			Name: "test", Table: table, Type: nftables.ChainTypeFilter, Hooknum: f.hook, Priority: f.priority,
		})
		nft.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: slices.Concat([]expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: uint32(f.side), Len: 2},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)},
		}, verdict)})
		return nft.Flush()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// newChain is a client and a server with a router between them.
func newChain(t *testing.T) *lab.Chain {
	t.Helper()
	network := new(lab.Network)
	t.Cleanup(func() { network.Close() })
	chain, err := lab.NewChain(t.Context(), network, 1)
	if errors.Is(err, unix.EPERM) && os.Getenv("TCPTRACE_KERNEL_TESTS") != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range network.Hosts() {
		noteBirth(h.Inode())
	}
	return chain
}

// families runs a test for both, each with the server's address in its chain.
func families(t *testing.T, test func(t *testing.T, server func(*lab.Chain) netip.Addr)) {
	t.Run("IPv4", func(t *testing.T) { test(t, func(c *lab.Chain) netip.Addr { return c.ServerV4 }) })
	t.Run("IPv6", func(t *testing.T) { test(t, func(c *lab.Chain) netip.Addr { return c.ServerV6 }) })
}

// begin calls connect without waiting, and keeps the socket until the test is over.
func begin(t *testing.T, h *lab.Host, to netip.AddrPort, options ...func(fd int) error) (fd int) {
	t.Helper()
	err := h.Do(func() (err error) {
		domain := unix.AF_INET
		if to.Addr().Is6() {
			domain = unix.AF_INET6
		}
		fd, err = unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		for _, set := range options {
			if err := set(fd); err != nil {
				return err
			}
		}
		if err := unix.Connect(fd, sockaddr(to)); !errors.Is(err, unix.EINPROGRESS) {
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// giveUp calls connect, and close at once.
func giveUp(t *testing.T, h *lab.Host, to netip.AddrPort) {
	t.Helper()
	err := socket(h, to, func(fd int) error {
		return errors.Join(unix.SetNonblock(fd, true), unix.Connect(fd, sockaddr(to)))
	})
	if !errors.Is(err, unix.EINPROGRESS) {
		t.Fatalf("connect: %v, want EINPROGRESS", err)
	}
}

// ofKind waits for an event of that kind in a namespace. A single one may be hidden in a softirq (see unseen), but a SYN is
// repeated, and its fate with it.
func (w *watcher) ofKind(t *testing.T, namespace uint32, kind event.Kind) event.Event {
	t.Helper()
	is := func(ev event.Event) bool { return ev.Kind == kind }
	events := w.until(t, namespace, kind.String(), func(events []event.Event) bool { return slices.ContainsFunc(events, is) })
	return events[slices.IndexFunc(events, is)]
}

func (w *watcher) partial(kind event.Kind) string {
	for _, h := range w.tracer.Hooks() {
		if h.Kind == kind {
			return h.Partial
		}
	}
	return ""
}

// hasReasons says whether the kernel says why it drops a packet.
func (w *watcher) hasReasons() bool { return !strings.Contains(w.partial(event.Drop), "no reasons") }

// seesTCP says whether drops within TCP are told from its having done with a segment.
func (w *watcher) seesTCP() bool {
	return !strings.Contains(w.partial(event.Drop), "what TCP itself refuses")
}

func (w *watcher) expectReason(t *testing.T, ev event.Event, want string) {
	t.Helper()
	if !w.hasReasons() {
		want = ""
	}
	if ev.Reason != want {
		t.Errorf("dropped for %q, want %q", ev.Reason, want)
	}
}

func TestWhatAFirewallDropsIsSeen(t *testing.T) {
	t.Parallel()
	router := func(c *lab.Chain) *lab.Host { return c.Routers[0] }
	client := func(c *lab.Chain) *lab.Host { return c.Client }
	server := func(c *lab.Chain) *lab.Host { return c.Server }
	for _, test := range []struct {
		name            string
		where           func(*lab.Chain) *lab.Host
		rule            firewall
		role            event.Role
		direction, hook string
		flags           string
	}{
		{
			"a SYN on output", client,
			firewall{nftables.ChainHookOutput, nftables.ChainPriorityFilter, toPort, nil},
			event.RoleClient, "out", "output", "SYN",
		},
		{
			"a SYN on its last hop", client,
			firewall{nftables.ChainHookPostrouting, nftables.ChainPriorityFilter, toPort, nil},
			event.RoleClient, "out", "postrouting", "SYN",
		},
		{
			"a SYN-ACK on input", client,
			firewall{nftables.ChainHookInput, nftables.ChainPriorityFilter, fromPort, nil},
			event.RoleClient, "in", "input", "SYN+ACK",
		},
		{
			"a SYN-ACK before it is routed", client,
			firewall{nftables.ChainHookPrerouting, nftables.ChainPriorityRaw, fromPort, nil},
			event.RoleClient, "in", "prerouting", "SYN+ACK",
		},
		{
			"a SYN that a router of this host forwards", router,
			firewall{nftables.ChainHookForward, nftables.ChainPriorityFilter, toPort, nil},
			event.RoleClient, "forward", "forward", "SYN",
		},
		{
			"a SYN at the server", server,
			firewall{nftables.ChainHookInput, nftables.ChainPriorityFilter, toPort, nil},
			event.RoleServer, "in", "input", "SYN",
		},
		{
			"a SYN-ACK at the server", server,
			firewall{nftables.ChainHookOutput, nftables.ChainPriorityFilter, fromPort, nil},
			event.RoleServer, "out", "output", "SYN+ACK",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			families(t, func(t *testing.T, address func(*lab.Chain) netip.Addr) {
				t.Parallel()
				w, chain := watch(t), newChain(t)
				to := netip.AddrPortFrom(address(chain), 80)
				if err := chain.Server.Listen(to); err != nil {
					t.Fatal(err)
				}
				place := test.where(chain)
				test.rule.add(t, place, to.Port())
				begin(t, chain.Client, to)
				ev := w.ofKind(t, place.Inode(), event.Drop)
				connect := w.ofKind(t, chain.Client.Inode(), event.Connect)
				w.expectReason(t, ev, "NETFILTER_DROP")
				if ev.Location != "nft_do_chain" && ev.Location != "nf_hook_slow" {
					t.Errorf("dropped in %q", ev.Location)
				}
				if ev.Role != test.role || ev.Direction != test.direction || ev.Hook != test.hook || ev.TCPFlags != test.flags {
					t.Errorf("%s %s at %s of the %s", ev.TCPFlags, ev.Direction, ev.Hook, ev.Role)
				}
				if own := ev.Conn == connect.Conn; own != (test.role == event.RoleClient) {
					t.Errorf("told of %s, the client is %s", ev.Conn, connect.Conn)
				}
				isn := ev.TCPSeq
				if strings.Contains(ev.TCPFlags, "ACK") {
					isn = ev.TCPAck - 1
				}
				if isn != connect.ISN || test.role == event.RoleServer && ev.PeerISN != connect.ISN {
					t.Errorf("of the connect with %x: %+v", connect.ISN, ev)
				}
				if ev.IfName != "eth0" || ev.Len != 0 || ev.Neighbour.IsValid() {
					t.Errorf("by %q, %d bytes, to %s", ev.IfName, ev.Len, ev.Neighbour)
				}
			})
		})
	}
}

// On loopback there is no early demultiplexing, and whatever is sent comes in at once.
func TestDropOnLoopbackBelongsToTheEndThatWasToGetIt(t *testing.T) {
	for name, test := range map[string]struct {
		side side16
		role event.Role
	}{
		"a SYN": {toPort, event.RoleServer}, "a SYN-ACK": {fromPort, event.RoleClient},
	} {
		t.Run(name, func(t *testing.T) {
			loopbacks(t, func(t *testing.T, address string) {
				w, h := watch(t), newHost(t)
				to := netip.AddrPortFrom(netip.MustParseAddr(address), 80)
				if err := h.Listen(to); err != nil {
					t.Fatal(err)
				}
				firewall{nftables.ChainHookInput, nftables.ChainPriorityFilter, test.side, nil}.add(t, h, to.Port())
				begin(t, h, to)
				if ev := w.ofKind(t, h.Inode(), event.Drop); ev.Role != test.role || ev.Direction != "in" || ev.IfName != "lo" {
					t.Errorf("%s %s of the %s, by %s", ev.TCPFlags, ev.Direction, ev.Role, ev.IfName)
				}
			})
		})
	}
}

func TestDataThatAFirewallDropsIsSeen(t *testing.T) {
	loopbacks(t, func(t *testing.T, address string) {
		w, h := watch(t), newHost(t)
		client, server := connect(t, h, netip.AddrPortFrom(netip.MustParseAddr(address), 0).String())
		port := netip.MustParseAddrPort(server.LocalAddr().String()).Port()
		firewall{nftables.ChainHookOutput, nftables.ChainPriorityFilter, toPort, nil}.add(t, h, port)
		if _, err := client.Write([]byte("twelve bytes")); err != nil {
			t.Fatal(err)
		}
		if ev := w.ofKind(t, h.Inode(), event.Drop); ev.Len != 12 || ev.Direction != "out" || ev.TCPFlags != "PSH+ACK" {
			t.Errorf("%s %s with %d bytes", ev.TCPFlags, ev.Direction, ev.Len)
		}
	})
}

// TestRouteBackElsewhereIsSeen has the server answer by another link than the one it was asked by, with strict rp_filter.
func TestRouteBackElsewhereIsSeen(t *testing.T) {
	t.Parallel()
	w, network := watch(t), new(lab.Network)
	t.Cleanup(func() { network.Close() })
	client, server := addHost(t, network), addHost(t, network)
	for _, link := range [][2]string{{"192.0.2.1/24", "192.0.2.10/24"}, {"198.51.100.1/24", "198.51.100.10/24"}} {
		err := network.Connect(t.Context(),
			lab.End{Host: client, Addrs: []netip.Prefix{netip.MustParsePrefix(link[0])}},
			lab.End{Host: server, Addrs: []netip.Prefix{netip.MustParsePrefix(link[1])}})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := client.Sysctl("net/ipv4/conf/eth1/rp_filter", "1"); err != nil {
		t.Fatal(err)
	}
	// Address resolution is subject to rp_filter, too.
	answerBy(t, server, "eth1", netip.MustParseAddr("192.0.2.1"), hardwareAddr(t, client, "eth1"))
	to := netip.MustParseAddrPort("192.0.2.10:80")
	if err := server.Listen(to); err != nil {
		t.Fatal(err)
	}
	begin(t, client, to)
	ev := w.ofKind(t, client.Inode(), event.Drop)
	w.expectReason(t, ev, "IP_RPFILTER")
	if ev.IfName != "eth1" || ev.TCPFlags != "SYN+ACK" || ev.Direction != "in" || ev.Hook != "prerouting" {
		t.Errorf("%s %s at %s by %s", ev.TCPFlags, ev.Direction, ev.Hook, ev.IfName)
	}
}

func addHost(t *testing.T, network *lab.Network) *lab.Host {
	t.Helper()
	h, err := network.AddHost("host")
	if errors.Is(err, unix.EPERM) && os.Getenv("TCPTRACE_KERNEL_TESTS") != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	noteBirth(h.Inode())
	return h
}

func hardwareAddr(t *testing.T, h *lab.Host, name string) (mac []byte) {
	t.Helper()
	err := h.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err == nil {
			mac = link.Attrs().HardwareAddr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return mac
}

// answerBy makes h reach addr through that interface.
func answerBy(t *testing.T, h *lab.Host, name string, addr netip.Addr, mac []byte) {
	t.Helper()
	err := h.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		neighbour := &netlink.Neigh{
			LinkIndex: link.Attrs().Index, IP: addr.AsSlice(), HardwareAddr: mac, State: netlink.NUD_PERMANENT,
		}
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: netlink.NewIPNet(addr.AsSlice()), Scope: netlink.SCOPE_LINK}
		return errors.Join(netlink.NeighAdd(neighbour), netlink.RouteAdd(route))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// newLonelyHost is on a link with nobody but a host without its addresses, and gives up on neighbours within a second.
func newLonelyHost(t *testing.T) *lab.Host {
	t.Helper()
	network := new(lab.Network)
	t.Cleanup(func() { network.Close() })
	h, other := addHost(t, network), addHost(t, network)
	err := network.Connect(t.Context(), lab.End{Host: h, Addrs: []netip.Prefix{
		netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("2001:db8::1/64"),
	}}, lab.End{Host: other})
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range []string{"ipv4", "ipv6"} {
		if err := h.Sysctl("net/"+family+"/neigh/eth0/retrans_time_ms", "200"); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func TestNeighbourThatDoesNotAnswerIsNamed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, to, gateway, want string }{
		{"the peer by IPv4", "192.0.2.3:80", "", "192.0.2.3"},
		{"the peer by IPv6", "[2001:db8::3]:80", "", "2001:db8::3"},
		{"a gateway by IPv4", "203.0.113.7:80", "192.0.2.3", "192.0.2.3"},
		{"a gateway by IPv6", "[2001:db8:77::7]:80", "2001:db8::3", "2001:db8::3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w, client := watch(t), newLonelyHost(t)
			to := netip.MustParseAddrPort(test.to)
			if test.gateway != "" {
				dst := netip.PrefixFrom(to.Addr(), to.Addr().BitLen())
				if err := client.AddRoute(dst, netip.MustParseAddr(test.gateway)); err != nil {
					t.Fatal(err)
				}
			}
			ev := w.ofTimer(t, client, to, event.Drop)
			if to.Addr().Is4() || ev.Reason != "NOT_SPECIFIED" { // ndisc_error_report gives none
				w.expectReason(t, ev, "NEIGH_FAILED")
			}
			if ev.Neighbour != netip.MustParseAddr(test.want) || ev.Direction != "out" || ev.TCPFlags != "SYN" {
				t.Errorf("%s %s, unanswered by %s", ev.TCPFlags, ev.Direction, ev.Neighbour)
			}
		})
	}
}

// ofTimer connects to where nobody is, and waits for what one timer makes of that. It may be hidden: then once more.
func (w *watcher) ofTimer(t *testing.T, h *lab.Host, to netip.AddrPort, kind event.Kind) event.Event {
	t.Helper()
	for take := 1; ; take++ {
		begin(t, h, to)
		over := time.Now().Add(3 * time.Second)
		wake := time.AfterFunc(time.Until(over)+time.Millisecond, w.more.Broadcast)
		defer wake.Stop()
		events := w.until(t, h.Inode(), kind.String(), func(events []event.Event) bool {
			return has(events, kind, event.RoleClient) || take < takes && time.Now().After(over)
		})
		if has(events, kind, event.RoleClient) {
			return events[slices.IndexFunc(events, func(ev event.Event) bool { return ev.Kind == kind })]
		}
		t.Logf("no %s was seen: once more", kind)
	}
}

// TestWhatComesAfterTheSocketIsGoneIsTold gives connects up at once, when the kernel has not yet found out. Each has a timer
// of its own, of which one may be hidden.
func TestWhatComesAfterTheSocketIsGoneIsTold(t *testing.T) {
	w, client := watch(t), newLonelyHost(t)
	for _, to := range []string{"192.0.2.3:80", "192.0.2.4:80", "192.0.2.5:80"} {
		giveUp(t, client, netip.MustParseAddrPort(to))
	}
	told := func(own []event.Event) bool {
		return has(own, event.Drop, event.RoleClient) && has(own, event.ICMPError, event.RoleClient)
	}
	events := w.until(t, client.Inode(), "a drop and an ICMP error", func(events []event.Event) bool {
		return slices.ContainsFunc(slices.Collect(maps.Values(connections(events))), told)
	})
	for _, own := range connections(events) {
		closing := slices.IndexFunc(own, func(ev event.Event) bool { return ev.Kind == event.Close })
		late := slices.IndexFunc(own, func(ev event.Event) bool { return ev.Kind == event.Drop || ev.Kind == event.ICMPError })
		if late >= 0 && late < closing {
			t.Errorf("these should come after the close:\n%s", describe(own))
		}
		for i, ev := range own {
			if int(ev.Nth) != i+1 {
				t.Errorf("event %d is number %d:\n%s", i+1, ev.Nth, describe(own))
			}
		}
	}
}

// inject sends a segment from h that is of no socket, with whatever there is for a checksum.
func inject(t *testing.T, h *lab.Host, from, to netip.AddrPort, times int) {
	t.Helper()
	segment := make([]byte, 20)
	binary.BigEndian.PutUint16(segment[0:], from.Port())
	binary.BigEndian.PutUint16(segment[2:], to.Port())
	segment[12], segment[13] = 5<<4, flagACK
	binary.BigEndian.PutUint16(segment[16:], 0xbad)
	sendRaw(t, h, to.Addr(), segment, times)
}

// sendRaw sends a whole segment from h, whose checksum is the caller's.
func sendRaw(t *testing.T, h *lab.Host, to netip.Addr, segment []byte, times int) {
	t.Helper()
	err := h.Do(func() error {
		domain := unix.AF_INET
		if to.Is6() {
			domain = unix.AF_INET6
		}
		fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		// It gets a copy of each, and one that it has no room for would be a drop, too.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20); err != nil {
			return err
		}
		for range times {
			if err := unix.Sendto(fd, segment, 0, sockaddr(netip.AddrPortFrom(to, 0))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// localEnds are the addresses of a connection made within h, the client's first.
func localEnds(t *testing.T, h *lab.Host, address string) (client, server netip.AddrPort) {
	t.Helper()
	c, _ := connect(t, h, netip.AddrPortFrom(netip.MustParseAddr(address), 0).String())
	return netip.MustParseAddrPort(c.LocalAddr().String()), netip.MustParseAddrPort(c.RemoteAddr().String())
}

func TestBadChecksumIsSeen(t *testing.T) {
	loopbacks(t, func(t *testing.T, address string) {
		w, h := watch(t), newHost(t)
		client, server := localEnds(t, h, address)
		for range takes {
			inject(t, h, server, client, 1)
		}
		if !w.seesTCP() {
			w.expectNone(t, h, event.Drop)
			return
		}
		ev := w.ofKind(t, h.Inode(), event.Drop)
		w.expectReason(t, ev, "TCP_CSUM")
		if ev.Role != event.RoleClient || ev.Direction != "in" || ev.TCPFlags != "ACK" {
			t.Errorf("%s %s of the %s", ev.TCPFlags, ev.Direction, ev.Role)
		}
	})
}

// expectNone ends a connect in h, and checks that nothing of that kind came before that.
func (w *watcher) expectNone(t *testing.T, h *lab.Host, kinds ...event.Kind) {
	t.Helper()
	const unused = "127.0.0.1:1"
	if _, err := dial(h, unused); !errors.Is(err, unix.ECONNREFUSED) {
		t.Fatalf("connect: %v, want ECONNREFUSED", err)
	}
	events := w.until(t, h.Inode(), "the last close", func(events []event.Event) bool {
		return slices.ContainsFunc(events, func(ev event.Event) bool {
			return ev.Kind == event.Close && ev.Remote.String() == unused
		})
	})
	for _, ev := range events {
		if slices.Contains(kinds, ev.Kind) {
			t.Errorf("%s: %s %s in %s (%s)", ev.Kind, ev.TCPFlags, ev.Direction, ev.Location, ev.Reason)
		}
	}
}

func TestFloodOfDropsIsCounted(t *testing.T) {
	const flood, most = 2000, 100
	w, h := watch(t), newHost(t)
	if !w.seesTCP() {
		client, server := connect(t, h, "127.0.0.1:0")
		closeInTurn(t, client, server)
		w.expectNone(t, h, event.Drop)
		return
	}
	client, server := localEnds(t, h, "127.0.0.1")
	inject(t, h, server, client, flood)
	told, counted := 0, 0
	// The next one after a second tells of those that were not told; a softirq may hide a few (see unseen).
	deadline := time.Now().Add(patience)
	for counted < flood*9/10 && time.Now().Before(deadline) {
		inject(t, h, server, client, 1)
		told, counted = 0, 0
		for _, ev := range w.until(t, h.Inode(), "drops", func([]event.Event) bool { return true }) {
			if ev.Kind == event.Drop {
				told++
				counted += max(ev.Count, 1)
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	if counted < flood*9/10 || told > most {
		t.Errorf("%d events tell of %d drops; %d segments were sent", told, counted, flood)
	}
}

func TestHealthyTrafficIsNotDropped(t *testing.T) {
	t.Parallel()
	for name, play := range map[string]func(*testing.T, *lab.Host){
		"an orderly end by IPv4":              orderly("127.0.0.1:0"),
		"an orderly end by IPv6":              orderly("[::1]:0"),
		"an abort":                            aborted("127.0.0.1:0"),
		"a refusal by IPv4":                   refused("127.0.0.1:1"),
		"a refusal by IPv6":                   refused("[::1]:1"),
		"keepalive in CLOSE_WAIT":             halfClosed("127.0.0.1:0"),
		"a shut window":                       windowShut("127.0.0.1:0"),
		"a transfer under tcpdump":            watchedTransfer,
		"data past a full raw socket by IPv4": pastARawSocket(unix.AF_INET, "127.0.0.1:0"),
		"data past a full raw socket by IPv6": pastARawSocket(unix.AF_INET6, "[::1]:0"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, h := watch(t), newHost(t)
			play(t, h)
			w.expectNone(t, h, event.Drop, event.ICMPError)
		})
	}
}

// watchedTransfer has a packet socket take a copy of everything, and drop most for want of room.
func watchedTransfer(t *testing.T, h *lab.Host) {
	capturePackets(t, h)
	client, server := connect(t, h, "127.0.0.1:0")
	go func() {
		client.Write(zeros[:4<<20])
		client.CloseWrite()
	}()
	buffer := make([]byte, 1<<16)
	for {
		if _, err := server.Read(buffer); err != nil {
			break
		}
	}
	server.Close()
}

// pastARawSocket has a raw socket take copies of a connection's segments until it has room for no more.
func pastARawSocket(family int, address string) func(*testing.T, *lab.Host) {
	return func(t *testing.T, h *lab.Host) {
		err := h.Do(func() error {
			fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
			if err != nil {
				return err
			}
			t.Cleanup(func() { unix.Close(fd) })
			return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 0) // the least that there is
		})
		if err != nil {
			t.Fatal(err)
		}
		client, server := connect(t, h, address)
		pass := make([]byte, 1000)
		for range 50 {
			if _, err := client.Write(pass); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(server, pass); err != nil {
				t.Fatal(err)
			}
		}
		if rawDrops(t, h, family) == 0 {
			t.Error("the raw socket had room for everything")
		}
	}
}

// rawDrops is what the raw sockets of a namespace had no room for.
func rawDrops(t *testing.T, h *lab.Host, family int) (drops int) {
	t.Helper()
	list := map[int]string{unix.AF_INET: "raw", unix.AF_INET6: "raw6"}[family]
	err := h.Do(func() error {
		sockets, err := os.ReadFile("/proc/thread-self/net/" + list)
		if err != nil {
			return err
		}
		lines := strings.Split(strings.TrimSpace(string(sockets)), "\n")
		for _, line := range lines[1:] {
			fields := strings.Fields(line)
			n, err := strconv.Atoi(fields[len(fields)-1])
			if err != nil {
				return err
			}
			drops += n
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return drops
}

// A SYN of somebody else's, for a port that is asked for, is told although no connection comes of it.
func TestDroppedSYNOfAStrangerIsToldWhereItsPortIsAskedFor(t *testing.T) {
	chain := newChain(t)
	w := newWatcher(open(t, tracer.Options{
		Kinds:  []event.Kind{event.Connect, event.SYNReceived, event.Drop},
		Filter: tracer.Filter{LocalPorts: []uint16{80}, NetNS: []uint32{chain.Server.Inode()}}, NewOnly: true,
	}))
	firewall{nftables.ChainHookInput, nftables.ChainPriorityFilter, toPort, nil}.add(t, chain.Server, 80)
	begin(t, chain.Client, netip.AddrPortFrom(chain.ServerV4, 80))
	ev := w.ofKind(t, chain.Server.Inode(), event.Drop)
	if ev.Role != event.RoleServer || ev.Local != netip.AddrPortFrom(chain.ServerV4, 80) || ev.PeerISN != ev.TCPSeq {
		t.Errorf("%s at %s, from %x: %s", ev.Role, ev.Local, ev.PeerISN, ev.TCPFlags)
	}
	// Its second try is the same connection's.
	events := w.until(t, chain.Server.Inode(), "the SYN again", func(events []event.Event) bool { return len(events) > 1 })
	if events[0].Conn != events[1].Conn || events[1].Nth != 2 {
		t.Errorf("two connections, or a gap:\n%s", describe(events))
	}
}

// Nothing else that is trouble is seen, so it is the drop that has the connection told.
func TestDropsAreTrouble(t *testing.T) {
	h := newHost(t)
	w := newWatcher(open(t, tracer.Options{
		Kinds: []event.Kind{event.Connect, event.Drop, event.Close}, Filter: onlyIn(h), OnlyTroubled: true, NewOnly: true,
	}))
	to := netip.MustParseAddrPort("127.0.0.1:80")
	if err := h.Listen(to); err != nil {
		t.Fatal(err)
	}
	firewall{nftables.ChainHookInput, nftables.ChainPriorityFilter, fromPort, nil}.add(t, h, to.Port())
	begin(t, h, to)
	w.ofKind(t, h.Inode(), event.Drop)
	own := of(t, w.until(t, h.Inode(), "the client", func(events []event.Event) bool {
		return has(events, event.Drop, event.RoleClient)
	}), event.RoleClient)
	if own[0].Kind != event.Connect || own[0].Nth != 1 {
		t.Errorf("it should begin with its connect:\n%s", describe(own))
	}
}

// So many connects fail meanwhile that the number of the one that nobody answers has to be looked for further away.
func TestForwardedSYNIsRecognisedAfterManyConnects(t *testing.T) {
	const meanwhile = 4000
	w, chain := watch(t), newChain(t)
	to := netip.AddrPortFrom(chain.ServerV4, 80)
	router := chain.Routers[0]
	firewall{nftables.ChainHookForward, nftables.ChainPriorityFilter, toPort, nil}.add(t, router, to.Port())
	begin(t, chain.Client, to)
	connect := w.ofKind(t, chain.Client.Inode(), event.Connect)
	if err := chain.Client.Do(func() error { return beRefused(meanwhile) }); err != nil {
		t.Fatal(err)
	}
	events := w.until(t, chain.Client.Inode(), "refused connects", func(events []event.Event) bool {
		return len(events) > meanwhile
	})
	then := events[len(events)-1].Mono
	w.until(t, router.Inode(), "a later copy of the SYN", func(events []event.Event) bool {
		return slices.ContainsFunc(events, func(ev event.Event) bool {
			return ev.Kind == event.Drop && ev.Conn == connect.Conn && ev.Mono > then
		})
	})
}

// beRefused has n connects refused, in the namespace of this thread.
func beRefused(n int) error {
	nobody := sockaddr(netip.MustParseAddrPort("127.0.0.1:1"))
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = unix.Connect(fd, nobody)
		unix.Close(fd)
		if !errors.Is(err, unix.ECONNREFUSED) {
			return fmt.Errorf("connect: %v, want ECONNREFUSED", err)
		}
	}
	return nil
}
