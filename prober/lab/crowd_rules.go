package lab

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// addCrowdRules makes the host's firewall act out what a kernel does not do by itself: saying nothing, refusing an
// address that somebody listens on, and losing a percentage of SYNs.
func (h *Host) addCrowdRules(loss int) error {
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: "crowd"}
	arriving := &nftables.Chain{
		Name: "arriving", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityFilter,
	}
	// Prerouting cannot answer by a RST on older kernels, input can.
	input := &nftables.Chain{
		Name: "input", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter,
	}
	forward := &nftables.Chain{
		Name: "forward", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	}
	err := h.nftables(func(nft *nftables.Conn) error {
		nft.AddTable(table)
		nft.AddChain(arriving)
		nft.AddChain(input)
		nft.AddChain(forward)
		if loss > 0 {
			nft.AddRule(&nftables.Rule{Table: table, Chain: arriving, Exprs: lose(loss)})
		}
		for _, network := range []netip.Prefix{crowdNet4(Silent), crowdNet6(Silent)} {
			program := append(matchDestination(network), &expr.Verdict{Kind: expr.VerdictDrop})
			nft.AddRule(&nftables.Rule{Table: table, Chain: arriving, Exprs: program})
		}
		for _, network := range []netip.Prefix{crowdNet4(Refusing), crowdNet6(Refusing)} {
			program := append(matchTCP(), matchDestination(network)...)
			program = append(program, &expr.Reject{Type: unix.NFT_REJECT_TCP_RST})
			nft.AddRule(&nftables.Rule{Table: table, Chain: input, Exprs: program})
		}
		unreachable := append(matchDestination(crowdNet4(Unreachable)),
			&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_HOST_UNREACH})
		nft.AddRule(&nftables.Rule{Table: table, Chain: forward, Exprs: unreachable})
		return nft.Flush()
	})
	if err != nil {
		return fmt.Errorf("add the firewall rules of a crowd on %s: %w", h.Name, err)
	}
	return nil
}

// lose drops that percentage of SYNs, at random.
func lose(percent int) []expr.Any {
	program := append(matchTCP(), matchSYN()...)
	return append(program,
		&expr.Numgen{Register: 1, Modulus: 100, Type: unix.NFT_NG_RANDOM},
		// The number is in the machine's byte order; a comparison goes byte by byte.
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpLt, Register: 1, Data: binaryutil.BigEndian.PutUint32(uint32(percent))},
		&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop})
}

// matchDestination matches packets to a network, whose prefix is whole bytes.
func matchDestination(network netip.Prefix) []expr.Any {
	const offset4, offset6 = 16, 24
	family, offset := IPv4, uint32(offset4)
	if network.Addr().Is6() {
		family, offset = IPv6, offset6
	}
	length := network.Bits() / 8
	return append(matchFamily(family),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(length)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: network.Addr().AsSlice()[:length]})
}
