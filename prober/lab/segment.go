package lab

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// TCPFlags are the flags of a TCP segment, as in its header.
type TCPFlags uint8

// The flags that labs send.
const (
	FlagFIN TCPFlags = 1 << iota
	FlagSYN
	FlagRST
	FlagPSH
	FlagACK
)

// Segment is a TCP segment and the addresses of its IP packet.
type Segment struct {
	Source, Destination netip.AddrPort
	HopLimit            uint8 // or TTL; 0 stands for 64

	Seq, Ack uint32 // Ack counts only with FlagACK
	Flags    TCPFlags
	Window   uint16
	Options  []byte // as in the header; padded with zeros, which end the list
	Data     []byte

	// BadChecksum has the segment sent with a checksum that is wrong.
	BadChecksum bool

	packet []byte // all of it, as it arrived
}

// Answer is an empty segment the other way, which acknowledges all of s. Its sequence number is the one that s expects; in
// answer to a SYN, which expects none, it is 0.
func (s *Segment) Answer(flags TCPFlags) Segment {
	return Segment{
		Source: s.Destination, Destination: s.Source,
		Seq: s.Ack, Ack: s.Seq + s.length(), Flags: flags | FlagACK, Window: 0xffff,
	}
}

// isSYN says that the segment asks for a connection.
func (s *Segment) isSYN() bool { return s.Flags&(FlagSYN|FlagACK) == FlagSYN }

// length is how many sequence numbers the segment takes.
func (s *Segment) length() uint32 {
	n := uint32(len(s.Data))
	for _, flag := range []TCPFlags{FlagSYN, FlagFIN} {
		if s.Flags&flag != 0 {
			n++
		}
	}
	return n
}

// Sizes of headers without options, in bytes.
const (
	ipv4HeaderLen = 20
	ipv6HeaderLen = 40
	tcpHeaderLen  = 20
)

// marshal is the packet as an interface carries it, from the IP header on.
func (s *Segment) marshal() []byte {
	header := tcpHeaderLen + (len(s.Options)+3)&^3
	tcp := make([]byte, header, header+len(s.Data))
	binary.BigEndian.PutUint16(tcp[0:], s.Source.Port())
	binary.BigEndian.PutUint16(tcp[2:], s.Destination.Port())
	binary.BigEndian.PutUint32(tcp[4:], s.Seq)
	binary.BigEndian.PutUint32(tcp[8:], s.Ack)
	tcp[12], tcp[13] = byte(header/4)<<4, byte(s.Flags)
	binary.BigEndian.PutUint16(tcp[14:], s.Window)
	copy(tcp[tcpHeaderLen:], s.Options)
	tcp = append(tcp, s.Data...)
	sum := checksum(pseudoHeader(s.Source.Addr(), s.Destination.Addr(), unix.IPPROTO_TCP, len(tcp)), tcp)
	if s.BadChecksum {
		sum ^= 1 // not all bits: in ones' complement 0 and 0xffff are the same number
	}
	binary.BigEndian.PutUint16(tcp[16:], sum)
	return ipPacket(s.Source.Addr(), s.Destination.Addr(), s.HopLimit, unix.IPPROTO_TCP, tcp)
}

// parseSegment reads a packet. It is not ok that a packet is anything but one whole TCP segment straight behind its IP
// header. Checksums are not looked at: a host's own segment leaves it to the interface to complete them.
func parseSegment(packet []byte) (s Segment, ok bool) {
	ip, ok := parseIP(packet)
	if !ok || ip.protocol != unix.IPPROTO_TCP || len(ip.payload) < tcpHeaderLen {
		return Segment{}, false
	}
	tcp := ip.payload
	header := int(tcp[12]>>4) * 4
	if header < tcpHeaderLen || header > len(tcp) {
		return Segment{}, false
	}
	return Segment{
		Source:      netip.AddrPortFrom(ip.source, binary.BigEndian.Uint16(tcp[0:])),
		Destination: netip.AddrPortFrom(ip.destination, binary.BigEndian.Uint16(tcp[2:])),
		HopLimit:    ip.hopLimit,
		Seq:         binary.BigEndian.Uint32(tcp[4:]),
		Ack:         binary.BigEndian.Uint32(tcp[8:]),
		Flags:       TCPFlags(tcp[13]),
		Window:      binary.BigEndian.Uint16(tcp[14:]),
		Options:     tcp[tcpHeaderLen:header],
		Data:        tcp[header:],
		packet:      packet,
	}, true
}
