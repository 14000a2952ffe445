package main

import (
	"errors"
	"net/netip"
	"os"
	"time"

	"tcptrace/prober"
	"tcptrace/tracer/event"
	"tcptrace/tracer/host"
	"tcptrace/tracer/sockdiag"
	"tcptrace/tracer/verdict"
)

// errUnknownNamespace says that a connection is in a network namespace that nobody can enter any more.
var errUnknownNamespace = errors.New("the network namespace is not known")

// oracle asks this host, in the network namespace that a question is about. It is not safe for concurrent use.
type oracle struct {
	// home is where probes are made; nil: in this process's own namespace.
	home *prober.NetNS
	// known are other namespaces of which there is a handle, by their inodes.
	known map[uint32]*prober.NetNS
	clock func() time.Duration // CLOCK_MONOTONIC

	silent time.Duration // no question is asked before

	paths  map[uint32]string // of the host's namespaces, by their inodes, as they were
	looked time.Duration     // when they were looked at
}

// newOracle asks about probes that are made in that namespace, and about whatever else is seen.
func newOracle(home *prober.NetNS) *oracle { return &oracle{home: home, clock: host.Monotonic} }

// restraint is how many times as long as an answer took nothing is asked: where thousands of connects fail in a second, a
// tenth of the time goes into asking why, and all verdicts but the first few say that they do not know.
const restraint = 10

// ask gives what the host answers; nil where it does not, or was asked too often.
func (o *oracle) ask(q verdict.Question) *verdict.Host {
	began := o.clock()
	if began < o.silent {
		return nil
	}
	var answers verdict.Host
	err := o.in(q.NetNS, func() error {
		answers = askHere(q)
		return nil
	})
	if q.Listener != 0 {
		err = errors.Join(err, o.in(q.Listener, func() error {
			answers.Somaxconn = only(host.Sysctl("net.core.somaxconn"))
			return nil
		}))
	}
	now := o.clock()
	o.silent = now + restraint*(now-began)
	if err != nil && answers == (verdict.Host{}) {
		return nil
	}
	return &answers
}

// in runs fn in a network namespace; 0 stands for that of the probes.
func (o *oracle) in(inode uint32, fn func() error) error {
	if inode == 0 || inode == o.home.Inode() {
		return o.home.Do(fn)
	}
	if ns := o.known[inode]; ns != nil {
		return ns.Do(fn)
	}
	ns, err := o.open(inode)
	if err != nil {
		return err
	}
	defer ns.Close()
	return ns.Do(fn)
}

// stale is how old what is known of the host's namespaces must be before it is found out anew: that takes a look at every
// process.
const stale = 5 * time.Second

// open opens a namespace that a process lives in, or that has a name.
func (o *oracle) open(inode uint32) (*prober.NetNS, error) {
	if ns := openExactly(o.paths[inode], inode); ns != nil {
		return ns, nil
	}
	if now := o.clock(); o.paths == nil || now-o.looked >= stale {
		o.paths, o.looked = host.NetNamespaces(), now
		if ns := openExactly(o.paths[inode], inode); ns != nil {
			return ns, nil
		}
	}
	return nil, errUnknownNamespace
}

// openExactly opens the namespace at a path; nil where it is none, or another by now.
func openExactly(path string, inode uint32) *prober.NetNS {
	if path == "" {
		return nil
	}
	ns, err := prober.OpenNetNS(path)
	if err != nil {
		return nil
	}
	if ns.Inode() != inode {
		ns.Close()
		return nil
	}
	return ns
}

// askHere asks the network namespace of the calling thread. What it cannot say stays unknown.
func askHere(q verdict.Question) verdict.Host {
	var h verdict.Host
	source := q.Local.Addr()
	if q.Route || q.Neighbour || q.Link || q.XDP || q.Backlog {
		if way, err := host.LookUp(routeQuery(q)); err == nil {
			askAboutWay(&h, q, way)
			if q.Ports && (!source.IsValid() || source.IsUnspecified()) {
				source = way.Route().Source
			}
		}
	}
	if q.Ports {
		h.Ports = portsTaken(source, q.Remote)
	}
	if q.Conntrack {
		h.Conntrack = conntrackTable()
	}
	if q.NFQueue {
		h.NFQueue = fullestNFQueue()
	}
	return h
}

