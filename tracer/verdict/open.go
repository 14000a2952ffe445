package verdict

import (
	"fmt"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
)

// openSummary tells how a connection stands that outlives its trace.
func (s *story) openSummary() string {
	text := "still open when the trace ended"
	if s.conn != nil && s.conn.State != event.StateUnknown {
		text += ": " + s.conn.State.String()
	}
	if s.pending.count > 0 {
		text += ", " + s.pending.String() + " so far"
		if due := s.pending.foretold(); due > 0 {
			text += "; the kernel would give up at " + duration(due)
		}
		return text
	}
	return text + s.probesAnswered()
}

// probesAnswered tells what became of the keepalive probes of a connection that lives.
func (s *story) probesAnswered() string {
	sent := s.total(event.KeepaliveProbe)
	if sent == 0 {
		return ""
	}
	if lost := s.probesLost(); lost > 0 {
		return fmt.Sprintf(": of %s %s lost, and a later one was answered", count(sent, "keepalive probe"), were(lost))
	}
	return ": " + count(sent, "keepalive probe") + " sent, and the peer is there"
}

// probesLost counts, among the events that the story holds, the probes after which another one had to be sent.
func (s *story) probesLost() int {
	lost := 0
	for i := range s.conn.Events {
		if ev := &s.conn.Events[i]; ev.Kind == event.KeepaliveProbe && ev.Attempt > 1 {
			lost++
		}
	}
	return lost
}

func were(n int) string {
	if n == 1 {
		return "1 was"
	}
	return fmt.Sprintf("%d were", n)
}

// wroteAfterClose says that a reset met this side after the peer had closed its own.
func (s *story) wroteAfterClose() bool {
	if s.errno != event.EPIPE || !s.closedFrom(event.StateCloseWait, event.StateLastACK, event.StateClosing) {
		return false
	}
	traffic := s.traffic()
	return traffic == nil || traffic.Unacked > 0
}

func (s *story) pipeDoubts() []string {
	if s.traffic() == nil {
		return []string{"whether data was on its way when the reset came was not seen: " +
			"a peer that aborts after its FIN leaves the same errno"}
	}
	return nil
}

// writer is who wrote.
func (s *story) writer() string {
	if s.conn != nil && s.conn.Owner.Known() {
		return who(s.conn.Owner)
	}
	return "the application"
}

// peerClosedAt tells when the peer's FIN came.
func (s *story) peerClosedAt() string {
	for i := range s.conn.Events {
		if ev := &s.conn.Events[i]; ev.State == event.StateCloseWait {
			return s.sinceEstablished(ev.Offset)
		}
	}
	return "before"
}

func pipeAdvice(*story) []string {
	return []string{"read until the end of the stream (recv() returns 0) before writing again: the peer had said that it " +
		"would go; MSG_NOSIGNAL turns SIGPIPE into EPIPE"}
}

// leastWait is how long somebody waits for an answer before one says that none came.
const leastWait = time.Second

// neverAnswered says that this side closed a connection on which it had sent something and never got anything.
func (s *story) neverAnswered() bool {
	traffic := s.traffic()
	if !s.client() || s.closedBy() != timeline.ByLocal || traffic == nil {
		return false
	}
	done := s.first(event.Established)
	return done != nil && traffic.BytesAcked > 0 && traffic.BytesReceived == 0 && s.closing()-done.Offset >= leastWait
}

// closing is the offset at which this side began to close.
func (s *story) closing() time.Duration {
	for i := range s.conn.Events {
		if ev := &s.conn.Events[i]; ev.Kind == event.StateChange && ev.State == event.StateFinWait1 {
			return ev.Offset
		}
	}
	return s.end
}
