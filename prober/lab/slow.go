package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// AnswerSlowly makes the host route two networks to a TUN device behind which every address completes handshakes, each
// SYN-ACK after the delay that its address has. Nothing but the handshake happens there: what else is sent meets silence.
// It goes on until the network is closed.
func (h *Host) AnswerSlowly(ctx context.Context, ipv4, ipv6 netip.Prefix, delay func(netip.Addr) time.Duration) error {
	const name = "slow0"
	device, err := h.openTUN(name)
	if err != nil {
		return fmt.Errorf("make a TUN device on %s: %w", h.Name, err)
	}
	r := &slowResponder{device: device, delay: delay}
	r.wg.Go(r.read)
	if err := h.network.onClose(r.close); err != nil {
		return err
	}
	if err := h.setUp(name); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return h.link(name, func(nl *netlink.Handle, link netlink.Link) error {
		for _, network := range []netip.Prefix{ipv4, ipv6} {
			if err := nl.RouteAdd(&netlink.Route{Dst: ipNet(network), LinkIndex: link.Attrs().Index}); err != nil {
				return fmt.Errorf("route %v to %s on %s: %w", network, name, h.Name, err)
			}
		}
		return nil
	})
}

// openTUN makes a TUN device of the host, which lives as long as the file is open.
func (h *Host) openTUN(name string) (*os.File, error) {
	var device *os.File
	err := h.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("open /dev/net/tun: %w", err)
		}
		ifreq, err := unix.NewIfreq(name)
		if err == nil {
			ifreq.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifreq)
		}
		if err != nil {
			unix.Close(fd)
			return err
		}
		// Only now: the poller takes what can be polled, which a TUN file without a device cannot.
		device = os.NewFile(uintptr(fd), "/dev/net/tun")
		return nil
	})
	return device, err
}

// slowResponder answers SYNs, late.
type slowResponder struct {
	device *os.File
	delay  func(netip.Addr) time.Duration
	wg     sync.WaitGroup
}

// read returns when the device is closed.
func (r *slowResponder) read() {
	packet := make([]byte, 1<<16)
	for {
		n, err := r.device.Read(packet)
		if err != nil {
			return
		}
		answer, from, ok := synACK(packet[:n])
		if !ok {
			continue
		}
		time.AfterFunc(r.delay(from), func() {
			_, _ = r.device.Write(answer) // an answer that is lost is lost
		})
	}
}

func (r *slowResponder) close() error {
	err := r.device.Close()
	r.wg.Wait()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

const (
	ipv4Header = 20 // without options
	ipv6Header = 40
	tcpHeader  = 20 // without options
)

// synACK is the packet that answers a SYN, and whose answer it is; ok is false for any other packet.
func synACK(packet []byte) (answer []byte, from netip.Addr, ok bool) {
	source, destination, segment, ok := splitIP(packet)
	if !ok || len(segment) < tcpHeader {
		return nil, from, false
	}
	const flags, syn, ack = 13, 0x02, 0x10
	if segment[flags]&(syn|ack) != syn {
		return nil, from, false
	}
	tcp := make([]byte, tcpHeader)
	copy(tcp[0:], segment[2:4])
	copy(tcp[2:], segment[0:2])
	// The answer to a repeated SYN has the same number: it is a function of what the SYN has.
	sequence := binary.BigEndian.Uint32(segment[4:])
	binary.BigEndian.PutUint32(tcp[4:], ^sequence)
	binary.BigEndian.PutUint32(tcp[8:], sequence+1)
	tcp[12] = tcpHeader / 4 << 4
	tcp[flags] = syn | ack
	binary.BigEndian.PutUint16(tcp[14:], 1<<16-1) // window
	binary.BigEndian.PutUint16(tcp[16:], tcpChecksum(destination, source, tcp))
	return joinIP(destination, source, tcp), destination, true
}

// splitIP finds the ends and the TCP segment of an IP packet.
func splitIP(packet []byte) (source, destination netip.Addr, segment []byte, ok bool) {
	switch {
	case len(packet) >= ipv4Header && packet[0]>>4 == 4 && packet[9] == unix.IPPROTO_TCP:
		length := int(packet[0]&0xf) * 4
		if length < ipv4Header || length > len(packet) {
			return source, destination, nil, false
		}
		return netip.AddrFrom4([4]byte(packet[12:])), netip.AddrFrom4([4]byte(packet[16:])), packet[length:], true
	case len(packet) >= ipv6Header && packet[0]>>4 == 6 && packet[6] == unix.IPPROTO_TCP:
		return netip.AddrFrom16([16]byte(packet[8:])), netip.AddrFrom16([16]byte(packet[24:])), packet[ipv6Header:], true
	}
	return source, destination, nil, false
}

// joinIP puts a TCP segment into a packet.
func joinIP(source, destination netip.Addr, segment []byte) []byte {
	const hops = 64
	if source.Is4() {
		packet := make([]byte, ipv4Header, ipv4Header+len(segment))
		packet[0] = 4<<4 | ipv4Header/4
		binary.BigEndian.PutUint16(packet[2:], uint16(ipv4Header+len(segment)))
		packet[8], packet[9] = hops, unix.IPPROTO_TCP
		copy(packet[12:], source.AsSlice())
		copy(packet[16:], destination.AsSlice())
		binary.BigEndian.PutUint16(packet[10:], ^fold(sum(0, packet)))
		return append(packet, segment...)
	}
	packet := make([]byte, ipv6Header, ipv6Header+len(segment))
	packet[0] = 6 << 4
	binary.BigEndian.PutUint16(packet[4:], uint16(len(segment)))
	packet[6], packet[7] = unix.IPPROTO_TCP, hops
	copy(packet[8:], source.AsSlice())
	copy(packet[24:], destination.AsSlice())
	return append(packet, segment...)
}

// tcpChecksum is the checksum of a segment whose own is 0, the pseudo-header included (RFC 9293, 3.1).
func tcpChecksum(source, destination netip.Addr, segment []byte) uint16 {
	total := sum(0, source.AsSlice())
	total = sum(total, destination.AsSlice())
	total += unix.IPPROTO_TCP + uint32(len(segment))
	return ^fold(sum(total, segment))
}

// sum adds bytes, of which there is an even number, as 16-bit words.
func sum(total uint32, bytes []byte) uint32 {
	for i := 0; i < len(bytes); i += 2 {
		total += uint32(binary.BigEndian.Uint16(bytes[i:]))
	}
	return total
}

// fold brings the carries back in.
func fold(total uint32) uint16 {
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	return uint16(total)
}
