package tracer

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Filter says which connections to follow; the kernel side applies it. Different fields are combined with and, the
// values of one field with or; the zero value follows everything.
//
// PIDs, Comms, UIDs and CgroupIDs are about the socket's owner, never about the task on the CPU.
type Filter struct {
	PIDs        []int
	Comms       []string // names of processes, at most 15 bytes long as the kernel keeps them
	UIDs        []uint32
	CgroupIDs   []uint64 // cgroup v2; everything below counts
	NetNS       []uint32 // inodes
	Ports       []uint16 // on either side
	LocalPorts  []uint16
	RemotePorts []uint16
	Networks    []netip.Prefix // of either address
	Family      int            // 4, 6, or 0 for both
}

// ErrTooManyValues says that a filter lists more values than the kernel side has room for.
var ErrTooManyValues = errors.New("too many values")

// dimensions tells the kernel side which fields are asked for. followForks makes tasks one even while it is empty.
func (f *Filter) dimensions(followForks bool) bpfFilterDimension {
	var all bpfFilterDimension
	for _, d := range []struct {
		asked     bool
		dimension bpfFilterDimension
	}{
		{len(f.PIDs) > 0 || followForks, bpfFilterDimensionFILTER_TASK},
		{len(f.Comms) > 0, bpfFilterDimensionFILTER_COMM},
		{len(f.UIDs) > 0, bpfFilterDimensionFILTER_UID},
		{len(f.CgroupIDs) > 0, bpfFilterDimensionFILTER_CGROUP},
		{len(f.NetNS) > 0, bpfFilterDimensionFILTER_NETNS},
		{len(f.Ports) > 0, bpfFilterDimensionFILTER_PORT},
		{len(f.LocalPorts) > 0, bpfFilterDimensionFILTER_LOCAL_PORT},
		{len(f.RemotePorts) > 0, bpfFilterDimensionFILTER_REMOTE_PORT},
		{len(f.Networks) > 0, bpfFilterDimensionFILTER_ADDRESS},
	} {
		if d.asked {
			all |= d.dimension
		}
	}
	return all
}

func (f *Filter) family() uint16 {
	switch f.Family {
	case 4:
		return unix.AF_INET
	case 6:
		return unix.AF_INET6
	}
	return 0
}

// store fills the sets that the kernel side compares with.
func (f *Filter) store(maps map[string]*ebpf.Map) error {
	return errors.Join(
		storeSet(maps[bpfMapTasks], "processes", f.PIDs, func(pid int) any { return uint32(pid) }),
		storeSet(maps[bpfMapComms], "process names", f.Comms, commKey),
		storeSet(maps[bpfMapUids], "users", f.UIDs, func(uid uint32) any { return uid }),
		storeSet(maps[bpfMapCgroups], "cgroups", f.CgroupIDs, func(id uint64) any { return id }),
		storeSet(maps[bpfMapNamespaces], "network namespaces", f.NetNS, func(inode uint32) any { return inode }),
		storeSet(maps[bpfMapPorts], "ports", f.Ports, portKey(bpfFilterDimensionFILTER_PORT)),
		storeSet(maps[bpfMapPorts], "local ports", f.LocalPorts, portKey(bpfFilterDimensionFILTER_LOCAL_PORT)),
		storeSet(maps[bpfMapPorts], "remote ports", f.RemotePorts, portKey(bpfFilterDimensionFILTER_REMOTE_PORT)),
		storeSet(maps[bpfMapNetworks], "networks", f.Networks, networkKey),
	)
}

func storeSet[V any](m *ebpf.Map, what string, values []V, key func(V) any) error {
	for _, value := range values {
		err := m.Put(key(value), uint8(1))
		if errors.Is(err, unix.E2BIG) || errors.Is(err, unix.ENOSPC) {
			return fmt.Errorf("filter by %d %s, of which %d fit: %w", len(values), what, m.MaxEntries(), ErrTooManyValues)
		}
		if err != nil {
			return fmt.Errorf("filter by %s: %w", what, err)
		}
	}
	return nil
}

func commKey(comm string) any {
	var key bpfCommKey
	for i := range min(len(comm), len(key.Comm)-1) {
		key.Comm[i] = int8(comm[i])
	}
	return key
}

func portKey(dimension bpfFilterDimension) func(uint16) any {
	return func(port uint16) any { return bpfPortKey{Dimension: uint16(dimension), Port: port} }
}

func networkKey(network netip.Prefix) any {
	bits := network.Bits()
	if network.Addr().Is4() {
		bits += 96
	}
	return bpfNetworkKey{PrefixBits: uint32(bits), Address: network.Masked().Addr().As16()}
}
