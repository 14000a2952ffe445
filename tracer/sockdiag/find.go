package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"tcptrace/tracer/event"
)

// Finder looks sockets up one by one, in the network namespace in which it was opened. The caller closes it.
type Finder struct{ conn *netlink.Conn }

// NewFinder opens one in the network namespace of the calling thread.
func NewFinder() (*Finder, error) {
	conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return nil, fmt.Errorf("open sock_diag: %w", err)
	}
	return &Finder{conn}, nil
}

// Close gives it up.
func (f *Finder) Close() error { return f.conn.Close() }

// Lives says whether the socket of a connection is there. It is not when nothing but the TIME_WAIT that it left, or a
// listener on its port, is. With a cookie other than 0 another connection's socket on the same ends is not it either.
func (f *Finder) Lives(local, remote netip.AddrPort, cookie uint64) (bool, error) {
	messages, err := f.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: sockDiagByFamily, Flags: netlink.Request},
		Data:   exactly(local, remote, cookie),
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESTALE) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look a socket up by sock_diag: %w", err)
	}
	for _, message := range messages {
		s, err := decoder{}.socket(message.Data)
		if err != nil {
			return false, fmt.Errorf("look a socket up by sock_diag: %w", err)
		}
		if s.State != event.StateListen && s.State != event.StateTimeWait {
			return true, nil
		}
	}
	return false, nil
}

// exactly is a struct inet_diag_req_v2 that asks for one socket (inet_diag_find_one_icsk).
func exactly(local, remote netip.AddrPort, cookie uint64) []byte {
	family := uint8(unix.AF_INET6)
	if remote.Addr().Unmap().Is4() {
		family = unix.AF_INET
	}
	data := request(family, 1<<maxStates-1)
	const ports, localAddr, remoteAddr, cookies = 8, 12, 28, 48
	data[2] = 0 // no attributes
	binary.BigEndian.PutUint16(data[ports:], local.Port())
	binary.BigEndian.PutUint16(data[ports+2:], remote.Port())
	copy(data[localAddr:], local.Addr().Unmap().AsSlice())
	copy(data[remoteAddr:], remote.Addr().Unmap().AsSlice())
	if cookie != 0 {
		native.PutUint32(data[cookies:], uint32(cookie))
		native.PutUint32(data[cookies+4:], uint32(cookie>>32))
	}
	return data
}
