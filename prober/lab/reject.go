package lab

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// reject is [Host.RejectForward] for some packets only. Over veth pairs the error is there before the system call that sent
// the packet has returned, unless the CPU is so busy that a kernel thread takes over.
func (h *Host) reject(d Drop) (*Rule, error) {
	reject := &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}
	return h.rule(nftables.ChainHookForward, append(d.match(), &expr.Counter{}, reject))
}

// ResetForward answers the TCP packets to a port that have something to say (PSH), not with ICMP but with a reset in their
// receiver's name, instead of passing them on.
func (h *Host) ResetForward(port uint16) error {
	program := append(append(matchTCP(), matchPort(port)...), matchPush()...)
	if err := h.filterPackets(nftables.ChainHookForward, append(program, &expr.Reject{Type: unix.NFT_REJECT_TCP_RST})); err != nil {
		return fmt.Errorf("reset port %d on %s: %w", port, h.Name, err)
	}
	return nil
}

// matchPush matches a packet with the PSH flag.
func matchPush() []expr.Any {
	const flagsOffset, push = 13, 0x08
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: flagsOffset, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{push}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{push}},
	}
}

// StaySilentOnSize keeps the host from saying that a packet is too big for the link that it should go on by; with it goes
// what else it might report as unreachable by IPv4.
func (h *Host) StaySilentOnSize() error {
	for _, rule := range []struct{ protocol, kind byte }{
		{unix.IPPROTO_ICMP, icmpv4Unreachable},
		{unix.IPPROTO_ICMPV6, icmpv6PacketTooBig},
	} {
		if err := h.dropPackets(nftables.ChainHookOutput, matchICMP(rule.protocol, rule.kind)); err != nil {
			return fmt.Errorf("silence %s: %w", h.Name, err)
		}
	}
	return nil
}
