package lab

import (
	"context"
	"net/netip"
)

// A site is what a lab over one address family is built of: where the client and the server are, on one link, and behind
// a router.
type site struct {
	link   subnet // of client and server, or of client and router
	router netip.Prefix
	far    subnet     // of router and server
	beyond netip.Addr // a router somewhere between that router and the server
	nobody netip.Addr // on the link, but no host has it
	any    netip.Prefix
}

var (
	siteV4 = site{
		link:   linkV4,
		router: netip.MustParsePrefix("192.0.2.254/24"),
		far:    subnet{netip.MustParsePrefix("198.51.100.254/24"), netip.MustParsePrefix("198.51.100.10/24")},
		beyond: netip.MustParseAddr("203.0.113.1"),
		nobody: netip.MustParseAddr("192.0.2.20"),
		any:    netip.MustParsePrefix("0.0.0.0/0"),
	}
	siteV6 = site{
		link:   linkV6,
		router: netip.MustParsePrefix("2001:db8::fe/64"),
		far:    subnet{netip.MustParsePrefix("2001:db8:1::fe/64"), netip.MustParsePrefix("2001:db8:1::10/64")},
		beyond: netip.MustParseAddr("2001:db8:2::1"),
		nobody: netip.MustParseAddr("2001:db8::20"),
		any:    netip.MustParsePrefix("::/0"),
	}
)

// builder builds a lab over one address family.
type builder func(context.Context, *Network, site) (*Scene, error)

func (b builder) on(s site) func(context.Context, *Network) (*Scene, error) {
	return func(ctx context.Context, n *Network) (*Scene, error) { return b(ctx, n, s) }
}

// direct is a client and a server on one link.
func (s site) direct(ctx context.Context, n *Network) (client, server *Host, err error) {
	return clientAndServer(ctx, n, s.link)
}

// serving is direct with a server that listens there.
func (s site) serving(ctx context.Context, n *Network) (client, server *Host, err error) {
	client, server, err = s.direct(ctx, n)
	if err != nil {
		return nil, nil, err
	}
	return client, server, server.Listen(s.service())
}

// service is where the server's service is when it is on the client's link.
func (s site) service() netip.AddrPort { return netip.AddrPortFrom(s.link.server.Addr(), servicePort) }

// clientPort is the client's port where it has to be known beforehand.
const clientPort = 50000

// clientEnd is the client's end of a connection from a port that is known beforehand.
func (s site) clientEnd() netip.AddrPort { return netip.AddrPortFrom(s.link.client.Addr(), clientPort) }

// farService is where it is when it is behind the router.
func (s site) farService() netip.AddrPort {
	return netip.AddrPortFrom(s.far.server.Addr(), servicePort)
}

// tunnelled is a client and a router. What the server and the network on the way to it do, is up to respond.
func (s site) tunnelled(ctx context.Context, n *Network, respond Responder) (client, router *Host, err error) {
	client, err = n.AddHost("client")
	if err != nil {
		return nil, nil, err
	}
	router, err = n.AddHost("router")
	if err != nil {
		return nil, nil, err
	}
	if err := n.Connect(ctx, End{client, []netip.Prefix{s.link.client}}, End{router, []netip.Prefix{s.router}}); err != nil {
		return nil, nil, err
	}
	if err := router.Forward(); err != nil {
		return nil, nil, err
	}
	if err := router.Tunnel(ctx, []netip.Prefix{s.far.client}, respond); err != nil {
		return nil, nil, err
	}
	return client, router, client.AddRoute(s.any, s.router.Addr())
}

// wired is a client and a server, joined by a wire.
func (s site) wired(ctx context.Context, n *Network) (client, server *Host, w *Wire, err error) {
	client, err = n.AddHost("client")
	if err != nil {
		return nil, nil, nil, err
	}
	server, err = n.AddHost("server")
	if err != nil {
		return nil, nil, nil, err
	}
	w, err = n.Wire(ctx, End{client, []netip.Prefix{s.link.client}}, End{server, []netip.Prefix{s.link.server}})
	return client, server, w, err
}

// routed is a client and a server with a router between them.
func (s site) routed(ctx context.Context, n *Network) (client, router, server *Host, err error) {
	var hosts [3]*Host
	for i, name := range []string{"client", "router", "server"} {
		if hosts[i], err = n.AddHost(name); err != nil {
			return nil, nil, nil, err
		}
	}
	client, router, server = hosts[0], hosts[1], hosts[2]
	if err := n.Connect(ctx, End{client, []netip.Prefix{s.link.client}}, End{router, []netip.Prefix{s.router}}); err != nil {
		return nil, nil, nil, err
	}
	if err := n.Connect(ctx, End{router, []netip.Prefix{s.far.client}}, End{server, []netip.Prefix{s.far.server}}); err != nil {
		return nil, nil, nil, err
	}
	if err := router.Forward(); err != nil {
		return nil, nil, nil, err
	}
	if err := client.AddRoute(s.any, s.router.Addr()); err != nil {
		return nil, nil, nil, err
	}
	if err := server.AddRoute(s.any, s.far.client.Addr()); err != nil {
		return nil, nil, nil, err
	}
	return client, router, server, nil
}

// cut is a step of a probe: once everything on the service's connections has settled, the server's firewall silently drops
// whatever comes for it.
func cut(server *Host, s *Service) func(context.Context) error {
	return dropNext(server, s, Drop{Port: servicePort})
}

// dropNext is a step of a probe: once everything on the service's connections has settled, the server's firewall drops
// what d says.
func dropNext(server *Host, s *Service, d Drop) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := s.Settle(ctx); err != nil {
			return err
		}
		_, err := server.DropInput(d)
		return err
	}
}
