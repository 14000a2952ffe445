package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
)

// capture is a packet capture on every device of a namespace, with the kernel's own timestamps: what tcpdump does.
type capture struct{ fd int }

// capturedSYN is a SYN that was handed to a device.
type capturedSYN struct {
	at            time.Time
	local, remote netip.AddrPort
	seq           uint32
}

func newCapture(t *testing.T, h *lab.Host) *capture {
	t.Helper()
	c := &capture{fd: -1}
	acceptMust(t, h.Do(func() (err error) {
		// Only a socket for every protocol sees what goes out (dev_queue_xmit_nit, net/core/dev.c).
		c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, networkOrder(unix.ETH_P_ALL))
		return err
	}))
	t.Cleanup(func() { unix.Close(c.fd) })
	acceptMust(t, unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, 1))
	return c
}

func networkOrder(protocol uint16) int {
	var bytes [2]byte
	binary.BigEndian.PutUint16(bytes[:], protocol)
	return int(binary.NativeEndian.Uint16(bytes[:]))
}

// sentSYNs gives the SYNs that left since the capture began, in their order.
func (c *capture) sentSYNs(t *testing.T) []capturedSYN {
	t.Helper()
	var sent []capturedSYN
	packet, control := make([]byte, 1<<16), make([]byte, 256)
	for {
		n, controlLen, _, from, err := unix.Recvmsg(c.fd, packet, control, 0)
		if err == unix.EAGAIN {
			return sent
		}
		acceptMust(t, err)
		if link, ok := from.(*unix.SockaddrLinklayer); !ok || link.Pkttype != unix.PACKET_OUTGOING {
			continue
		}
		syn, ok := parseSYN(packet[:n])
		if !ok {
			continue
		}
		syn.at, err = parseTimestamp(control[:controlLen])
		acceptMust(t, err)
		sent = append(sent, syn)
	}
}

// parseSYN reads an IP packet that is a SYN and no SYN-ACK.
func parseSYN(packet []byte) (syn capturedSYN, ok bool) {
	src, dst, segment, ok := parseIP(packet)
	const portsAndSeq, flagsAt, synFlag, ackFlag = 8, 13, 0x02, 0x10
	if !ok || len(segment) <= flagsAt || segment[flagsAt]&(synFlag|ackFlag) != synFlag {
		return capturedSYN{}, false
	}
	syn.local = netip.AddrPortFrom(src, binary.BigEndian.Uint16(segment))
	syn.remote = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(segment[2:]))
	syn.seq = binary.BigEndian.Uint32(segment[4:portsAndSeq])
	return syn, true
}

// parseIP takes a TCP segment out of its packet; extension headers are not expected.
func parseIP(packet []byte) (src, dst netip.Addr, segment []byte, ok bool) {
	if len(packet) == 0 {
		return src, dst, nil, false
	}
	switch packet[0] >> 4 {
	case ipv4.Version:
		header, err := ipv4.ParseHeader(packet)
		if err != nil || header.Protocol != unix.IPPROTO_TCP || header.Len > len(packet) {
			return src, dst, nil, false
		}
		src, _ = netip.AddrFromSlice(header.Src.To4())
		dst, _ = netip.AddrFromSlice(header.Dst.To4())
		return src, dst, packet[header.Len:], true
	case ipv6.Version:
		header, err := ipv6.ParseHeader(packet)
		if err != nil || header.NextHeader != unix.IPPROTO_TCP {
			return src, dst, nil, false
		}
		src, _ = netip.AddrFromSlice(header.Src)
		dst, _ = netip.AddrFromSlice(header.Dst)
		return src, dst, packet[ipv6.HeaderLen:], true
	}
	return src, dst, nil, false
}

func parseTimestamp(control []byte) (time.Time, error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return time.Time{}, fmt.Errorf("read a packet's control messages: %w", err)
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS_NEW && len(m.Data) >= 16 {
			seconds := int64(binary.NativeEndian.Uint64(m.Data))
			return time.Unix(seconds, int64(binary.NativeEndian.Uint64(m.Data[8:]))), nil
		}
	}
	return time.Time{}, errors.New("a packet has no timestamp")
}
