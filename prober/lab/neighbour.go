package lab

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"
)

// retransmitSolicitations sets after how long an interface asks again for the hardware address of a neighbour, in whole
// milliseconds, for the address family of addr.
func (h *Host) retransmitSolicitations(name string, after time.Duration, addr netip.Addr) error {
	family := "ipv4"
	if addr.Is6() {
		family = "ipv6"
	}
	sysctl := fmt.Sprintf("net/%s/neigh/%s/retrans_time_ms", family, name)
	return h.Sysctl(sysctl, strconv.FormatInt(after.Milliseconds(), 10))
}
