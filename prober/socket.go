package prober

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/tracer/event"
)

// socket is a non-blocking TCP socket. Waiting is left to the Go runtime's poller, so a waiting probe costs a parked
// goroutine and no thread.
type socket struct {
	fd     int // valid until close
	family int // AF_INET or AF_INET6
	file   *os.File
	raw    syscall.RawConn
}

// newSocket makes a socket of the family of remote in the namespace. The caller closes it.
func newSocket(remote netip.Addr, ns *NetNS) (*socket, error) {
	s := &socket{family: unix.AF_INET6}
	if remote.Is4() {
		s.family = unix.AF_INET
	}
	err := ns.Do(func() (err error) {
		s.fd, err = unix.Socket(s.family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make a socket: %w", err)
	}
	s.file = os.NewFile(uintptr(s.fd), "tcp")
	if s.raw, err = s.file.SyscallConn(); err != nil {
		s.close()
		return nil, fmt.Errorf("make a socket: %w", err)
	}
	// The poller takes deadlines exactly when it has the socket.
	if err := s.file.SetDeadline(time.Time{}); err != nil {
		s.close()
		return nil, fmt.Errorf("wait for a socket: %w", err)
	}
	return s, nil
}

// close ends the connection. Closing again does nothing.
func (s *socket) close() { s.file.Close() }

// set sets one integer option.
func (s *socket) set(opt setting) error {
	err := unix.SetsockoptInt(s.fd, opt.level, opt.opt, opt.value)
	switch {
	case err == nil:
		return nil
	case opt.hint != "" && errors.Is(err, opt.refused):
		return fmt.Errorf("set %s: %w: %s", opt.name, err, opt.hint)
	}
	return fmt.Errorf("set %s: %w", opt.name, err)
}

// device is the number of the interface that the socket is bound to; 0 also where the kernel does not tell.
func (s *socket) device() int {
	index, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX)
	if err != nil {
		return 0 // Linux 5.1 is the first that does
	}
	return index
}

// queueErrors turns the queueing of ICMP errors (IP_RECVERR) on or off; off empties the queue. It is for the
// handshake only: on an established connection it makes ICMP errors fatal that the kernel would otherwise outlive
// (tcp_v4_err).
func (s *socket) queueErrors(on bool) error {
	opt := setting{name: "IP_RECVERR", level: unix.SOL_IP, opt: unix.IP_RECVERR}
	if s.family == unix.AF_INET6 {
		opt = setting{name: "IPV6_RECVERR", level: unix.SOL_IPV6, opt: unix.IPV6_RECVERR}
	}
	if on {
		opt.value = 1
	}
	return s.set(opt)
}

// limitHops sets how many routers may pass on what the socket sends; 0 leaves it as it is.
func (s *socket) limitHops(n int) error {
	if n == 0 {
		return nil
	}
	if s.family == unix.AF_INET6 {
		return s.set(setting{name: "IPV6_UNICAST_HOPS", level: unix.SOL_IPV6, opt: unix.IPV6_UNICAST_HOPS, value: n})
	}
	return s.set(setting{name: "IP_TTL", level: unix.SOL_IP, opt: unix.IP_TTL, value: n})
}

// bind gives the socket its own end, where asked for.
func (s *socket) bind(addr netip.Addr, port uint16) error {
	if !addr.IsValid() && port == 0 {
		return nil
	}
	return s.bindWith(bindSetting(port), addr, port)
}

// bindWith sets an option and binds the socket to that end; an invalid addr stands for any.
func (s *socket) bindWith(opt setting, addr netip.Addr, port uint16) error {
	if !addr.IsValid() {
		addr = s.unspecified()
	}
	local := netip.AddrPortFrom(addr.Unmap(), port)
	if local.Addr().Is4() != (s.family == unix.AF_INET) {
		return fmt.Errorf("the source address %v is not of the target's address family", local.Addr())
	}
	sockaddr, err := s.sockaddr(local)
	if err != nil {
		return err
	}
	if err := s.set(opt); err != nil {
		return err
	}
	if err := unix.Bind(s.fd, sockaddr); err != nil {
		return fmt.Errorf("bind to %v: %w", local, err)
	}
	return nil
}

// takePort binds the socket to a port that the kernel chooses, of that address or of any, in a way that lets others which
// ask for the same port have it too (inet_csk_get_port).
func (s *socket) takePort(addr netip.Addr) (uint16, error) {
	if err := s.bindWith(reuseAddr, addr, 0); err != nil {
		return 0, err
	}
	bound, err := unix.Getsockname(s.fd)
	if err != nil {
		return 0, fmt.Errorf("read the bound port: %w", err)
	}
	switch bound := bound.(type) {
	case *unix.SockaddrInet4:
		return uint16(bound.Port), nil
	case *unix.SockaddrInet6:
		return uint16(bound.Port), nil
	}
	return 0, fmt.Errorf("read the bound port: %w", unix.EAFNOSUPPORT)
}

// bindSetting is what makes a bind of that port cheap and repeatable. Without a port, IP_BIND_ADDRESS_NO_PORT leaves
// its choice to connect(), where only the pair of ends has to be unique. With one, SO_REUSEADDR allows it beside an
// earlier connection's TIME_WAIT.
func bindSetting(port uint16) setting {
	if port == 0 {
		return setting{name: "IP_BIND_ADDRESS_NO_PORT", level: unix.SOL_IP, opt: unix.IP_BIND_ADDRESS_NO_PORT, value: 1}
	}
	return reuseAddr
}

var reuseAddr = setting{name: "SO_REUSEADDR", level: unix.SOL_SOCKET, opt: unix.SO_REUSEADDR, value: 1}

func (s *socket) unspecified() netip.Addr {
	if s.family == unix.AF_INET {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// cookie is SO_COOKIE: the number by which the kernel names the socket for as long as it lives.
func (s *socket) cookie() (uint64, error) {
	cookie, err := unix.GetsockoptUint64(s.fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		return 0, fmt.Errorf("read SO_COOKIE: %w", err)
	}
	return cookie, nil
}

// info is TCP_INFO. Fields that the kernel does not know are 0. It is nil if there is none.
func (s *socket) info() *unix.TCPInfo {
	info, err := unix.GetsockoptTCPInfo(s.fd, unix.SOL_TCP, unix.TCP_INFO)
	if err != nil {
		return nil
	}
	return info
}

// state is the TCP state just now.
func (s *socket) state() event.State {
	if info := s.info(); info != nil {
		return event.State(info.State)
	}
	return event.StateUnknown
}

// takeError is SO_ERROR: it reads the pending error and clears it.
func (s *socket) takeError() event.Errno {
	errno, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return errnoOf(err)
	}
	return event.Errno(errno)
}

// local is this end's address, invalid as long as there is none. remote is the other end, whose zone it may share.
func (s *socket) local(remote netip.Addr) netip.AddrPort {
	sockaddr, err := unix.Getsockname(s.fd)
	if err != nil {
		return netip.AddrPort{}
	}
	var local netip.AddrPort
	switch sa := sockaddr.(type) {
	case *unix.SockaddrInet4:
		local = netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		local = netip.AddrPortFrom(s.withZone(netip.AddrFrom16(sa.Addr), sa.ZoneId, remote), uint16(sa.Port))
	}
	if !local.IsValid() || local.Addr().IsUnspecified() {
		return netip.AddrPort{}
	}
	return local
}

// withZone adds the zone, written as in remote where that has the same.
func (s *socket) withZone(addr netip.Addr, scope uint32, remote netip.Addr) netip.Addr {
	if scope == 0 {
		return addr
	}
	if index, err := s.scope(remote.Zone()); err == nil && index == scope {
		return addr.WithZone(remote.Zone())
	}
	return addr.WithZone(strconv.FormatUint(uint64(scope), 10))
}

// sockaddr is the kernel's form of an address. Zones are resolved in the socket's network namespace.
func (s *socket) sockaddr(addr netip.AddrPort) (unix.Sockaddr, error) {
	if addr.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())}, nil
	}
	scope, err := s.scope(addr.Addr().Zone())
	if err != nil {
		return nil, fmt.Errorf("the zone of %v: %w", addr.Addr(), err)
	}
	return &unix.SockaddrInet6{Addr: addr.Addr().As16(), Port: int(addr.Port()), ZoneId: scope}, nil
}

