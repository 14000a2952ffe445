package lab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dropOutputLegacy has the legacy tables of iptables, which nf_tables did not replace everywhere, drop the TCP packets that
// the host sends by IPv4. It replaces the host's filter table, which must be empty. It is a [NotHereError] that the kernel
// does not have the tables.
func (h *Host) dropOutputLegacy() error {
	// For an empty table the kernel has a rule for each of its chains' policies, and one that ends the table.
	old := make([]xtCounters, len(filterChains)+1)
	table, err := legacyDropOutput(old)
	if err != nil {
		return err
	}
	var pinner runtime.Pinner
	defer pinner.Unpin()
	pinner.Pin(&old[0])
	err = h.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.SetsockoptString(fd, unix.IPPROTO_IP, iptSOSetReplace, string(table))
	})
	if errors.Is(err, unix.ENOPROTOOPT) || errors.Is(err, unix.ENOENT) {
		return &NotHereError{"the kernel has no iptable_filter, or has not loaded ip_tables"}
	}
	if err != nil {
		return fmt.Errorf("replace the legacy filter table of %s: %w", h.Name, err)
	}
	return nil
}

// filterChains are the chains of the filter table, as numbers of netfilter's hooks, in the order of its rules.
var filterChains = []int{nfInetLocalIn, nfInetForward, nfInetLocalOut}

// From include/uapi/linux/netfilter.h, netfilter/x_tables.h and netfilter_ipv4/ip_tables.h.
const (
	nfInetLocalIn   = 1
	nfInetForward   = 2
	nfInetLocalOut  = 3
	nfInetNumHooks  = 5
	iptSOSetReplace = 64
	verdictDrop     = -0 - 1 // -NF_DROP - 1
	verdictAccept   = -1 - 1 // -NF_ACCEPT - 1
)

// xtCounters are struct xt_counters.
type xtCounters struct{ Packets, Bytes uint64 }

// iptReplace is struct ipt_replace. The rules follow it.
type iptReplace struct {
	Name        [32]byte
	ValidHooks  uint32
	NumEntries  uint32
	Size        uint32
	HookEntry   [nfInetNumHooks]uint32
	Underflow   [nfInetNumHooks]uint32
	NumCounters uint32
	Counters    uint64 // where the old rules' counters go
}

// iptEntry is struct ipt_entry: a rule, whose target follows it. The zero value matches every packet.
type iptEntry struct {
	Addresses     [16]byte
	Interfaces    [64]byte
	Protocol      uint16
	Flags, Invert uint8
	Cache         uint32
	TargetOffset  uint16
	NextOffset    uint16
	ComeFrom      uint32
	Counters      xtCounters
}

// xtStandardTarget is struct xt_standard_target, with its padding.
type xtStandardTarget struct {
	Size     uint16
	Name     [29]byte
	Revision uint8
	Verdict  int32
	_        [4]byte
}

// xtErrorTarget is struct xt_error_target, with its padding: what ends a table.
type xtErrorTarget struct {
	Size      uint16
	Name      [29]byte
	Revision  uint8
	ErrorName [30]byte
	_         [2]byte
}

// legacyDropOutput is a filter table whose policy is to accept everything, and whose one rule drops TCP on its way out. The
// kernel puts the counters of the rules before it into old.
func legacyDropOutput(old []xtCounters) ([]byte, error) {
	header := iptReplace{NumCounters: uint32(len(old)), Counters: uint64(uintptr(unsafe.Pointer(&old[0])))}
	copy(header.Name[:], "filter")
	var rules bytes.Buffer
	add := func(entry iptEntry, target any) error {
		entry.TargetOffset = uint16(binary.Size(entry))
		entry.NextOffset = entry.TargetOffset + uint16(binary.Size(target))
		header.NumEntries++
		return errors.Join(binary.Write(&rules, binary.NativeEndian, entry), binary.Write(&rules, binary.NativeEndian, target))
	}
	var errs []error
	for _, chain := range filterChains {
		header.ValidHooks |= 1 << chain
		header.HookEntry[chain] = uint32(rules.Len())
		if chain == nfInetLocalOut {
			errs = append(errs, add(iptEntry{Protocol: unix.IPPROTO_TCP}, standardTarget(verdictDrop)))
		}
		header.Underflow[chain] = uint32(rules.Len())
		errs = append(errs, add(iptEntry{}, standardTarget(verdictAccept)))
	}
	last := xtErrorTarget{}
	last.Size = uint16(binary.Size(last))
	copy(last.Name[:], "ERROR")
	copy(last.ErrorName[:], "ERROR")
	errs = append(errs, add(iptEntry{}, last))
	header.Size = uint32(rules.Len())

	var table bytes.Buffer
	errs = append(errs, binary.Write(&table, binary.NativeEndian, header))
	table.Write(rules.Bytes())
	return table.Bytes(), errors.Join(errs...)
}

// standardTarget ends a rule with a verdict. It has no name.
func standardTarget(verdict int32) xtStandardTarget {
	t := xtStandardTarget{Verdict: verdict}
	t.Size = uint16(binary.Size(t))
	return t
}
