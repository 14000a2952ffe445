package host

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ethtool asks drivers by SIOCETHTOOL, in the network namespace of the thread that opened it. All questions here are
// those that dev_ethtool (net/ethtool/ioctl.c) answers to everybody.
type ethtool struct{ fd int }

func openEthtool() (*ethtool, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a socket for ethtool: %w", err)
	}
	return &ethtool{fd}, nil
}

func (e *ethtool) Close() error { return unix.Close(e.fd) }

// ask carries out a command on a device. request is the command's struct, its number first; the answer is in it.
func (e *ethtool) ask(device string, request []byte) error {
	// struct ifreq. The pointer stays one, so that what it points to is neither moved nor freed.
	ifreq := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&request[0])}
	copy(ifreq.name[:len(ifreq.name)-1], device)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(e.fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifreq)))
	if errno != 0 {
		return errno
	}
	return nil
}

// Ring is how many packets a device's rings hold, and could hold at most. Drivers without rings of one kind have 0.
type Ring struct{ RX, RXMax, TX, TXMax int }

// ring asks for ETHTOOL_GRINGPARAM. Devices without rings are unix.EOPNOTSUPP.
func (e *ethtool) ring(device string) (*Ring, error) {
	const words, rxMax, txMax, rx, tx = 9, 1, 4, 5, 8 // struct ethtool_ringparam
	request := make([]byte, words*4)
	binary.NativeEndian.PutUint32(request, unix.ETHTOOL_GRINGPARAM)
	if err := e.ask(device, request); err != nil {
		return nil, err
	}
	at := func(word int) int { return int(binary.NativeEndian.Uint32(request[word*4:])) }
	return &Ring{RX: at(rx), RXMax: at(rxMax), TX: at(tx), TXMax: at(txMax)}, nil
}

// statistics asks for the driver's own counters, by the names that it gives them.
func (e *ethtool) statistics(device string) (map[string]int64, error) {
	info, err := unix.IoctlGetEthtoolDrvinfo(e.fd, device)
	if err != nil || info.N_stats == 0 {
		return nil, err
	}
	// The kernel writes as many as there are by then, whatever it was told: leave room for queues that are added meanwhile.
	n := int(info.N_stats)
	room := 2*n + 256

	const nameSize, namesHeader, valuesHeader, namesOfStatistics = 32, 12, 8, 1 // ETH_GSTRING_LEN, ETH_SS_STATS
	names := make([]byte, namesHeader+room*nameSize)
	binary.NativeEndian.PutUint32(names, unix.ETHTOOL_GSTRINGS)
	binary.NativeEndian.PutUint32(names[4:], namesOfStatistics)
	binary.NativeEndian.PutUint32(names[8:], info.N_stats)
	if err := e.ask(device, names); err != nil {
		return nil, err
	}
	values := make([]byte, valuesHeader+room*8)
	binary.NativeEndian.PutUint32(values, unix.ETHTOOL_GSTATS)
	binary.NativeEndian.PutUint32(values[4:], info.N_stats)
	if err := e.ask(device, values); err != nil {
		return nil, err
	}
	statistics := make(map[string]int64, n)
	for i := range n {
		name, _, _ := bytes.Cut(names[namesHeader+i*nameSize:][:nameSize], []byte{0})
		statistics[string(bytes.TrimSpace(name))] = int64(binary.NativeEndian.Uint64(values[valuesHeader+i*8:]))
	}
	return statistics, nil
}

// driver is the name of a device's driver; empty where it has none.
func (e *ethtool) driver(device string) string {
	info, err := unix.IoctlGetEthtoolDrvinfo(e.fd, device)
	if err != nil {
		return ""
	}
	return unix.ByteSliceToString(info.Driver[:])
}
