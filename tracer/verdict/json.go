package verdict

import (
	"net/netip"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/jsonline"
)

// The lists that a verdict rests on are there even when they are empty: that there are no doubts is known.
var verdictObject = jsonline.Object[Verdict]{
	jsonline.Text("conn", func(v *Verdict) *event.ConnID { return &v.Conn }),
	jsonline.String("target", func(v *Verdict) *string { return &v.Target }),
	jsonline.String("cause", func(v *Verdict) *Cause { return &v.Cause }),
	jsonline.String("outcome", func(v *Verdict) *Outcome { return &v.Outcome }),
	jsonline.String("ended_by", func(v *Verdict) *EndedBy { return &v.EndedBy }),
	jsonline.Text("errno", func(v *Verdict) *event.Errno { return &v.Errno }),
	jsonline.String("summary", func(v *Verdict) *string { return &v.Summary }),
	jsonline.Objects("contributing", func(v *Verdict) *[]Contribution { return &v.Contributing }).Always(),
	jsonline.Strings("advice", func(v *Verdict) *[]string { return &v.Advice }).Always(),
	jsonline.Uints("evidence", func(v *Verdict) *[]uint64 { return &v.Evidence }).Always(),
	jsonline.Strings("doubts", func(v *Verdict) *[]string { return &v.Doubts }).Always(),
	jsonline.String("confidence", func(v *Verdict) *Confidence { return &v.Confidence }),

	jsonline.Millis("resolve_ms", func(v *Verdict) *time.Duration { return &v.Resolve }),
	jsonline.Millis("connect_ms", func(v *Verdict) *time.Duration { return &v.Connect }),
	jsonline.Micros("handshake_rtt_us", func(v *Verdict) *time.Duration { return &v.HandshakeRTT }),
	jsonline.Int("syn_sent", func(v *Verdict) *int { return &v.SYNSent }),
	jsonline.Int("bytes_sent", func(v *Verdict) *int64 { return &v.BytesSent }),
	jsonline.Int("bytes_acked", func(v *Verdict) *int64 { return &v.BytesAcked }),
	jsonline.Int("bytes_received", func(v *Verdict) *int64 { return &v.BytesReceived }),
	jsonline.Int("retransmits", func(v *Verdict) *int { return &v.Retransmits }),
	jsonline.Millis("duration_ms", func(v *Verdict) *time.Duration { return &v.Duration }),
	jsonline.Millis("idle_before_end_ms", func(v *Verdict) *time.Duration { return &v.IdleBeforeEnd }),
	jsonline.Nested("owner", func(v *Verdict) *event.Owner { return &v.Owner }),
	jsonline.AddrPort("local", func(v *Verdict) *netip.AddrPort { return &v.Local }),
	jsonline.AddrPort("remote", func(v *Verdict) *netip.AddrPort { return &v.Remote }),
}

// AppendJSON adds the verdict as an object.
func (v *Verdict) AppendJSON(dst []byte) []byte { return verdictObject.Append(dst, v, "") }

// AppendLine adds the verdict as an object whose first key, "type", is line. It adds no newline.
func (v *Verdict) AppendLine(dst []byte, line string) []byte {
	return verdictObject.Append(dst, v, line)
}

// Writer writes verdicts like [Verdict.AppendLine], in less time where there are many: owners and addresses are mostly those
// of a verdict before. It is not safe for concurrent use.
type Writer struct{ object jsonline.Object[Verdict] }

// NewWriter makes a writer.
func NewWriter() *Writer { return &Writer{verdictObject.Remembering()} }

// AppendLine is [Verdict.AppendLine].
func (w *Writer) AppendLine(dst []byte, v *Verdict, line string) []byte {
	return w.object.Append(dst, v, line)
}

// MarshalJSON is [Verdict.AppendJSON]; it never fails.
func (v Verdict) MarshalJSON() ([]byte, error) { return v.AppendJSON(nil), nil }

// UnmarshalJSON reads what MarshalJSON wrote, to the nanosecond. Its errors name the key; after one, v is as it was
// before.
func (v *Verdict) UnmarshalJSON(text []byte) error { return verdictObject.Unmarshal(text, v) }

var contributionObject = jsonline.Object[Contribution]{
	jsonline.String("cause", func(c *Contribution) *Cause { return &c.Cause }),
	jsonline.Uints("evidence", func(c *Contribution) *[]uint64 { return &c.Evidence }).Always(),
	jsonline.String("summary", func(c *Contribution) *string { return &c.Summary }),
}

// AppendJSON adds the contribution as an object.
func (c *Contribution) AppendJSON(dst []byte) []byte { return contributionObject.Append(dst, c, "") }

// MarshalJSON is [Contribution.AppendJSON]; it never fails.
func (c Contribution) MarshalJSON() ([]byte, error) { return c.AppendJSON(nil), nil }

// UnmarshalJSON reads what MarshalJSON wrote; its errors name the key.
func (c *Contribution) UnmarshalJSON(text []byte) error { return contributionObject.Unmarshal(text, c) }
