package host

import (
	"net/netip"
	"testing"

	"tcptrace/tracer/event"
)

func TestRouteToThisHost(t *testing.T) {
	r, err := RouteTo(RouteQuery{Remote: netip.MustParseAddr("127.0.0.5")})
	if err != nil {
		t.Fatal(err)
	}
	if r.Errno != 0 || !r.Local || r.Device != "lo" || r.Source != netip.MustParseAddr("127.0.0.5") && r.Source != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("%+v", r)
	}
}

func TestRouteOutOfADeviceThatIsNone(t *testing.T) {
	if r, err := RouteTo(RouteQuery{Remote: netip.MustParseAddr("192.0.2.10"), Device: 1 << 30}); err == nil && r.Errno == 0 {
		t.Errorf("%+v, want none", r)
	}
}

func TestRouteFromAnAddressThatIsGone(t *testing.T) {
	q := RouteQuery{Remote: netip.MustParseAddr("127.0.0.5"), Source: netip.MustParseAddr("203.0.113.99")}
	if r, err := RouteTo(q); err != nil || r.Errno != event.ENETUNREACH && r.Errno != event.EINVAL || !r.SourceGone {
		t.Errorf("%+v, error %v; want none, for the source is none of this host's", r, err)
	}
}
