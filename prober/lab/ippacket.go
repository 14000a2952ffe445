package lab

import (
	"encoding/binary"
	"net/netip"
)

// defaultHopLimit is the hop limit, or TTL, of packets that say nothing else.
const defaultHopLimit = 64

// ipPacket puts an IP header before a payload.
func ipPacket(source, destination netip.Addr, hopLimit uint8, protocol uint8, payload []byte) []byte {
	if hopLimit == 0 {
		hopLimit = defaultHopLimit
	}
	if source.Is4() {
		return append(ipv4Header(source, destination, hopLimit, protocol, len(payload)), payload...)
	}
	return append(ipv6Header(source, destination, hopLimit, protocol, len(payload)), payload...)
}

func ipv4Header(source, destination netip.Addr, ttl, protocol uint8, payload int) []byte {
	const version, dontFragment = 4, 0x4000
	h := make([]byte, ipv4HeaderLen)
	h[0] = version<<4 | ipv4HeaderLen/4
	binary.BigEndian.PutUint16(h[2:], uint16(ipv4HeaderLen+payload))
	binary.BigEndian.PutUint16(h[6:], dontFragment)
	h[8], h[9] = ttl, protocol
	copy(h[12:], source.AsSlice())
	copy(h[16:], destination.AsSlice())
	binary.BigEndian.PutUint16(h[10:], checksum(h))
	return h
}

func ipv6Header(source, destination netip.Addr, hopLimit, protocol uint8, payload int) []byte {
	const version = 6
	h := make([]byte, ipv6HeaderLen)
	h[0] = version << 4
	binary.BigEndian.PutUint16(h[4:], uint16(payload))
	h[6], h[7] = protocol, hopLimit
	copy(h[8:], source.AsSlice())
	copy(h[24:], destination.AsSlice())
	return h
}

// pseudoHeader is what checksums of TCP and of ICMPv6 cover beside the packet: the form of IPv6, which sums up to the same
// as that of IPv4 (RFC 9293, section 3.1; RFC 8200, section 8.1).
func pseudoHeader(source, destination netip.Addr, protocol uint8, length int) []byte {
	h := append(source.AsSlice(), destination.AsSlice()...)
	h = binary.BigEndian.AppendUint32(h, uint32(length))
	return append(h, 0, 0, 0, protocol)
}

// checksum is the Internet's (RFC 1071), over parts of which all but the last have an even length.
func checksum(parts ...[]byte) uint16 {
	var sum uint64
	for _, part := range parts {
		for len(part) >= 2 {
			sum += uint64(binary.BigEndian.Uint16(part))
			part = part[2:]
		}
		if len(part) == 1 {
			sum += uint64(part[0]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// received is an IP packet that was read.
type received struct {
	source, destination netip.Addr
	hopLimit, protocol  uint8
	payload             []byte // without what an interface may have appended
}

// parseIP reads the IP header. It is not ok that a packet is damaged, a fragment, or an IPv6 packet with extension headers,
// whose protocol is then that of the first.
func parseIP(packet []byte) (ip received, ok bool) {
	if len(packet) == 0 {
		return received{}, false
	}
	switch packet[0] >> 4 {
	case 4:
		return parseIPv4(packet)
	case 6:
		return parseIPv6(packet)
	}
	return received{}, false
}

func parseIPv4(packet []byte) (ip received, ok bool) {
	if len(packet) < ipv4HeaderLen {
		return received{}, false
	}
	header, total := int(packet[0]&0xf)*4, int(binary.BigEndian.Uint16(packet[2:]))
	const moreOrOffset = 0x3fff
	if header < ipv4HeaderLen || total < header || total > len(packet) ||
		binary.BigEndian.Uint16(packet[6:])&moreOrOffset != 0 {
		return received{}, false
	}
	return received{
		source:      netip.AddrFrom4([4]byte(packet[12:])),
		destination: netip.AddrFrom4([4]byte(packet[16:])),
		hopLimit:    packet[8],
		protocol:    packet[9],
		payload:     packet[header:total],
	}, true
}

func parseIPv6(packet []byte) (ip received, ok bool) {
	if len(packet) < ipv6HeaderLen {
		return received{}, false
	}
	total := ipv6HeaderLen + int(binary.BigEndian.Uint16(packet[4:]))
	if total > len(packet) {
		return received{}, false
	}
	return received{
		source:      netip.AddrFrom16([16]byte(packet[8:])),
		destination: netip.AddrFrom16([16]byte(packet[24:])),
		hopLimit:    packet[7],
		protocol:    packet[6],
		payload:     packet[ipv6HeaderLen:total],
	}, true
}
