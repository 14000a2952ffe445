package host

import (
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Link is the device that a route leads to.
type Link struct {
	Name   string
	Tunnel string     // its kind, such as gre or wireguard; empty: it is none
	Remote netip.Addr // that a tunnel ends at; invalid: that is not one address
	// NoCarrier says that it is switched on and nothing is at its other end, or that this is down (no IFF_LOWER_UP).
	NoCarrier bool
	VRF       string // that it belongs to, or is
}

// tunnels are the kinds of devices, as netlink calls them, whose packets leave this host inside others.
var tunnels = map[string]bool{
	"gre": true, "gretap": true, "ip6gre": true, "ip6gretap": true, "erspan": true, "ip6erspan": true, "ipip": true, "sit": true,
	"ip6tnl": true, "vti": true, "vti6": true, "xfrm": true, "vxlan": true, "geneve": true, "bareudp": true, "wireguard": true,
	"tun": true, "ppp": true, "l2tp": true, "gtp": true, "amt": true,
}

// Link is the device that the route leads to. Where there is none it is the one that the socket is bound to, and the zero value
// where it is not.
func (w *Way) Link() (Link, error) {
	index := w.query.Device
	if w.found != nil {
		index = w.found.LinkIndex
	}
	if index == 0 {
		return Link{}, nil
	}
	device, err := w.byIndex(index)
	if err != nil {
		return Link{}, err
	}
	l := describeLink(device)
	if l.VRF == "" {
		l.VRF = vrfOf(device)
	}
	return l, nil
}

func describeLink(device netlink.Link) Link {
	attributes := device.Attrs()
	l := Link{Name: attributes.Name, NoCarrier: attributes.RawFlags&unix.IFF_UP != 0 && attributes.RawFlags&unix.IFF_LOWER_UP == 0}
	switch kind := kindOf(device); {
	case tunnels[kind]:
		l.Tunnel, l.Remote = kind, remoteOf(device)
	case kind == "vrf":
		l.VRF = l.Name
	}
	return l
}

// kindOf is what the kernel calls a device's kind, but for those by which a program takes frames, which is no tunnel of its own.
func kindOf(device netlink.Link) string {
	tun, ok := device.(*netlink.Tuntap)
	switch {
	case !ok:
		return device.Type()
	case tun.Mode == netlink.TUNTAP_MODE_TUN:
		return "tun"
	}
	return "tap"
}

// remoteOf is the address that a tunnel ends at.
func remoteOf(device netlink.Link) netip.Addr {
	var remote []byte
	switch tunnel := device.(type) {
	case *netlink.Gretun:
		remote = tunnel.Remote
	case *netlink.Gretap:
		remote = tunnel.Remote
	case *netlink.Iptun:
		remote = tunnel.Remote
	case *netlink.Ip6tnl:
		remote = tunnel.Remote
	case *netlink.Sittun:
		remote = tunnel.Remote
	case *netlink.Vti:
		remote = tunnel.Remote
	case *netlink.Vxlan:
		remote = tunnel.Group
	case *netlink.Geneve:
		remote = tunnel.Remote
	}
	addr, _ := netip.AddrFromSlice(remote)
	if addr = addr.Unmap(); addr.IsUnspecified() || addr.IsMulticast() {
		return netip.Addr{}
	}
	return addr
}

// vrfOf is the VRF that a device is enslaved to; empty: none, or not known.
func vrfOf(device netlink.Link) string {
	index := device.Attrs().MasterIndex
	if index == 0 {
		return ""
	}
	master, err := netlink.LinkByIndex(index)
	if err != nil || master.Type() != "vrf" {
		return ""
	}
	return master.Attrs().Name
}
