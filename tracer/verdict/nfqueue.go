package verdict

import (
	"fmt"

	"tcptrace/tracer/event"
)

// What this host's firewall hands to a program (NFQUEUE) stays where nobody sees it until the program has judged it: an intrusion
// prevention system, or a firewall that asks its user.

// waiting tells of packets that have no verdict.
func (s *story) waiting() string {
	q := s.nfqueue()
	return fmt.Sprintf("%s in queue %d of this host's firewall for a program to judge (NFQUEUE)", waits(q.Waiting), q.Number)
}

func waits(packets int) string {
	if packets == 1 {
		return "1 packet waits"
	}
	return fmt.Sprintf("%d packets wait", packets)
}

// foundHeld tells how it is known that the first SYN has not left.
func (s *story) foundHeld() string {
	return fmt.Sprintf("%s found the first still here (%s)", count(s.failed, "repeated SYN"), s.last(event.SYNRetransmit).Errno)
}

func (s *story) lookAtNFQueue() string {
	q := s.nfqueue()
	return fmt.Sprintf("see whether the program works: netlink port %d, mostly its PID, in /proc/net/netfilter/nfnetlink_queue (the third "+
		"column is what waits); nft list ruleset names queue %d", q.Port, q.Number)
}
