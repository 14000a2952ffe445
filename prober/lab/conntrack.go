package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// DisposableMachine is a variable of the environment. It is 1 on a machine that exists for tests only, such as a guest of
// the kernel matrix: labs that need it change settings of the whole machine.
const DisposableMachine = "TCPTRACE_DISPOSABLE_MACHINE"

// trackConnections has the host keep track of the connections that it makes.
func (h *Host) trackConnections() error {
	_, err := h.rule(nftables.ChainHookOutput, []expr.Any{&expr.Ct{Key: expr.CtKeySTATE, Register: 1}})
	return err
}

// conntrackMax is the maximum of a connection tracking table. Each namespace has a table of its own, but the one maximum is
// the whole machine's (nf_conntrack_max).
const conntrackMax = "/proc/sys/net/netfilter/nf_conntrack_max"

// limitConntrack sets the maximum until the network is closed. It is a [NotHereError] that this machine is not to be
// disposed of.
func (n *Network) limitConntrack(limit int) error {
	if os.Getenv(DisposableMachine) != "1" {
		return &NotHereError{"the maximum of connection tracking is the whole machine's, so it is changed only where " +
			DisposableMachine + "=1 says that the machine exists for tests"}
	}
	before, err := os.ReadFile(conntrackMax)
	if err != nil {
		return fmt.Errorf("limit connection tracking: %w", err)
	}
	if err := writeExisting(conntrackMax, strconv.Itoa(limit)); err != nil {
		return fmt.Errorf("limit connection tracking: %w", err)
	}
	return n.onClose(func() error { return writeExisting(conntrackMax, strings.TrimSpace(string(before))) })
}

// fillConntrack makes as many connections as the table has room for.
func (h *Host) fillConntrack(ctx context.Context, remote netip.AddrPort, limit int) error {
	for range limit {
		if err := h.occupy(ctx, remote); err != nil {
			return err
		}
	}
	return nil
}
