package verdict

import (
	"fmt"

	"tcptrace/tracer/event"
)

// usualTTLs are what systems let their packets begin with: Linux, the BSDs and macOS with 64, Windows with 128, many routers
// and firewalls with 255.
var usualTTLs = []int{64, 128, 255}

// routersPassed estimates from the time to live with which a packet came how many routers it has passed, and what it had to
// begin with: the least of the usual ones that is enough.
func routersPassed(ttl int) (routers, began int) {
	for _, began := range usualTTLs {
		if ttl <= began {
			return began - ttl, began
		}
	}
	return 0, ttl
}

// resetTTL tells, in brackets, from how far a reset seems to have come; empty when that is not known.
func resetTTL(reset *event.Event) string {
	if reset == nil || reset.TTL == 0 {
		return ""
	}
	routers, began := routersPassed(reset.TTL)
	from := "from this link"
	if routers > 0 {
		from = count(routers, "router") + " away"
	}
	return fmt.Sprintf(" (its TTL is %d: %s, if it began with %d)", reset.TTL, from, began)
}

// foreignReset is the reset that an established connection met, and the TTL of the peer's part of the handshake, when the two
// differ and the peer, where it is on this host, has not sent one.
func (s *story) foreignReset() (reset *event.Event, handshake int) {
	done, reset := s.first(event.Established), s.reset(event.ResetReceived)
	if done == nil || reset == nil || done.TTL == 0 || reset.TTL == 0 || done.TTL == reset.TTL || s.peerLast(event.ResetSent) != nil {
		return nil, 0
	}
	return reset, done.TTL
}

// anothersReset says that something nearer than the peer, or farther, sent the reset.
func (s *story) anothersReset() []string {
	reset, handshake := s.foreignReset()
	if reset == nil {
		return nil
	}
	return []string{fmt.Sprintf("the reset came with a time to live of %d, %s with %d: a middlebox may have sent it in the peer's name",
		reset.TTL, s.peersPart(), handshake)}
}

// fromElsewhere tells that a reset has not come the peer's way, where that speaks for what the verdict says.
func (s *story) fromElsewhere() string {
	reset, handshake := s.foreignReset()
	if reset == nil {
		return ""
	}
	return fmt.Sprintf(", whose TTL is %d and not %d as %s's", reset.TTL, handshake, s.peersPart())
}

// peersPart names the packet with which the peer completed the handshake.
func (s *story) peersPart() string {
	if s.client() {
		return "the SYN-ACK"
	}
	return "the final ACK"
}

// middleboxAdvice says where to look for who sent a reset with a TTL of its own.
func (s *story) middleboxAdvice() []string {
	reset, _ := s.foreignReset()
	if reset == nil {
		return nil
	}
	routers, began := routersPassed(reset.TTL)
	return []string{fmt.Sprintf("on the peer, tcpdump -n 'host %s and tcp[tcpflags] & tcp-rst != 0' tells whether it sent the reset; if not, its sender is at "+
		"hop %d, when its TTL began with %d: tcptrace path %s names who is there", address(s.local()), routers+1, began, s.remote())}
}
