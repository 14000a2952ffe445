package prober

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"tcptrace/tracer/event"
)

// byString compares addresses by how they are written, zones included.
var byString = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func TestResolveLiteral(t *testing.T) {
	tests := []struct {
		host   string
		family Family
		addr   string // empty for an error
		err    string
	}{
		{"192.0.2.1", AnyFamily, "192.0.2.1", ""},
		{"192.0.2.1", IPv4, "192.0.2.1", ""},
		{"192.0.2.1", IPv6, "", "192.0.2.1 is not an IPv6 address"},
		{"::ffff:192.0.2.1", IPv4, "192.0.2.1", ""},
		{"fe80::1%eth0", IPv6, "fe80::1%eth0", ""},
		{"fe80::1%eth0", IPv4, "", "fe80::1%eth0 is not an IPv4 address"},
	}
	for _, tt := range tests {
		want := event.Resolution{Name: tt.host, Err: tt.err}
		if tt.addr != "" {
			want.Addresses = []netip.Addr{netip.MustParseAddr(tt.addr)}
		}
		got := (&Resolver{}).Resolve(t.Context(), tt.host, tt.family)
		if diff := cmp.Diff(want, got, byString); diff != "" {
			t.Errorf("Resolve(%q, %v) (-want +got):\n%s", tt.host, tt.family, diff)
		}
	}
}

func TestResolveDropsRepeatedAddresses(t *testing.T) {
	in := []netip.Addr{
		netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("::1"),
		netip.MustParseAddr("::ffff:192.0.2.2"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("::1"),
	}
	want := []netip.Addr{netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("::1"), netip.MustParseAddr("192.0.2.1")}
	if diff := cmp.Diff(want, distinct(in), byString); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestResolveInsideTheNamespace(t *testing.T) {
	ns := newTestNetNS(t)
	// On this address nobody listens outside the namespace.
	resolver := &Resolver{NetNS: ns, Server: nameServer(t, ns, answer)}
	v4, v6 := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")
	tests := []struct {
		name   string
		family Family
		want   []netip.Addr
		err    string
	}{
		{"both.example.", IPv4, []netip.Addr{v4}, ""},
		{"both.example.", IPv6, []netip.Addr{v6}, ""},
		{"v4.example.", AnyFamily, []netip.Addr{v4}, ""},
		{"v4.example.", IPv6, nil, "no such host with an IPv6 address"},
		{"absent.example.", AnyFamily, nil, "no such host"},
		{"not..a.name.", AnyFamily, nil, "no such host"},
	}
	for _, tt := range tests {
		got := resolver.Resolve(t.Context(), tt.name, tt.family)
		if got.Took <= 0 || got.Took > patience {
			t.Errorf("%s: took %v", tt.name, got.Took)
		}
		got.Took = 0
		if diff := cmp.Diff(event.Resolution{Name: tt.name, Addresses: tt.want, Err: tt.err}, got, byString); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	if got := resolver.Resolve(t.Context(), "both.example.", AnyFamily); len(got.Addresses) != 2 {
		t.Errorf("both.example. has %v, want %v and %v", got.Addresses, v4, v6)
	}
}

func TestResolveSaysWhyThereIsNoAnswer(t *testing.T) {
	ns := newTestNetNS(t)
	silent := nameServer(t, ns, nil)
	failing := nameServer(t, ns, func(q dnsmessage.Question) (dnsmessage.RCode, []dnsmessage.Resource) {
		return dnsmessage.RCodeServerFailure, nil
	})
	nobody := unused(t, ns, "127.0.0.1")
	tests := []struct {
		server netip.AddrPort
		want   string
	}{
		{silent, "the server " + silent.String() + " did not answer"},
		{failing, "the server " + failing.String() + " answered with a failure"},
		{nobody, "the server " + nobody.String() + " could not be asked: connection refused"},
		{netip.MustParseAddrPort("192.0.2.53:53"), "the server 192.0.2.53:53 could not be asked: network is unreachable"},
	}
	for _, tt := range tests {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		got := (&Resolver{NetNS: ns, Server: tt.server}).Resolve(ctx, "name.example.", AnyFamily)
		cancel()
		if got.Err != tt.want || got.Addresses != nil || got.Name != "name.example." {
			t.Errorf("%+v, want the error %q", got, tt.want)
		}
	}
}

func TestResolveIsInterrupted(t *testing.T) {
	ns := newTestNetNS(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	asked := make(chan struct{}, 10)
	server := nameServer(t, ns, func(dnsmessage.Question) (dnsmessage.RCode, []dnsmessage.Resource) {
		asked <- struct{}{}
		<-ctx.Done()
		return dnsmessage.RCodeSuccess, nil
	})
	go func() {
		<-asked
		cancel()
	}()
	got := (&Resolver{NetNS: ns, Server: server}).Resolve(ctx, "name.example.", AnyFamily)
	if got.Err != "the lookup was interrupted" {
		t.Errorf("Err = %q", got.Err)
	}
}

// answer knows v4.example and both.example.
func answer(q dnsmessage.Question) (dnsmessage.RCode, []dnsmessage.Resource) {
	name := q.Name.String()
	if !strings.HasPrefix(name, "v4.") && !strings.HasPrefix(name, "both.") {
		return dnsmessage.RCodeNameError, nil
	}
	header := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}
	switch {
	case q.Type == dnsmessage.TypeA:
		return 0, []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AResource{A: [4]byte{192, 0, 2, 7}}}}
	case q.Type == dnsmessage.TypeAAAA && strings.HasPrefix(name, "both."):
		addr := netip.MustParseAddr("2001:db8::7").As16()
		return 0, []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AAAAResource{AAAA: addr}}}
	}
	return 0, nil
}

// nameServer answers DNS queries on the namespace's loopback until the test ends, or takes them silently when reply is
// nil.
func nameServer(t *testing.T, ns *NetNS, reply func(dnsmessage.Question) (dnsmessage.RCode, []dnsmessage.Resource)) netip.AddrPort {
	t.Helper()
	var conn net.PacketConn
	inside(t, ns, func() (err error) {
		conn, err = net.ListenPacket("udp", "127.0.0.1:0")
		return err
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		var buf [512]byte
		for {
			n, from, err := conn.ReadFrom(buf[:])
			if err != nil {
				return
			}
			var query dnsmessage.Message
			if reply == nil || query.Unpack(buf[:n]) != nil {
				continue
			}
			conn.WriteTo(response(query, reply), from)
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// response is the wire form of the reply to a query.
func response(query dnsmessage.Message, reply func(dnsmessage.Question) (dnsmessage.RCode, []dnsmessage.Resource)) []byte {
	code, answers := reply(query.Questions[0])
	message := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: query.ID, Response: true, RecursionAvailable: true, RCode: code},
		Questions: query.Questions,
		Answers:   answers,
	}
	wire, err := message.Pack()
	if err != nil {
		panic(err) // the replies are this file's own
	}
	return wire
}
