package event

import "net/netip"

// IsOfALink says that each link has such an address of its own (fe80::/10), so that it says nothing without an interface:
// tcp_v6_connect takes none without one. IPv4's link-local addresses have routes as any other, IPv4-mapped ones too.
func IsOfALink(addr netip.Addr) bool {
	return addr.Is6() && !addr.Is4In6() && addr.IsLinkLocalUnicast()
}
