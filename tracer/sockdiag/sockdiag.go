// Package sockdiag lists TCP sockets by sock_diag, as ss does: without root, and where the kernel runs no iterators.
//
// It knows no options that decide when the kernel gives up: TCP_USER_TIMEOUT, the keepalive trio and TCP_SYNCNT are not in
// what sock_diag carries, so there is no forecast but when the timer fires next. Owners are not in it either.
package sockdiag

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"tcptrace/tracer/event"
	"tcptrace/tracer/sockets"
)

// From include/uapi/linux/sock_diag.h and inet_diag.h.
const (
	sockDiagByFamily = 20
	inetDiagInfo     = 2
	inetDiagSKMem    = 7
	inetDiagIPv6Only = 11         // INET_DIAG_SKV6ONLY, which nobody needs to ask for
	inetDiagCookie   = ^uint32(0) // INET_DIAG_NOCOOKIE: any
)

// List visits the TCP sockets of the network namespace of the calling thread. With mini it lists TIME_WAIT and half-open
// requests too.
func List(mini bool, visit func(*sockets.Socket)) error {
	states := uint32(1<<maxStates - 1)
	if !mini {
		states &^= 1<<event.StateSYNRecv | 1<<event.StateTimeWait
	}
	return list(states, visit)
}

// ListStates visits those in some states only. [event.StateSYNRecv] stands for half-open requests.
func ListStates(visit func(*sockets.Socket), states ...event.State) error {
	var mask uint32
	for _, state := range states {
		mask |= 1 << state
	}
	return list(mask, visit)
}

// maxStates is TCP_MAX_STATES: all that idiag_states can ask for.
const maxStates = 13

func list(states uint32, visit func(*sockets.Socket)) error {
	conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return fmt.Errorf("open sock_diag: %w", err)
	}
	defer conn.Close()
	decoder := decoder{netns: ownNamespace(), mono: monotonic()}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		messages, err := conn.Execute(netlink.Message{
			Header: netlink.Header{Type: sockDiagByFamily, Flags: netlink.Request | netlink.Dump},
			Data:   request(family, states),
		})
		if errors.Is(err, unix.ENOENT) {
			return errors.New("list sockets by sock_diag: this kernel has no tcp_diag: modprobe tcp_diag")
		}
		if err != nil {
			return fmt.Errorf("list sockets by sock_diag: %w", err)
		}
		for _, message := range messages {
			s, err := decoder.socket(message.Data)
			if err != nil {
				return fmt.Errorf("list sockets by sock_diag: %w", err)
			}
			visit(s)
		}
	}
	return nil
}

// request is a struct inet_diag_req_v2 that asks for every socket of a family that is in one of the states.
func request(family uint8, states uint32) []byte {
	data := []byte{family, unix.IPPROTO_TCP, 1<<(inetDiagInfo-1) | 1<<(inetDiagSKMem-1), 0}
	data = native.AppendUint32(data, states)
	data = append(data, make([]byte, 2+2+16+16+4)...) // any ports, addresses and device
	data = native.AppendUint32(data, inetDiagCookie)
	return native.AppendUint32(data, inetDiagCookie)
}

// ownNamespace is the inode of the calling thread's network namespace; 0 where that cannot be read.
func ownNamespace() uint32 {
	target, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return 0
	}
	var inode uint32
	if _, err := fmt.Sscanf(strings.TrimPrefix(target, "net:"), "[%d]", &inode); err != nil {
		return 0
	}
	return inode
}

func monotonic() time.Duration {
	var now unix.Timespec
	// It can fail only for a clock that does not exist.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return time.Duration(now.Nano())
}