// scope is the interface index that a zone stands for, a name or the index itself; 0 for none.
func (s *socket) scope(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	ifreq, err := unix.NewIfreq(zone)
	if err != nil {
		return 0, err
	}
	// The ioctl looks in the socket's namespace, wherever this thread is.
	err = unix.IoctlIfreq(s.fd, unix.SIOCGIFINDEX, ifreq)
	if err == nil {
		return ifreq.Uint32(), nil
	}
	if index, numErr := strconv.ParseUint(zone, 10, 32); numErr == nil {
		return uint32(index), nil
	}
	return 0, err
}

// waitWrite calls ready until it is true, at first and then whenever the socket may have become writable or had an
// error. It is [os.ErrDeadlineExceeded] when the deadline passes first.
func (s *socket) waitWrite(ready func() bool) error {
	return s.raw.Write(func(uintptr) bool { return ready() })
}

// waitRead is the same for readability.
func (s *socket) waitRead(ready func() bool) error {
	return s.raw.Read(func(uintptr) bool { return ready() })
}

// again runs a syscall until no signal interrupts it.
func again(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// errnoOf is the number of a syscall's error: 0 for none, EIO for one that has no number.
func errnoOf(err error) event.Errno {
	if err == nil {
		return 0
	}
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		return event.Errno(errno)
	}
	return event.EIO
}
