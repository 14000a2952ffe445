package main

import (
	"cmp"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"slices"

	"tcptrace/prober"
	"tcptrace/tracer/event"
	"tcptrace/tracer/host"
	"tcptrace/tracer/host/counters"
	"tcptrace/tracer/sockdiag"
	"tcptrace/tracer/sockets"
)

// pathSources are what a packet's way is described from. What could not be read is missing.
type pathSources struct {
	values   counters.Values
	softnet  []counters.Softnet
	devices  []host.Device
	nfqueues []host.NFQueue
	udp      []host.UDPSocket
	tcp      []*sockets.Socket
	owners   map[uint64]event.Owner // by inode
	settings map[string][]int       // sysctls by their whole names
	root     bool                   // owners of everybody's sockets could be seen
}

// pathSettings are the sysctls that the stations name. Those of the host are in its first namespace alone.
var (
	hostSettings = []string{
		"net.core.netdev_max_backlog", "net.core.netdev_budget", "net.core.netdev_budget_usecs", "net.core.dev_weight",
		"net.ipv4.tcp_mem", "net.ipv4.udp_mem",
		"net.core.rmem_default", "net.core.rmem_max", "net.core.wmem_default", "net.core.wmem_max",
	}
	namespaceSettings = []string{
		"net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter", "net.ipv4.ipfrag_time", "net.ipv4.ipfrag_high_thresh",
		"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem", "net.core.somaxconn", "net.ipv4.tcp_max_syn_backlog", "net.ipv4.tcp_syncookies",
	}
)

// readPathSources reads them of a namespace, nil being this one.
func readPathSources(ns *prober.NetNS, values counters.Values) (*pathSources, error) {
	s := &pathSources{values: values, settings: make(map[string][]int), root: os.Geteuid() == 0}
	s.readSettings(hostSettings)
	err := ns.Do(func() (err error) {
		s.readSettings(namespaceSettings)
		if s.softnet, err = counters.ReadSoftnet(os.DirFS(procNet)); err != nil {
			return err
		}
		if s.devices, err = host.Devices(); err != nil {
			return err
		}
		if s.nfqueues, err = host.NFQueues(os.DirFS(procNet)); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
		if s.udp, err = host.UDPSockets(os.DirFS(procNet)); err != nil {
			return err
		}
		return sockdiag.List(false, func(socket *sockets.Socket) { s.tcp = append(s.tcp, socket) })
	})
	s.owners = host.SocketOwners()
	return s, err
}

func (s *pathSources) readSettings(names []string) {
	for _, name := range names {
		if numbers, err := host.Sysctl(name); err == nil {
			s.settings[name] = numbers
		}
	}
}

// lossySocket is a socket that dropped packets, or whose application leaves much unread.
type lossySocket struct {
	protocol      string
	local, remote netip.AddrPort
	inode         uint64
	owner         event.Owner
	drops, change int64
	unread        int64 // bytes of memory
	buffer        int64 // how many there may be; 0: unknown, as /proc does not tell that of UDP
	usual         int64 // how many there may be by default, where it is unknown
}

// lossy are the sockets that dropped something, those with the most drops first.
func (s *pathSources) lossy() []lossySocket {
	all := s.all()
	all = slices.DeleteFunc(all, func(l lossySocket) bool { return l.drops == 0 })
	slices.SortStableFunc(all, func(a, b lossySocket) int { return cmp.Compare(b.drops, a.drops) })
	return all
}

// unreadShare is the part of its buffer from which on a socket's unread data is worth a line.
const unreadShare = 0.5

// unread are the sockets whose applications are behind with reading, those with the most bytes first.
func (s *pathSources) unread() []lossySocket {
	all := slices.DeleteFunc(s.all(), func(l lossySocket) bool {
		buffer := max(l.buffer, l.usual)
		return buffer == 0 || float64(l.unread) < unreadShare*float64(buffer)
	})
	slices.SortStableFunc(all, func(a, b lossySocket) int { return cmp.Compare(b.unread, a.unread) })
	return all
}

func (s *pathSources) all() []lossySocket {
	var all []lossySocket
	for _, u := range s.udp {
		l := lossySocket{protocol: "UDP", local: u.Local, remote: u.Remote, inode: u.Inode, drops: u.Dropped, unread: u.Unread}
		if sizes := s.settings["net.core.rmem_default"]; len(sizes) == 1 {
			l.usual = int64(sizes[0])
		}
		all = append(all, l)
	}
	for _, t := range s.tcp {
		l := lossySocket{protocol: "TCP", local: t.Local, remote: t.Remote, inode: t.Inode, drops: int64(t.Drops)}
		if t.State == event.StateListen {
			l.remote = netip.AddrPort{}
		} else if t.Receive != nil && t.Held {
			l.unread, l.buffer = int64(t.Receive.Used), int64(t.Receive.Size)
		}
		all = append(all, l)
	}
	for i := range all {
		all[i].owner = s.owners[all[i].inode]
	}
	return all
}
