package tracer_test

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
)

// A capture holds what was handed to the devices of a namespace, as tcpdump would show it.
type capture struct {
	fd     int
	packet []byte    // the last one
	all    []segment // read so far
}

// A segment is what a TCP header says, and how much data follows it.
type segment struct {
	from, to netip.AddrPort
	seq, ack uint32
	flags    byte
	len      int
}

// The flags of a TCP header.
const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	flagPSH
	flagACK
)

// captureBuffer is how many bytes may wait in the kernel, with its own of each packet.
const captureBuffer = 4 << 20

// capturePackets begins a capture. What comes until it is read waits in the kernel, for which it must not be much.
func capturePackets(t *testing.T, h *lab.Host) *capture {
	t.Helper()
	c := &capture{packet: make([]byte, 1<<17)}
	err := h.Do(func() (err error) {
		// Only a socket for every protocol sees what goes out (dev_queue_xmit_nit).
		protocol := binary.NativeEndian.Uint16([]byte{unix.ETH_P_ALL >> 8, unix.ETH_P_ALL & 0xff})
		c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(protocol))
		if err != nil {
			return err
		}
		return unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(c.fd) })
	return c
}

// sent gives the segments that left since the capture began.
func (c *capture) sent(t *testing.T) []segment {
	t.Helper()
	for {
		n, from, err := unix.Recvfrom(c.fd, c.packet, 0)
		if err == unix.EAGAIN {
			return c.all
		}
		if err != nil {
			t.Fatal(err)
		}
		if link, ok := from.(*unix.SockaddrLinklayer); !ok || link.Pkttype != unix.PACKET_OUTGOING {
			continue
		}
		if s, ok := parseSegment(c.packet[:n]); ok {
			c.all = append(c.all, s)
		}
	}
}

// expectAll checks that the kernel had room for all that there was to capture.
func (c *capture) expectAll(t *testing.T) {
	t.Helper()
	stats, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		t.Fatal(err)
	}
	if stats.Drops > 0 {
		t.Fatalf("%d packets were not captured", stats.Drops)
	}
}

// await gives them once enough says so.
func (c *capture) await(t *testing.T, what string, enough func([]segment) bool) []segment {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if all := c.sent(t); enough(all) {
			return all
		}
		left := time.Until(deadline)
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}, int(left.Milliseconds())); err != nil && err != unix.EINTR {
			t.Fatal(err)
		}
	}
	t.Fatalf("waited in vain for %s; captured %v", what, c.all)
	return nil
}

// parseSegment takes a TCP segment out of its packet; extension headers are not expected.
func parseSegment(packet []byte) (segment, bool) {
	if len(packet) == 0 {
		return segment{}, false
	}
	var src, dst netip.Addr
	switch packet[0] >> 4 {
	case ipv4.Version:
		header, err := ipv4.ParseHeader(packet)
		if err != nil || header.Protocol != unix.IPPROTO_TCP || header.Len > len(packet) {
			return segment{}, false
		}
		src, _ = netip.AddrFromSlice(header.Src.To4())
		dst, _ = netip.AddrFromSlice(header.Dst.To4())
		packet = packet[header.Len:]
	case ipv6.Version:
		header, err := ipv6.ParseHeader(packet)
		if err != nil || header.NextHeader != unix.IPPROTO_TCP {
			return segment{}, false
		}
		src, _ = netip.AddrFromSlice(header.Src)
		dst, _ = netip.AddrFromSlice(header.Dst)
		packet = packet[ipv6.HeaderLen:]
	default:
		return segment{}, false
	}
	const shortest = 20
	if len(packet) < shortest {
		return segment{}, false
	}
	return segment{
		from:  netip.AddrPortFrom(src, binary.BigEndian.Uint16(packet)),
		to:    netip.AddrPortFrom(dst, binary.BigEndian.Uint16(packet[2:])),
		seq:   binary.BigEndian.Uint32(packet[4:]),
		ack:   binary.BigEndian.Uint32(packet[8:]),
		flags: packet[13],
		len:   len(packet) - int(packet[12]>>4)*4,
	}, true
}

// probes leaves the bare acknowledgements that lie one byte before what the peer expects next: those are sent to be answered.
// It goes by what the segments themselves have carried so far.
func probes(way []segment) []segment {
	var found []segment
	var next uint32
	for _, s := range way {
		end := s.seq + uint32(s.len)
		if s.flags&(flagSYN|flagFIN) != 0 {
			end++
		}
		if s.flags == flagACK && s.len == 0 && next != 0 && s.seq == next-1 {
			found = append(found, s)
			continue
		}
		if int32(end-next) > 0 || next == 0 {
			next = end
		}
	}
	return found
}
