package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var errClosed = errors.New("the network is closed")

// Network is a set of hosts that live in network namespaces of their own, and everything that runs on them. The zero value
// is an empty network. Its methods, and those of its hosts, may be called from several goroutines.
type Network struct {
	mu      sync.Mutex
	closed  bool
	hosts   []*Host
	closers []func() error
}

// Hosts are those that were added, in that order.
func (n *Network) Hosts() []*Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.hosts)
}

// AddHost makes a host: an empty network namespace with its loopback interface up. The name is for people, and for errors.
func (n *Network) AddHost(name string) (*Host, error) {
	ns, err := newNamespace()
	if err != nil {
		return nil, fmt.Errorf("add host %s: %w", name, err)
	}
	host := &Host{Name: name, network: n, ns: ns}
	if err := n.onClose(host.ns.close); err != nil {
		return nil, fmt.Errorf("add host %s: %w", name, err)
	}
	if err := host.prepare(); err != nil {
		return nil, fmt.Errorf("add host %s: %w", name, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts = append(n.hosts, host)
	return host, nil
}

// End is one end of a link: the host, and the addresses that its new interface has there, each with the length of the
// link's prefix.
type End struct {
	Host  *Host
	Addrs []netip.Prefix
}

// Connect joins two hosts by a veth pair. Each gets its next interface: eth0, eth1 and so on. When it returns, the link is
// up and every address can be used at once: no duplicate address detection runs.
func (n *Network) Connect(ctx context.Context, a, b End) error {
	if err := n.connect(ctx, a, b); err != nil {
		return fmt.Errorf("connect %s and %s: %w", a.Host.Name, b.Host.Name, err)
	}
	return nil
}

func (n *Network) connect(ctx context.Context, a, b End) error {
	nameA, nameB := a.Host.nextInterface(), b.Host.nextInterface()
	if err := a.Host.addVeth(nameA, b.Host, nameB); err != nil {
		return err
	}
	if err := a.Host.setUp(nameA); err != nil {
		return err
	}
	if err := b.Host.setUp(nameB); err != nil {
		return err
	}
	// Before the carrier is there on both ends, the queueing discipline is noop: what is sent is lost.
	if err := a.Host.awaitUp(ctx, nameA); err != nil {
		return err
	}
	if err := b.Host.awaitUp(ctx, nameB); err != nil {
		return err
	}
	if err := a.Host.addAddrs(ctx, nameA, a.Addrs, linkLocalA); err != nil {
		return err
	}
	return b.Host.addAddrs(ctx, nameB, b.Addrs, linkLocalB)
}

// Close stops everything that runs in the network and gives up its namespaces. It waits for the network's own goroutines,
// not for the kernel, which takes namespaces down in the background. It cleans up a network that was only half built, too.
// Closing again does nothing.
func (n *Network) Close() error {
	n.mu.Lock()
	closers := n.closers
	n.closed, n.closers = true, nil
	n.mu.Unlock()

	var errs []error
	for i := len(closers) - 1; i >= 0; i-- {
		errs = append(errs, closers[i]())
	}
	return errors.Join(errs...)
}

// onClose has Close call stop, the last registered first. If the network is closed already it calls stop at once and
// returns an error.
func (n *Network) onClose(stop func() error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return errors.Join(errClosed, stop())
	}
	n.closers = append(n.closers, stop)
	return nil
}

// The link-local addresses of the two ends of a link that has IPv6.
var (
	linkLocalA = netip.MustParsePrefix("fe80::1/64")
	linkLocalB = netip.MustParsePrefix("fe80::2/64")
)

// addVeth makes a veth pair with one end on this host and the other on peer. Neither end is ever anywhere else.
func (h *Host) addVeth(name string, peer *Host, peerName string) error {
	return peer.ns.withFD(func(peerFD int) error {
		return h.netlink(func(nl *netlink.Handle) error {
			attrs := netlink.NewLinkAttrs()
			attrs.Name = name
			err := nl.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: peerName, PeerNamespace: netlink.NsFd(peerFD)})
			if err != nil {
				return fmt.Errorf("add a veth pair: %w", err)
			}
			return nil
		})
	})
}

// setUp sets an interface up.
func (h *Host) setUp(name string) error {
	return h.link(name, func(nl *netlink.Handle, link netlink.Link) error {
		if err := nl.LinkSetUp(link); err != nil {
			return fmt.Errorf("set %s up on %s: %w", name, h.Name, err)
		}
		return nil
	})
}

// setDown sets an interface down, which takes the carrier from the other end of its link.
func (h *Host) setDown(name string) error {
	return h.link(name, func(nl *netlink.Handle, link netlink.Link) error {
		if err := nl.LinkSetDown(link); err != nil {
			return fmt.Errorf("set %s down on %s: %w", name, h.Name, err)
		}
		return nil
	})
}

// addAddrs gives an interface its addresses, without duplicate address detection: an address that is still being examined
// cannot be used (IFA_F_TENTATIVE). It waits until they can be.
//
// With an IPv6 address comes linkLocal, because a router asks for its neighbours from a link-local address
// (ndisc_send_ns, net/ipv6/ndisc.c). It replaces the one that the kernel would make, and examine.
func (h *Host) addAddrs(ctx context.Context, name string, addrs []netip.Prefix, linkLocal netip.Prefix) error {
	if hasIPv6(addrs) {
		addrs = append([]netip.Prefix{linkLocal}, addrs...)
	}
	err := h.link(name, func(nl *netlink.Handle, link netlink.Link) error {
		for _, addr := range addrs {
			if err := nl.AddrAdd(link, netlinkAddr(addr)); err != nil {
				return fmt.Errorf("add %v to %s on %s: %w", addr, name, h.Name, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, addr := range addrs {
		if addr.Addr().Is6() {
			if err := h.awaitAddr(ctx, addr.Addr()); err != nil {
				return err
			}
		}
	}
	return nil
}

func hasIPv6(addrs []netip.Prefix) bool {
	for _, addr := range addrs {
		if addr.Addr().Is6() {
			return true
		}
	}
	return false
}

func netlinkAddr(prefix netip.Prefix) *netlink.Addr {
	addr := &netlink.Addr{IPNet: ipNet(prefix)}
	if prefix.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	return addr
}
