package main

import (
	"errors"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"tcptrace/prober"
	"tcptrace/tracer"
	"tcptrace/tracer/host"
	"tcptrace/tracer/sockdiag"
	"tcptrace/tracer/sockets"
)

// listing is the sockets that pass the filter, and the limits of the namespaces that were listed, by their inodes.
type listing struct {
	sockets []*sockets.Socket
	limits  map[uint32]sockets.Limits
}

// list reads the sockets by iterators, or, without the privilege or the kernel for them, as ss does.
func (c *socketsCommand) list(a *app, filter tracer.Filter, m *meta) (listing, error) {
	lister, err := tracer.OpenSockets(tracer.SocketOptions{Filter: filter, Mini: c.mini(), BTF: c.BTF})
	switch {
	case errors.Is(err, tracer.ErrTooManyValues):
		return listing{}, usageErrorf("%w", err)
	case err != nil && c.trace.RequireTrace:
		return listing{}, noTraceErrorf("%w", err)
	case err != nil:
		m.Untraced = whyUntraced(err)
		a.notice("listed as ss does, without the options that decide when the kernel gives up: %s", m.Untraced)
		return c.listBySockDiag(a, filter)
	}
	defer lister.Close()
	return c.listByIterators(a, lister, filter)
}

func (c *socketsCommand) listByIterators(a *app, lister *tracer.SocketLister, filter tracer.Filter) (listing, error) {
	var census sockets.Census
	if err := lister.Held(census.Add); err != nil {
		return listing{}, noTraceErrorf("%w", err)
	}
	visit := namespaceVisit{app: a, held: census.Namespaces(), wanted: filter.NetNS, list: func() error { return lister.Here(census.Add) }}
	if err := visit.all(c.filter.NetNS); err != nil {
		return listing{}, err
	}
	return c.pass(&census, filter, visit.limits), nil
}

// listBySockDiag lists the namespaces that this process may enter, with the owners that it may look at.
func (c *socketsCommand) listBySockDiag(a *app, filter tracer.Filter) (listing, error) {
	var census sockets.Census
	owners := host.SocketOwners()
	visit := namespaceVisit{app: a, wanted: filter.NetNS, list: func() error {
		return sockdiag.List(c.mini(), func(s *sockets.Socket) {
			s.Owner = owners[s.Inode]
			census.Add(s)
		})
	}}
	if err := visit.all(c.filter.NetNS); err != nil {
		return listing{}, err
	}
	return c.pass(&census, filter, visit.limits), nil
}

func (c *socketsCommand) pass(census *sockets.Census, kernel tracer.Filter, limits map[uint32]sockets.Limits) listing {
	filter := userFilter(&c.filter, kernel)
	filter.States = c.State
	all := census.Sockets()
	return listing{slices.DeleteFunc(all, func(s *sockets.Socket) bool { return !filter.Passes(s) }), limits}
}

// namespaceVisit lists the sockets of one network namespace after the other.
type namespaceVisit struct {
	app    *app
	held   map[uint32]*sockets.Socket // a socket of each namespace in which processes hold some
	wanted []uint32                   // empty: all
	list   func() error               // those of the calling thread's namespace

	limits  map[uint32]sockets.Limits // of those visited
	refused int                       // namespaces that could not be entered
	noticed bool                      // that has been told
}

// one visits the namespace that the user named, this one without a name.
func (v *namespaceVisit) one(named string) error {
	v.limits = make(map[uint32]sockets.Limits)
	if named == "" {
		return v.enter(nil)
	}
	ns, err := prober.OpenNetNS(named)
	if err != nil {
		return usageErrorf("--netns: %w", err)
	}
	return v.enter(ns)
}

// all visits this namespace, those that processes live in or that have a name, and those of which some process only holds
// a socket; or just the one that the user named.
func (v *namespaceVisit) all(named string) error {
	if err := v.one(named); err != nil || named != "" {
		return err
	}
	paths := host.NetNamespaces()
	for _, inode := range slices.Sorted(maps.Keys(paths)) {
		if err := v.open(inode, func() (*prober.NetNS, error) { return prober.OpenNetNS(paths[inode]) }); err != nil {
			return err
		}
	}
	for _, inode := range slices.Sorted(maps.Keys(v.held)) {
		if err := v.open(inode, func() (*prober.NetNS, error) { return namespaceOf(v.held[inode]) }); err != nil {
			return err
		}
	}
	if v.refused > 0 && !v.noticed {
		v.app.notice("%s could not be entered: of them only sockets that a process holds are listed, if any",
			counted(uint64(v.refused), "network namespace"))
	}
	return nil
}

// open visits a namespace, unless that was done. One that is gone by now, or may not be entered, is passed over.
func (v *namespaceVisit) open(inode uint32, open func() (*prober.NetNS, error)) error {
	if _, visited := v.limits[inode]; visited || len(v.wanted) > 0 && !slices.Contains(v.wanted, inode) {
		return nil
	}
	ns, err := open()
	if err == nil && ns.Inode() == inode {
		if err = v.enter(ns); !errors.Is(err, unix.EPERM) {
			return err
		}
	}
	if err != nil {
		v.refused++
	}
	return nil
}

// enter lists a namespace and closes its handle, nil being this one's.
func (v *namespaceVisit) enter(ns *prober.NetNS) error {
	defer ns.Close()
	return ns.Do(func() error {
		err := v.list()
		if err == nil {
			v.limits[ns.Inode()] = readLimits()
		}
		return err
	})
}

// namespaceOf opens the network namespace of a socket that some process holds.
func namespaceOf(s *sockets.Socket) (*prober.NetNS, error) {
	file, err := host.NetNSOfSocket(s.Owner.PID, s.FD)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return prober.NetNSFromFD(int(file.Fd()))
}

// readTCPSysctl says whether a number could be read.
func readTCPSysctl(name string, into *int) bool {
	n, err := host.TCPSysctl(name)
	if err == nil {
		*into = n
	}
	return err == nil
}

// readLimits reads those of the calling thread's network namespace. What cannot be read stays unknown.
func readLimits() sockets.Limits {
	var l sockets.Limits
	for _, limit := range []struct {
		name string
		into *int
	}{
		{"tcp_max_tw_buckets", &l.MaxTimeWait}, {"tcp_max_syn_backlog", &l.MaxSYNBacklog}, {"tcp_max_orphans", &l.MaxOrphans},
	} {
		readTCPSysctl(limit.name, limit.into)
	}
	l.HasSYNCookies = readTCPSysctl("tcp_syncookies", &l.SYNCookies)
	var resets int
	l.Resets = readTCPSysctl("tcp_abort_on_overflow", &resets) && resets != 0
	if somaxconn, err := host.Sysctl("net.core.somaxconn"); err == nil && len(somaxconn) == 1 {
		l.SoMaxConn = somaxconn[0]
	}
	if ports, err := host.TCPSysctls("ip_local_port_range"); err == nil && len(ports) == 2 {
		l.Ports = ports[1] - ports[0] + 1
	}
	return l
}
