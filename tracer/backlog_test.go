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
	"unsafe"

	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
	"tcptrace/tracer/event"
)

// A hole is a page of memory that is not there: who touches it waits until the hole is filled (userfaultfd(2)).
type hole struct {
	page []byte
	fd   int
}

// Of linux/userfaultfd.h, which x/sys does not have. Sizes are part of the requests' numbers.
const (
	uffdAPI         = 0xaa
	uffdioAPI       = 0xc018aa3f
	uffdioRegister  = 0xc020aa00
	uffdioZeroPage  = 0xc020aa04
	uffdModeMissing = 1
)

type (
	uffdioAPIArgument struct{ api, features, ioctls uint64 }
	// uffdioRange is struct uffdio_register, and struct uffdio_zeropage as well.
	uffdioRange struct{ start, size, mode, result uint64 }
)

func newHole(t *testing.T) *hole {
	t.Helper()
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|unix.O_NONBLOCK, 0, 0) // otherwise poll fails
	if (errno == unix.ENOSYS || errno == unix.EPERM) && os.Getenv("TCPTRACE_KERNEL_TESTS") != "1" {
		t.Skipf("userfaultfd: %v", errno)
	}
	if errno != 0 {
		t.Fatalf("userfaultfd: %v", errno)
	}
	h := &hole{fd: int(fd)}
	t.Cleanup(func() { unix.Close(h.fd) }) // fills what is not filled yet
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	h.page = page
	h.ioctl(t, uffdioAPI, unsafe.Pointer(&uffdioAPIArgument{api: uffdAPI}))
	h.ioctl(t, uffdioRegister, unsafe.Pointer(&uffdioRange{h.start(), uint64(len(page)), uffdModeMissing, 0}))
	return h
}

func (h *hole) start() uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(h.page)))) }

func (h *hole) ioctl(t *testing.T, request uintptr, argument unsafe.Pointer) {
	t.Helper()
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(h.fd), request, uintptr(argument)); errno != 0 {
		t.Fatalf("userfaultfd: ioctl %#x: %v", request, errno)
	}
}

// awaitTouch waits until somebody is stuck in the hole.
func (h *hole) awaitTouch(t *testing.T) {
	t.Helper()
	ready := []unix.PollFd{{Fd: int32(h.fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(ready, int(patience.Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if ready[0].Revents != unix.POLLIN {
			t.Fatalf("nobody touched the page: %d, %v, %#x", n, err, ready[0].Revents)
		}
		return
	}
}

func (h *hole) fill(t *testing.T) {
	t.Helper()
	h.ioctl(t, uffdioZeroPage, unsafe.Pointer(&uffdioRange{h.start(), uint64(len(h.page)), 0, 0}))
}

// receiveInto has a connection receive into a hole: recv(2) holds the socket's lock until that is filled. It returns when it
// does; the channel then gives what came.
func receiveInto(t *testing.T, c *net.TCPConn, h *hole) <-chan string {
	t.Helper()
	control, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	received := make(chan string, 1)
	go func() {
		n := 0
		_ = control.Control(func(fd uintptr) { n, _, _ = unix.Recvfrom(int(fd), h.page, 0) })
		received <- string(h.page[:max(n, 0)])
	}()
	h.awaitTouch(t)
	return received
}

// Segments that come while an application is within the kernel with the socket wait in its backlog, for which there is
// little more than the socket's buffers are large (tcp_add_backlog).
func TestWhatAFullBacklogDropsIsSeen(t *testing.T) {
	loopbacks(t, func(t *testing.T, address string) {
		const word, most = "hello", 400 // segments: each takes up 768 bytes at least, and there is room for 72 KiB
		w, h, hole := watch(t), newHost(t), newHole(t)
		l := listen(t, h, net.JoinHostPort(address, "0"))
		for _, option := range []int{unix.SO_RCVBUF, unix.SO_SNDBUF} {
			raw(t, l.(syscall.Conn), func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1) }) // the least
		}
		c, err := dial(h, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		s := accept(t, l).(*net.TCPConn)
		defer s.Close()
		if _, err := c.Write([]byte(word)); err != nil {
			t.Fatal(err)
		}
		if err := awaitInput(s); err != nil {
			t.Fatal(err)
		}
		cookie := cookieOf(t, s)
		received := receiveInto(t, s, hole)
		from, to := netip.MustParseAddrPort(s.RemoteAddr().String()), netip.MustParseAddrPort(s.LocalAddr().String())
		injectByte(t, h, from, to, most)
		hole.fill(t)
		if got := <-received; got != word {
			t.Errorf("received %q, want %q", got, word)
		}
		if strings.Contains(w.partial(event.Drop), "backlog") {
			w.expectNone(t, h, event.Drop)
			return
		}
		w.until(t, h.Inode(), "a drop", func(events []event.Event) bool { return has(events, event.Drop, event.RoleServer) })
		ev := w.ofKind(t, h.Inode(), event.Drop)
		w.expectReason(t, ev, "SOCKET_BACKLOG")
		if ev.Direction != "in" || ev.TCPFlags != "ACK" || ev.Len != 1 || ev.State != event.StateEstablished {
			t.Errorf("%s %s, %d bytes, in %s", ev.TCPFlags, ev.Direction, ev.Len, ev.State)
		}
		if ev.Role != event.RoleServer || ev.Local != to || ev.Remote != from || ev.Cookie != cookie || ev.Owner.PID != os.Getpid() {
			t.Errorf("of the %s %s→%s of process %d, cookie %d; want %s→%s, cookie %d", ev.Role, ev.Local, ev.Remote, ev.Owner.PID, ev.Cookie, to, from, cookie)
		}
	})
}

// awaitInput waits until there is something to read.
func awaitInput(c *net.TCPConn) error {
	control, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return control.Read(func(fd uintptr) bool {
		_, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return !errors.Is(err, unix.EAGAIN)
	})
}

func cookieOf(t *testing.T, c *net.TCPConn) (cookie uint64) {
	t.Helper()
	raw(t, c, func(fd int) (err error) {
		cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
		return err
	})
	return cookie
}

// injectByte sends one byte, with the least sequence number, again and again, in a segment that is of no socket. What a
// backlog gets is put together when it follows on, as these do not.
func injectByte(t *testing.T, h *lab.Host, from, to netip.AddrPort, times int) {
	t.Helper()
	const header = 20
	segment := make([]byte, header+1)
	binary.BigEndian.PutUint16(segment[0:], from.Port())
	binary.BigEndian.PutUint16(segment[2:], to.Port())
	segment[12], segment[13] = header/4<<4, flagACK
	binary.BigEndian.PutUint16(segment[16:], tcpChecksum(from.Addr(), to.Addr(), segment))
	sendRaw(t, h, to.Addr(), segment, times)
}
