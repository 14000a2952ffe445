package verdict

import (
	"net/netip"
	"slices"

	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
)

// Question is what the host is to be asked about a connection before its verdict: the answer is the [Host] of its
// [Facts]. The zero value asks nothing.
type Question struct {
	NetNS  uint32         // network namespace of the socket; 0: not known
	Local  netip.AddrPort // without a port where none was chosen, and invalid where no address was
	Remote netip.AddrPort
	Mark   uint32 // SO_MARK
	Device int    // SO_BINDTODEVICE, as the device's number; 0: none
	UID    uint32
	HasUID bool

	Route     bool // which way leads to Remote
	Ports     bool // how the source ports towards Remote are taken
	Conntrack bool // how full connection tracking is
	Neighbour bool // whether somebody on the link has answered for the next hop towards Remote
	Link      bool // what the device is that leads to Remote
	XDP       bool // whether an XDP program is attached to the device that leads to Remote
	NFQueue   bool // whether packets wait for a program of the firewall's
	Backlog   bool // whether packets wait in a queue of the device that leads to Remote

	// Listener is the network namespace of a listener whose net.core.somaxconn is wanted; 0: it is not.
	Listener uint32
}

// Asks says whether there is anything to ask.
func (q Question) Asks() bool {
	return q.Route || q.Ports || q.Conntrack || q.Neighbour || q.Link || q.XDP || q.NFQueue || q.Backlog || q.Listener != 0
}

// Ask is what the verdict about a connection would have the host asked, soon after it failed: what is asked later may
// have changed since. The facts need no [Host]; the connection may be nil, as for [Of].
func Ask(c *timeline.Connection, f Facts) Question {
	if c != nil && f.Probe == nil && c.Uneventful() && c.Saw(event.Established) {
		return Question{} // each question below rests on an event that it lacks, or on the want of one that it has
	}
	s := tell(c, f)
	q := Question{
		Local:     s.local(),
		Remote:    s.remote(),
		Route:     s.failsForWantOfRoute() || s.timedOut() || s.unreachableAtDeath() && s.icmp == nil,
		Ports:     s.syncError && s.errno == event.EADDRNOTAVAIL,
		Conntrack: s.gotNowhere() && slices.ContainsFunc(s.dropsWhere(mayBeConntrack), s.inOwnNamespace),
		Listener:  s.fullListener(),
	}
	q.Neighbour = s.mayWaitForNeighbour() && q.Remote.IsValid()
	lost := s.hearsNothing() && !s.saw(event.Drop) && q.Listener == 0 // where, nobody saw
	q.Link = (lost || s.mayBeTheLink()) && q.Remote.IsValid()
	q.XDP = lost && q.Remote.IsValid()
	held := s.silent() && s.heldHere() || s.heldAtDeath()
	q.NFQueue, q.Backlog = lost || held, held && q.Remote.IsValid()
	q.Route = (q.Route || q.Ports) && q.Remote.IsValid()
	q.Ports = q.Ports && q.Remote.IsValid()
	if c != nil {
		q.NetNS = c.NetNS
		q.UID, q.HasUID = c.Owner.UID, c.Owner.Known()
	}
	if o := s.options(); o != nil {
		q.Mark, q.Device = o.Mark, o.Device
	}
	return q
}

// mayBeTheLink says that the device towards the remote end may be at fault, or the way that leads there.
func (s *story) mayBeTheLink() bool {
	return s.failsForWantOfRoute() || s.mayWaitForNeighbour() || s.timedOut() || s.icmp != nil && s.fromHere() ||
		len(s.neighbourDrops()) > 0
}

// routeErrnos are what connect() and a repeated SYN get where there is no route, or one that refuses (fib_props).
var routeErrnos = []event.Errno{event.EACCES, event.EINVAL, event.ENETUNREACH, event.EHOSTUNREACH}

// failsForWantOfRoute says that the errno may be that of a route, whatever else it may be of.
func (s *story) failsForWantOfRoute() bool {
	if s.syncError {
		return slices.Contains(routeErrnos, s.errno)
	}
	return s.silent() && s.retriesFailed(routeErrnos...)
}

// mayBeConntrack says that connection tracking may have dropped a packet, if its table was full.
func mayBeConntrack(ev *event.Event) bool {
	return inConntrack(ev) || (ev.Reason == "NETFILTER_DROP" || byHook(ev)) && !ruleSet(ev)
}

// byHook says that some hook of netfilter dropped a packet, on a kernel that gives no reasons.
func byHook(ev *event.Event) bool { return ev.Reason == "" && ev.Location == "nf_hook_slow" }

// fullListener is the network namespace of the last listener on this host that had no room; 0: there is none.
func (s *story) fullListener() uint32 {
	netns := uint32(0)
	for _, c := range append(s.others(), s.conn) {
		if c == nil {
			continue
		}
		for i := range c.Events {
			if kind := c.Events[i].Kind; kind == event.AcceptQueueFull || kind == event.SYNQueueFull {
				netns = c.NetNS
			}
		}
	}
	return netns
}
