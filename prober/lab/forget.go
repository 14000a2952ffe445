package lab

import (
	"fmt"
	"strconv"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Forget is what a router does with a packet of a connection that it does not know, or does no longer know.
type Forget uint8

// What routers do.
const (
	ForgetSilently  Forget = iota // drop it
	ForgetWithReset               // answer it with a reset
)

// ForgetIdle makes a router keep track of the connections that it forwards, as a NAT or a firewall does, and forget those
// that were idle for so long, in whole seconds. It can forget only connections that began after this call.
func (h *Host) ForgetIdle(after time.Duration, then Forget) (*Rule, error) {
	program := matchUnknown()
	if then == ForgetWithReset {
		program = append(program, &expr.Counter{}, &expr.Reject{Type: unix.NFT_REJECT_TCP_RST})
	} else {
		program = append(program, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop})
	}
	rule, err := h.rule(nftables.ChainHookForward, program)
	if err != nil {
		return nil, err
	}
	// The rule has brought connection tracking, and its sysctls, into the namespace.
	seconds := strconv.Itoa(int(after / time.Second))
	if err := h.Sysctl("net/netfilter/nf_conntrack_tcp_timeout_established", seconds); err != nil {
		return nil, fmt.Errorf("forget idle connections: %w", err)
	}
	return rule, nil
}

// matchUnknown matches TCP packets that neither begin a connection nor belong to a known one. Connection tracking takes
// what is in the middle of an unknown connection for a new one, or for invalid (nf_conntrack_tcp_loose).
func matchUnknown() []expr.Any {
	unknown := expr.CtStateBitNEW | expr.CtStateBitINVALID
	program := append(matchTCP(), compareSYN(expr.CmpOpNeq)...)
	return append(program,
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(unknown), Xor: binaryutil.NativeEndian.PutUint32(0)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(0)},
	)
}
