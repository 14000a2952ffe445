package tracer_test

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
	"tcptrace/tracer/event"
)

// signatures sets a key for a peer's TCP MD5 signatures on a socket.
func signatures(peer netip.Addr) func(fd int) error {
	const afterPort, afterFlowInfo = 2, 6
	var key unix.TCPMD5Sig
	key.Addr.Family = unix.AF_INET
	copy(key.Addr.Data[afterPort:], peer.AsSlice())
	if peer.Is6() {
		key.Addr = unix.SockaddrStorage{Family: unix.AF_INET6}
		copy(key.Addr.Data[afterFlowInfo:], peer.AsSlice())
	}
	key.Keylen = uint16(copy(key.Key[:], "secret"))
	return func(fd int) error {
		return unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, &key)
	}
}

func TestSYNsWithoutTheRightSignatureAreSeenDropped(t *testing.T) {
	for name, test := range map[string]struct {
		signs, requires bool
		want            string
	}{
		"none where one is required":     {false, true, "TCP_MD5NOTFOUND"},
		"one where nobody has asked for": {true, false, "TCP_MD5UNEXPECTED"},
	} {
		t.Run(name, func(t *testing.T) {
			loopbacks(t, func(t *testing.T, address string) {
				w, h, addr := watch(t), newHost(t), netip.MustParseAddr(address)
				listener := listen(t, h, net.JoinHostPort(address, "0"))
				to := netip.MustParseAddrPort(listener.Addr().String())
				if test.requires {
					err := error(nil)
					raw(t, listener.(syscall.Conn), func(fd int) error {
						err = signatures(addr)(fd)
						return nil
					})
					skipWithoutSignatures(t, err)
				}
				var options []func(int) error
				if test.signs {
					options = append(options, signatures(addr))
					skipWithoutSignatures(t, socket(h, to, signatures(addr)))
				}
				begin(t, h, to, options...)
				if !w.seesTCP() {
					w.expectNone(t, h, event.Drop)
					return
				}
				ev := w.ofKind(t, h.Inode(), event.Drop)
				w.expectReason(t, ev, test.want)
				if ev.Role != event.RoleServer || ev.Direction != "in" || ev.TCPFlags != "SYN" {
					t.Errorf("%s %s of the %s", ev.TCPFlags, ev.Direction, ev.Role)
				}
			})
		})
	}
}

// skipWithoutSignatures fails for any error but that of a kernel without CONFIG_TCP_MD5SIG, which has nothing to test.
func skipWithoutSignatures(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, unix.ENOPROTOOPT) && os.Getenv("TCPTRACE_KERNEL_TESTS") != "1" {
		t.Skip("this kernel knows no TCP MD5 signatures")
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestAnOldTimestampIsSeenDropped sends a client what its server might have sent long ago (PAWS, RFC 7323).
func TestAnOldTimestampIsSeenDropped(t *testing.T) {
	loopbacks(t, func(t *testing.T, address string) {
		w, h := watch(t), newHost(t)
		c, s := connect(t, h, net.JoinHostPort(address, "0"))
		client, server := netip.MustParseAddrPort(c.LocalAddr().String()), netip.MustParseAddrPort(s.LocalAddr().String())
		const longAgo = 1 << 20 // milliseconds
		for range takes {
			injectOld(t, h, server, client, timestamp(t, s)-longAgo)
		}
		if !w.seesTCP() {
			w.expectNone(t, h, event.Drop)
			return
		}
		ev := w.ofKind(t, h.Inode(), event.Drop)
		if w.hasReasons() && !strings.HasPrefix(ev.Reason, "TCP_RFC7323_PAWS") {
			t.Errorf("dropped for %q, want an old timestamp", ev.Reason)
		}
		if ev.Role != event.RoleClient || ev.Direction != "in" || ev.TCPFlags != "ACK" || ev.Len != 1 {
			t.Errorf("%s %s of the %s, %d bytes", ev.TCPFlags, ev.Direction, ev.Role, ev.Len)
		}
	})
}

// timestamp is what a connection would write into a segment now.
func timestamp(t *testing.T, c net.Conn) uint32 {
	t.Helper()
	var now int
	raw(t, c.(syscall.Conn), func(fd int) (err error) {
		now, err = unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_TIMESTAMP)
		return err
	})
	return uint32(now)
}

// injectOld sends one byte with a timestamp, in a segment that is of no socket.
func injectOld(t *testing.T, h *lab.Host, from, to netip.AddrPort, stamp uint32) {
	t.Helper()
	const header = 32 // with two bytes of padding and the ten of the timestamp
	segment := make([]byte, header+1)
	binary.BigEndian.PutUint16(segment[0:], from.Port())
	binary.BigEndian.PutUint16(segment[2:], to.Port())
	segment[12], segment[13] = header/4<<4, flagACK
	copy(segment[20:], []byte{1, 1, 8, 10})
	binary.BigEndian.PutUint32(segment[24:], stamp)
	binary.BigEndian.PutUint16(segment[16:], tcpChecksum(from.Addr(), to.Addr(), segment))
	sendRaw(t, h, to.Addr(), segment, 1)
}

// tcpChecksum is that of RFC 9293, section 3.1, with the pseudo-header of either version of IP.
func tcpChecksum(from, to netip.Addr, segment []byte) uint16 {
	data := append(from.AsSlice(), to.AsSlice()...)
	data = binary.BigEndian.AppendUint32(data, uint32(len(segment)))
	data = binary.BigEndian.AppendUint32(data, unix.IPPROTO_TCP)
	data = append(append(data, segment...), make([]byte, len(segment)%2)...)
	sum := uint32(0)
	for i := 0; i < len(data); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(data[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
