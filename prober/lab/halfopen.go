package lab

import (
	"context"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// loseAfterSYN has the host's firewall lose what comes from an address for a port, but for SYNs: handshakes from there
// are never completed.
func (h *Host) loseAfterSYN(from netip.Addr, port uint16) (*Rule, error) {
	program := append(matchTCP(), matchSource(from)...)
	program = append(program, matchPort(port)...)
	program = append(program, compareSYN(expr.CmpOpNeq)...)
	return h.rule(nftables.ChainHookInput, append(program, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}))
}

func matchSource(addr netip.Addr) []expr.Any {
	family, offset, length := IPv4, uint32(12), uint32(4) // of the source in the IP header
	if addr.Is6() {
		family, offset, length = IPv6, 8, 16
	}
	return append(matchFamily(family),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: addr.AsSlice()},
	)
}

// halfOpen begins handshakes with a service of the host's own, whose end that does not see. When it returns, the service
// holds a request for each, or has answered with a SYN cookie.
func (h *Host) halfOpen(ctx context.Context, service netip.AddrPort, times int) error {
	if _, err := h.loseAfterSYN(service.Addr(), service.Port()); err != nil {
		return err
	}
	for range times {
		// For this side it is connected, and reset again, of which nobody hears.
		conn, err := h.dial(ctx, service)
		if err != nil {
			return err
		}
		if err := abort(conn); err != nil {
			return err
		}
	}
	return nil
}
