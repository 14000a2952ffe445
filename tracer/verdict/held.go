package verdict

import (
	"fmt"

	"tcptrace/tracer/event"
)

// What waits on its way out of this host is not sent again: the kernel finds the last copy still here (EBUSY,
// skb_still_in_host_queue). It may wait for its neighbour, in a queue of the device, or for a program that the firewall asks
// (NFQUEUE), such as an intrusion prevention system; the last keeps what comes in as well.

// heldHere says that each repeated SYN found the first still here.
func (s *story) heldHere() bool { return s.retriesFailed(event.EBUSY) }

// heldAtDeath says that what an established connection sent last stayed here to its end.
func (s *story) heldAtDeath() bool { return s.established && s.pending.allHeld() }

// holderDoubts are about what was held by something that nobody sees at work.
func (s *story) holderDoubts() []string {
	const unseen = ": that it is among them was not seen"
	switch {
	case s.nfqueue() != nil:
		return []string{s.waiting() + unseen}
	case s.backlog() != nil:
		b := s.backlog()
		return []string{fmt.Sprintf("%s in the queue %s of %s%s", waits(b.Waiting), b.Queue, b.Device, unseen)}
	}
	return []string{"what holds it here was not seen"}
}

func (s *story) lookAtHolder() string {
	if q := s.nfqueue(); q != nil {
		return fmt.Sprintf("see whether the program works that the firewall asks: netlink port %d, mostly its PID, in "+
			"/proc/net/netfilter/nfnetlink_queue (the third column is what waits); nft list ruleset names queue %d", q.Port, q.Number)
	}
	if b := s.backlog(); b != nil {
		return fmt.Sprintf("look at what keeps it in the queue of %s: tc -s qdisc show dev %s, ip -s -s link show %s", b.Device, b.Device, b.Device)
	}
	return "look at what holds it on its way out: tc -s qdisc and ip -s -s link (backlog), nft list ruleset (queue)"
}

// waiting tells of packets that a program has not judged.
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
