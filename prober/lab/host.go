package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"tcptrace/prober"
)

// Host is a network namespace of a [Network], which makes it and takes it down.
type Host struct {
	// Name is what people call it, such as "client".
	Name string

	network *Network
	ns      *namespace

	mu         sync.Mutex
	interfaces int // how many have been added
	rules      int // how many firewall rules have been added
}

// NetNS is the host's network namespace, to make connections in. It belongs to the network, which closes it.
func (h *Host) NetNS() *prober.NetNS { return h.ns.handle }

// Inode is the number of the host's network namespace, as stat, and the kernel's events, tell it.
func (h *Host) Inode() uint32 { return h.ns.inode }

// Do runs fn on a thread that is in the host's network namespace, waits for it, and returns its error. Sockets that fn
// makes belong to the host for ever. What fn starts in other goroutines runs elsewhere.
func (h *Host) Do(fn func() error) error { return h.ns.do(fn) }

// Sysctl sets a sysctl of the host's network namespace, by its path below /proc/sys, such as
// "net/ipv4/tcp_syn_retries". It is [os.ErrNotExist] that this kernel has no such sysctl. Only those below net/ are a
// namespace's own; others would be the whole machine's and are refused.
func (h *Host) Sysctl(name, value string) error {
	if name != path.Clean(name) || !strings.HasPrefix(name, "net/") {
		return fmt.Errorf("set sysctl %s on %s: not a sysctl of a network namespace", name, h.Name)
	}
	// /proc/sys/net shows the namespace of the thread that looks.
	err := h.Do(func() error {
		return writeExisting("/proc/sys/"+name, value)
	})
	if err != nil {
		return fmt.Errorf("set sysctl %s on %s: %w", name, h.Name, err)
	}
	return nil
}

func writeExisting(file, value string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// Forward makes the host a router, for both address families.
func (h *Host) Forward() error {
	for _, name := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		if err := h.Sysctl(name, "1"); err != nil {
			return err
		}
	}
	return nil
}

// AddRoute adds a route by way of a neighbour, such as 0.0.0.0/0 for everything else.
func (h *Host) AddRoute(dst netip.Prefix, via netip.Addr) error {
	return h.netlink(func(nl *netlink.Handle) error {
		if err := nl.RouteAdd(&netlink.Route{Dst: ipNet(dst), Gw: net.IP(via.AsSlice())}); err != nil {
			return fmt.Errorf("add a route to %v on %s: %w", dst, h.Name, err)
		}
		return nil
	})
}

// setNeighbour gives the host a permanent entry of a neighbour's link-layer address.
func (h *Host) setNeighbour(neighbour netip.Addr, at net.HardwareAddr) error {
	ip := net.IP(neighbour.AsSlice())
	return h.netlink(func(nl *netlink.Handle) error {
		routes, err := nl.RouteGet(ip)
		if err != nil {
			return fmt.Errorf("look for the route from %s to %v: %w", h.Name, neighbour, err)
		}
		err = nl.NeighSet(&netlink.Neigh{LinkIndex: routes[0].LinkIndex, State: netlink.NUD_PERMANENT, IP: ip, HardwareAddr: at})
		if err != nil {
			return fmt.Errorf("set the neighbour %v of %s: %w", neighbour, h.Name, err)
		}
		return nil
	})
}

// learn is setNeighbour of another host's own link-layer address.
func (h *Host) learn(other *Host, addr netip.Addr) error {
	at, err := other.hardwareAddr("eth0")
	if err != nil {
		return err
	}
	return h.setNeighbour(addr, at)
}

// hardwareAddr is the link-layer address of one of the host's interfaces.
func (h *Host) hardwareAddr(name string) (at net.HardwareAddr, err error) {
	err = h.link(name, func(_ *netlink.Handle, link netlink.Link) error {
		at = link.Attrs().HardwareAddr
		return nil
	})
	return at, err
}

// inherited are the settings that a new namespace may take over from the machine (devinet_init_net, net/ipv4/devinet.c;
// addrconf_init_net, net/ipv6/addrconf.c) and that would make one lab behave differently on different machines.
var inherited = []struct{ name, value string }{
	{"net/ipv4/conf/all/rp_filter", "0"},
	{"net/ipv4/conf/default/rp_filter", "0"},
	{"net/ipv4/conf/all/arp_ignore", "0"},
	{"net/ipv4/conf/default/arp_ignore", "0"},
	{"net/ipv4/ip_forward", "0"},
	{"net/ipv6/conf/all/disable_ipv6", "0"},
	{"net/ipv6/conf/default/disable_ipv6", "0"},
}

// shortened are the settings that let a namespace go soon after everybody has left it. A socket that was closed while its
// network was broken keeps its namespace as long as it repeats its FIN: by default for minutes.
var shortened = []struct{ name, value string }{
	{"net/ipv4/tcp_orphan_retries", "1"},
}

// prepare makes an empty namespace usable. What this kernel does not have, such as IPv6, needs no setting.
func (h *Host) prepare() error {
	for _, sysctl := range slices.Concat(inherited, shortened) {
		if err := h.Sysctl(sysctl.name, sysctl.value); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return h.setUp("lo")
}

// nextInterface is the name of the next interface, counted from eth0.
func (h *Host) nextInterface() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.interfaces++
	return "eth" + strconv.Itoa(h.interfaces-1)
}

// netlink runs fn with a handle for the host's links, addresses and routes.
func (h *Host) netlink(fn func(*netlink.Handle) error) error {
	return h.ns.withFD(func(fd int) error {
		nl, err := netlink.NewHandleAt(netns.NsHandle(fd), unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open netlink on %s: %w", h.Name, err)
		}
		defer nl.Close()
		return fn(nl)
	})
}

// link runs fn with one of the host's interfaces.
func (h *Host) link(name string, fn func(*netlink.Handle, netlink.Link) error) error {
	return h.netlink(func(nl *netlink.Handle) error {
		link, err := nl.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find %s on %s: %w", name, h.Name, err)
		}
		return fn(nl, link)
	})
}

func ipNet(prefix netip.Prefix) *net.IPNet {
	return &net.IPNet{
		IP:   prefix.Addr().AsSlice(),
		Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen()),
	}
}
