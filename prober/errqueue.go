package prober

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"tcptrace/tracer/event"
)

// queuedError is one record of a socket's error queue (struct sock_extended_err).
type queuedError struct {
	errno event.Errno
	icmp  *event.ICMP // nil when the error came from this host's own IP layer
}

// drainErrors empties the error queue and tells of the last error in it.
//
// Reading SO_ERROR must come first: taking an ICMP record clears the socket's pending error
// (sock_dequeue_err_skb, net/core/skbuff.c).
func (s *socket) drainErrors() (last queuedError, found bool) { return drainErrors(s.fd) }

// QueuedError empties the error queue of a socket (IP_RECVERR) and tells of the last error in it. icmp is nil when the
// error came from this host's own IP layer. SO_ERROR is to be read first: taking a record clears it.
func QueuedError(fd int) (errno event.Errno, icmp *event.ICMP, found bool) {
	last, found := drainErrors(fd)
	return last.errno, last.icmp, found
}

func drainErrors(fd int) (last queuedError, found bool) {
	var packet [1]byte    // what is left of the packet does not matter
	var control [256]byte // room for one record with its offender, and for a timestamp's
	for {
		var oobn int
		_, err := again(func() (n int, err error) {
			n, oobn, _, _, err = unix.Recvmsg(fd, packet[:], control[:], unix.MSG_ERRQUEUE)
			return n, err
		})
		if err != nil {
			return last, found
		}
		if e, ok := parseQueuedError(control[:oobn]); ok {
			last, found = e, true
		}
	}
}

// parseQueuedError finds the error in a control message, if there is one.
func parseQueuedError(control []byte) (queuedError, bool) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return queuedError{}, false
	}
	for _, m := range messages {
		if !isExtendedError(m.Header) {
			continue
		}
		if e, ok := decodeExtendedError(m.Data); ok {
			return e, true
		}
	}
	return queuedError{}, false
}

func isExtendedError(h unix.Cmsghdr) bool {
	return h.Level == unix.SOL_IP && h.Type == unix.IP_RECVERR ||
		h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_RECVERR
}

// sizeofExtendedError is that of struct sock_extended_err: u32 errno, u8 origin, type, code and padding, u32 info and
// data. The offender's socket address follows it (include/uapi/linux/errqueue.h).
const sizeofExtendedError = 16

// decodeExtendedError reads a struct sock_extended_err and the offender's address after it. Other things than errors
// come this way, such as timestamps: these are not found.
func decodeExtendedError(data []byte) (queuedError, bool) {
	if len(data) < sizeofExtendedError {
		return queuedError{}, false
	}
	e := queuedError{errno: event.Errno(binary.NativeEndian.Uint32(data))}
	origin, typ, code := data[4], int(data[5]), int(data[6])
	switch origin {
	case unix.SO_EE_ORIGIN_LOCAL:
		return e, true
	case unix.SO_EE_ORIGIN_ICMP, unix.SO_EE_ORIGIN_ICMP6:
		e.icmp = &event.ICMP{
			Type: typ,
			Code: code,
			Name: event.ICMPName(origin == unix.SO_EE_ORIGIN_ICMP6, typ, code),
			From: offender(data[sizeofExtendedError:]),
		}
		return e, true
	}
	return queuedError{}, false
}

// Where the address is in a struct sockaddr_in and in a struct sockaddr_in6.
const (
	inet4AddrOffset = 4
	inet6AddrOffset = 8
)

// offender is the address in a raw socket address, invalid if there is none.
func offender(sockaddr []byte) netip.Addr {
	if len(sockaddr) < unix.SizeofSockaddrInet4 {
		return netip.Addr{}
	}
	switch family := binary.NativeEndian.Uint16(sockaddr); {
	case family == unix.AF_INET:
		return netip.AddrFrom4([4]byte(sockaddr[inet4AddrOffset:]))
	case family == unix.AF_INET6 && len(sockaddr) >= unix.SizeofSockaddrInet6:
		return netip.AddrFrom16([16]byte(sockaddr[inet6AddrOffset:])).Unmap()
	}
	return netip.Addr{}
}
