package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// denyConnect has the kernel refuse each connect() of this process, and of whoever shares its cgroup, to an address, until
// the network is closed. Nobody but the lab may want to go there. It is a [NotHereError] that there is no cgroup v2
// hierarchy.
//
// The program hangs on the cgroup by a file descriptor of this process, so that it goes with it. A cgroup made for the lab
// would not, and threads of one process cannot be in different cgroups.
func (n *Network) denyConnect(addr netip.AddrPort) error {
	cgroup, err := ownCgroup()
	if err != nil {
		return err
	}
	attach := ebpf.AttachCGroupInet4Connect
	if addr.Addr().Is6() {
		attach = ebpf.AttachCGroupInet6Connect
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "lab_deny_connect", Type: ebpf.CGroupSockAddr, AttachType: attach, Instructions: denyProgram(addr), License: "GPL",
	})
	if err != nil {
		return fmt.Errorf("deny connects to %v: load a BPF program: %w", addr, err)
	}
	defer program.Close()
	denial, err := link.AttachCgroup(link.CgroupOptions{Path: cgroup, Attach: attach, Program: program})
	if err != nil {
		return fmt.Errorf("deny connects to %v: attach a BPF program to %s: %w", addr, cgroup, err)
	}
	return n.onClose(denial.Close)
}

// Offsets in struct bpf_sock_addr.
const (
	userIP4Offset  = 4
	userIP6Offset  = 8
	userPortOffset = 24
)

// denyProgram returns 0, which denies, for one address, and 1 for all others.
func denyProgram(addr netip.AddrPort) asm.Instructions {
	const allow = "allow"
	var program asm.Instructions
	unless := func(offset int16, word uint32) {
		program = append(program,
			asm.LoadMem(asm.R2, asm.R1, offset, asm.Word),
			asm.LoadImm(asm.R3, int64(word), asm.DWord),
			asm.JNE.Reg(asm.R2, asm.R3, allow))
	}
	offset := int16(userIP4Offset)
	if addr.Addr().Is6() {
		offset = userIP6Offset
	}
	for ip := addr.Addr().AsSlice(); len(ip) > 0; ip = ip[4:] {
		unless(offset, binary.NativeEndian.Uint32(ip))
		offset += 4
	}
	port := binary.BigEndian.AppendUint16(nil, addr.Port())
	unless(userPortOffset, uint32(binary.NativeEndian.Uint16(port)))
	return append(program,
		asm.Mov.Imm(asm.R0, 0), asm.Return(),
		asm.Mov.Imm(asm.R0, 1).WithSymbol(allow), asm.Return())
}

// ownCgroup is the directory of this process's cgroup in the cgroup v2 hierarchy.
func ownCgroup() (string, error) {
	cgroups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", fmt.Errorf("look for a cgroup v2 hierarchy: %w", err)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", fmt.Errorf("look for a cgroup v2 hierarchy: %w", err)
	}
	dir, ok := findOwnCgroup(string(cgroups), string(mounts))
	if !ok {
		return "", &NotHereError{"no cgroup v2 hierarchy is mounted"}
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return "", &NotHereError{"this process's cgroup is not in the cgroup v2 hierarchy that is mounted"}
	}
	return dir, nil
}

// findOwnCgroup is not ok where the process is in no cgroup v2, or the hierarchy is not mounted.
func findOwnCgroup(cgroups, mounts string) (dir string, ok bool) {
	for line := range strings.Lines(cgroups) {
		below, isV2 := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::")
		if !isV2 {
			continue
		}
		for line := range strings.Lines(mounts) {
			if fields := strings.Fields(line); len(fields) > 2 && fields[2] == "cgroup2" {
				return filepath.Join(fields[1], below), true
			}
		}
	}
	return "", false
}
