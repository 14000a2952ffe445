package verdict

import (
	"fmt"
	"time"

	"tcptrace/tracer/event"
)

// waited explains the delay by the schedule, and by which of the SYNs was answered.
func (s *story) waited() string {
	last := s.last(event.SYNRetransmit)
	done := s.first(event.Established)
	if !s.client() || last == nil || done == nil || done.Offset < last.Offset {
		return ""
	}
	if n, sent := s.answeredSYN(); n > 0 && n <= s.attempts {
		return fmt.Sprintf("the SYN-ACK was late, it answers SYN %d, %s after that one", n, duration(done.Offset-sent))
	}
	return fmt.Sprintf("%s of it was waiting for the SYN timer, the answer came %s after the last SYN",
		duration(last.Offset), duration(done.Offset-last.Offset))
}

// answeredSYN is which SYN was answered, from 1, and its offset; 0 when that is not known. The kernel measures the round
// trip of one that was sent again only by the timestamp that comes back (tcp_ack_update_rtt).
func (s *story) answeredSYN() (n int, sent time.Duration) {
	p, done := s.probe, s.first(event.Established)
	if p == nil || !p.HasInfo || p.RTT == 0 || p.BytesSent > 0 || s.held() {
		return 0, 0
	}
	answered := done.Offset - p.RTT
	best := answered.Abs() // the first SYN has offset 0
	n = 1
	for i := range s.conn.Events {
		ev := &s.conn.Events[i]
		if ev.Kind != event.SYNRetransmit || ev.Attempt == 0 {
			continue
		}
		if off := (answered - ev.Offset).Abs(); off <= best {
			best, n, sent = off, ev.Attempt+1, ev.Offset
		}
	}
	if best > p.RTT/4+20*time.Millisecond {
		return 0, 0
	}
	return n, sent
}

// late says that the SYN-ACK answered an earlier SYN than the last.
func (s *story) late() bool {
	if s.first(event.Established) == nil || s.last(event.SYNRetransmit) == nil {
		return false
	}
	n, _ := s.answeredSYN()
	return n > 0 && n <= s.attempts
}
