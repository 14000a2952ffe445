package tracer_test

import (
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
	"tcptrace/tracer"
	"tcptrace/tracer/event"
)

const (
	defaultTTL = 64
	serversTTL = 200 // what the test has the server send with
)

// ttls are those that a connection's events have, by end and kind.
type ttls struct{ synack, finalACK, clientsReset, serversReset int }

// resetter ends a connection through a router. The router stands on the way from the start.
type resetter struct {
	end  func(t *testing.T, c *lab.Chain, client, server *net.TCPConn)
	want ttls // one router has passed what came by it
}

var resetters = map[string]resetter{
	"the server": {
		func(t *testing.T, _ *lab.Chain, _, server *net.TCPConn) { abort(t, server) },
		ttls{synack: serversTTL - 1, finalACK: defaultTTL - 1, clientsReset: serversTTL - 1},
	},
	"the client": {
		func(t *testing.T, _ *lab.Chain, client, _ *net.TCPConn) { abort(t, client) },
		ttls{synack: serversTTL - 1, finalACK: defaultTTL - 1, serversReset: defaultTTL - 1},
	},
	"a router": {
		func(t *testing.T, c *lab.Chain, client, server *net.TCPConn) {
			reset := []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}
			port := netip.MustParseAddrPort(server.LocalAddr().String()).Port()
			firewall{nftables.ChainHookForward, nftables.ChainPriorityFilter, toPort, reset}.add(t, c.Routers[0], port)
			if _, err := client.Write([]byte("anything")); err != nil {
				t.Fatal(err)
			}
		},
		ttls{synack: serversTTL - 1, finalACK: defaultTTL - 1, clientsReset: defaultTTL},
	},
}

// sendWith sets the TTL, or hop limit, of what a listener's connections send.
func sendWith(t *testing.T, l net.Listener, ttl int) {
	t.Helper()
	raw(t, l.(syscall.Conn), func(fd int) error {
		if netip.MustParseAddrPort(l.Addr().String()).Addr().Is6() {
			return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, ttl)
		}
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, ttl)
	})
}

func TestTTLsOfHandshakeAndResetAreSeen(t *testing.T) {
	t.Parallel()
	for name, r := range resetters {
		t.Run(name, func(t *testing.T) {
			families(t, func(t *testing.T, address func(*lab.Chain) netip.Addr) {
				t.Parallel()
				w := watch(t)
				if w.tracer.TTL().Mechanism == "" {
					t.Fatalf("no TTL is seen, even of packets that are all looked at: %v", w.tracer.TTL().Refused)
				}
				r.expect(t, w, address, r.want)
			})
		})
	}
}

// Where functions cannot be hooked that have the packet, only the final ACK's is known, by the server's socket.
func TestTTLsWithoutALookAtEachPacket(t *testing.T) {
	t.Parallel()
	kinds := []event.Kind{event.Connect, event.Established, event.ResetReceived, event.Close}
	w := newWatcher(open(t, tracer.Options{Kinds: kinds, NewOnly: true}))
	r := resetters["a router"]
	want := r.want
	if w.tracer.TTL().Mechanism == "" {
		want = ttls{finalACK: want.finalACK}
	}
	families(t, func(t *testing.T, address func(*lab.Chain) netip.Addr) { r.expect(t, w, address, want) })
}

// expect makes a connection, has it reset, and compares. What a softirq did unseen (see unseen) is done again.
func (r resetter) expect(t *testing.T, w *watcher, address func(*lab.Chain) netip.Addr, want ttls) {
	t.Helper()
	var got ttls
	for range takes {
		var whole bool
		if got, whole = r.once(t, w, address); whole && got == want {
			return
		}
	}
	t.Errorf("TTLs %+v, want %+v", got, want)
}

// once is whole when all events came that say a TTL.
func (r resetter) once(t *testing.T, w *watcher, address func(*lab.Chain) netip.Addr) (got ttls, whole bool) {
	t.Helper()
	chain := newChain(t)
	l := listen(t, chain.Server, netip.AddrPortFrom(address(chain), 80).String())
	sendWith(t, l, serversTTL)
	c, err := dial(chain.Client, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := accept(t, l)
	defer s.Close()
	r.end(t, chain, c.(*net.TCPConn), s.(*net.TCPConn))
	expectsReset, other := chain.Client, chain.Server
	if r.want.serversReset != 0 {
		expectsReset, other = other, expectsReset
	}
	reset, seen := w.await(expectsReset.Inode(), patience/4, func(events []event.Event) bool {
		return slices.ContainsFunc(events, func(ev event.Event) bool { return ev.Kind == event.ResetReceived })
	})
	established, done := w.await(other.Inode(), patience/4, func(events []event.Event) bool {
		return slices.ContainsFunc(events, func(ev event.Event) bool { return ev.Kind == event.Established })
	})
	got.take(reset)
	got.take(established)
	return got, seen && done
}

func (seen *ttls) take(events []event.Event) {
	for _, ev := range events {
		switch {
		case ev.Kind == event.Established && ev.Role == event.RoleClient:
			seen.synack = ev.TTL
		case ev.Kind == event.Established:
			seen.finalACK = ev.TTL
		case ev.Kind == event.ResetReceived && ev.Role == event.RoleClient:
			seen.clientsReset = ev.TTL
		case ev.Kind == event.ResetReceived:
			seen.serversReset = ev.TTL
		}
	}
}

// The answer to a SYN that comes too late, to no socket, is dropped, and its TTL tells it from the refusal before.
func TestTTLOfWhatIsDroppedIsSeen(t *testing.T) {
	t.Parallel()
	families(t, func(t *testing.T, address func(*lab.Chain) netip.Addr) {
		w, chain := watch(t), newChain(t)
		l := listen(t, chain.Server, netip.AddrPortFrom(address(chain), 80).String())
		sendWith(t, l, serversTTL)
		firewall{nftables.ChainHookInput, nftables.ChainPriorityFilter, fromPort, nil}.add(t, chain.Client, 80)
		begin(t, chain.Client, netip.MustParseAddrPort(l.Addr().String()))
		if ev := w.ofKind(t, chain.Client.Inode(), event.Drop); ev.TTL != serversTTL-1 || ev.TCPFlags != "SYN+ACK" {
			t.Errorf("%s with TTL %d, want %d", ev.TCPFlags, ev.TTL, serversTTL-1)
		}
	})
}
