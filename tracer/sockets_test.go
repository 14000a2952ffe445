package tracer_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
	"tcptrace/tracer"
	"tcptrace/tracer/event"
	"tcptrace/tracer/host"
	"tcptrace/tracer/sockets"
)

// openSockets prepares a listing, or skips where this process may not.
func openSockets(t *testing.T, opts tracer.SocketOptions) *tracer.SocketLister {
	t.Helper()
	opts.Basis = basis
	l, err := tracer.OpenSockets(opts)
	if errors.Is(err, tracer.ErrPrivilege) && os.Getenv("TCPTRACE_KERNEL_TESTS") != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// listed is the sockets of h, as both iterators see them.
func listed(t *testing.T, l *tracer.SocketLister, h *lab.Host) []*sockets.Socket {
	t.Helper()
	var census sockets.Census
	add := func(s *sockets.Socket) {
		if s.NetNS == h.Inode() {
			census.Add(s)
		}
	}
	if err := l.Held(add); err != nil {
		t.Fatal(err)
	}
	if err := h.Do(func() error { return l.Here(add) }); err != nil {
		t.Fatal(err)
	}
	return census.Sockets()
}

// at is the one that has that local end, nil when there is none.
func at(all []*sockets.Socket, local string) *sockets.Socket {
	for _, s := range all {
		if s.Local.String() == local {
			return s
		}
	}
	return nil
}

// raw lets fn use the descriptor of c.
func raw(t *testing.T, c syscall.Conn, fn func(fd int) error) {
	t.Helper()
	control, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var result error
	if err := control.Control(func(fd uintptr) { result = fn(int(fd)) }); err != nil {
		t.Fatal(err)
	}
	if result != nil {
		t.Fatal(result)
	}
}

func setInt(t *testing.T, c net.Conn, level, option, value int) {
	t.Helper()
	raw(t, c.(syscall.Conn), func(fd int) error { return unix.SetsockoptInt(fd, level, option, value) })
}

// pair is a connection within one host. prepare may set the listener's options first, which the server's end inherits.
func pair(t *testing.T, h *lab.Host, address string, prepare ...func(fd int) error) (client, server net.Conn) {
	t.Helper()
	l := listen(t, h, net.JoinHostPort(address, "0"))
	for _, fn := range prepare {
		raw(t, l.(syscall.Conn), fn)
	}
	client, err := dial(h, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	server = accept(t, l)
	t.Cleanup(func() { server.Close() })
	return client, server
}

func TestSocketsAreListedWithTheirOwners(t *testing.T) {
	l := openSockets(t, tracer.SocketOptions{})
	loopbacks(t, func(t *testing.T, address string) {
		h := newHost(t)
		client, server := pair(t, h, address)
		all := listed(t, l, h)
		for _, conn := range []net.Conn{client, server} {
			s := at(all, conn.LocalAddr().String())
			if s == nil {
				t.Fatalf("%s is not listed", conn.LocalAddr())
			}
			if s.Owner.PID != os.Getpid() || s.Owner.Via != "" || !s.Held || s.Orphan {
				t.Errorf("%+v; want it to be held by process %d", s, os.Getpid())
			}
			if s.Remote.String() != conn.RemoteAddr().String() || s.State != event.StateEstablished {
				t.Errorf("%s is %s to %s; want ESTABLISHED to %s", s.Local, s.State, s.Remote, conn.RemoteAddr())
			}
		}
		if len(all) != 2 {
			t.Errorf("%d sockets; want 2", len(all))
		}
	})
}

func TestSocketsThatNobodyHasAcceptedAreTheListeners(t *testing.T) {
	l, h := openSockets(t, tracer.SocketOptions{}), newHost(t)
	listener := listen(t, h, "127.0.0.1:0")
	client, err := dial(h, listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s := at(listed(t, l, h), client.RemoteAddr().String())
	if s == nil || s.Held || s.Owner.PID != os.Getpid() || s.Owner.Via != "listener" {
		t.Errorf("%+v; want it to be its listener's", s)
	}
}

func TestSocketsThatWereClosedAreNobodys(t *testing.T) {
	l, h := openSockets(t, tracer.SocketOptions{}), newHost(t)
	client, server := pair(t, h, "127.0.0.1")
	local := client.LocalAddr().String()
	dropAllFor(t, h, netip.MustParseAddrPort(server.LocalAddr().String()))
	client.Close()
	s := at(listed(t, l, h), local)
	if s == nil || !s.Orphan || s.Held || s.Owner.Known() || s.State != event.StateFinWait1 {
		t.Errorf("%+v; want an orphan in FIN_WAIT1", s)
	}
}

func TestSocketsMiniAreListedOnDemand(t *testing.T) {
	h := newHost(t)
	client, server := pair(t, h, "127.0.0.1")
	local := client.LocalAddr().String()
	client.Close()
	buf := make([]byte, 1)
	server.Read(buf) // the FIN
	server.Close()
	with := openSockets(t, tracer.SocketOptions{Mini: true})
	without := openSockets(t, tracer.SocketOptions{})
	var s *sockets.Socket
	for deadline := time.Now().Add(patience); s == nil && time.Now().Before(deadline); {
		if s = at(listed(t, with, h), local); s != nil && s.State != event.StateTimeWait {
			s = nil
		}
	}
	if s == nil {
		t.Fatal("TIME_WAIT is not listed")
	}
	f := s.Forecast(hz(t))
	if f.Rule != sockets.RuleTimeWait || f.GivesUp > time.Minute+time.Second || f.GivesUp < time.Minute-2*patience {
		t.Errorf("it ends %+v; want it to within a minute", f)
	}
	if s := at(listed(t, without, h), local); s != nil {
		t.Errorf("%+v is listed though nobody asked", s)
	}
}

func TestSocketsHalfOpenHaveTheirListenersSettings(t *testing.T) {
	l, h := openSockets(t, tracer.SocketOptions{Mini: true}), newHost(t)
	if err := h.Sysctl("net/ipv4/tcp_synack_retries", "2"); err != nil {
		t.Fatal(err)
	}
	listener := listen(t, h, "127.0.0.1:0")
	port := listener.Addr().(*net.TCPAddr).Port
	// A SYN-ACK goes to the client's port, where nothing lets it in.
	client := startConnect(t, h, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port)), func(fd int) error {
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 4567}); err != nil {
			return err
		}
		_, err := h.DropInput(lab.Drop{Port: 4567})
		return err
	})
	defer unix.Close(client)
	for deadline := time.Now().Add(patience); ; {
		var s *sockets.Socket
		for _, other := range listed(t, l, h) {
			if other.State == event.StateNewSYNRecv {
				s = other
			}
		}
		if s == nil && time.Now().Before(deadline) {
			continue
		}
		if s == nil {
			t.Fatal("no half-open request is listed")
		}
		f := s.Forecast(hz(t))
		if s.Owner.Via != "listener" || s.Owner.PID != os.Getpid() || f.Next.What != sockets.SYNACKRetransmit || f.Next.Of != 2 {
			t.Errorf("%+v %+v; want its listener's owner and 2 retries", s, f)
		}
		if f.GivesUp <= 6*time.Second || f.GivesUp > 7*time.Second+10*time.Millisecond {
			t.Errorf("it is dropped in %s; want 7 s from the SYN on", f.GivesUp)
		}
		return
	}
}

