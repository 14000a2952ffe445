package host

import "github.com/vishvananda/netlink"

// XDP is the name of the device that the route leads to, or of one that it rests on (of a VLAN its device, of a bond or a bridge
// its ports), which an XDP program is attached to. Empty: there is none, or no route.
//
// What comes in by such a device may be discarded, or taken elsewhere, before there is a packet that anything else could see.
func (w *Way) XDP() (string, error) {
	if w.found == nil {
		return "", nil
	}
	link, err := w.leadsTo()
	if err != nil {
		return "", err
	}
	const layers = 4 // a VLAN on a bridge on a bond, and its ports
	return xdpAtOrBeneath(link, layers)
}

func xdpAtOrBeneath(link netlink.Link, layers int) (string, error) {
	if xdp := link.Attrs().Xdp; xdp != nil && xdp.Attached {
		return link.Attrs().Name, nil
	}
	if layers == 0 {
		return "", nil
	}
	lower, err := beneath(link)
	if err != nil {
		return "", err
	}
	for _, l := range lower {
		if name, err := xdpAtOrBeneath(l, layers-1); name != "" || err != nil {
			return name, err
		}
	}
	return "", nil
}

// beneath are the devices by which the packets of one come in.
func beneath(link netlink.Link) ([]netlink.Link, error) {
	a := link.Attrs()
	switch link.Type() {
	case "bond", "bridge", "team":
		return portsOf(a.Index)
	case "veth": // that of the other end is not beneath it
		return nil, nil
	}
	elsewhere := a.NetNsID >= 0
	if a.ParentIndex == 0 || a.ParentIndex == a.Index || elsewhere {
		return nil, nil
	}
	parent, err := netlink.LinkByIndex(a.ParentIndex)
	if err != nil {
		return nil, err
	}
	return []netlink.Link{parent}, nil
}

func portsOf(master int) ([]netlink.Link, error) {
	links, err := whole(netlink.LinkList)
	if err != nil {
		return nil, err
	}
	var ports []netlink.Link
	for _, l := range links {
		if l.Attrs().MasterIndex == master {
			ports = append(ports, l)
		}
	}
	return ports, nil
}
