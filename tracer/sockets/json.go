package sockets

import (
	"net/netip"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/jsonline"
)

// judgedObject is a line about one socket. Times are in milliseconds from when it was read, which mono_ns tells; what the
// kernel has is known even where it is 0.
var judgedObject = jsonline.Object[Judged]{
	jsonline.Nanos("mono_ns", func(j *Judged) *time.Duration { return &j.Mono }),
	jsonline.AddrPort("local", func(j *Judged) *netip.AddrPort { return &j.Local }),
	jsonline.AddrPort("remote", func(j *Judged) *netip.AddrPort { return &j.Remote }),
	jsonline.Text("state", func(j *Judged) *event.State { return &j.State }),
	jsonline.Text("substate", func(j *Judged) *event.State { return &j.Substate }),
	jsonline.Uint("netns", func(j *Judged) *uint32 { return &j.NetNS }),
	jsonline.Uint("cookie", func(j *Judged) *uint64 { return &j.Cookie }),
	jsonline.Uint("inode", func(j *Judged) *uint64 { return &j.Inode }),
	jsonline.Nested("owner", func(j *Judged) *event.Owner { return &j.Owner }),
	jsonline.Uint("uid", func(j *Judged) *uint32 { return &j.UID }).
		When(func(j *Judged) bool { return j.HasUID }).
		Found(func(j *Judged) { j.HasUID = true }),
	jsonline.Bool("orphan", func(j *Judged) *bool { return &j.Orphan }),

	jsonline.Nested("timer", func(j *Judged) *LiveTimer { return &j.Timer }),
	jsonline.Nested("keepalive_timer", func(j *Judged) *Timer { return &j.Hidden }),
	jsonline.Nested("next", func(j *Judged) *Next { return &j.Forecast.Next }),
	ending("gives_up_ms", func(f *Forecast) *time.Duration { return &f.GivesUp }),
	ending("gives_up_latest_ms", func(f *Forecast) *time.Duration { return &f.Latest }),
	ending("gives_up_earliest_ms", func(f *Forecast) *time.Duration { return &f.Earliest }),
	jsonline.String("rule", func(j *Judged) *Rule { return &j.Forecast.Rule }),
	jsonline.Text("errno", func(j *Judged) *event.Errno { return &j.Forecast.Errno }),
	jsonline.Bool("reset", func(j *Judged) *bool { return &j.Forecast.Reset }),
	jsonline.String("if_answered", func(j *Judged) *Answered { return &j.Forecast.Answered }),
	jsonline.String("trouble", func(j *Judged) *Trouble { return &j.Trouble }),

	jsonline.Objects("warnings", func(j *Judged) *[]Warning { return &j.Warnings }),

	full("rto_ms", func(j *Judged) *time.Duration { return &j.RTO }),
	jsonline.Micros("rtt_us", func(j *Judged) *time.Duration { return &j.RTT }),
	jsonline.Int("backoff", func(j *Judged) *int { return &j.Backoff }),
	jsonline.Millis("retransmitting_ms", func(j *Judged) *time.Duration { return &j.Retransmitting }).
		When(func(j *Judged) bool { return j.Retransmitted }).
		Found(func(j *Judged) { j.Retransmitted = true }),
	jsonline.Millis("probing_ms", func(j *Judged) *time.Duration { return &j.Probing }).
		When(func(j *Judged) bool { return j.Probed }).
		Found(func(j *Judged) { j.Probed = true }),
	full("last_sent_ms", func(j *Judged) *time.Duration { return &j.LastSent }),
	full("last_received_ms", func(j *Judged) *time.Duration { return &j.LastReceived }),
	full("last_ack_ms", func(j *Judged) *time.Duration { return &j.LastACK }),
	jsonline.Text("soft_errno", func(j *Judged) *event.Errno { return &j.SoftError }),
	jsonline.Int("receive_queue_bytes", func(j *Judged) *int { return &j.RecvQueue }).When(isFull),
	jsonline.Int("send_queue_bytes", func(j *Judged) *int { return &j.SendQueue }).When(isFull),
	jsonline.Int("segments_in_flight", func(j *Judged) *int { return &j.InFlight }).When(isFull),
	jsonline.Optional("traffic", func(j *Judged) **event.Traffic { return &j.Traffic }),
	jsonline.Optional("receive_buffer", func(j *Judged) **Buffer { return &j.Receive }),
	jsonline.Optional("send_buffer", func(j *Judged) **Buffer { return &j.Send }),
	jsonline.Millis("tcp_linger2_ms", func(j *Judged) *time.Duration { return &j.Linger2 }),
	jsonline.Optional("options", func(j *Judged) **event.Options { return &j.Options }),
	jsonline.Optional("sysctls", func(j *Judged) **event.Sysctls { return &j.Sysctls }),
}

// isFull says that it is no mini-socket, which has nothing of its own.
func isFull(j *Judged) bool { return !j.Mini() }

// ending is a time that is there when the kernel ends the socket, be it due, or overdue.
func ending(key string, at func(*Forecast) *time.Duration) jsonline.Field[Judged] {
	return jsonline.Millis(key, func(j *Judged) *time.Duration { return at(&j.Forecast) }).
		When(func(j *Judged) bool { return j.Forecast.Ends }).
		Found(func(j *Judged) { j.Forecast.Ends = true })
}

