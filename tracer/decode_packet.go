package tracer

import (
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"tcptrace/tracer/event"
)

// packet adds to ev what is known of a packet that was dropped, of an ICMP error, or of what a RST answered.
func (d *decoder) packet(p *bpfPacket, ev *event.Event) {
	address := packetAddress(p)
	if ev.Kind == event.ICMPError {
		typ, code := int(p.IcmpType), int(p.IcmpCode)
		name := event.ICMPName(p.AddressFamily == unix.AF_INET6, typ, code)
		ev.ICMP = &event.ICMP{Type: typ, Code: code, Name: name, From: address, MTU: int(p.Mtu)}
		return
	}
	ev.TCPFlags = tcpFlags(p.TcpFlags)
	ev.Direction = directions[bpfDirection(p.Direction)]
	ev.Hook = netfilterHooks[bpfHook(p.Hook)]
	ev.Location = d.symbol(p.Location)
	if isUnanswered(ev) {
		ev.Neighbour = address
	}
}

// packetAddress is invalid where there is none.
func packetAddress(p *bpfPacket) netip.Addr {
	switch p.AddressFamily {
	case unix.AF_INET:
		return netip.AddrFrom4([4]byte(p.Address[:4]))
	case unix.AF_INET6:
		return netip.AddrFrom16(p.Address).Unmap()
	}
	return netip.Addr{}
}

// isUnanswered says whether a packet was dropped because nobody on the link had told whom to send it to. IPv6 does that
// without a reason, and so do kernels that have none: then one of these functions dropped it.
func isUnanswered(ev *event.Event) bool {
	return strings.HasPrefix(ev.Reason, "NEIGH_") || slices.Contains(neighbourFunctions, ev.Location)
}

var neighbourFunctions = []string{
	"arp_error_report", "ndisc_error_report", "__neigh_event_send", "neigh_invalidate", "neigh_timer_handler",
}

var directions = map[bpfDirection]string{
	bpfDirectionDIRECTION_IN:      "in",
	bpfDirectionDIRECTION_OUT:     "out",
	bpfDirectionDIRECTION_FORWARD: "forward",
}

var netfilterHooks = map[bpfHook]string{
	bpfHookHOOK_PREROUTING:  "prerouting",
	bpfHookHOOK_INPUT:       "input",
	bpfHookHOOK_FORWARD:     "forward",
	bpfHookHOOK_OUTPUT:      "output",
	bpfHookHOOK_POSTROUTING: "postrouting",
}

// tcpFlagNames are the bits of the TCP header's 14th byte, those first that say most.
var tcpFlagNames = []struct {
	bit  uint8
	name string
}{
	{0x02, "SYN"}, {0x04, "RST"}, {0x01, "FIN"}, {0x08, "PSH"}, {0x20, "URG"}, {0x10, "ACK"}, {0x40, "ECE"}, {0x80, "CWR"},
}

func tcpFlags(flags uint8) string {
	var names []string
	for _, flag := range tcpFlagNames {
		if flags&flag.bit != 0 {
			names = append(names, flag.name)
		}
	}
	return strings.Join(names, "+")
}
