package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"tcptrace/tracer/event"
	"tcptrace/tracer/sockets"
)

var native = binary.NativeEndian

// errMessage says that a message is not a struct inet_diag_msg with attributes.
var errMessage = errors.New("malformed message")

// messageSize is that of struct inet_diag_msg.
const messageSize = 72

// decoder makes sockets of messages.
type decoder struct {
	netns uint32
	mono  time.Duration
}

func (d decoder) socket(data []byte) (*sockets.Socket, error) {
	if len(data) < messageSize {
		return nil, fmt.Errorf("%w: %d bytes", errMessage, len(data))
	}
	family, state, timer, retries := data[0], event.State(data[1]), data[2], int(data[3])
	s := &sockets.Socket{
		NetNS: d.netns,
		Mono:  d.mono,
		State: state,
		UID:   native.Uint32(data[64:]), HasUID: true,
		Inode: uint64(native.Uint32(data[68:])),
	}
	s.Held = s.Inode != 0
	if cookie := native.Uint64(data[44:]); cookie != 0 {
		// The kernel makes one for every socket that it tells of (sock_diag_save_cookie).
		s.Cookie, s.ID = cookie, sockets.ID(cookie)
	}
	var err error
	if s.Local, err = end(family, data[8:24], data[4:6]); err != nil {
		return nil, err
	}
	if s.Remote, err = end(family, data[24:40], data[6:8]); err != nil {
		return nil, err
	}
	// A full socket in SYN_RECV is Fast Open's alone, and has a file only later.
	if state == event.StateSYNRecv {
		s.State = event.StateNewSYNRecv
	}
	s.Orphan = !s.Held && closing[state] && timer != timeWait
	received, sent := int(native.Uint32(data[56:])), int(native.Uint32(data[60:]))
	if state == event.StateListen {
		s.Listening = &sockets.Listening{
			Accept: event.Queue{Len: received, Max: sent}, // tcp_diag_get_info
			Device: int(native.Uint32(data[40:])),
		}
	} else {
		s.RecvQueue, s.SendQueue = received, sent
	}
	arm(s, timer, retries, time.Duration(int32(native.Uint32(data[52:])))*time.Millisecond)
	if err := attributes(data[messageSize:], s); err != nil {
		return nil, err
	}
	return s, nil
}

// closing are the states to which this end's own close leads: a socket without a file is an orphan there, and in others
// one that nobody has accepted.
var closing = map[event.State]bool{
	event.StateFinWait1: true, event.StateFinWait2: true, event.StateClosing: true, event.StateLastACK: true,
}

// idiag_timer, as include/uapi/linux/inet_diag.h does not name it.
const (
	retransmit = 1
	keepalive  = 2
	timeWait   = 3 // a mini-socket's
	persist    = 4
)

// arm sets the one timer that sock_diag tells of (inet_sk_diag_fill).
func arm(s *sockets.Socket, timer uint8, retries int, left time.Duration) {
	switch timer {
	case retransmit:
		t := sockets.Timer{Name: sockets.TimerRetransmit, Left: left}
		if s.State == event.StateNewSYNRecv {
			s.Lifetime = t
			s.Backoff = retries // it does not tell the timer's own from those that answer SYNs which come again
		} else {
			s.Retransmit = t
		}
		s.Retransmits = retries
	case keepalive:
		s.Keepalive, s.Probes = sockets.Timer{Name: sockets.TimerKeepalive, Left: left}, retries
		if s.State == event.StateFinWait2 && s.Orphan {
			s.Keepalive.Name = sockets.TimerFinWait2
		}
	case timeWait:
		s.Lifetime = sockets.Timer{Name: sockets.TimerTimeWait, Left: left}
		if s.State == event.StateFinWait2 {
			s.State, s.Substate = event.StateTimeWait, event.StateFinWait2
		}
	case persist:
		s.Retransmit, s.Probes = sockets.Timer{Name: sockets.TimerPersist, Left: left}, retries
	}
}

// end reads an address and a port in network order.
func end(family uint8, address, port []byte) (netip.AddrPort, error) {
	number := binary.BigEndian.Uint16(port)
	var addr netip.Addr
	switch family {
	case unix.AF_INET:
		addr = netip.AddrFrom4([4]byte(address[:4]))
	case unix.AF_INET6:
		addr = netip.AddrFrom16([16]byte(address)).Unmap()
	default:
		return netip.AddrPort{}, fmt.Errorf("%w: address family %d", errMessage, family)
	}
	if addr.IsUnspecified() && number == 0 {
		return netip.AddrPort{}, nil
	}
	return netip.AddrPortFrom(addr, number), nil
}

// attributes reads what follows a message, as far as it was asked for.
func attributes(data []byte, s *sockets.Socket) error {
	attributes, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return fmt.Errorf("%w: %w", errMessage, err)
	}
	for attributes.Next() {
		switch attributes.Type() {
		case inetDiagInfo:
			if !s.Mini() && s.State != event.StateListen {
				info(attributes.Bytes(), s)
			}
		case inetDiagIPv6Only:
			if s.Listening != nil {
				s.Listening.IPv6Only = attributes.Uint8() != 0
			}
		case inetDiagSKMem:
			memory(attributes.Bytes(), s)
		}
	}
	if err := attributes.Err(); err != nil {
		return fmt.Errorf("%w: %w", errMessage, err)
	}
	return nil
}

// info reads a struct tcp_info; older kernels have a shorter one, and what it lacks is 0, unknown.
func info(data []byte, s *sockets.Socket) {
	var raw unix.TCPInfo
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&raw)), unsafe.Sizeof(raw)), data)
	s.RTO = time.Duration(raw.Rto) * time.Microsecond
	s.RTT = time.Duration(raw.Rtt) * time.Microsecond
	s.Backoff = int(raw.Backoff)
	s.LastSent = time.Duration(raw.Last_data_sent) * time.Millisecond
	s.LastReceived = time.Duration(raw.Last_data_recv) * time.Millisecond
	s.LastACK = time.Duration(raw.Last_ack_recv) * time.Millisecond
	s.InFlight = int(raw.Unacked)
	s.Traffic = &event.Traffic{
		BytesSent:     int64(raw.Bytes_sent),
		BytesAcked:    int64(raw.Bytes_acked),
		BytesReceived: int64(raw.Bytes_received),
		Retransmits:   int(raw.Total_retrans),
		Unacked:       max(0, s.SendQueue-int(raw.Notsent_bytes)),
		Unsent:        int(raw.Notsent_bytes),
		Unread:        s.RecvQueue,
		SendWindow:    int(raw.Snd_wnd),
	}
	// Kernels before 6.2 do not tell the window: shut is not what an unknown one is.
	if len(data) < int(unsafe.Offsetof(raw.Snd_wnd))+4 {
		s.Traffic.SendWindow = 1
	}
}

// memory reads the array of sk_get_meminfo.
func memory(data []byte, s *sockets.Socket) {
	const rmem, rcvbuf, sndbuf, wmemQueued, words, drops = 0, 1, 3, 5, 6, 8
	if len(data) < words*4 {
		return
	}
	at := func(word int) int { return int(native.Uint32(data[word*4:])) }
	s.Receive = &sockets.Buffer{Size: at(rcvbuf), Used: at(rmem)}
	s.Send = &sockets.Buffer{Size: at(sndbuf), Used: at(wmemQueued)}
	if len(data) >= (drops+1)*4 {
		s.Drops = at(drops)
	}
}