func full(key string, at func(*Judged) *time.Duration) jsonline.Field[Judged] {
	return jsonline.Millis(key, at).When(func(j *Judged) bool { return isFull(j) && j.State != event.StateSYNSent })
}

// AppendLine adds the socket as an object whose first key, "type", is line. It adds no newline.
func (j *Judged) AppendLine(dst []byte, line string) []byte { return judgedObject.Append(dst, j, line) }

// MarshalJSON is [Judged.AppendLine] without a type; it never fails.
func (j Judged) MarshalJSON() ([]byte, error) { return j.AppendLine(nil, ""), nil }

// UnmarshalJSON reads what MarshalJSON wrote; its errors name the key. Of the timers only those that a line tells are set.
func (j *Judged) UnmarshalJSON(text []byte) error {
	if err := judgedObject.Unmarshal(text, j); err != nil {
		return err
	}
	switch j.Timer.Name {
	case TimerKeepalive, TimerPersist:
		j.Probes = j.Timer.Retries
	case TimerRetransmit:
		j.Retransmits = j.Timer.Retries
	}
	return nil
}

// A timer that is running has a time, even if it is due now.
var liveTimerObject = jsonline.Object[LiveTimer]{
	jsonline.String("name", func(t *LiveTimer) *string { return &t.Name }),
	jsonline.Millis("expires_ms", func(t *LiveTimer) *time.Duration { return &t.Left }).Always(),
	jsonline.Int("retries", func(t *LiveTimer) *int { return &t.Retries }).Always(),
}

// AppendJSON adds the timer as an object.
func (t *LiveTimer) AppendJSON(dst []byte) []byte { return liveTimerObject.Append(dst, t, "") }

// UnmarshalJSON reads what AppendJSON wrote; its errors name the key.
func (t *LiveTimer) UnmarshalJSON(text []byte) error { return liveTimerObject.Unmarshal(text, t) }

var timerObject = jsonline.Object[Timer]{
	jsonline.String("name", func(t *Timer) *string { return &t.Name }),
	jsonline.Millis("expires_ms", func(t *Timer) *time.Duration { return &t.Left }).Always(),
}

// AppendJSON adds the timer as an object.
func (t *Timer) AppendJSON(dst []byte) []byte { return timerObject.Append(dst, t, "") }

// UnmarshalJSON reads what AppendJSON wrote; its errors name the key.
func (t *Timer) UnmarshalJSON(text []byte) error { return timerObject.Unmarshal(text, t) }

var nextObject = jsonline.Object[Next]{
	jsonline.String("what", func(n *Next) *What { return &n.What }),
	jsonline.Millis("in_ms", func(n *Next) *time.Duration { return &n.In }).Always(),
	jsonline.Millis("latest_ms", func(n *Next) *time.Duration { return &n.Latest }).Always(),
	jsonline.Int("attempt", func(n *Next) *int { return &n.Attempt }),
	jsonline.Int("attempts_expected", func(n *Next) *int { return &n.Of }),
}

// AppendJSON adds the fire as an object.
func (n *Next) AppendJSON(dst []byte) []byte { return nextObject.Append(dst, n, "") }

// UnmarshalJSON reads what AppendJSON wrote; its errors name the key.
func (n *Next) UnmarshalJSON(text []byte) error { return nextObject.Unmarshal(text, n) }

var bufferObject = jsonline.Object[Buffer]{
	jsonline.Int("asked_bytes", func(b *Buffer) *int { return &b.Asked }),
	jsonline.Int("size_bytes", func(b *Buffer) *int { return &b.Size }).Always(),
	jsonline.Int("used_bytes", func(b *Buffer) *int { return &b.Used }).Always(),
	jsonline.Bool("tuned", func(b *Buffer) *bool { return &b.Tuned }).Always(),
	jsonline.Int("default_bytes", func(b *Buffer) *int { return &b.Default }),
	jsonline.Int("max_bytes", func(b *Buffer) *int { return &b.Max }),
}

// AppendJSON adds the buffer as an object.
func (b *Buffer) AppendJSON(dst []byte) []byte { return bufferObject.Append(dst, b, "") }

// UnmarshalJSON reads what AppendJSON wrote; its errors name the key.
func (b *Buffer) UnmarshalJSON(text []byte) error { return bufferObject.Unmarshal(text, b) }

var warningObject = jsonline.Object[Warning]{
	jsonline.String("id", func(w *Warning) *string { return &w.ID }),
	jsonline.String("sentence", func(w *Warning) *string { return &w.Sentence }),
	jsonline.String("advice", func(w *Warning) *string { return &w.Advice }),
}

// AppendJSON adds the warning as an object.
func (w *Warning) AppendJSON(dst []byte) []byte { return warningObject.Append(dst, w, "") }

// UnmarshalJSON reads what AppendJSON wrote; its errors name the key.
func (w *Warning) UnmarshalJSON(text []byte) error { return warningObject.Unmarshal(text, w) }
