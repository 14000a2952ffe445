package main

import (
	"net"
	"net/netip"
	"slices"

	"tcptrace/tracer"
	"tcptrace/tracer/event"
	"tcptrace/tracer/host"
	"tcptrace/tracer/listeners"
	"tcptrace/tracer/sockdiag"
	"tcptrace/tracer/sockets"
)

// listenersReader reads listeners, once or again: by iterators, or, without the privilege or the kernel for them, as ss does.
type listenersReader struct {
	command *listenersCommand
	app     *app
	filter  sockets.Filter
	lister  *tracer.SocketLister // nil: by sock_diag
	noticed bool                 // that some namespaces cannot be entered
}

func (c *listenersCommand) openReader(a *app, m *meta) (*listenersReader, error) {
	kernel, err := kernelFilter(&c.filter, &c.trace)
	if err != nil {
		return nil, err
	}
	r := &listenersReader{command: c, app: a, filter: userFilter(&c.filter, kernel)}
	r.lister, err = tracer.OpenSockets(tracer.SocketOptions{Listening: true, BTF: c.kernel.BTF})
	switch {
	case err == nil, c.Follow: // which fails by itself if it must
	case c.trace.RequireTrace:
		return nil, noTraceErrorf("%w", err)
	default:
		m.Untraced = whyUntraced(err)
		a.notice("listed as ss does, without TCP_DEFER_ACCEPT, Fast Open, and the owners of others' sockets: %s", m.Untraced)
	}
	return r, nil
}

func (r *listenersReader) close() {
	if r.lister != nil {
		r.lister.Close()
	}
}

// read lists the listeners that pass the filter.
func (r *listenersReader) read() ([]*listeners.Listener, error) {
	var census listeners.Census
	devices := make(map[device]string)
	visit := namespaceVisit{app: r.app, noticed: r.noticed}
	here := r.hereByIterators
	if r.lister == nil {
		here = hereBySockDiag(host.SocketHolders())
	} else {
		visit.held = make(map[uint32]*sockets.Socket)
		err := r.lister.Held(func(s *sockets.Socket) {
			visit.held[s.NetNS] = s
			census.Add(s)
		})
		if err != nil {
			return nil, noTraceErrorf("%w", err)
		}
	}
	visit.list = func() error {
		return here(func(s *sockets.Socket) {
			census.Add(s)
			nameDevice(devices, s)
		})
	}
	if err := r.visit(&visit); err != nil {
		return nil, err
	}
	r.noticed = true
	return r.pass(census.Listeners(), visit.limits, devices), nil
}

func (r *listenersReader) visit(v *namespaceVisit) error {
	if r.command.AllNetNS {
		return v.all("")
	}
	return v.one(r.command.filter.NetNS)
}

func (r *listenersReader) hereByIterators(add func(*sockets.Socket)) error { return r.lister.Here(add) }

// hereBySockDiag lists those of the calling thread's namespace. Connections are only asked for where some of them wait to be
// accepted.
func hereBySockDiag(holders map[uint64][]event.Owner) func(add func(*sockets.Socket)) error {
	return func(add func(*sockets.Socket)) error {
		waiting := false
		err := sockdiag.ListStates(func(s *sockets.Socket) {
			waiting = waiting || s.Listening != nil && s.Listening.Accept.Len > 0
			for _, holder := range holders[s.Inode] {
				held := *s
				held.Owner = holder
				add(&held)
			}
			add(s)
		}, event.StateListen, event.StateSYNRecv)
		if err != nil || !waiting {
			return err
		}
		return sockdiag.ListStates(add, event.StateEstablished, event.StateCloseWait)
	}
}

// device is a network device of a namespace.
type device struct {
	netns uint32
	index int
}

// nameDevice looks up the device that a listener of the calling thread's namespace is bound to. One that is gone has no name.
func nameDevice(names map[device]string, s *sockets.Socket) {
	if s.Listening == nil || s.Listening.Device == 0 {
		return
	}
	key := device{s.NetNS, s.Listening.Device}
	if names[key] != "" {
		return
	}
	if found, err := net.InterfaceByIndex(key.index); err == nil {
		names[key] = found.Name
	}
}

// pass leaves the listeners that were asked for, and gives them what their namespace says.
func (r *listenersReader) pass(all []*listeners.Listener, limits map[uint32]sockets.Limits, devices map[device]string) []*listeners.Listener {
	var passed []*listeners.Listener
	for _, l := range all {
		_, visited := limits[l.NetNS]
		if !visited && !r.command.AllNetNS || !r.passes(l) {
			continue
		}
		l.Limits = limits[l.NetNS]
		l.Device = devices[device{l.NetNS, l.Listening.Device}]
		passed = append(passed, l)
	}
	return passed
}

// passes says whether a listener is asked for: by any of its owners, and by what it takes.
func (r *listenersReader) passes(l *listeners.Listener) bool {
	filter := r.filter
	filter.Family, filter.Network = 0, netip.Prefix{}
	owners := l.Owners()
	if len(owners) == 0 {
		owners = []event.Owner{{}}
	}
	return takes(l, r.filter.Family, r.filter.Network) && slices.ContainsFunc(owners, func(owner event.Owner) bool {
		s := l.Socket
		s.Owner = owner
		return filter.Passes(&s)
	})
}

// takes says whether connections of that family, 0 being any, to some address of that network come to a listener.
func takes(l *listeners.Listener, family int, network netip.Prefix) bool {
	bound := l.Local.Addr()
	any4 := bound.IsUnspecified() && !l.Listening.IPv6Only
	takes4, takes6 := bound.Is4() || any4, bound.Is6()
	switch {
	case family == 4 && !takes4, family == 6 && !takes6:
		return false
	case !network.IsValid():
		return true
	case !bound.IsUnspecified():
		return network.Contains(bound)
	}
	return network.Addr().Is4() && takes4 || network.Addr().Is6() && takes6
}
