package event

import (
	"net/netip"
	"testing"
)

func TestAddressesOfALink(t *testing.T) {
	for text, want := range map[string]bool{
		"fe80::1": true, "febf::1": true, "fe80::1%eth0": true, "2001:db8::1": false, "fec0::1": false, "169.254.0.1": false, "::ffff:169.254.0.1": false,
	} {
		if got := IsOfALink(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %t", text, got)
		}
	}
	if IsOfALink(netip.Addr{}) {
		t.Error("no address at all is of a link")
	}
}
