package tracer_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
	"tcptrace/tracer/event"
)

// A scene is traffic that has been made, in a network namespace of its own.
type scene struct {
	name      string
	namespace uint32
	over      func([]event.Event) bool
}

// A script makes traffic within a host.
type script struct {
	name string
	play func(t *testing.T, h *lab.Host)
	over func([]event.Event) bool // nothing comes after that
}

// scripts show, together, every kind of event.
var scripts = []script{
	{"no answer", unanswered, closed(1)},
	{"a SYN retry refused by this host", retryRefusedHere, closed(1)},
	{"a SYN-ACK sent again", unacknowledged, func(events []event.Event) bool {
		return closed(1)(events) && has(events, event.SYNACKRetransmit, event.RoleServer)
	}},
	{"an orderly end by IPv4", orderly("127.0.0.1:0"), closed(2)},
	{"an orderly end by IPv6", orderly("[::1]:0"), closed(2)},
	{"an abort by IPv4", aborted("127.0.0.1:0"), closed(2)},
	{"an abort by IPv6", aborted("[::1]:0"), closed(2)},
	{"a refusal by IPv4", refused("127.0.0.1:1"), closed(1)},
	{"a refusal by IPv6", refused("[::1]:1"), closed(1)},
	{"a rejection by IPv4", rejected("127.0.0.1:80"), rejectionTold},
	{"a rejection by IPv6", rejected("[::1]:80"), rejectionTold},
	{"no route by IPv4", noRoute("192.0.2.10:80"), closedTo(80)},
	{"no route by IPv6", noRoute("[2001:db8::10]:80"), closedTo(80)},
	{"no free port", noFreePort, closed(3)},
	{"keepalive by IPv4", keptAlive("127.0.0.1:0"), closed(2)},
	{"keepalive by IPv6", keptAlive("[::1]:0"), closed(2)},
	{"keepalive in CLOSE_WAIT", halfClosed("127.0.0.1:0"), closed(2)},
	{"a keepalive probe answered by a RST", forgottenByPeer, closed(2)},
	{"a shut window by IPv4", windowShut("127.0.0.1:0"), closed(2)},
	{"a shut window by IPv6", windowShut("[::1]:0"), closed(2)},
	{"data lost by IPv4", dataLost("127.0.0.1:0"), closed(2)},
	{"data lost by IPv6", dataLost("[::1]:0"), closed(2)},
	{"a retransmission refused by this host", retransmissionsRefusedHere, closed(2)},
	{"a lossy transfer", lossyTransfer, closed(2)},
	{"options set later", optionsSetLater, closed(2)},
	{"a keepalive probe refused by this host", probeRefusedHere, closed(2)},
	{"a SYN refused by IPv4", synRefused("127.0.0.1:80"), clientsAndServersClosed(2)},
	{"a SYN refused by IPv6", synRefused("[::1]:80"), clientsAndServersClosed(2)},
	{"a final ACK refused by IPv4", finalACKRefused("127.0.0.1:80"), clientsAndServersClosed(4)},
	{"a final ACK refused by IPv6", finalACKRefused("[::1]:80"), clientsAndServersClosed(4)},
	{"SYN cookies by IPv4", cookiesSent("127.0.0.1:80"), clientsAndServersClosed(4)},
	{"SYN cookies by IPv6", cookiesSent("[::1]:80"), clientsAndServersClosed(4)},
	{"a SYN queue full", synQueueFull, closed(4)},
	{"a final ACK lost by IPv4", finalACKLost("127.0.0.1:80"), requestExpired},
	{"a final ACK lost by IPv6", finalACKLost("[::1]:80"), requestExpired},
}

// makeTraffic plays scripts side by side: some wait for the kernel's timers.
func makeTraffic(t *testing.T, scripts []script) []scene {
	t.Helper()
	scenes := make([]scene, len(scripts))
	ok := t.Run("make", func(together *testing.T) {
		for i, script := range scripts {
			h := newHost(t) // which outlives the script, for what comes after it
			scenes[i] = scene{script.name, h.Inode(), script.over}
			together.Run(script.name, func(t *testing.T) {
				t.Parallel()
				script.play(t, h)
			})
		}
	})
	if !ok {
		t.FailNow()
	}
	return scenes
}

func requestExpired(events []event.Event) bool {
	return closed(1)(events) && has(events, event.SYNACKTimeout, event.RoleServer)
}

func closedTo(port uint16) func([]event.Event) bool {
	return func(events []event.Event) bool {
		return slices.ContainsFunc(events, func(ev event.Event) bool {
			return ev.Kind == event.Close && ev.Remote.Port() == port
		})
	}
}

