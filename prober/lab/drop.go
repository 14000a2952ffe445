package lab

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Drop says which TCP packets a firewall rule throws away without a word. The zero value throws all of them away.
type Drop struct {
	Port   uint16 // destination port; 0 for any
	Family Family // address family; 0 for both
	// FirstSYNs, when not 0, has the rule drop only that many SYNs and let everything else pass.
	FirstSYNs uint32
	// AfterSYN has the rule let SYNs pass.
	AfterSYN bool
	// First, when not 0, has the rule drop only that many packets.
	First uint32
}

// Family is an address family.
type Family uint8

// The families, with the numbers that netfilter has for them.
const (
	IPv4 Family = unix.NFPROTO_IPV4
	IPv6 Family = unix.NFPROTO_IPV6
)

// FamilyOf is the family of an address.
func FamilyOf(address netip.Addr) Family {
	if address.Unmap().Is4() {
		return IPv4
	}
	return IPv6
}

// Rule is a firewall rule that is in force.
type Rule struct {
	host  *Host
	table *nftables.Table
	chain *nftables.Chain
}

// DropInput drops packets that arrive for the host itself.
func (h *Host) DropInput(d Drop) (*Rule, error) { return h.drop(nftables.ChainHookInput, d) }

// DropOutput drops packets that the host itself sends.
func (h *Host) DropOutput(d Drop) (*Rule, error) { return h.drop(nftables.ChainHookOutput, d) }

// DropForward drops packets that the host would pass on.
func (h *Host) DropForward(d Drop) (*Rule, error) { return h.drop(nftables.ChainHookForward, d) }

func (h *Host) drop(hook *nftables.ChainHook, d Drop) (*Rule, error) {
	return h.rule(hook, append(d.match(), &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}))
}

// rule puts a rule in force. Each has a table of its own, and that table nothing else, so that its counter can be found
// again without the rule's handle, which old kernels do not tell.
func (h *Host) rule(hook *nftables.ChainHook, program []expr.Any) (*Rule, error) {
	rule := &Rule{host: h, table: &nftables.Table{Family: nftables.TableFamilyINet, Name: h.nextTable()}}
	rule.chain = &nftables.Chain{
		Name: "drop", Table: rule.table, Type: nftables.ChainTypeFilter, Hooknum: hook,
		Priority: nftables.ChainPriorityFilter,
	}
	err := h.nftables(func(nft *nftables.Conn) error {
		nft.AddTable(rule.table)
		nft.AddChain(rule.chain)
		nft.AddRule(&nftables.Rule{Table: rule.table, Chain: rule.chain, Exprs: program})
		return nft.Flush()
	})
	if err != nil {
		return nil, fmt.Errorf("add a firewall rule on %s: %w", h.Name, err)
	}
	return rule, nil
}

// Packets is how many packets the rule has caught.
func (r *Rule) Packets() (uint64, error) {
	var packets uint64
	err := r.host.nftables(func(nft *nftables.Conn) error {
		rules, err := nft.GetRules(r.table, r.chain)
		if err != nil {
			return err
		}
		for _, rule := range rules {
			packets += counted(rule)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("read a firewall rule of %s: %w", r.host.Name, err)
	}
	return packets, nil
}

// Remove takes the rule out of force. Its packets are forgotten.
func (r *Rule) Remove() error {
	err := r.host.nftables(func(nft *nftables.Conn) error {
		nft.DelTable(r.table)
		return nft.Flush()
	})
	if err != nil {
		return fmt.Errorf("remove a firewall rule of %s: %w", r.host.Name, err)
	}
	return nil
}

func counted(rule *nftables.Rule) uint64 {
	for _, e := range rule.Exprs {
		if counter, ok := e.(*expr.Counter); ok {
			return counter.Packets
		}
	}
	return 0
}

// nextTable is the name of the host's next table.
func (h *Host) nextTable() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rules++
	return "lab" + strconv.Itoa(h.rules)
}

// nftables runs fn with a connection to the host's firewall.
func (h *Host) nftables(fn func(*nftables.Conn) error) error {
	return h.ns.withFD(func(fd int) error {
		nft, err := nftables.New(nftables.WithNetNSFd(fd))
		if err != nil {
			return err
		}
		return fn(nft)
	})
}

// match is the rule's program up to its verdict. It uses what nf_tables of Linux 5.10 has, and of its modules only
// nft_counter and nft_numgen.
func (d Drop) match() []expr.Any {
	program := matchTCP()
	if d.Family != 0 {
		program = append(program, matchFamily(d.Family)...)
	}
	if d.Port != 0 {
		program = append(program, matchPort(d.Port)...)
	}
	if d.FirstSYNs != 0 {
		program = append(program, matchSYN()...)
		program = append(program, matchFirst(d.FirstSYNs)...)
	}
	if d.AfterSYN {
		program = append(program, compareSYN(expr.CmpOpNeq)...)
	}
	if d.First != 0 {
		program = append(program, matchFirst(d.First)...)
	}
	return program
}

func matchTCP() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
	}
}

func matchFamily(family Family) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{byte(family)}},
	}
}

func matchPort(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
	}
}

// matchSYN matches a SYN that is not a SYN-ACK.
func matchSYN() []expr.Any { return compareSYN(expr.CmpOpEq) }

// compareSYN matches a packet whose SYN and ACK flags compare to those of a SYN.
func compareSYN(op expr.CmpOp) []expr.Any {
	const flagsOffset, syn, ack = 13, 0x02, 0x10
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: flagsOffset, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{syn | ack}, Xor: []byte{0}},
		&expr.Cmp{Op: op, Register: 1, Data: []byte{syn}},
	}
}

// matchFirst matches the first n packets that get this far, and none after them. It numbers packets from 0 by an atomic
// counter (nft_ng_inc_eval, net/netfilter/nft_numgen.c), so that exactly n match on any number of CPUs; a rate limit would
// let its tokens grow again, a quota counts bytes, and taking the rule away from here would race with the next packet.
// The numbers start again only after 2^31 packets.
func matchFirst(n uint32) []expr.Any {
	const modulus = 1 << 31
	return []expr.Any{
		&expr.Numgen{Register: 1, Modulus: modulus, Type: unix.NFT_NG_INCREMENTAL},
		// The number is in the machine's byte order; a comparison goes byte by byte.
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpLt, Register: 1, Data: binaryutil.BigEndian.PutUint32(n)},
	}
}
