package host

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// UDPSocket is a line of /proc/net/udp or udp6 (udp4_seq_show, udp6_seq_show).
type UDPSocket struct {
	Local, Remote netip.AddrPort // the remote end is that of connect, and otherwise invalid
	Inode         uint64         // of the file that stands for it
	UID           uint32
	Unread        int64 // bytes of memory that datagrams which nobody has read take
	Dropped       int64 // datagrams that it had no room for, or that were damaged
}

// UDPSockets reads the UDP sockets of a /proc/net. Without IPv6 it has those of IPv4.
func UDPSockets(dir fs.FS) ([]UDPSocket, error) {
	var all []UDPSocket
	for _, name := range []string{"udp", "udp6"} {
		text, err := fs.ReadFile(dir, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var sockets []UDPSocket
		if err == nil {
			sockets, err = parseUDP(string(text))
		}
		if err != nil {
			return nil, fmt.Errorf("read /proc/net/%s: %w", name, withoutPath(err))
		}
		all = append(all, sockets...)
	}
	return all, nil
}

// parseUDP finds columns by their names. Two pairs of names stand for one column each, with a colon in it.
func parseUDP(text string) ([]UDPSocket, error) {
	header, rows, _ := strings.Cut(text, "\n")
	header = strings.NewReplacer("tx_queue rx_queue", "tx_queue:rx_queue", "tr tm->when", "tr:tm->when").Replace(header)
	columns := strings.Fields(header)
	at := func(names ...string) int {
		return slices.IndexFunc(columns, func(column string) bool { return slices.Contains(names, column) })
	}
	local, remote, queues := at("local_address"), at("rem_address", "remote_address"), at("tx_queue:rx_queue")
	uid, inode, drops := at("uid"), at("inode"), at("drops")
	if min(local, remote, queues, uid, inode, drops) < 0 {
		return nil, fmt.Errorf("%q lacks columns", strings.TrimSpace(header))
	}
	var all []UDPSocket
	for row := range strings.Lines(rows) {
		fields := strings.Fields(row)
		if len(fields) != len(columns) {
			return nil, fmt.Errorf("a line has %d columns, the first %d", len(fields), len(columns))
		}
		s, err := udpSocket(fields[local], fields[remote], fields[queues], fields[uid], fields[inode], fields[drops])
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

func udpSocket(local, remote, queues, uid, inode, drops string) (s UDPSocket, err error) {
	if s.Local, err = procAddrPort(local); err != nil {
		return s, err
	}
	if s.Remote, err = procAddrPort(remote); err != nil {
		return s, err
	}
	if s.Remote.Port() == 0 {
		s.Remote = netip.AddrPort{}
	}
	_, unread, ok := strings.Cut(queues, ":")
	n, err := strconv.ParseUint(unread, 16, 32)
	if err != nil || !ok {
		return s, fmt.Errorf("%q is no pair of queues", queues)
	}
	s.Unread = int64(n)
	owner, err := strconv.ParseUint(uid, 10, 32)
	if err != nil {
		return s, fmt.Errorf("%q is no user", uid)
	}
	s.UID = uint32(owner)
	if s.Inode, err = strconv.ParseUint(inode, 10, 64); err != nil {
		return s, fmt.Errorf("%q is no inode", inode)
	}
	if s.Dropped, err = strconv.ParseInt(drops, 10, 64); err != nil {
		return s, fmt.Errorf("%q is no number of drops", drops)
	}
	return s, nil
}

// procAddrPort reads an address of /proc/net as hexadecimal words in the machine's byte order, and a port.
func procAddrPort(text string) (netip.AddrPort, error) {
	words, number, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(words)
	port, portErr := strconv.ParseUint(number, 16, 16)
	if err != nil || portErr != nil || len(raw) != 4 && len(raw) != 16 {
		return netip.AddrPort{}, fmt.Errorf("%q is no address and port", text)
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	addr, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr.Unmap(), uint16(port)), nil
}