// connect makes a connection within h, and accepts it.
func connect(t *testing.T, h *lab.Host, address string) (client, server *net.TCPConn) {
	t.Helper()
	l := listen(t, h, address)
	c, err := dial(h, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s := accept(t, l)
	t.Cleanup(func() { s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// closeInTurn ends a connection by a FIN from the client, answered by one from the server.
func closeInTurn(t *testing.T, client, server *net.TCPConn) {
	t.Helper()
	if err := client.CloseWrite(); err != nil {
		t.Error(err)
	}
	if _, err := io.Copy(io.Discard, server); err != nil {
		t.Error(err)
	}
	server.Close()
	if _, err := io.Copy(io.Discard, client); err != nil {
		t.Error(err)
	}
	client.Close()
}

func orderly(address string) func(*testing.T, *lab.Host) {
	return func(t *testing.T, h *lab.Host) {
		client, server := connect(t, h, address)
		closeInTurn(t, client, server)
	}
}

// aborted ends with a RST from the server.
func aborted(address string) func(*testing.T, *lab.Host) {
	return func(t *testing.T, h *lab.Host) {
		client, server := connect(t, h, address)
		if err := server.SetLinger(0); err != nil {
			t.Fatal(err)
		}
		server.Close()
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("the client reads: %v, want ECONNRESET", err)
		}
		client.Close()
	}
}

func refused(address string) func(*testing.T, *lab.Host) {
	return func(t *testing.T, h *lab.Host) {
		if _, err := dial(h, address); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("connect: %v, want ECONNREFUSED", err)
		}
	}
}

// rejected is answered by an ICMP error from this host's own firewall, which drops the SYN as well.
func rejected(address string) func(*testing.T, *lab.Host) {
	return func(t *testing.T, h *lab.Host) {
		to := netip.MustParseAddrPort(address)
		firewall{nftables.ChainHookInput, nftables.ChainPriorityFilter, toPort, prohibit}.add(t, h, to.Port())
		giveUp(t, h, to)
	}
}

func rejectionTold(events []event.Event) bool {
	return closed(1)(events) && has(events, event.Drop, event.RoleServer) && has(events, event.ICMPError, event.RoleClient)
}

// fastOpenPort is where the connects go that are made by sending.
const fastOpenPort = 81

// noRoute fails to connect, by sending at first.
func noRoute(address string) func(*testing.T, *lab.Host) {
	return func(t *testing.T, h *lab.Host) {
		to := netip.MustParseAddrPort(address)
		err := socket(h, to, func(fd int) error {
			return unix.Sendto(fd, []byte("x"), unix.MSG_FASTOPEN, sockaddr(netip.AddrPortFrom(to.Addr(), fastOpenPort)))
		})
		if !errors.Is(err, unix.ENETUNREACH) {
			t.Errorf("send: %v, want ENETUNREACH", err)
		}
		if _, err := dial(h, address); !errors.Is(err, unix.ENETUNREACH) {
			t.Errorf("connect: %v, want ENETUNREACH", err)
		}
	}
}

// noFreePort has the second connection find the only port in use.
func noFreePort(t *testing.T, h *lab.Host) {
	if err := h.Sysctl("net/ipv4/ip_local_port_range", "40000 40000"); err != nil {
		t.Fatal(err)
	}
	busy := netip.MustParseAddrPort("127.0.0.1:80")
	client, server := connect(t, h, busy.String())
	if err := socket(h, busy, func(fd int) error { return unix.Connect(fd, sockaddr(busy)) }); !errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Errorf("connect: %v, want EADDRNOTAVAIL", err)
	}
	closeInTurn(t, client, server)
}

// dropped is a port of loopback for which everything is dropped.
var dropped = netip.MustParseAddrPort("127.0.0.1:9")

func drop(t *testing.T, h *lab.Host) {
	t.Helper()
	dropAllFor(t, h, dropped)
}

// unanswered waits until the kernel gives up: after two retries where tcp_syn_linear_timeouts exists, else after one.
func unanswered(t *testing.T, h *lab.Host) {
	drop(t, h)
	err := socket(h, dropped, func(fd int) error {
		return errors.Join(unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_SYNCNT, 1), unix.Connect(fd, sockaddr(dropped)))
	})
	if !errors.Is(err, unix.ETIMEDOUT) {
		t.Errorf("connect: %v, want ETIMEDOUT", err)
	}
}

// retryRefusedHere takes the route away once the first SYN is on its way.
func retryRefusedHere(t *testing.T, h *lab.Host) {
	drop(t, h)
	err := socket(h, dropped, func(fd int) error {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_SYNCNT, 1); err != nil {
			return err
		}
		if err := errors.Join(unix.SetNonblock(fd, true), unix.Connect(fd, sockaddr(dropped))); !errors.Is(err, unix.EINPROGRESS) {
			return err
		}
		if err := setLoopbackDown(); err != nil {
			return err
		}
		return awaitEnd(fd)
	})
	if err != nil {
		t.Error(err)
	}
}

func setLoopbackDown() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetDown(lo)
}

// awaitEnd waits until the kernel has given a connect up.
func awaitEnd(fd int) error {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd)}}, int(patience.Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && n == 0 {
			return errors.New("the connect goes on and on")
		}
		return err
	}
}

// unacknowledged has a client send one SYN and go, so that nobody takes the SYN-ACK.
func unacknowledged(t *testing.T, h *lab.Host) {
	if err := h.Sysctl("net/ipv4/tcp_synack_retries", "1"); err != nil {
		t.Fatal(err)
	}
	drop(t, h)
	// It listens as long as h lives, for without its listener the request is no more.
	server := netip.MustParseAddrPort("127.0.0.1:80")
	if err := h.Listen(server); err != nil {
		t.Fatal(err)
	}
	err := socket(h, server, func(fd int) error {
		return errors.Join(unix.Bind(fd, sockaddr(dropped)), unix.SetNonblock(fd, true), unix.Connect(fd, sockaddr(server)))
	})
	if !errors.Is(err, unix.EINPROGRESS) {
		t.Errorf("connect: %v, want EINPROGRESS", err)
	}
}

// socket calls fn with a blocking socket of h, for the address family of to.
func socket(h *lab.Host, to netip.AddrPort, fn func(fd int) error) error {
	return h.Do(func() error {
		domain := unix.AF_INET
		if to.Addr().Is6() {
			domain = unix.AF_INET6
		}
		fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return fn(fd)
	})
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}
