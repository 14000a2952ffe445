package prober

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestHeldPortConnectsAgainAndAgain(t *testing.T) {
	ns := newTestNetNS(t)
	remote := netip.MustParseAddrPort("127.0.0.1:80") // nobody listens there
	opts := Options{NetNS: ns}
	hold, err := HoldPort(remote.Addr(), &opts)
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	opts.SourcePort = hold.Port()
	for range 3 {
		p, err := Connect(t.Context(), "", remote, opts, nil)
		if err != nil {
			t.Fatal(err)
		}
		if p.Local.Port() != hold.Port() || unix.Errno(p.Errno) != unix.ECONNREFUSED {
			t.Errorf("from port %d: %v; want refused, from port %d", p.Local.Port(), p.Errno, hold.Port())
		}
	}
}

func TestHeldPortIsOfTheTargetsFamily(t *testing.T) {
	opts := Options{Source: netip.MustParseAddr("::1")}
	if hold, err := HoldPort(netip.MustParseAddr("127.0.0.1"), &opts); err == nil {
		hold.Close()
		t.Error("a port of ::1 is held for IPv4")
	}
}

func TestHopLimitIsOnTheWire(t *testing.T) {
	ns := newTestNetNS(t)
	remote := listen(t, ns, "127.0.0.1:0", untilClosed)
	p, err := Connect(t.Context(), "", remote, Options{NetNS: ns, HopLimit: 1}, nil)
	if err != nil || !p.Connected {
		t.Errorf("%+v, %v; want connected: no router is in between", p, err)
	}
	for _, limit := range []int{-1, 256} {
		if err := (&Options{HopLimit: limit}).Validate(); err == nil {
			t.Errorf("the hop limit %d is accepted", limit)
		}
	}
}
