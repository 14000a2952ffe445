package host

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tcptrace/tracer/event"
)

// RouteQuery is what decides which route the kernel takes.
type RouteQuery struct {
	Remote netip.Addr
	Source netip.Addr // that the socket is bound to; invalid: the kernel chooses
	Mark   uint32     // SO_MARK
	Device int        // SO_BINDTODEVICE, by the device's number; 0: none
	UID    *uint32    // of the socket's owner; nil: this process's
}

// Route is what a lookup gave.
type Route struct {
	// Errno is what connect() would get: ENETUNREACH without a route, EACCES, EINVAL and EHOSTUNREACH of a prohibit, a
	// blackhole and an unreachable one; 0: there is a route, and only then the others are known.
	Errno   event.Errno
	Device  string
	Source  netip.Addr // that the kernel chooses for a socket which has none
	Gateway netip.Addr // invalid: the remote end is on the link
	Local   bool       // the remote end is this host itself
	// SourceGone says that there is no route because the source is no address of the namespace (ENETUNREACH, or EINVAL).
	SourceGone bool
}

// Way is what a route lookup gave, of which more can be asked, in the same network namespace.
type Way struct {
	query  RouteQuery
	found  *netlink.Route // nil: there is none, for the errno
	errno  event.Errno
	device netlink.Link // once it was asked for
}

// LookUp looks a route up in the network namespace of the calling thread, as ip route get does (RTM_GETROUTE). Its error
// says that the kernel could not be asked; that there is no route is an answer.
func LookUp(q RouteQuery) (*Way, error) {
	found, errno, err := lookUp(q)
	if err != nil {
		return nil, err
	}
	return &Way{query: q, found: found, errno: errno}, nil
}

// Route describes it.
func (w *Way) Route() Route {
	if w.found == nil {
		return Route{Errno: w.errno, SourceGone: isGone(w.query.Source)}
	}
	r := Route{Local: w.found.Type == unix.RTN_LOCAL}
	r.Source, _ = netip.AddrFromSlice(w.found.Src)
	r.Gateway, _ = netip.AddrFromSlice(w.found.Gw)
	r.Source, r.Gateway = r.Source.Unmap(), r.Gateway.Unmap()
	if device, err := w.leadsTo(); err == nil {
		r.Device = device.Attrs().Name
	}
	return r
}

// leadsTo is the device that the route leads to.
func (w *Way) leadsTo() (netlink.Link, error) { return w.byIndex(w.found.LinkIndex) }

func (w *Way) byIndex(index int) (netlink.Link, error) {
	if w.device != nil && w.device.Attrs().Index == index {
		return w.device, nil
	}
	device, err := netlink.LinkByIndex(index)
	if err != nil {
		return nil, fmt.Errorf("look for device %d: %w", index, err)
	}
	w.device = device
	return device, nil
}

// isGone says that an address is none of the calling thread's network namespace.
func isGone(source netip.Addr) bool {
	if !source.IsValid() || source.IsUnspecified() {
		return false
	}
	addresses, err := whole(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	return err == nil && !slices.ContainsFunc(addresses, func(a netlink.Addr) bool {
		addr, _ := netip.AddrFromSlice(a.IP)
		return addr.Unmap() == source.Unmap()
	})
}

// lookUp gives the route, or the errno of what refuses.
func lookUp(q RouteQuery) (*netlink.Route, event.Errno, error) {
	options := &netlink.RouteGetOptions{Mark: q.Mark, OifIndex: q.Device, UID: q.UID}
	if q.Source.IsValid() && !q.Source.IsUnspecified() {
		options.SrcAddr = q.Source.Unmap().AsSlice()
	}
	routes, err := netlink.RouteGetWithOptions(q.Remote.Unmap().AsSlice(), options)
	if errno, ok := errors.AsType[syscall.Errno](err); ok && refuses(errno) {
		return nil, event.Errno(errno), nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("look up the route to %s: %w", q.Remote, err)
	}
	if len(routes) == 0 {
		return nil, 0, fmt.Errorf("look up the route to %s: the kernel gave none", q.Remote)
	}
	return &routes[0], 0, nil
}

// refuses says that an errno is a route's, as fib_props and the dst_error of IPv6 have it.
func refuses(errno syscall.Errno) bool {
	switch errno {
	case syscall.ENETUNREACH, syscall.EACCES, syscall.EINVAL, syscall.EHOSTUNREACH:
		return true
	}
	return false
}
