package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	rtnl "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// awaitUp waits until an interface can carry packets: its operational state is up (RFC 2863), which the kernel says some
// time after the carrier is there (linkwatch_do_dev, net/core/link_watch.c).
func (h *Host) awaitUp(ctx context.Context, name string) error {
	err := h.await(ctx, unix.RTMGRP_LINK, func() (bool, error) { return h.isUp(name) })
	if err != nil {
		return fmt.Errorf("wait for %s on %s to come up: %w", name, h.Name, err)
	}
	return nil
}

// awaitDown waits until the kernel has taken note that an interface has no carrier, up to a second later: whatever waits for a
// neighbour then is discarded (neigh_carrier_down, net/core/neighbour.c).
func (h *Host) awaitDown(ctx context.Context, name string) error {
	err := h.await(ctx, unix.RTMGRP_LINK, func() (bool, error) {
		up, err := h.isUp(name)
		return !up, err
	})
	if err != nil {
		return fmt.Errorf("wait for %s on %s to go down: %w", name, h.Name, err)
	}
	return nil
}

// awaitAddr waits until an IPv6 address can be used. The kernel begins with an address only after it has said that it was
// added, in a work queue (addrconf_dad_work, net/ipv6/addrconf.c): it joins the group to which neighbours send their
// solicitations, and, last, adds the address to the local routes. A neighbour that asks too early asks again after 1 s.
func (h *Host) awaitAddr(ctx context.Context, addr netip.Addr) error {
	err := h.await(ctx, unix.RTMGRP_IPV6_ROUTE, func() (bool, error) { return h.isLocal(addr) })
	if err != nil {
		return fmt.Errorf("wait for %v on %s: %w", addr, h.Name, err)
	}
	return nil
}

// await waits until ready is true, which is asked again whenever the kernel announces a change to one of the groups.
func (h *Host) await(ctx context.Context, groups uint32, ready func() (bool, error)) error {
	changes, err := h.changes(groups)
	if err != nil {
		return err
	}
	defer changes.Close()
	// A deadline in the past ends a Receive that is under way.
	stop := context.AfterFunc(ctx, func() { _ = changes.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()

	for {
		if ok, err := ready(); ok || err != nil {
			return err
		}
		if _, err := changes.Receive(); err != nil {
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			return err
		}
	}
}

// changes is a socket that gets a message whenever something of the groups (RTMGRP_*) changes on the host.
func (h *Host) changes(groups uint32) (*rtnl.Conn, error) {
	var changes *rtnl.Conn
	err := h.ns.withFD(func(fd int) (err error) {
		changes, err = rtnl.Dial(unix.NETLINK_ROUTE, &rtnl.Config{NetNS: fd, Groups: groups})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen to changes on %s: %w", h.Name, err)
	}
	return changes, nil
}

func (h *Host) isUp(name string) (up bool, err error) {
	err = h.link(name, func(_ *netlink.Handle, link netlink.Link) error {
		up = link.Attrs().OperState == netlink.OperUp
		return nil
	})
	return up, err
}

// isLocal says whether what comes for the address is taken for the host's own.
func (h *Host) isLocal(addr netip.Addr) (local bool, err error) {
	err = h.netlink(func(nl *netlink.Handle) error {
		wanted := &netlink.Route{Table: unix.RT_TABLE_LOCAL, Dst: ipNet(netip.PrefixFrom(addr, addr.BitLen()))}
		routes, err := nl.RouteListFiltered(unix.AF_INET6, wanted, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST)
		local = len(routes) > 0
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			return nil // by a change, which is announced
		}
		return err
	})
	return local, err
}
