package verdict

import (
	"fmt"
	"slices"

	"tcptrace/tracer/event"
)

// fullSize is the least payload of a segment that a small link may not take: every link takes 1,280 bytes of IPv6
// (RFC 8200), of which headers and options take 80.
const fullSize = 1200

// lostSegmentRules are about established connections of which one kind of packets alone never arrives.
var lostSegmentRules = []rule{
	{
		cause:      AcceptQueueFullAtACK,
		match:      (*story).synACKsGoOn,
		outcome:    OutcomeFailed,
		confidence: Likely,
		endedBy:    (*story).whoLeft,
		shows:      handshakeAnd(event.SYNACKDuplicate, event.Retransmit, event.ResetReceived, event.Close),
		doubts: say("the server itself was not seen: packets that are lost between the handshake's second and third, in one direction, " +
			"look the same"),
		summary: func(s *story) string {
			text := fmt.Sprintf("the server did not take the final ACK: it sent its SYN-ACK again, %s, after this side was connected, and "+
				"acknowledged no data", count(s.total(event.SYNACKDuplicate), "time"))
			if s.deathErrno() == event.ECONNRESET {
				text += "; then it knew nothing of the connection any more and reset it"
			}
			return text
		},
		advice: func(s *story) []string {
			return []string{fmt.Sprintf("the accept queue there is full, and its application does not call accept(): on the peer, "+
				"tcptrace listeners, or ss -ltn 'sport = :%d' (Recv-Q above Send-Q)", s.remote().Port())}
		},
	},
	{
		cause:      LargeSegmentsLost,
		match:      func(s *story) bool { return s.onlyLargeLost() && s.smallAcknowledged() },
		outcome:    OutcomeFailed,
		confidence: Likely,
		endedBy:    (*story).whoGaveUp,
		shows:      timerKinds,
		rests:      kinds(event.Drop),
		doubts:     say("a peer, or a way to it, that went away at this very moment looks the same"),
		summary:    (*story).segmentsSummary,
		advice:     segmentsAdvice,
	},
	{
		cause:      LargeSegmentsLost,
		match:      (*story).onlyLargeLost,
		outcome:    OutcomeFailed,
		confidence: Possible,
		endedBy:    (*story).whoGaveUp,
		shows:      timerKinds,
		rests:      kinds(event.Drop),
		doubts:     say("only the handshake was small: a peer, or a way to it, that went away after it looks the same"),
		summary:    (*story).segmentsSummary,
		advice:     segmentsAdvice,
	},
}

// synACKsGoOn says that the server repeats its SYN-ACK to a client that is connected, and that nothing else ever came
// of it. A SYN that was sent twice may be answered twice.
func (s *story) synACKsGoOn() bool {
	again := s.total(event.SYNACKDuplicate) - s.attempts
	if !s.client() || !s.established || again < 1 || s.answered() || s.conn.Peer != nil || s.simultaneousOpen() {
		return false
	}
	traffic := s.traffic()
	return traffic != nil && traffic.BytesAcked == 0 && traffic.BytesReceived == 0 &&
		(traffic.Unacked > 0 || s.total(event.Retransmit) > 0 || again > 1)
}

// onlyLargeLost says that full-size segments were sent again until the end and never acknowledged, and that none can
// have been before: less than one has been acknowledged in all. After an idle time it is no matter of size.
func (s *story) onlyLargeLost() bool {
	if !s.established || s.pending.timer != retransmitTimer || s.idleBeforeEnd() >= leastIdle || s.droppedHere() {
		return false
	}
	last, traffic := s.pending.last, s.traffic()
	if last == nil || traffic == nil || last.Len < fullSize || traffic.Unacked < fullSize {
		return false
	}
	switch s.deathErrno() {
	case 0, event.ETIMEDOUT:
		return traffic.BytesAcked < fullSize
	}
	return false
}

// smallAcknowledged says that the way was open for small segments, beyond the handshake.
func (s *story) smallAcknowledged() bool {
	traffic := s.traffic()
	return traffic.BytesAcked > 0 || traffic.BytesReceived > 0
}

// droppedHere says that this host itself dropped packets of the connection after its handshake, or keeps them.
func (s *story) droppedHere() bool {
	done := s.first(event.Established)
	return s.heldAtDeath() || slices.ContainsFunc(slices.Concat(s.dropped(dropIn), s.dropped(dropOut)), func(ev *event.Event) bool {
		return done == nil || ev.Offset >= done.Offset
	})
}

func (s *story) segmentsSummary() string {
	small := "the handshake"
	if n := s.traffic().BytesAcked; n > 0 {
		small = count(n, "byte") + " of data"
	}
	text := fmt.Sprintf("large segments are lost: %s got through, %d bytes at once never did, and were sent again %s: a path MTU black hole",
		small, s.pending.last.Len, count(s.pending.count, "time"))
	switch s.whoGaveUp() {
	case EndedByUserTimeout:
		return text + fmt.Sprintf("; TCP_USER_TIMEOUT (%s) ended it %s", duration(s.userTimeout()), s.when())
	case EndedByKernel:
		return text + "; " + s.gaveUpAt("tcp_retries2")
	}
	return text + "; " + s.closer() + " closed it " + s.sinceBegun(s.end)
}

func segmentsAdvice(s *story) []string {
	host := address(s.remote())
	return []string{
		fmt.Sprintf("find the size that passes: ping -M do -s 1472 %s, then smaller; something on the way drops larger packets and its ICMP "+
			"(fragmentation needed, packet too big) is filtered", host),
		"let those ICMP errors through; until then clamp the MSS (nft: tcp option maxseg size set rt mtu), lower the route's mtu, or set " +
			"sysctl net.ipv4.tcp_mtu_probing=1",
	}
}
