package host

import (
	"testing"

	"github.com/vishvananda/netlink"
)

func TestWhatADeviceRestsOn(t *testing.T) {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	const here, elsewhere = -1, 0
	below := func(parent, netns int) netlink.LinkAttrs {
		return netlink.LinkAttrs{Index: 1000, ParentIndex: parent, NetNsID: netns}
	}
	for _, test := range []struct {
		name string
		link netlink.Link
		want []string
	}{
		{"a VLAN", &netlink.Vlan{LinkAttrs: below(lo.Attrs().Index, here)}, []string{"lo"}},
		{"a VLAN of another namespace's device", &netlink.Vlan{LinkAttrs: below(lo.Attrs().Index, elsewhere)}, nil},
		{"a veth", &netlink.Veth{LinkAttrs: below(lo.Attrs().Index, here)}, nil},
		{"a card", &netlink.Device{LinkAttrs: below(0, here)}, nil},
		{"a tunnel without a device", &netlink.Iptun{LinkAttrs: below(1000, here)}, nil},
		{"a bridge without ports", &netlink.Bridge{LinkAttrs: below(0, here)}, nil},
	} {
		lower, err := beneath(test.link)
		if err != nil || len(lower) != len(test.want) || len(lower) > 0 && lower[0].Attrs().Name != test.want[0] {
			t.Errorf("%s rests on %v, error %v; want %v", test.name, lower, err, test.want)
		}
	}
}
