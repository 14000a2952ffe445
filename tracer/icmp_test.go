package tracer_test

import (
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
	"tcptrace/tracer/event"
)

// prohibit is what a firewall answers by "reject with icmpx admin-prohibited".
var prohibit = []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}}

// oneHop has a SYN go no further than the first router.
func oneHop(fd int) error {
	if domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil || domain == unix.AF_INET {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, 1)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 1)
}

// expected makes what the router of a chain says, in either family.
func (e bothICMP) expected(c *lab.Chain, to netip.Addr) event.ICMP {
	if to.Is6() {
		return event.ICMP{Type: e.v6[0], Code: e.v6[1], Name: event.ICMPName(true, e.v6[0], e.v6[1]), From: c.RouterV6(0)}
	}
	return event.ICMP{Type: e.v4[0], Code: e.v4[1], Name: event.ICMPName(false, e.v4[0], e.v4[1]), From: c.RouterV4(0)}
}

// bothICMP are a type and a code, of ICMP and of ICMPv6.
type bothICMP struct{ v4, v6 [2]int }

func TestICMPErrorsOfARouterAreSeen(t *testing.T) {
	t.Parallel()
	reject := func(t *testing.T, c *lab.Chain) {
		firewall{nftables.ChainHookForward, nftables.ChainPriorityFilter, toPort, prohibit}.add(t, c.Routers[0], 80)
	}
	for _, test := range []struct {
		name    string
		prepare func(*testing.T, *lab.Chain)
		to      map[bool]string // by whether IPv6; nil: the server
		option  func(fd int) error
		want    bothICMP
	}{
		{"a rejection", reject, nil, nil, bothICMP{[2]int{3, 13}, [2]int{1, 1}}},
		{"too many hops", nil, nil, oneHop, bothICMP{[2]int{11, 0}, [2]int{3, 0}}},
		{
			"no route", nil, map[bool]string{false: "203.0.113.7", true: "2001:db8:77::7"}, nil,
			bothICMP{[2]int{3, 0}, [2]int{1, 0}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			families(t, func(t *testing.T, address func(*lab.Chain) netip.Addr) {
				t.Parallel()
				w, chain := watch(t), newChain(t)
				to := address(chain)
				if test.to != nil {
					to = netip.MustParseAddr(test.to[to.Is6()])
				}
				if test.prepare != nil {
					test.prepare(t, chain)
				}
				var options []func(int) error
				if test.option != nil {
					options = append(options, test.option)
				}
				begin(t, chain.Client, netip.AddrPortFrom(to, 80), options...)
				ev := w.ofKind(t, chain.Client.Inode(), event.ICMPError)
				connect := w.ofKind(t, chain.Client.Inode(), event.Connect)
				want := test.want.expected(chain, to)
				if diff := cmp.Diff(&want, ev.ICMP, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
					t.Errorf("the ICMP error (-want +got):\n%s", diff)
				}
				if ev.Conn != connect.Conn || ev.TCPSeq != connect.ISN || ev.Owner.PID != os.Getpid() {
					t.Errorf("of %s, sequence number %x, process %d; the connect is %s with %x", ev.Conn, ev.TCPSeq, ev.Owner.PID,
						connect.Conn, connect.ISN)
				}
			})
		})
	}
}

// A connect is over before the error that ended it is seen everywhere: both are told, and of one connection.
func TestICMPErrorIsToldBesideTheCloseThatItCaused(t *testing.T) {
	t.Parallel()
	w, client := watch(t), newLonelyHost(t)
	told := w.ofTimer(t, client, netip.MustParseAddrPort("192.0.2.3:80"), event.ICMPError)
	if told.ICMP.From != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("this host reported it to itself, not %s", told.ICMP.From)
	}
	isClose := func(ev event.Event) bool { return ev.Kind == event.Close && ev.Conn == told.Conn }
	events := w.until(t, client.Inode(), "a close", func(events []event.Event) bool {
		return slices.ContainsFunc(events, isClose)
	})
	if ev := events[slices.IndexFunc(events, isClose)]; ev.Errno != event.EHOSTUNREACH {
		t.Errorf("closed with %s, want EHOSTUNREACH", ev.Errno)
	}
}

