package event

import (
	"net/netip"
	"slices"
	"time"

	"tcptrace/tracer/jsonline"
)

// eventObject is an event as the contract writes it. Offset is known, even if it is 0, once the event has been
// through timeline and so has a number.
var eventObject = slices.Concat(whoAndWhen, jsonline.Seldom(timerKeys...), settingsKeys, jsonline.Seldom(packetKeys...), ownerKeys,
	jsonline.Seldom(troubleKeys...), jsonline.Seldom(endKeys...))

// whoAndWhen are the keys that nearly every event has.
var whoAndWhen = jsonline.Object[Event]{
	jsonline.Uint("n", func(e *Event) *uint64 { return &e.N }),
	jsonline.Uint("nth", func(e *Event) *uint32 { return &e.Nth }),
	jsonline.Time("time", func(e *Event) *time.Time { return &e.Time }),
	jsonline.Nanos("mono_ns", func(e *Event) *time.Duration { return &e.Mono }),
	jsonline.Millis("offset_ms", func(e *Event) *time.Duration { return &e.Offset }).
		When(func(e *Event) bool { return e.N != 0 || e.Offset != 0 }),
	jsonline.Text("kind", func(e *Event) *Kind { return &e.Kind }),

	jsonline.Text("conn", func(e *Event) *ConnID { return &e.Conn }),
	jsonline.Uint("cookie", func(e *Event) *uint64 { return &e.Cookie }),
	jsonline.Uint("netns", func(e *Event) *uint32 { return &e.NetNS }),
	jsonline.AddrPort("local", func(e *Event) *netip.AddrPort { return &e.Local }),
	jsonline.AddrPort("remote", func(e *Event) *netip.AddrPort { return &e.Remote }),
	jsonline.Text("role", func(e *Event) *Role { return &e.Role }),
	jsonline.Text("state", func(e *Event) *State { return &e.State }),
	jsonline.Text("old_state", func(e *Event) *State { return &e.OldState }),
	jsonline.Uint("isn", func(e *Event) *uint32 { return &e.ISN }),
	jsonline.Uint("peer_isn", func(e *Event) *uint32 { return &e.PeerISN }),
}

// timerKeys are there where a timer was set, or fired.
var timerKeys = jsonline.Object[Event]{
	jsonline.Int("attempt", func(e *Event) *int { return &e.Attempt }),
	jsonline.Int("attempts_expected", func(e *Event) *int { return &e.AttemptsExpected }),
	jsonline.Millis("predicted_offset_ms", func(e *Event) *time.Duration { return &e.Predicted }),
	jsonline.Millis("latest_offset_ms", func(e *Event) *time.Duration { return &e.Latest }),
	jsonline.Millis("late_ms", func(e *Event) *time.Duration { return &e.Late }),
	jsonline.Millis("rto_ms", func(e *Event) *time.Duration { return &e.RTO }),
	jsonline.Int("backoff", func(e *Event) *int { return &e.Backoff }),
	jsonline.Millis("idle_ms", func(e *Event) *time.Duration { return &e.Idle }),
	jsonline.Int("ttl", func(e *Event) *int { return &e.TTL }),
	jsonline.Millis("elapsed_ms", func(e *Event) *time.Duration { return &e.Elapsed }),
	jsonline.Millis("next_due_ms", func(e *Event) *time.Duration { return &e.NextDue }),
	jsonline.Millis("gives_up_ms", func(e *Event) *time.Duration { return &e.GivesUp }),
}

// settingsKeys are there where the settings were read.
var settingsKeys = jsonline.Object[Event]{
	jsonline.Optional("options", func(e *Event) **Options { return &e.Options }),
	jsonline.Optional("sysctls", func(e *Event) **Sysctls { return &e.Sysctls }),
}

// packetKeys are about the packet concerned.
var packetKeys = jsonline.Object[Event]{
	jsonline.Uint("tcp_seq", func(e *Event) *uint32 { return &e.TCPSeq }),
	jsonline.Uint("tcp_ack", func(e *Event) *uint32 { return &e.TCPAck }),
	jsonline.Int("len", func(e *Event) *int { return &e.Len }),
	jsonline.String("ifname", func(e *Event) *string { return &e.IfName }),
	jsonline.String("tcp_flags", func(e *Event) *string { return &e.TCPFlags }),
	jsonline.String("direction", func(e *Event) *string { return &e.Direction }),
	jsonline.String("hook", func(e *Event) *string { return &e.Hook }),
	jsonline.Text("neighbour", func(e *Event) *netip.Addr { return &e.Neighbour }),
}

// ownerKeys are about processes.
var ownerKeys = jsonline.Object[Event]{
	jsonline.Nested("owner", func(e *Event) *Owner { return &e.Owner }),
	jsonline.Nested("context", func(e *Event) *Context { return &e.Context }),
}

// troubleKeys say what went wrong.
var troubleKeys = jsonline.Object[Event]{
	jsonline.Text("errno", func(e *Event) *Errno { return &e.Errno }),
	jsonline.String("reason", func(e *Event) *string { return &e.Reason }),
	jsonline.String("location", func(e *Event) *string { return &e.Location }),
	jsonline.Optional("icmp", func(e *Event) **ICMP { return &e.ICMP }),
	jsonline.Optional("queue", func(e *Event) **Queue { return &e.Queue }),
	jsonline.String("stage", func(e *Event) *string { return &e.Stage }),
	jsonline.String("action", func(e *Event) *string { return &e.Action }),
	jsonline.String("trigger", func(e *Event) *string { return &e.Trigger }),
}

// endKeys are there at an accept, at a close, or about what was seen of either.
var endKeys = jsonline.Object[Event]{
	jsonline.Millis("waited_ms", func(e *Event) *time.Duration { return &e.Waited }),
	jsonline.String("closed_by", func(e *Event) *string { return &e.ClosedBy }),
	jsonline.Int("count", func(e *Event) *int { return &e.Count }),
	jsonline.Uint("total", func(e *Event) *uint32 { return &e.Total }),
	jsonline.Int("retransmits", func(e *Event) *int { return &e.Retransmits }),
	jsonline.Int("probes_out", func(e *Event) *int { return &e.ProbesOut }),
	jsonline.Optional("traffic", func(e *Event) **Traffic { return &e.Traffic }),
	jsonline.Bool("pre_existing", func(e *Event) *bool { return &e.PreExisting }),
	jsonline.Bool("unseen", func(e *Event) *bool { return &e.Unseen }),
	jsonline.Bool("by_cookie", func(e *Event) *bool { return &e.ByCookie }),
	jsonline.Bool("kept_here", func(e *Event) *bool { return &e.KeptHere }),
	jsonline.Bool("local_congestion", func(e *Event) *bool { return &e.LocalCongestion }),
	jsonline.Bool("ambiguous", func(e *Event) *bool { return &e.Ambiguous }),
}

// AppendJSON adds the event as an object.
func (e *Event) AppendJSON(dst []byte) []byte { return eventObject.Append(dst, e, "") }

// AppendLine adds the event as an object whose first key, "type", is line. It adds no newline.
func (e *Event) AppendLine(dst []byte, line string) []byte { return eventObject.Append(dst, e, line) }

// MarshalJSON is [Event.AppendJSON]; it never fails.
func (e Event) MarshalJSON() ([]byte, error) { return e.AppendJSON(nil), nil }

// UnmarshalJSON reads what MarshalJSON wrote, to the nanosecond. Its errors name the key; after one, e is as it was
// before.
func (e *Event) UnmarshalJSON(text []byte) error { return eventObject.Unmarshal(text, e) }
