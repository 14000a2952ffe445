package verdict

import (
	"net/netip"

	"tcptrace/tracer/event"
)

// Host is what this host's own kernel said when it was asked about a connection, soon after that had failed. A part
// that is nil was not asked for.
type Host struct {
	Route     *Route
	Ports     *Ports
	Conntrack *Conntrack
	Neighbour *Neighbour
	// Somaxconn is net.core.somaxconn of the namespace in which a listener's queue was full; 0 is not known.
	Somaxconn int
	// Link is the device towards the remote end, where there is something to say of it.
	Link *Link
	// XDP is the device towards the remote end that an XDP program is attached to, or one that it rests on; empty: none, or it
	// is not known.
	XDP string
	// NFQueue is where most packets wait for a program; nil: nowhere, or it is not known.
	NFQueue *NFQueue
	// Backlog is where packets wait of the device towards the remote end; nil: nowhere, or it is not known.
	Backlog *Backlog
}

// Route is what the kernel's route lookup towards the remote end gave, with the socket's source, mark and user.
type Route struct {
	// Errno is that of the lookup: ENETUNREACH without a route, EACCES, EINVAL and EHOSTUNREACH of a prohibit, a
	// blackhole and an unreachable one; 0: there is a route.
	Errno   event.Errno
	Device  string
	Gateway netip.Addr // the zero value where the remote end is on the link
	// SourceGone says that the lookup failed because the socket's own address is none of its network namespace, as after a
	// change of address.
	SourceGone bool
}

// Link is the device that leads to the remote end; where there is no route, the one that the socket is bound to.
type Link struct {
	Name   string
	Tunnel string     // its kind, such as gre or wireguard; empty: it is none
	Remote netip.Addr // that a tunnel ends at; the zero value where that is not one address
	// NoCarrier says that nothing is at its other end, or that this is down.
	NoCarrier bool
	VRF       string // that it belongs to; empty: none
}

// Neighbour is the next hop towards the remote end, or that end itself, as the neighbour table has it.
type Neighbour struct {
	Addr  netip.Addr
	State string // as ip neigh says it, such as REACHABLE (NUD_REACHABLE)
}

// NFQueue is a queue by which the firewall of the socket's network namespace hands packets to a program that judges them.
type NFQueue struct {
	Number  int
	Port    uint32 // netlink port of the program: its PID, mostly
	Waiting int    // packets that have no verdict yet
}

// Backlog is a queue of a device in which packets wait.
type Backlog struct {
	Device  string
	Queue   string // a queueing discipline and its handle, as tc says them, such as "tbf 8001:"
	Waiting int    // packets
}

// unresolved says that ARP or neighbour discovery has had no answer: what is for it waits, or is dropped.
func (n *Neighbour) unresolved() bool {
	return n != nil && (n.State == "INCOMPLETE" || n.State == "FAILED")
}

// Ports is how the source ports of a network namespace are taken.
type Ports struct {
	First, Last int // net.ipv4.ip_local_port_range
	InUse       int // ports of the range in use towards the remote end, those in TIME_WAIT included
	TimeWait    int
}

// full says that no port of the range is left.
func (p *Ports) full() bool { return p != nil && p.InUse >= p.Last-p.First+1 }

// Conntrack is how full connection tracking is.
type Conntrack struct {
	Count, Max int // net.netfilter.nf_conntrack_count and nf_conntrack_max
}

// full says that the table had no room, give or take what has ended since.
func (c *Conntrack) full() bool { return c != nil && c.Max > 0 && c.Count >= c.Max-c.Max/50 }

// host is what the host said; a part that it was not asked for, or did not tell, is its zero value.
func (s *story) host() Host {
	if s.facts.Host == nil {
		return Host{}
	}
	return *s.facts.Host
}

func (s *story) route() *Route { return s.host().Route }

func (s *story) sourcePorts() *Ports { return s.host().Ports }

func (s *story) nextHop() *Neighbour { return s.host().Neighbour }

func (s *story) conntrack() *Conntrack { return s.host().Conntrack }

// link is never nil: of most devices there is nothing to say.
func (s *story) link() *Link {
	if l := s.host().Link; l != nil {
		return l
	}
	return &Link{}
}

func (s *story) nfqueue() *NFQueue { return s.host().NFQueue }

func (s *story) backlog() *Backlog { return s.host().Backlog }

// xdp is a device on whose way in an XDP program may discard what nothing else sees.
func (s *story) xdp() string { return s.host().XDP }
