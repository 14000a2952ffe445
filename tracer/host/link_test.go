package host

import (
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestADeviceIsDescribed(t *testing.T) {
	far := netip.MustParseAddr("192.0.2.7")
	attributes := func(flags uint32) netlink.LinkAttrs { return netlink.LinkAttrs{Name: "x", RawFlags: flags} }
	const works = unix.IFF_UP | unix.IFF_LOWER_UP
	for _, test := range []struct {
		name string
		link netlink.Link
		want Link
	}{
		{"a card", &netlink.Device{LinkAttrs: attributes(works)}, Link{Name: "x"}},
		{"a card whose cable is out", &netlink.Device{LinkAttrs: attributes(unix.IFF_UP)}, Link{Name: "x", NoCarrier: true}},
		{"a card that is off", &netlink.Device{LinkAttrs: attributes(0)}, Link{Name: "x"}},
		{"GRE", &netlink.Gretun{LinkAttrs: attributes(works), Local: net.IPv4(192, 0, 2, 1), Remote: net.IP(far.AsSlice())}, Link{Name: "x", Tunnel: "gre", Remote: far}},
		{"GRE to many", &netlink.Gretun{LinkAttrs: attributes(works), Local: net.IPv4(192, 0, 2, 1), Remote: net.IPv4zero}, Link{Name: "x", Tunnel: "gre"}},
		{"VXLAN", &netlink.Vxlan{LinkAttrs: attributes(works), Group: net.IP(far.AsSlice())}, Link{Name: "x", Tunnel: "vxlan", Remote: far}},
		{"VXLAN to a group", &netlink.Vxlan{LinkAttrs: attributes(works), Group: net.IPv4(239, 1, 1, 1)}, Link{Name: "x", Tunnel: "vxlan"}},
		{"WireGuard", &netlink.Wireguard{LinkAttrs: attributes(works)}, Link{Name: "x", Tunnel: "wireguard"}},
		{"a program's packets", &netlink.Tuntap{LinkAttrs: attributes(works), Mode: netlink.TUNTAP_MODE_TUN}, Link{Name: "x", Tunnel: "tun"}},
		{"a virtual machine's frames", &netlink.Tuntap{LinkAttrs: attributes(works), Mode: netlink.TUNTAP_MODE_TAP}, Link{Name: "x"}},
		{"a VRF", &netlink.Vrf{LinkAttrs: attributes(works)}, Link{Name: "x", VRF: "x"}},
	} {
		if got := describeLink(test.link); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}

func TestTheLinkToThisHostIsLoopback(t *testing.T) {
	way, err := LookUp(RouteQuery{Remote: netip.MustParseAddr("127.0.0.5")})
	if err != nil {
		t.Fatal(err)
	}
	l, err := way.Link()
	if err != nil || l != (Link{Name: "lo"}) {
		t.Errorf("%+v, error %v", l, err)
	}
}
