package host

import (
	"net/netip"
	"testing"

	"tcptrace/tracer/event"
)

func TestRouteToThisHost(t *testing.T) {
	way, err := LookUp(RouteQuery{Remote: netip.MustParseAddr("127.0.0.5")})
	if err != nil {
		t.Fatal(err)
	}
	if r := way.Route(); r.Errno != 0 || !r.Local || r.Device != "lo" || r.Source != netip.MustParseAddr("127.0.0.5") && r.Source != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("%+v", r)
	}
}

func TestRouteOutOfADeviceThatIsNone(t *testing.T) {
	if way, err := LookUp(RouteQuery{Remote: netip.MustParseAddr("192.0.2.10"), Device: 1 << 30}); err == nil && way.Route().Errno == 0 {
		t.Errorf("%+v, want none", way.Route())
	}
}

func TestRouteFromAnAddressThatIsGone(t *testing.T) {
	q := RouteQuery{Remote: netip.MustParseAddr("127.0.0.5"), Source: netip.MustParseAddr("203.0.113.99")}
	way, err := LookUp(q)
	if err != nil {
		t.Fatal(err)
	}
	if r := way.Route(); r.Errno != event.ENETUNREACH && r.Errno != event.EINVAL || !r.SourceGone {
		t.Errorf("%+v, want none, for the source is none of this host's", r)
	}
}