// The error comes while connect() has not yet returned, which hides it from the socket's state.
func TestICMPErrorInsideConnectIsSeen(t *testing.T) {
	loopbacks(t, func(t *testing.T, address string) {
		w, h := watch(t), newHost(t)
		firewall{nftables.ChainHookInput, nftables.ChainPriorityFilter, toPort, prohibit}.add(t, h, 80)
		begin(t, h, netip.AddrPortFrom(netip.MustParseAddr(address), 80))
		if ev := w.ofKind(t, h.Inode(), event.ICMPError); ev.State != event.StateSYNSent || ev.ICMP.From.String() != address {
			t.Errorf("in %s, from %s", ev.State, ev.ICMP.From)
		}
	})
}

// Whoever captures by a ring of memory, as tcpdump does, has a copy of what leaves made and freed.
func TestICMPErrorIsToldOnceBesideACapture(t *testing.T) {
	t.Parallel()
	loopbacks(t, func(t *testing.T, address string) {
		w, h := watch(t), newHost(t)
		ring := unix.TpacketReq{Block_size: 1 << 16, Block_nr: 4, Frame_size: 1 << 11, Frame_nr: 4 << 5}
		if err := unix.SetsockoptTpacketReq(capturePackets(t, h).fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &ring); err != nil {
			t.Fatal(err)
		}
		to := netip.AddrPortFrom(netip.MustParseAddr(address), 80)
		firewall{nftables.ChainHookInput, nftables.ChainPriorityFilter, toPort, prohibit}.add(t, h, to.Port())
		giveUp(t, h, to)
		told := only(w.until(t, h.Inode(), "the error and the end", rejectionTold), event.ICMPError)
		if len(told) != 1 {
			t.Errorf("told %d times:\n%s", len(told), describe(told))
		}
	})
}

func TestPacketTooBigTellsTheMTU(t *testing.T) {
	t.Parallel()
	families(t, func(t *testing.T, address func(*lab.Chain) netip.Addr) {
		const mtu = 1300
		w, chain := watch(t), newChain(t)
		setMTU(t, chain.Routers[0], "eth1", mtu)
		to := netip.AddrPortFrom(address(chain), 0)
		l := listen(t, chain.Server, to.String())
		c, err := dial(chain.Client, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := c.Write(make([]byte, 1400)); err != nil {
			t.Fatal(err)
		}
		ev := w.ofKind(t, chain.Client.Inode(), event.ICMPError)
		want := bothICMP{[2]int{3, 4}, [2]int{2, 0}}.expected(chain, to.Addr())
		want.MTU = mtu
		if diff := cmp.Diff(&want, ev.ICMP, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("the ICMP error (-want +got):\n%s", diff)
		}
		if ev.State != event.StateEstablished || ev.TCPSeq != ev.ISN+1 {
			t.Errorf("in %s, about %x", ev.State, ev.TCPSeq)
		}
	})
}

func setMTU(t *testing.T, h *lab.Host, name string, mtu int) {
	t.Helper()
	err := h.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return netlink.LinkSetMTU(link, mtu)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestICMPErrorThatAFirewallDropsIsNotTold(t *testing.T) {
	t.Parallel()
	families(t, func(t *testing.T, address func(*lab.Chain) netip.Addr) {
		w, chain := watch(t), newChain(t)
		dropICMP(t, chain.Client)
		to := netip.AddrPortFrom(address(chain), 80)
		begin(t, chain.Client, to, oneHop)
		w.ofKind(t, chain.Routers[0].Inode(), event.Drop) // there was one
		w.expectNone(t, chain.Client, event.ICMPError)
	})
}

func dropICMP(t *testing.T, h *lab.Host) {
	t.Helper()
	err := h.Do(func() error {
		nft, err := nftables.New()
		if err != nil {
			return err
		}
		table := nft.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "icmp"})
		chain := nft.AddChain(&nftables.Chain{
			Name: "icmp", Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter,
		})
		for _, icmp := range []struct{ protocol, typ byte }{{unix.IPPROTO_ICMP, 11}, {unix.IPPROTO_ICMPV6, 3}} {
			nft.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
				&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{icmp.protocol}},
				&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Len: 1},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{icmp.typ}},
				&expr.Verdict{Kind: expr.VerdictDrop},
			}})
		}
		return nft.Flush()
	})
	if err != nil {
		t.Fatal(err)
	}
}
