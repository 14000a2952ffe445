package lab

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Manner is how a target of a [Crowd] takes a SYN.
type Manner int

// The manners.
const (
	Answering   Manner = iota // accepts at once
	Silent                    // says nothing
	Refusing                  // answers by a RST
	Slow                      // accepts after a delay of its own, see [SlowDelay]
	Unreachable               // a router answers by an ICMP error
	manners
)

// String is the manner in a word.
func (m Manner) String() string {
	return [...]string{"answering", "silent", "refusing", "slow", "unreachable"}[m]
}

// Crowd is a network with thousands of targets, behind one link: every target has an address of its own. The zero value
// has none.
type Crowd struct {
	IPv4, IPv6 [manners]int // how many targets of each manner
	Port       uint16       // of all targets; 0 means 9000
	// Loss is the percentage of SYNs that get lost on the way, at random, whatever their target.
	Loss int
}

// maxCrowd is how many targets of one manner and family there can be: the addresses of a /16 without the first and last.
const maxCrowd = 1<<16 - 2

// CrowdTarget is one of a crowd's targets.
type CrowdTarget struct {
	Addr   netip.AddrPort
	Manner Manner
}

const crowdPort = 9000

func (c *Crowd) port() uint16 {
	if c.Port == 0 {
		return crowdPort
	}
	return c.Port
}

// Targets lists all targets, mixed so that any stretch of the list has its share of each manner and family.
func (c *Crowd) Targets() []CrowdTarget {
	type share struct {
		manner Manner
		ipv6   bool
		count  int
		taken  int
	}
	var shares []share
	total := 0
	for m := range manners {
		for _, s := range []share{{m, false, c.IPv4[m], 0}, {m, true, c.IPv6[m], 0}} {
			if s.count > 0 {
				shares = append(shares, s)
				total += s.count
			}
		}
	}
	targets := make([]CrowdTarget, 0, total)
	for n := range total {
		// The share that is furthest behind comes next.
		best, behind := -1, math.Inf(-1)
		for i, s := range shares {
			if lag := float64(s.count)*float64(n+1)/float64(total) - float64(s.taken); s.taken < s.count && lag > behind {
				best, behind = i, lag
			}
		}
		s := &shares[best]
		s.taken++
		targets = append(targets, CrowdTarget{netip.AddrPortFrom(crowdAddr(s.manner, s.ipv6, s.taken), c.port()), s.manner})
	}
	return targets
}

// validate says what does not fit.
func (c *Crowd) validate() error {
	for m := range manners {
		if n := max(c.IPv4[m], c.IPv6[m]); n > maxCrowd {
			return fmt.Errorf("%d %v targets of one family are more than the %d addresses that there are", n, m, maxCrowd)
		}
	}
	if c.Loss < 0 || c.Loss > 100 {
		return fmt.Errorf("a loss of %d%% is not from 0 to 100", c.Loss)
	}
	return nil
}

// The addresses of a crowd: a /16, or a /48, for each manner, and a link to them.
var (
	crowdLink4 = subnet{netip.MustParsePrefix("10.79.0.1/24"), netip.MustParsePrefix("10.79.0.2/24")}
	crowdLink6 = subnet{netip.MustParsePrefix("2001:db8:79::1/64"), netip.MustParsePrefix("2001:db8:79::2/64")}
)

// crowdNet4 and crowdNet6 are where the targets of a manner live.
func crowdNet4(m Manner) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(80 + m)}), 16)
}

func crowdNet6(m Manner) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0x00, byte(0x80 + m)}), 48)
}

// crowdAddr is the nth address of a manner, from 1.
func crowdAddr(m Manner, ipv6 bool, n int) netip.Addr {
	if ipv6 {
		addr := crowdNet6(m).Addr().As16()
		addr[14], addr[15] = byte(n>>8), byte(n)
		return netip.AddrFrom16(addr)
	}
	addr := crowdNet4(m).Addr().As4()
	addr[2], addr[3] = byte(n>>8), byte(n)
	return netip.AddrFrom4(addr)
}

// SlowDelay is how long the slow target with that address takes to answer each SYN: from 20 ms to 2 s, spread evenly over
// the logarithm, and neighbours far apart.
func SlowDelay(addr netip.Addr) time.Duration {
	bytes := addr.AsSlice()
	n := int(bytes[len(bytes)-2])<<8 | int(bytes[len(bytes)-1])
	_, place := math.Modf(float64(n) * math.Phi)
	return time.Duration(float64(20*time.Millisecond) * math.Pow(100, place))
}

// Build makes the crowd in an empty network, and returns the host to connect from.
func (c *Crowd) Build(ctx context.Context, n *Network) (client *Host, err error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	client, server, err := clientAndServer(ctx, n, crowdLink4, crowdLink6)
	if err != nil {
		return nil, err
	}
	for _, link := range []subnet{crowdLink4, crowdLink6} {
		if err := client.AddRoute(defaultRoute(link.server.Addr()), link.server.Addr()); err != nil {
			return nil, err
		}
	}
	if err := server.Forward(); err != nil {
		return nil, err
	}
	if err := server.prepareForCrowd(); err != nil {
		return nil, err
	}
	if err := server.addCrowdRules(c.Loss); err != nil {
		return nil, err
	}
	if c.IPv4[Slow]+c.IPv6[Slow] > 0 {
		if err := server.AnswerSlowly(ctx, crowdNet4(Slow), crowdNet6(Slow), SlowDelay); err != nil {
			return nil, err
		}
	}
	return client, server.listenForCrowd(c.port())
}

