package verdict

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
)

// count writes a number with its noun: 1 SYN, 2 SYNs.
func count[N int | int64 | uint64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// duration is how summaries write time.
func duration(d time.Duration) string { return timeline.FormatDuration(d) }

// who names an owner: curl[812], or what there is of it.
func who(o event.Owner) string {
	switch {
	case !o.Known():
		return "the application"
	case o.Comm == "":
		return fmt.Sprintf("process %d", o.PID)
	}
	return o.Comm + "[" + strconv.Itoa(o.PID) + "]"
}

// describeICMP is an ICMP error with its sender: host unreachable (type 3, code 1) from 192.0.2.1.
func describeICMP(icmp *event.ICMP) string {
	name := strings.ReplaceAll(icmp.Name, "_", " ")
	if name == "" {
		name = "an ICMP error"
	}
	text := fmt.Sprintf("%s (type %d, code %d)", name, icmp.Type, icmp.Code)
	if icmp.From.IsValid() {
		text += " from " + icmp.From.String()
	}
	return text
}

// address is a host without its port, as commands take it.
func address(ap netip.AddrPort) string { return ap.Addr().Unmap().String() }

// family is the name of the address family.
func family(addr netip.Addr) string {
	if addr.Unmap().Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// after tells when something happened, and after how many SYNs if there were several: "after 340µs".
func (s *story) after(offset time.Duration) string {
	if s.syns() > 1 {
		return fmt.Sprintf("after %s in %s", count(s.syns(), "SYN"), duration(offset))
	}
	return "after " + duration(offset)
}
