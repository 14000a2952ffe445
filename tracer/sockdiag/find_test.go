package sockdiag

import (
	"net"
	"net/netip"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestASocketIsFoundAsLongAsItLives(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		var config net.ListenConfig
		config.SetMultipathTCP(false)
		listener, err := config.Listen(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		cookie := cookieOf(t, conn)
		local, remote := netip.MustParseAddrPort(conn.LocalAddr().String()), netip.MustParseAddrPort(conn.RemoteAddr().String())
		finder, err := NewFinder()
		if err != nil {
			t.Fatal(err)
		}
		defer finder.Close()
		lives := func(cookie uint64) bool {
			t.Helper()
			lives, err := finder.Lives(local, remote, cookie)
			if err != nil {
				t.Fatal(err)
			}
			return lives
		}
		if !lives(0) || !lives(cookie) || lives(cookie+1) {
			t.Errorf("%s: lives %t, with its cookie %t, with another's %t", local, lives(0), lives(cookie), lives(cookie+1))
		}
		_ = conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
		if lives(0) || lives(cookie) {
			t.Errorf("%s lives after its reset", local)
		}
	}
}

func cookieOf(t *testing.T, conn net.Conn) (cookie uint64) {
	t.Helper()
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		cookie, err = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_COOKIE)
	}); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return cookie
}
