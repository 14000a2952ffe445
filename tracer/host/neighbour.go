package host

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Neighbour is who packets are handed to on a link.
type Neighbour struct {
	Addr  netip.Addr
	State string // as ip neigh says it, such as REACHABLE; empty: it is not in the table
}

// neighbourStates are the names of NUD_*.
var neighbourStates = map[int]string{
	unix.NUD_INCOMPLETE: "INCOMPLETE",
	unix.NUD_REACHABLE:  "REACHABLE",
	unix.NUD_STALE:      "STALE",
	unix.NUD_DELAY:      "DELAY",
	unix.NUD_PROBE:      "PROBE",
	unix.NUD_FAILED:     "FAILED",
	unix.NUD_NOARP:      "NOARP",
	unix.NUD_PERMANENT:  "PERMANENT",
}

// Neighbour is the next hop, or the remote end itself, as the neighbour table has it. The zero value: there is no route, or it
// leads to this host.
func (w *Way) Neighbour() (Neighbour, error) {
	if w.found == nil || w.found.Type == unix.RTN_LOCAL {
		return Neighbour{}, nil
	}
	next := Neighbour{Addr: w.query.Remote.Unmap()}
	if gateway, ok := netip.AddrFromSlice(w.found.Gw); ok {
		next.Addr = gateway.Unmap()
	}
	family := unix.AF_INET
	if next.Addr.Is6() {
		family = unix.AF_INET6
	}
	neighbours, err := whole(func() ([]netlink.Neigh, error) { return netlink.NeighList(w.found.LinkIndex, family) })
	if err != nil {
		return Neighbour{}, fmt.Errorf("list the neighbours of device %d: %w", w.found.LinkIndex, err)
	}
	for _, n := range neighbours {
		if addr, _ := netip.AddrFromSlice(n.IP); addr.Unmap() == next.Addr {
			next.State = neighbourStates[n.State]
		}
	}
	return next, nil
}
