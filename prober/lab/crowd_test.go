package lab

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestCrowdHasAsManyTargetsAsAsked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c Crowd
		total := 0
		for m := range manners {
			c.IPv4[m], c.IPv6[m] = rapid.IntRange(0, 300).Draw(t, "ipv4"), rapid.IntRange(0, 300).Draw(t, "ipv6")
			total += c.IPv4[m] + c.IPv6[m]
		}
		seen := make(map[netip.AddrPort]bool)
		var ipv4, ipv6 [manners]int
		for _, target := range c.Targets() {
			addr := target.Addr.Addr()
			if seen[target.Addr] || !crowdNet4(target.Manner).Contains(addr) && !crowdNet6(target.Manner).Contains(addr) {
				t.Errorf("%v target at %v", target.Manner, target.Addr)
			}
			seen[target.Addr] = true
			if addr.Is4() {
				ipv4[target.Manner]++
			} else {
				ipv6[target.Manner]++
			}
		}
		if len(seen) != total || ipv4 != c.IPv4 || ipv6 != c.IPv6 {
			t.Errorf("%d targets, %v and %v; want %d, %v and %v", len(seen), ipv4, ipv6, total, c.IPv4, c.IPv6)
		}
	})
}

func TestCrowdIsWellMixed(t *testing.T) {
	c := Crowd{IPv4: [manners]int{Answering: 600, Silent: 300, Refusing: 100}}
	var counts [manners]int
	for n, target := range c.Targets() {
		counts[target.Manner]++
		for m, want := range map[Manner]int{Answering: 60, Silent: 30, Refusing: 10} {
			if got, exact := counts[m], float64(want*(n+1))/100; float64(got) < exact-2 || float64(got) > exact+2 {
				t.Fatalf("%d of the first %d are %v; want about %.1f", got, n+1, m, exact)
			}
		}
	}
}

func TestCrowdsThatCannotBe(t *testing.T) {
	for _, c := range []Crowd{{IPv4: [manners]int{70000}}, {Loss: -1}, {Loss: 101}} {
		if _, err := c.Build(t.Context(), new(Network)); err == nil {
			t.Errorf("%+v was built", c)
		}
	}
}

func TestSlowDelaysAreSpread(t *testing.T) {
	var below int
	for n := 1; n <= 1000; n++ {
		delay := SlowDelay(crowdAddr(Slow, n%2 == 0, n))
		if delay < 20*time.Millisecond || delay > 2*time.Second {
			t.Errorf("the delay of target %d is %v", n, delay)
		}
		if delay < 200*time.Millisecond {
			below++
		}
	}
	if below < 480 || below > 520 {
		t.Errorf("%d of 1000 delays are below 200ms; want half", below)
	}
}

// syn is a packet that opens a connection.
func syn(source, destination netip.Addr, sequence uint32) []byte {
	segment := make([]byte, tcpHeader)
	binary.BigEndian.PutUint16(segment[0:], 40000)
	binary.BigEndian.PutUint16(segment[2:], 80)
	binary.BigEndian.PutUint32(segment[4:], sequence)
	segment[12], segment[13] = tcpHeader/4<<4, 0x02
	return joinIP(source, destination, segment)
}

func TestSYNACKAnswersASYN(t *testing.T) {
	for _, ends := range [][2]string{{"192.0.2.1", "192.0.2.2"}, {"2001:db8::1", "2001:db8::2"}} {
		client, server := netip.MustParseAddr(ends[0]), netip.MustParseAddr(ends[1])
		answer, from, ok := synACK(syn(client, server, 4294967295))
		if !ok || from != server {
			t.Fatalf("a SYN to %v is answered by %v, %v", server, from, ok)
		}
		source, destination, segment, ok := splitIP(answer)
		if !ok || source != server || destination != client {
			t.Fatalf("the answer is from %v to %v, %v", source, destination, ok)
		}
		ports := [2]uint16{binary.BigEndian.Uint16(segment), binary.BigEndian.Uint16(segment[2:])}
		if acked := binary.BigEndian.Uint32(segment[8:]); ports != [2]uint16{80, 40000} || acked != 0 || segment[13] != 0x12 {
			t.Errorf("ports %v, acknowledges %d, flags %#x; want 80, 40000, 0 and SYN and ACK", ports, acked, segment[13])
		}
		// With its checksum in place, a segment sums up to nothing.
		if rest := tcpChecksum(source, destination, segment); rest != 0 {
			t.Errorf("the checksum is off by %#x", rest)
		}
	}
}

func TestOnlySYNsAreAnswered(t *testing.T) {
	client, server := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	whole := syn(client, server, 1)
	for n := range whole {
		if _, _, ok := synACK(whole[:n]); ok {
			t.Errorf("the first %d bytes of a SYN are answered", n)
		}
	}
	for _, flags := range []byte{0x10, 0x12, 0x04, 0x11} {
		packet := syn(client, server, 1)
		packet[ipv4Header+13] = flags
		if _, _, ok := synACK(packet); ok {
			t.Errorf("a segment with the flags %#x is answered", flags)
		}
	}
}

func FuzzSYNACK(f *testing.F) {
	f.Add(syn(netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), 1))
	f.Add(syn(netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"), 1))
	f.Fuzz(func(t *testing.T, packet []byte) {
		if answer, from, ok := synACK(packet); ok {
			source, _, _, ok := splitIP(answer)
			if !ok || source != from {
				t.Errorf("%x is answered by %x, from %v", packet, answer, from)
			}
		}
	})
}
