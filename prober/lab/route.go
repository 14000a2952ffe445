package lab

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// RouteType is what a route does with packets instead of sending them on.
type RouteType int

// The routes that send nothing on.
const (
	RouteBlackhole   RouteType = unix.RTN_BLACKHOLE
	RouteProhibit    RouteType = unix.RTN_PROHIBIT
	RouteUnreachable RouteType = unix.RTN_UNREACHABLE
)

// AddDeadRoute adds a route that leads nowhere.
func (h *Host) AddDeadRoute(dst netip.Prefix, kind RouteType) error {
	return h.netlink(func(nl *netlink.Handle) error {
		if err := nl.RouteAdd(&netlink.Route{Dst: ipNet(dst), Type: int(kind)}); err != nil {
			return fmt.Errorf("add a dead route to %v on %s: %w", dst, h.Name, err)
		}
		return nil
	})
}

// setMTU limits the packets that an interface sends, in bytes.
func (h *Host) setMTU(name string, mtu int) error {
	return h.link(name, func(nl *netlink.Handle, link netlink.Link) error {
		if err := nl.LinkSetMTU(link, mtu); err != nil {
			return fmt.Errorf("set the MTU of %s on %s: %w", name, h.Name, err)
		}
		return nil
	})
}
