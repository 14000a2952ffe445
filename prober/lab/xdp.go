package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// dropByXDP has an XDP program discard the TCP packets that come in by a device of the host, before anything else sees them,
// until the network is closed. It runs where the kernel has made a packet of what the device took (generic XDP), which every
// device can, and in which the kernel says what it drops. It is a [NotHereError] that the kernel has no links for XDP (before
// 5.9).
func (n *Network) dropByXDP(h *Host, device string) error {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "lab_drop_tcp", Type: ebpf.XDP, Instructions: dropTCPProgram(), License: "GPL",
	})
	if err != nil {
		return fmt.Errorf("drop TCP by XDP: load a BPF program: %w", err)
	}
	defer program.Close()
	var attached link.Link
	err = h.Do(func() error { // the number of a device means one of the calling thread's namespace
		found, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		attached, err = link.AttachXDP(link.XDPOptions{Program: program, Interface: found.Index, Flags: link.XDPGenericMode})
		return err
	})
	if errors.Is(err, link.ErrNotSupported) {
		return &NotHereError{"this kernel has no links for XDP programs"}
	}
	if err != nil {
		return fmt.Errorf("drop TCP by XDP: attach a BPF program to %s of %s: %w", device, h.Name, err)
	}
	return n.onClose(attached.Close)
}

// dropTCPProgram discards TCP in IPv4 and IPv6 without options or extension headers before it.
func dropTCPProgram() asm.Instructions {
	const (
		ethernetHeader   = 14
		etherType        = 12
		protocolV4       = ethernetHeader + 9
		nextHeaderV6     = ethernetHeader + 6
		needed           = protocolV4 + 1
		pass, v6, decide = "pass", "v6", "decide"
		xdpDrop, xdpPass = 1, 2
	)
	return asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word), // struct xdp_md: data
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word), // data_end
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, needed),
		asm.JGT.Reg(asm.R4, asm.R3, pass),
		asm.LoadMem(asm.R5, asm.R2, etherType, asm.Half),
		asm.JEq.Imm(asm.R5, inNetworkOrder(unix.ETH_P_IPV6), v6),
		asm.JNE.Imm(asm.R5, inNetworkOrder(unix.ETH_P_IP), pass),
		asm.LoadMem(asm.R5, asm.R2, protocolV4, asm.Byte),
		asm.Ja.Label(decide),
		asm.LoadMem(asm.R5, asm.R2, nextHeaderV6, asm.Byte).WithSymbol(v6),
		asm.JNE.Imm(asm.R5, unix.IPPROTO_TCP, pass).WithSymbol(decide),
		asm.Mov.Imm(asm.R0, xdpDrop), asm.Return(),
		asm.Mov.Imm(asm.R0, xdpPass).WithSymbol(pass), asm.Return(),
	}
}

func inNetworkOrder(n uint16) int32 {
	return int32(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n)))
}
