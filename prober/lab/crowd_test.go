package lab

import (
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

func TestSlowTargetsCompleteHandshakesAndNothingElse(t *testing.T) {
	later := func(netip.Addr) time.Duration { return time.Minute }
	for _, ends := range [][2]string{{"192.0.2.1:40000", "192.0.2.2:80"}, {"[2001:db8::1]:40000", "[2001:db8::2]:80"}} {
		syn := Segment{Source: netip.MustParseAddrPort(ends[0]), Destination: netip.MustParseAddrPort(ends[1]), Seq: 4294967295, Flags: FlagSYN}
		for _, repeated := range []bool{false, true} {
			replies := slowSYNACK(syn, later)
			if len(replies) != 1 || replies[0].After != time.Minute {
				t.Fatalf("a SYN to %s is answered by %+v; want one segment after a minute", ends[1], replies)
			}
			got := replies[0].Packet.(*Segment)
			if got.Source != syn.Destination || got.Destination != syn.Source || got.Flags != FlagSYN|FlagACK || got.Ack != 0 || got.Seq != 0 {
				t.Errorf("repeated %t: the answer is %+v; want a SYN-ACK of sequence number 0", repeated, got)
			}
		}
	}
	for _, flags := range []TCPFlags{FlagACK, FlagSYN | FlagACK, FlagRST, FlagFIN | FlagACK} {
		if replies := slowSYNACK(Segment{Flags: flags}, later); replies != nil {
			t.Errorf("a segment with the flags %#x is answered", flags)
		}
	}
}