// askAboutWay asks what leads to the remote end.
func askAboutWay(h *verdict.Host, q verdict.Question, way *host.Way) {
	if q.Route {
		route := way.Route()
		h.Route = &verdict.Route{Errno: route.Errno, Device: route.Device, Gateway: route.Gateway, SourceGone: route.SourceGone}
	}
	if q.Neighbour {
		if next, err := way.Neighbour(); err == nil && next.State != "" {
			h.Neighbour = &verdict.Neighbour{Addr: next.Addr, State: next.State}
		}
	}
	if q.Link {
		if link, err := way.Link(); err == nil && link != (host.Link{Name: link.Name}) {
			h.Link = (*verdict.Link)(&link)
		}
	}
	if q.XDP {
		h.XDP, _ = way.XDP()
	}
	if q.Backlog {
		if b, err := way.Backlog(); err == nil && b.Waiting > 0 {
			h.Backlog = &verdict.Backlog{Device: b.Device, Queue: b.Name(), Waiting: int(b.Waiting)}
		}
	}
}

func routeQuery(q verdict.Question) host.RouteQuery {
	query := host.RouteQuery{Remote: q.Remote.Addr(), Source: q.Local.Addr(), Mark: q.Mark, Device: q.Device}
	if q.HasUID {
		query.UID = &q.UID
	}
	return query
}

// fullestNFQueue is where most packets wait for a program, nil where none does.
func fullestNFQueue() *verdict.NFQueue {
	var most verdict.NFQueue
	all, _ := host.NFQueues(os.DirFS(procNet))
	for _, q := range all {
		if q.Waiting > most.Waiting {
			most = verdict.NFQueue{Number: q.Number, Port: q.Port, Waiting: q.Waiting}
		}
	}
	if most.Waiting == 0 {
		return nil
	}
	return &most
}

// conntrackTable is how full connection tracking is, nil where there is none.
func conntrackTable() *verdict.Conntrack {
	table := verdict.Conntrack{
		Count: only(host.Sysctl("net.netfilter.nf_conntrack_count")),
		Max:   only(host.Sysctl("net.netfilter.nf_conntrack_max")),
	}
	if table.Max == 0 {
		return nil
	}
	return &table
}

// only is the one number of a sysctl, 0 where it cannot be read.
func only(numbers []int, err error) int {
	if err != nil || len(numbers) != 1 {
		return 0
	}
	return numbers[0]
}

// portsTaken counts the source ports that connect() cannot choose towards remote, nil where that cannot be found out.
func portsTaken(source netip.Addr, remote netip.AddrPort) *verdict.Ports {
	span, err := host.TCPSysctls("ip_local_port_range")
	if err != nil || len(span) != 2 {
		return nil
	}
	taken := newPortCount(span[0], span[1], source, remote)
	reserved, err := host.ReservedPorts()
	if err != nil {
		return nil
	}
	for _, r := range reserved {
		taken.reserve(r.First, r.Last)
	}
	if sockdiag.Ends(taken.add) != nil {
		return nil
	}
	return taken.ports()
}

// portCount is which ports of a range connect() passes over (__inet_hash_connect). A socket that chose its port by bind()
// and is connected elsewhere holds it too, but sock_diag does not show that: there may be more of them, never fewer.
type portCount struct {
	first, last int
	source      netip.Addr // invalid: any
	remote      netip.AddrPort
	taken       map[int]event.State // TIME_WAIT, or any other
}

func newPortCount(first, last int, source netip.Addr, remote netip.AddrPort) *portCount {
	remote = netip.AddrPortFrom(remote.Addr().Unmap().WithZone(""), remote.Port())
	return &portCount{first: first, last: last, source: source.Unmap().WithZone(""), remote: remote, taken: make(map[int]event.State)}
}

// reserve takes the ports from first to last, which net.ipv4.ip_local_reserved_ports keeps from being chosen.
func (c *portCount) reserve(first, last int) {
	for port := max(first, c.first); port <= min(last, c.last); port++ {
		c.taken[port] = event.StateUnknown
	}
}

// add takes a socket's port: one that listens, or is bound and not connected, holds it whatever the destination, one that
// is connected only towards its own.
func (c *portCount) add(local, remote netip.AddrPort, state event.State) {
	port := int(local.Port())
	if port < c.first || port > c.last {
		return
	}
	if remote.Port() != 0 && (remote != c.remote || c.source.IsValid() && local.Addr() != c.source) {
		return
	}
	if was, taken := c.taken[port]; !taken || was == event.StateTimeWait {
		c.taken[port] = state
	}
}

func (c *portCount) ports() *verdict.Ports {
	p := &verdict.Ports{First: c.first, Last: c.last, InUse: len(c.taken)}
	for _, state := range c.taken {
		if state == event.StateTimeWait {
			p.TimeWait++
		}
	}
	return p
}
