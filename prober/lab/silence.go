package lab

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ICMP errors of a router that a SYN cannot pass any more.
const (
	icmpTimeExceeded   = 11
	icmpv6TimeExceeded = 3
)

// StaySilent keeps the host from saying that a packet's hop limit was used up; it goes on forwarding.
func (h *Host) StaySilent() error {
	for _, rule := range []struct{ protocol, kind byte }{
		{unix.IPPROTO_ICMP, icmpTimeExceeded},
		{unix.IPPROTO_ICMPV6, icmpv6TimeExceeded},
	} {
		if err := h.dropPackets(nftables.ChainHookOutput, matchICMP(rule.protocol, rule.kind)); err != nil {
			return fmt.Errorf("silence %s: %w", h.Name, err)
		}
	}
	return nil
}

// LoseTowards loses packets that the host would forward to its interface of that name: the first so many of them, and
// none after.
func (h *Host) LoseTowards(name string, first uint32) error {
	if err := h.dropPackets(nftables.ChainHookForward, append(matchOutput(name), matchFirst(first)...)); err != nil {
		return fmt.Errorf("lose packets on %s: %w", h.Name, err)
	}
	return nil
}

// LoseTCPTowards loses every TCP packet that the host would forward to its interface of that name.
func (h *Host) LoseTCPTowards(name string) error {
	if err := h.dropPackets(nftables.ChainHookForward, append(matchTCP(), matchOutput(name)...)); err != nil {
		return fmt.Errorf("lose packets on %s: %w", h.Name, err)
	}
	return nil
}

// Prohibit has the host refuse to forward to a network: it answers that communication is administratively prohibited.
func (h *Host) Prohibit(dst netip.Prefix) error {
	return h.netlink(func(nl *netlink.Handle) error {
		if err := nl.RouteAdd(&netlink.Route{Dst: ipNet(dst.Masked()), Type: unix.RTN_PROHIBIT}); err != nil {
			return fmt.Errorf("prohibit %v on %s: %w", dst, h.Name, err)
		}
		return nil
	})
}

// RejectForward refuses to forward TCP packets to a port, in the same words.
func (h *Host) RejectForward(port uint16) error {
	reject := &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}
	if err := h.filterPackets(nftables.ChainHookForward, append(append(matchTCP(), matchPort(port)...), reject)); err != nil {
		return fmt.Errorf("reject port %d on %s: %w", port, h.Name, err)
	}
	return nil
}

// dropPackets drops what a program of matches lets through.
func (h *Host) dropPackets(hook *nftables.ChainHook, match []expr.Any) error {
	return h.filterPackets(hook, append(match, &expr.Verdict{Kind: expr.VerdictDrop}))
}

// filterPackets puts a rule in force that is alone in its table.
func (h *Host) filterPackets(hook *nftables.ChainHook, program []expr.Any) error {
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: h.nextTable()}
	chain := &nftables.Chain{
		Name: "filter", Table: table, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: nftables.ChainPriorityFilter,
	}
	return h.nftables(func(nft *nftables.Conn) error {
		nft.AddTable(table)
		nft.AddChain(chain)
		nft.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: program})
		return nft.Flush()
	})
}

// matchICMP matches one type of ICMP, or ICMPv6, message.
func matchICMP(protocol, kind byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocol}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{kind}},
	}
}

// matchOutput matches what leaves by an interface.
func matchOutput(name string) []expr.Any {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: padded},
	}
}
