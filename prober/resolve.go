package prober

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"tcptrace/tracer/event"
)

// Family is which addresses are wanted. The zero value is any.
type Family int

// The families.
const (
	AnyFamily Family = iota
	IPv4
	IPv6
)

// families tells each family's network, as package net calls it, and its name.
var families = [...]struct{ network, name string }{
	AnyFamily: {"ip", "IP"},
	IPv4:      {"ip4", "IPv4"},
	IPv6:      {"ip6", "IPv6"},
}

// Contains says whether addr is one of the family's. An IPv4-mapped address is an IPv4 one.
func (f Family) Contains(addr netip.Addr) bool {
	switch f {
	case IPv4:
		return addr.Unmap().Is4()
	case IPv6:
		return addr.Unmap().Is6()
	}
	return true
}

// String is "IPv4" or "IPv6", and "IP" for any.
func (f Family) String() string { return families[f].name }

// Resolver finds the addresses of names. The zero value asks as every program here does.
type Resolver struct {
	// NetNS is where the name servers are asked from; nil is this namespace. Which servers, and the hosts file, are still
	// this process's, as they belong to the mount namespace; the addresses' order is by this process's routes.
	NetNS *NetNS
	// Server, where valid, is asked in place of every server in resolv.conf.
	Server netip.AddrPort
}

// Resolve finds the addresses of host, which may be an address itself, in the order in which they should be tried. What
// went wrong is in Err of the result, whose Target is left to the caller. It ends when the resolver's own timeouts do
// (resolv.conf(5)), or with ctx.
func (r *Resolver) Resolve(ctx context.Context, host string, family Family) event.Resolution {
	if addr, err := netip.ParseAddr(host); err == nil {
		return resolveLiteral(host, addr.Unmap(), family)
	}
	started := time.Now()
	addrs, err := r.resolver().LookupNetIP(ctx, families[family].network, host)
	result := event.Resolution{Name: host, Took: time.Since(started)}
	if err != nil {
		result.Err = r.clause(err, family)
		return result
	}
	result.Addresses = distinct(addrs)
	return result
}

// resolveLiteral is Resolve for an address, which takes no time.
func resolveLiteral(host string, addr netip.Addr, family Family) event.Resolution {
	if !family.Contains(addr) {
		return event.Resolution{Name: host, Err: fmt.Sprintf("%v is not an %v address", addr, family)}
	}
	return event.Resolution{Name: host, Addresses: []netip.Addr{addr}}
}

// distinct drops all but the first of equal addresses.
func distinct(addrs []netip.Addr) []netip.Addr {
	unique := make([]netip.Addr, 0, len(addrs))
	for _, addr := range addrs {
		if addr = addr.Unmap(); !slices.Contains(unique, addr) {
			unique = append(unique, addr)
		}
	}
	return unique
}

// resolver is the standard library's. Only Go's own, not the C library's, lets us make its sockets.
func (r *Resolver) resolver() *net.Resolver {
	if r.NetNS == nil && !r.Server.IsValid() {
		return &net.Resolver{}
	}
	return &net.Resolver{PreferGo: true, Dial: r.dial}
}

// dial makes the socket for asking a name server. net.Dialer does so on the calling thread, which is why it is enough
// to be in the namespace meanwhile.
func (r *Resolver) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if r.Server.IsValid() {
		address = r.Server.String()
	}
	var conn net.Conn
	err := r.NetNS.Do(func() (err error) {
		var dialer net.Dialer
		conn, err = dialer.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// clause says why a lookup failed.
func (r *Resolver) clause(err error, family Family) string {
	dnsErr, ok := errors.AsType[*net.DNSError](err)
	switch {
	case errors.Is(err, context.Canceled):
		return "the lookup was interrupted"
	case !ok:
		return err.Error()
	case dnsErr.IsNotFound && family != AnyFamily:
		return fmt.Sprintf("no such host with an %v address", family)
	case dnsErr.IsNotFound:
		return "no such host"
	case dnsErr.IsTimeout:
		return r.server(dnsErr) + " did not answer"
	case dnsErr.Err == "server misbehaving": // SERVFAIL and other failures, by package net's errServerMisbehaving
		return r.server(dnsErr) + " answered with a failure"
	}
	return r.server(dnsErr) + " could not be asked: " + lastPart(dnsErr.Err)
}

// server names the one that was asked last.
func (r *Resolver) server(err *net.DNSError) string {
	switch {
	case r.Server.IsValid():
		return "the server " + r.Server.String()
	case err.Server != "":
		return "the server " + err.Server
	}
	return "the name server"
}

// lastPart is what is left of an error without the operations before it.
func lastPart(message string) string {
	if i := strings.LastIndex(message, ": "); i >= 0 {
		return message[i+len(": "):]
	}
	return message
}
