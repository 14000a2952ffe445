package lab

import (
	"context"
	"fmt"
	"time"

	rtnl "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// awaitUp waits until an interface can carry packets: its operational state is up (RFC 2863), which the kernel says some
// time after the carrier is there (linkwatch_do_dev, net/core/link_watch.c).
func (h *Host) awaitUp(ctx context.Context, name string) error {
	changes, err := h.linkChanges()
	if err != nil {
		return err
	}
	defer changes.Close()
	// A deadline in the past ends a Receive that is under way.
	stop := context.AfterFunc(ctx, func() { _ = changes.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()

	for {
		up, err := h.isUp(name)
		if up || err != nil {
			return err
		}
		// Any change will do: the state is asked for again.
		if _, err := changes.Receive(); err != nil {
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			return fmt.Errorf("wait for %s on %s to come up: %w", name, h.Name, err)
		}
	}
}

// linkChanges is a socket that gets a message whenever an interface of the host changes.
func (h *Host) linkChanges() (*rtnl.Conn, error) {
	var changes *rtnl.Conn
	err := h.ns.withFD(func(fd int) (err error) {
		changes, err = rtnl.Dial(unix.NETLINK_ROUTE, &rtnl.Config{NetNS: fd, Groups: unix.RTMGRP_LINK})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen to link changes on %s: %w", h.Name, err)
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