// startConnect makes a socket in h, has it prepared, and begins to connect.
func startConnect(t *testing.T, h *lab.Host, to netip.AddrPort, prepare func(fd int) error) (fd int) {
	t.Helper()
	family := unix.AF_INET
	if to.Addr().Is6() {
		family = unix.AF_INET6
	}
	err := h.Do(func() (err error) {
		fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := prepare(fd); err != nil {
		t.Fatal(err)
	}
	var address unix.Sockaddr = &unix.SockaddrInet6{Addr: to.Addr().As16(), Port: int(to.Port())}
	if family == unix.AF_INET {
		address = &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}
	}
	if err := unix.Connect(fd, address); err != unix.EINPROGRESS {
		t.Fatalf("connect: %v; want it to be in progress", err)
	}
	return fd
}

func hz(t *testing.T) int {
	t.Helper()
	n, err := host.HZ()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSocketsFilterByOwnerAndEnds(t *testing.T) {
	h := newHost(t)
	client, server := pair(t, h, "127.0.0.1")
	port := func(c net.Conn) uint16 { return netip.MustParseAddrPort(c.LocalAddr().String()).Port() }
	for name, test := range map[string]struct {
		filter tracer.Filter
		want   int
	}{
		"this process":    {tracer.Filter{PIDs: []int{os.Getpid()}}, 2},
		"another process": {tracer.Filter{PIDs: []int{1}}, 0},
		"local port":      {tracer.Filter{LocalPorts: []uint16{port(client)}}, 1},
		"remote port":     {tracer.Filter{RemotePorts: []uint16{port(server)}}, 1},
		"either port":     {tracer.Filter{Ports: []uint16{port(server)}}, 2},
		"namespace":       {tracer.Filter{NetNS: []uint32{h.Inode()}}, 2},
		"other namespace": {tracer.Filter{NetNS: []uint32{1}}, 0},
		"network":         {tracer.Filter{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, 2},
		"other network":   {tracer.Filter{Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}, 0},
		"IPv6":            {tracer.Filter{Family: 6}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			l := openSockets(t, tracer.SocketOptions{Filter: test.filter})
			var seen int
			if err := l.Held(func(s *sockets.Socket) {
				if s.NetNS == h.Inode() && s.State != event.StateListen {
					seen++
				}
			}); err != nil {
				t.Fatal(err)
			}
			if seen != test.want {
				t.Errorf("%d sockets pass; want %d", seen, test.want)
			}
		})
	}
}
