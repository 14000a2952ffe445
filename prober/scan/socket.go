package scan

import (
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"tcptrace/tracer/event"
)

// tcpInfo is TCP_INFO read into memory that is used again: there is one for each answer, and one for each silence.
type tcpInfo struct{ unix.TCPInfo }

// read asks for the socket's. What the kernel does not know is 0; if it tells nothing at all, everything is.
func (t *tcpInfo) read(fd int) {
	size := uint32(unsafe.Sizeof(t.TCPInfo))
	t.TCPInfo = unix.TCPInfo{}
	_, _, _ = unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(&t.TCPInfo)), uintptr(unsafe.Pointer(&size)), 0)
}

func (t *tcpInfo) state() event.State { return event.State(t.State) }

// syns is how many SYNs this attempt has sent.
func (t *tcpInfo) syns() int32 { return 1 + int32(t.Total_retrans) }

// addresses makes the kernel's form of addresses, in memory that is used again.
type addresses struct {
	v4    unix.SockaddrInet4
	v6    unix.SockaddrInet6
	zones map[string]uint32
}

// of is addr in the kernel's form, valid until the next call. fd is a socket of the namespace that zones are looked up in.
func (a *addresses) of(fd int, addr netip.AddrPort) unix.Sockaddr {
	if addr.Addr().Is4() {
		a.v4.Addr, a.v4.Port = addr.Addr().As4(), int(addr.Port())
		return &a.v4
	}
	a.v6.Addr, a.v6.Port = addr.Addr().As16(), int(addr.Port())
	a.v6.ZoneId = a.zone(fd, addr.Addr().Zone())
	return &a.v6
}

// zone is the interface index that a zone stands for. One that does not exist is 0, which connect() then refuses.
func (a *addresses) zone(fd int, zone string) uint32 {
	if zone == "" {
		return 0
	}
	index, known := a.zones[zone]
	if known {
		return index
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		index = uint32(n)
	} else if ifreq, err := unix.NewIfreq(zone); err == nil && unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifreq) == nil {
		index = ifreq.Uint32()
	}
	if a.zones == nil {
		a.zones = make(map[string]uint32)
	}
	a.zones[zone] = index
	return index
}

// disconnect brings a socket that is connecting back to where it can connect again, from another port
// (tcp_disconnect, net/ipv4/tcp.c). Its options stay.
func disconnect(fd int) error {
	unspecified := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&unspecified)), unsafe.Sizeof(unspecified))
	if errno != 0 {
		return errno
	}
	return nil
}

// socketOption is one integer option of every socket of a worker.
type socketOption struct{ level, name, value int }

// newSocket makes a socket for addr, ready to connect. The error is the kernel's bare one.
func (o *Options) newSocket(addr netip.Addr, sockaddrs *addresses) (fd int, err error) {
	family, recvErr := unix.AF_INET, socketOption{unix.SOL_IP, unix.IP_RECVERR, 1}
	if !addr.Is4() {
		family, recvErr = unix.AF_INET6, socketOption{unix.SOL_IPV6, unix.IPV6_RECVERR, 1}
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, err
	}
	if err := o.prepare(fd, recvErr, addr, sockaddrs); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (o *Options) prepare(fd int, recvErr socketOption, addr netip.Addr, sockaddrs *addresses) error {
	if err := unix.SetsockoptInt(fd, recvErr.level, recvErr.name, recvErr.value); err != nil {
		return err
	}
	if o.SYNRetries != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_TCP, unix.TCP_SYNCNT, o.SYNRetries); err != nil {
			return err
		}
	}
	if !o.Source.IsValid() {
		return nil
	}
	source := o.Source.Unmap()
	if source.Is4() != addr.Is4() {
		return unix.EAFNOSUPPORT
	}
	// Without this the bind would look for a port that is free towards everybody, which takes hundreds of microseconds.
	if err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return err
	}
	return unix.Bind(fd, sockaddrs.of(fd, netip.AddrPortFrom(source, 0)))
}

// closeByReset closes a connection without leaving a TIME_WAIT socket.
func closeByReset(fd int) {
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}) // then it is closed by a FIN
	_ = unix.Close(fd)
}
