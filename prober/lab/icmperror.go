package lab

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// ICMPError is an ICMP error about a segment, sent to where that came from: ICMPv6 if the segment came by IPv6.
type ICMPError struct {
	From       netip.Addr // who sends it: any router, or the segment's destination
	Type, Code uint8
	MTU        uint32  // where the type has one
	About      Segment // as it arrived
}

// quotedLen is how much of the packet an error quotes, at most: what is left of the 576 bytes that every host takes
// (RFC 1812, section 4.3.2.3), which is enough for ICMPv6, too.
const quotedLen = 576 - ipv4HeaderLen - icmpHeaderLen

const icmpHeaderLen = 8

// marshal is the packet as an interface carries it, from the IP header on.
func (e *ICMPError) marshal() []byte {
	icmp := make([]byte, icmpHeaderLen)
	icmp[0], icmp[1] = e.Type, e.Code
	binary.BigEndian.PutUint32(icmp[4:], e.MTU)
	icmp = append(icmp, e.About.packet[:min(len(e.About.packet), quotedLen)]...)
	to := e.About.Source.Addr()
	if to.Is4() {
		binary.BigEndian.PutUint16(icmp[2:], checksum(icmp))
		return ipPacket(e.From, to, 0, unix.IPPROTO_ICMP, icmp)
	}
	pseudo := pseudoHeader(e.From, to, unix.IPPROTO_ICMPV6, len(icmp))
	binary.BigEndian.PutUint16(icmp[2:], checksum(pseudo, icmp))
	return ipPacket(e.From, to, 0, unix.IPPROTO_ICMPV6, icmp)
}
