package lab

import (
	"context"
	"fmt"
	"net/netip"
)

// Chain is a client and a server with routers between them, in a row. Every link has both address families, and
// everybody has routes to everybody who needs to answer.
type Chain struct {
	Client, Server *Host
	Routers        []*Host // from the client on

	ServerV4, ServerV6 netip.Addr
}

// maxRouters is how many links' addresses fit where [linkOfChain] takes them from, but for one.
const maxRouters = 63

// NewChain builds a chain in a network that has room for it. Its routers answer as often as they are asked: the limits
// of ICMP errors that Linux has by default (icmp_ratelimit) are off.
func NewChain(ctx context.Context, n *Network, routers int) (*Chain, error) {
	if routers < 1 || routers > maxRouters {
		return nil, fmt.Errorf("a chain has 1 to %d routers, not %d", maxRouters, routers)
	}
	c := new(Chain)
	if err := c.addHosts(n, routers); err != nil {
		return nil, err
	}
	hosts := c.hosts()
	for i := range len(hosts) - 1 {
		link := linkOfChain(i)
		near, far := End{Host: hosts[i], Addrs: link.near}, End{Host: hosts[i+1], Addrs: link.far}
		if err := n.Connect(ctx, near, far); err != nil {
			return nil, err
		}
	}
	last := linkOfChain(routers)
	c.ServerV4, c.ServerV6 = last.far[0].Addr(), last.far[1].Addr()
	return c, c.addRoutes(hosts)
}

// hosts are all of them, in a row.
func (c *Chain) hosts() []*Host {
	hosts := append([]*Host{c.Client}, c.Routers...)
	return append(hosts, c.Server)
}

// RouterV4 is the address by which router i, from 0, answers the client: that of its interface towards it.
func (c *Chain) RouterV4(i int) netip.Addr { return linkOfChain(i).far[0].Addr() }

// RouterV6 is the same of IPv6.
func (c *Chain) RouterV6(i int) netip.Addr { return linkOfChain(i).far[1].Addr() }

func (c *Chain) addHosts(n *Network, routers int) (err error) {
	if c.Client, err = n.AddHost("client"); err != nil {
		return err
	}
	for i := range routers {
		router, err := n.AddHost(fmt.Sprintf("router%d", i+1))
		if err != nil {
			return err
		}
		if err := router.becomeRouter(); err != nil {
			return err
		}
		c.Routers = append(c.Routers, router)
	}
	c.Server, err = n.AddHost("server")
	return err
}

func (h *Host) becomeRouter() error {
	if err := h.Forward(); err != nil {
		return err
	}
	for _, name := range []string{"net/ipv4/icmp_ratelimit", "net/ipv6/icmp/ratelimit"} {
		if err := h.Sysctl(name, "0"); err != nil {
			return err
		}
	}
	return nil
}

// addRoutes sends what is for the client's link towards the client, and everything else away from it. The server sends
// everything towards the client.
func (c *Chain) addRoutes(hosts []*Host) error {
	client := linkOfChain(0)
	for i, h := range hosts {
		if i+2 < len(hosts) {
			if err := h.addChainRoutes(everywhere, linkOfChain(i).far); err != nil {
				return err
			}
		}
		back := client.near
		if h == c.Server {
			back = everywhere
		}
		if i >= 2 {
			if err := h.addChainRoutes(back, linkOfChain(i-1).near); err != nil {
				return err
			}
		}
	}
	return nil
}

// addChainRoutes adds a route of each family.
func (h *Host) addChainRoutes(to, via []netip.Prefix) error {
	for family := range to {
		if err := h.AddRoute(to[family].Masked(), via[family].Addr()); err != nil {
			return err
		}
	}
	return nil
}

var everywhere = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

// chainLink is the addresses of the two ends of a link, IPv4 first; near is the client's side.
type chainLink struct{ near, far []netip.Prefix }

// linkOfChain is link i, from 0, of ranges that are reserved for documentation.
func linkOfChain(i int) chainLink {
	ends := func(host byte) []netip.Prefix {
		v4 := netip.AddrFrom4([4]byte{198, 51, 100, byte(4*i) + host})
		v6 := netip.MustParseAddr(fmt.Sprintf("2001:db8:%x::%x", i, host))
		return []netip.Prefix{netip.PrefixFrom(v4, 30), netip.PrefixFrom(v6, 64)}
	}
	return chainLink{near: ends(1), far: ends(2)}
}
