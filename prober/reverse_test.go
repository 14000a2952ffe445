package prober

import (
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

func TestReverseName(t *testing.T) {
	ns := newTestNetNS(t)
	resolver := &Resolver{NetNS: ns, Server: nameServer(t, ns, func(q dnsmessage.Question) (dnsmessage.RCode, []dnsmessage.Resource) {
		if name := q.Name.String(); q.Type != dnsmessage.TypePTR || !strings.HasPrefix(name, "7.2.0.192.") && !strings.HasPrefix(name, "7.0.0.0.") {
			return dnsmessage.RCodeNameError, nil
		}
		header := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}
		body := &dnsmessage.PTRResource{PTR: dnsmessage.MustNewName("router.example.")}
		return 0, []dnsmessage.Resource{{Header: header, Body: body}}
	})}
	for addr, want := range map[string]string{
		"192.0.2.7": "router.example", "2001:db8::7": "router.example", "192.0.2.8": "", "::ffff:192.0.2.7": "router.example",
	} {
		if got := resolver.ReverseName(t.Context(), netip.MustParseAddr(addr)); got != want {
			t.Errorf("the name of %s is %q, want %q", addr, got, want)
		}
	}
}