// defaultRoute is the default route of the family of addr.
func defaultRoute(addr netip.Addr) netip.Prefix {
	if addr.Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// crowdSysctls make room for handshakes by the ten thousand, and for as many ICMP errors.
var crowdSysctls = []struct{ name, value string }{
	{"net/core/somaxconn", "65535"},
	{"net/ipv4/tcp_max_syn_backlog", "65535"},
	{"net/ipv4/icmp_ratelimit", "0"},
	{"net/ipv6/icmp/ratelimit", "0"},
}

// prepareForCrowd makes the host have all the addresses of the manners that the kernel itself acts out.
func (h *Host) prepareForCrowd() error {
	for _, sysctl := range crowdSysctls {
		if err := h.Sysctl(sysctl.name, sysctl.value); err != nil {
			return err
		}
	}
	for _, m := range []Manner{Answering, Silent, Refusing} {
		for _, network := range []netip.Prefix{crowdNet4(m), crowdNet6(m)} {
			if err := h.addLocal(network); err != nil {
				return err
			}
		}
	}
	// An unreachable route of IPv4 answers each client only so often, by a setting that is the whole machine's (ip_error,
	// net/ipv4/route.c): there the firewall answers, on a way that leads nowhere.
	if err := h.addNowhere(crowdNet4(Unreachable)); err != nil {
		return err
	}
	return h.addUnreachable(crowdNet6(Unreachable))
}

// addNowhere makes the host pass on what is for a network, though nobody takes it.
func (h *Host) addNowhere(network netip.Prefix) error {
	return h.link("lo", func(nl *netlink.Handle, lo netlink.Link) error {
		if err := nl.RouteAdd(&netlink.Route{Dst: ipNet(network), LinkIndex: lo.Attrs().Index}); err != nil {
			return fmt.Errorf("route %v to nowhere on %s: %w", network, h.Name, err)
		}
		return nil
	})
}

// addLocal makes every address of a network the host's own.
func (h *Host) addLocal(network netip.Prefix) error {
	return h.link("lo", func(nl *netlink.Handle, lo netlink.Link) error {
		route := netlink.Route{
			Dst: ipNet(network), LinkIndex: lo.Attrs().Index, Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST,
		}
		if err := nl.RouteAdd(&route); err != nil {
			return fmt.Errorf("make %v local to %s: %w", network, h.Name, err)
		}
		return nil
	})
}

// addUnreachable makes the host answer what it should pass on to a network by an ICMP error.
func (h *Host) addUnreachable(network netip.Prefix) error {
	return h.netlink(func(nl *netlink.Handle) error {
		if err := nl.RouteAdd(&netlink.Route{Dst: ipNet(network), Type: unix.RTN_UNREACHABLE}); err != nil {
			return fmt.Errorf("make %v unreachable from %s: %w", network, h.Name, err)
		}
		return nil
	})
}

// crowdPatience is how long a connection waits to be accepted and closed: clients that only looked are gone by then, and
// cost no FIN and no descriptor.
const crowdPatience = 50 * time.Millisecond

// listenForCrowd accepts connections to a port of any address, and closes them some time later.
func (h *Host) listenForCrowd(port uint16) error {
	fd := -1
	err := h.Do(func() (err error) {
		fd, err = crowdListener(port)
		return err
	})
	if err != nil {
		return fmt.Errorf("listen on %s: %w", h.Name, err)
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		acceptLate(fd, done)
	}()
	return h.network.onClose(func() error {
		close(done)
		<-ended
		return unix.Close(fd)
	})
}

func crowdListener(port uint16) (int, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, err
	}
	for _, step := range []func() error{
		func() error { return unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY, 0) },
		func() error { return unix.Bind(fd, &unix.SockaddrInet6{Port: int(port)}) },
		func() error { return unix.Listen(fd, 1<<16-1) },
	} {
		if err := step(); err != nil {
			unix.Close(fd)
			return -1, err
		}
	}
	return fd, nil
}

// acceptLate accepts, each time, as many connections as there were one crowdPatience ago.
func acceptLate(fd int, done <-chan struct{}) {
	tick := time.NewTicker(crowdPatience)
	defer tick.Stop()
	ripe := 0
	for {
		for ; ripe > 0; ripe-- {
			conn, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
			if err != nil {
				break
			}
			unix.Close(conn)
		}
		// Of a listener, tcpi_unacked is the length of the accept queue (tcp_get_info, net/ipv4/tcp.c).
		if info, err := unix.GetsockoptTCPInfo(fd, unix.SOL_TCP, unix.TCP_INFO); err == nil {
			ripe = int(info.Unacked)
		}
		select {
		case <-done:
			return
		case <-tick.C:
		}
	}
}
