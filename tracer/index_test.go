package tracer_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/nftables"

	"tcptrace/tracer/event"
)

// More connections than have a place among those that are found soonest: a packet without a socket, as on loopback, leads to
// each of them all the same.
func TestDropsBelongToTheirOwnOfManyConnections(t *testing.T) {
	const connections = 800 // two ends each; there are 1,536 places
	w, h := watch(t), newHost(t)
	l := listen(t, h, "127.0.0.1:0")
	clients := make([]net.Conn, connections)
	for i := range clients {
		clients[i], _ = connectTo(t, h, l)
	}
	port := netip.MustParseAddrPort(l.Addr().String()).Port()
	firewall{nftables.ChainHookInput, nftables.ChainPriorityFilter, toPort, nil}.add(t, h, port)
	for _, c := range clients {
		if _, err := c.Write([]byte("dropped on its way in")); err != nil {
			t.Fatal(err)
		}
	}
	// A drop that a softirq hides is followed by that of the retransmission.
	told := make(map[uint16]bool)
	w.await(h.Inode(), patience, func(events []event.Event) bool {
		for _, ev := range events {
			if ev.Kind == event.Drop && ev.Role == event.RoleServer {
				told[ev.Remote.Port()] = true
			}
		}
		return len(told) == connections
	})
	for _, c := range clients {
		if own := netip.MustParseAddrPort(c.LocalAddr().String()); !told[own.Port()] {
			t.Errorf("no drop on its way from %s was told", own)
		}
	}
}
