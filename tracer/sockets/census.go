package sockets

import (
	"net/netip"

	"tcptrace/tracer/event"
)

// Census puts together what several listings saw: each socket once, with its owner wherever one listing knows it, or
// another socket does. The zero value is ready to use.
type Census struct {
	known map[identity]*Socket
	order []*Socket
}

// identity tells sockets apart. The kernel may use the memory of one that ended again while it is being listed.
type identity struct {
	id            ID
	local, remote netip.AddrPort
}

// Add takes a socket, unless it is there already. List those with owners first.
func (c *Census) Add(s *Socket) {
	if c.known == nil {
		c.known = make(map[identity]*Socket)
	}
	key := identity{s.ID, s.Local, s.Remote}
	if c.known[key] != nil {
		return
	}
	c.known[key] = s
	c.order = append(c.order, s)
}

// Namespaces says for each network namespace which of its sockets a process holds, if one does.
func (c *Census) Namespaces() map[uint32]*Socket {
	all := make(map[uint32]*Socket)
	for _, s := range c.order {
		if all[s.NetNS] == nil {
			all[s.NetNS] = s
		}
	}
	return all
}

// Sockets are all but listeners, each with the owner that it has of itself, or by its file, or, until somebody accepts it,
// its listener's.
func (c *Census) Sockets() []*Socket {
	files, listeners := c.files(), c.listeners()
	var all []*Socket
	for _, s := range c.order {
		if s.State == event.StateListen {
			continue
		}
		if !s.Owner.Known() && s.Inode != 0 {
			s.Owner = files[s.Inode]
		}
		listeners.lend(s)
		all = append(all, s)
	}
	return all
}

// files are the owners by the file that stands for a socket, where some socket of that file lacks it: the further
// subflows of an MPTCP connection share the file of the first.
func (c *Census) files() map[uint64]event.Owner {
	owners := make(map[uint64]event.Owner)
	for _, s := range c.order {
		if s.Inode != 0 && !s.Owner.Known() {
			owners[s.Inode] = event.Owner{}
		}
	}
	for _, s := range c.order {
		if _, wanted := owners[s.Inode]; wanted && s.Owner.Known() {
			owners[s.Inode] = s.Owner
		}
	}
	return owners
}

// listeners find the listening socket that a connection came by.
type listeners struct {
	byID   map[ID]*Socket
	byPort map[port][]*Socket
}

type port struct {
	netns  uint32
	number uint16
}

func (c *Census) listeners() listeners {
	l := listeners{make(map[ID]*Socket), make(map[port][]*Socket)}
	for _, s := range c.order {
		if s.State != event.StateListen {
			continue
		}
		l.byID[s.ID] = s
		at := port{s.NetNS, s.Local.Port()}
		l.byPort[at] = append(l.byPort[at], s)
	}
	return l
}

// lend gives s its listener's owner, and to a request its settings too, if it is a server's that nobody has accepted.
func (l listeners) lend(s *Socket) {
	listener := l.of(s)
	if listener == nil {
		return
	}
	if s.Options == nil {
		s.Options, s.Sysctls = listener.Options, listener.Sysctls
	}
	if listener.Owner.Known() {
		s.Owner = listener.Owner
		s.Owner.Via = "listener"
	}
}

func (l listeners) of(s *Socket) *Socket {
	switch {
	case s.Owner.Known():
		return nil
	case s.State == event.StateNewSYNRecv:
		return l.byID[s.Listener]
	case s.Held || s.Orphan || s.Mini() || s.State == event.StateSYNSent:
		return nil
	}
	var everywhere *Socket
	for _, listener := range l.byPort[port{s.NetNS, s.Local.Port()}] {
		switch address := listener.Local.Addr(); {
		case address == s.Local.Addr():
			return listener
		case address.IsUnspecified():
			everywhere = listener
		}
	}
	return everywhere
}
