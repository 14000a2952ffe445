package tracer_test

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
	"tcptrace/tracer/event"
)

// With Fast Open data comes with the SYN, and a server accepts before its handshake is complete: it is the acceptor's from
// then on, and both ends are known by the numbers that they began with.
func TestFastOpenIsKnownBeforeItsHandshake(t *testing.T) {
	t.Parallel()
	loopbacks(t, func(t *testing.T, address string) {
		t.Parallel()
		w, h := watch(t), newHost(t)
		allowFastOpen(t, h)
		l := listen(t, h, net.JoinHostPort(address, "0"))
		to := l.Addr().(*net.TCPAddr).AddrPort()
		final, err := h.DropInput(lab.Drop{Port: to.Port(), AfterSYN: true})
		if err != nil {
			t.Fatal(err)
		}
		client := connectFast(t, h, to, "question")
		server := accept(t, l)
		defer server.Close()
		if _, err := server.Write([]byte("answer")); err != nil {
			t.Fatal(err)
		}
		w.until(t, h.Inode(), "the accept", func(events []event.Event) bool {
			return has(events, event.Accept, event.RoleServer)
		})
		if err := final.Remove(); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Write([]byte("thanks")); err != nil { // which acknowledges both
			t.Fatal(err)
		}
		events := w.until(t, h.Inode(), "the server's handshake", func(events []event.Event) bool {
			return has(events, event.Established, event.RoleServer)
		})
		first, own := of(t, events, event.RoleClient)[0], of(t, events, event.RoleServer)
		told := only(own, event.Accept, event.Established)
		if want := []event.Kind{event.Accept, event.Established}; !slices.Equal(kinds(told), want) {
			t.Errorf("the server, want %v:\n%s", want, describe(own))
		}
		for _, ev := range told {
			if ev.Owner.Via != "" || ev.PeerISN != first.ISN {
				t.Errorf("%s is of %q, and of a client that began with %d, not %d", ev.Kind, ev.Owner.Via, ev.PeerISN, first.ISN)
			}
		}
		expectWhole(t, own, os.Getpid())
	})
}

// allowFastOpen has clients send data with their SYNs, and servers take it, without a cookie.
func allowFastOpen(t *testing.T, h *lab.Host) {
	t.Helper()
	const client, server, clientWithoutCookie, serverWithoutCookie, allListeners = 1, 2, 4, 0x200, 0x400
	const all = client | server | clientWithoutCookie | serverWithoutCookie | allListeners
	if err := h.Sysctl("net/ipv4/tcp_fastopen", strconv.Itoa(all)); err != nil {
		t.Fatal(err)
	}
}

// connectFast has a SYN carry the first data.
func connectFast(t *testing.T, h *lab.Host, to netip.AddrPort, data string) net.Conn {
	t.Helper()
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return setOptions(raw, []socketOption{{unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1}})
	}}
	dialer.SetMultipathTCP(false)
	var client net.Conn
	err := h.Do(func() (err error) {
		if client, err = dialer.Dial("tcp", to.String()); err == nil {
			_, err = client.Write([]byte(data))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}
