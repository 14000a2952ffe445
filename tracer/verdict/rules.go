package verdict

import (
	"slices"

	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
)

// rule is a row: which stories it explains, and how. Funcs that are nil stand for their zero answer.
type rule struct {
	cause      Cause
	match      func(*story) bool
	outcome    Outcome
	confidence Confidence                // when nothing speaks against it; empty means Certain
	endedBy    func(*story) EndedBy      // nil: nobody
	shows      []event.Kind              // the events that are its evidence
	rests      func(*story) []event.Kind // kinds whose absence it rests on
	doubts     func(*story) []string     // what else could make it another cause
	summary    func(*story) string
	advice     func(*story) []string
}

// rules are all rows, the most specific first. The last row of a part takes what no other explains.
var rules = slices.Concat(finalACKRules, oldConnectionRules, answeredRules, synchronousRules, supersededRules, dropRules,
	queueRules, rejectionRules, serverRules, silenceRules, lostSegmentRules, idleRules, deathRules, resetRules, endRules)

// Of says why a connection went as it did, or stands as it does, from its events and whatever else is known. The
// connection may be nil: then there is only what the probe saw.
func Of(c *timeline.Connection, f Facts) Verdict {
	s := tell(c, f)
	return s.judge(s.explanation())
}

// explanation is the first row that matches. Of an orderly story, as nearly all are, the rows before the last part need not be
// asked.
func (s *story) explanation() *rule {
	rows := rules
	if s.orderly {
		rows = endRules
	}
	for i := range rows {
		if r := &rows[i]; r.match(s) {
			return r
		}
	}
	panic("the last rule matches every story")
}

func (s *story) judge(r *rule) Verdict {
	v := Verdict{
		Cause:        r.cause,
		Outcome:      r.outcome,
		Errno:        s.deathErrno(),
		Summary:      r.summary(s) + s.rewritten(),
		Contributing: s.contributing(r.cause),
		Evidence:     s.numbers(r.shows),
		Doubts:       s.doubts(r),
		Confidence:   r.confidence,
	}
	if r.endedBy != nil {
		v.EndedBy = r.endedBy(s)
	}
	if s.inProgress && s.client() {
		v.Outcome, v.EndedBy = OutcomeOpen, s.whoInterrupted()
	}
	if r.advice != nil {
		v.Advice = r.advice(s)
	}
	if v.Confidence == "" {
		v.Confidence = Certain
	}
	if v.Confidence == Certain && len(v.Doubts) > 0 {
		v.Confidence = Likely
	}
	if s.answered() {
		v.Errno = 0 // that of the probe's own close is not about the handshake
	}
	s.measure(&v)
	return v
}

// measure fills in the numbers.
func (s *story) measure(v *Verdict) {
	v.Local, v.Remote = s.local(), s.remote()
	v.IdleBeforeEnd = s.idleBeforeEnd()
	if s.conn == nil || !s.conn.PreExisting { // or when it began is not known
		v.Duration = s.end
	}
	v.Connect = s.handshake()
	if s.client() {
		v.SYNSent = s.syns()
	}
	if c := s.conn; c != nil {
		v.Conn, v.Owner = c.ID, c.Owner
		s.measureEvents(v)
	}
	if p := s.probe; p != nil {
		v.Target, v.Resolve = p.Target, p.Resolve
		v.Connect = p.Connect
		if s.traffic() == nil {
			v.BytesSent, v.BytesAcked, v.BytesReceived = p.BytesSent, p.BytesAcked, p.BytesReceived
		}
		if p.HasInfo && p.Connected && p.TotalRetrans == 0 && p.RTT > 0 {
			v.HandshakeRTT = p.RTT
		}
	}
}

func (s *story) measureEvents(v *Verdict) {
	v.Retransmits = s.total(event.Retransmit)
	if traffic := s.traffic(); traffic != nil {
		v.BytesSent, v.BytesAcked, v.BytesReceived = traffic.BytesSent, traffic.BytesAcked, traffic.BytesReceived
		// The socket counts what was sent again of the handshake too.
		v.Retransmits = max(v.Retransmits, traffic.Retransmits-s.attempts-s.synACKs())
	}
	// With a SYN sent again nobody knows which one was answered (Karn).
	connect, done := s.first(event.Connect), s.first(event.Established)
	if s.client() && s.attempts == 0 && connect != nil && done != nil {
		v.HandshakeRTT = done.Mono - connect.Mono
	}
}

// The events that tell a handshake.
var handshakeKinds = []event.Kind{
	event.Connect, event.SYNSent, event.SYNReceived, event.SYNRetransmit, event.SYNACKRetransmit, event.Established,
}

// with is handshakeKinds and more.
func handshakeAnd(kinds ...event.Kind) []event.Kind { return slices.Concat(handshakeKinds, kinds) }

// endedBy makes a constant answer.
func endedBy(who EndedBy) func(*story) EndedBy {
	return func(*story) EndedBy { return who }
}

// byUser is who closes a socket of one's own accord: the probe, or whatever application owns it.
func byUser(s *story) EndedBy {
	if s.probe != nil {
		return EndedByProbe
	}
	return EndedByApplication
}

// say makes constant advice, and constant doubts.
func say(sentences ...string) func(*story) []string {
	return func(*story) []string { return slices.Clone(sentences) }
}

// kinds makes a constant list of kinds.
func kinds(list ...event.Kind) func(*story) []event.Kind {
	return func(*story) []event.Kind { return list }
}
