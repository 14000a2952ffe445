package lab

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
)

// AnswerSlowly makes the host route two networks to a tunnel behind which every address completes handshakes, each
// SYN-ACK after the delay that its address has. Nothing but the handshake happens there: what else is sent meets silence.
// It goes on until the network is closed.
func (h *Host) AnswerSlowly(ctx context.Context, ipv4, ipv6 netip.Prefix, delay func(netip.Addr) time.Duration) error {
	t, err := h.startTunnel(func(s Segment) []Reply { return slowSYNACK(s, delay) })
	if err != nil {
		return fmt.Errorf("add a tunnel to %s: %w", h.Name, err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return h.link(t.name, func(nl *netlink.Handle, link netlink.Link) error {
		for _, network := range []netip.Prefix{ipv4, ipv6} {
			if err := nl.RouteAdd(&netlink.Route{Dst: ipNet(network), LinkIndex: link.Attrs().Index}); err != nil {
				return fmt.Errorf("route %v to %s on %s: %w", network, t.name, h.Name, err)
			}
		}
		return nil
	})
}

// slowSYNACK answers a SYN, and nothing else.
func slowSYNACK(s Segment, delay func(netip.Addr) time.Duration) []Reply {
	if s.Flags&(FlagSYN|FlagACK) != FlagSYN {
		return nil
	}
	answer := s.Answer(FlagSYN)
	// The answer to a repeated SYN has the same number: it is a function of what the SYN has.
	answer.Seq = ^s.Seq
	return []Reply{{Packet: &answer, After: delay(s.Destination.Addr())}}
}
