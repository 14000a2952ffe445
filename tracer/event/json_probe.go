package event

import (
	"net/netip"
	"time"

	"tcptrace/tracer/jsonline"
)

var probeObject = jsonline.Object[Probe]{
	jsonline.String("target", func(p *Probe) *string { return &p.Target }),
	jsonline.AddrPort("remote", func(p *Probe) *netip.AddrPort { return &p.Remote }),
	jsonline.AddrPort("local", func(p *Probe) *netip.AddrPort { return &p.Local }),
	jsonline.Uint("cookie", func(p *Probe) *uint64 { return &p.Cookie }),
	jsonline.Int("run", func(p *Probe) *int { return &p.Run }),

	jsonline.Time("started", func(p *Probe) *time.Time { return &p.Started }),
	jsonline.Nanos("started_mono_ns", func(p *Probe) *time.Duration { return &p.StartedMono }),
	jsonline.Millis("resolve_ms", func(p *Probe) *time.Duration { return &p.Resolve }),
	jsonline.Millis("connect_ms", func(p *Probe) *time.Duration { return &p.Connect }),
	jsonline.Millis("lifetime_ms", func(p *Probe) *time.Duration { return &p.Lifetime }),

	jsonline.Bool("connected", func(p *Probe) *bool { return &p.Connected }).Always(),
	jsonline.Text("errno", func(p *Probe) *Errno { return &p.Errno }),
	jsonline.Bool("synchronous", func(p *Probe) *bool { return &p.Synchronous }),
	jsonline.String("gave_up", func(p *Probe) *string { return &p.GaveUp }),
	jsonline.Millis("timeout_ms", func(p *Probe) *time.Duration { return &p.Timeout }),
	jsonline.Optional("icmp", func(p *Probe) **ICMP { return &p.ICMP }),

	jsonline.Bool("has_info", func(p *Probe) *bool { return &p.HasInfo }),
	jsonline.Micros("rtt_us", func(p *Probe) *time.Duration { return &p.RTT }),
	jsonline.Int("total_retrans", func(p *Probe) *int { return &p.TotalRetrans }),
	jsonline.Int("retransmits", func(p *Probe) *int { return &p.Retransmits }),
	jsonline.Text("state", func(p *Probe) *State { return &p.State }),

	jsonline.Int("bytes_sent", func(p *Probe) *int64 { return &p.BytesSent }),
	jsonline.Int("bytes_acked", func(p *Probe) *int64 { return &p.BytesAcked }),
	jsonline.Int("bytes_received", func(p *Probe) *int64 { return &p.BytesReceived }),
	jsonline.String("expected", func(p *Probe) *string { return &p.Expected }),
	jsonline.Bool("expect_met", func(p *Probe) *bool { return &p.ExpectMet }),
	jsonline.Text("exchange_errno", func(p *Probe) *Errno { return &p.ExchangeErrno }),
	jsonline.Bool("peer_closed", func(p *Probe) *bool { return &p.PeerClosed }),
	jsonline.Millis("held_ms", func(p *Probe) *time.Duration { return &p.HeldFor }),
	jsonline.Text("hold_errno", func(p *Probe) *Errno { return &p.HoldErrno }),
	jsonline.Text("write_errno", func(p *Probe) *Errno { return &p.WriteErrno }),

	jsonline.Optional("options", func(p *Probe) **Options { return &p.Options }),
}

// AppendJSON adds the probe as an object.
func (p *Probe) AppendJSON(dst []byte) []byte { return probeObject.Append(dst, p, "") }

// AppendLine adds the probe as an object whose first key, "type", is line. It adds no newline.
func (p *Probe) AppendLine(dst []byte, line string) []byte { return probeObject.Append(dst, p, line) }

// MarshalJSON is [Probe.AppendJSON]; it never fails.
func (p Probe) MarshalJSON() ([]byte, error) { return p.AppendJSON(nil), nil }

// UnmarshalJSON reads what MarshalJSON wrote, to the nanosecond. Its errors name the key; after one, p is as it was
// before.
func (p *Probe) UnmarshalJSON(text []byte) error { return probeObject.Unmarshal(text, p) }

var resolutionObject = jsonline.Object[Resolution]{
	jsonline.String("target", func(r *Resolution) *string { return &r.Target }),
	jsonline.String("name", func(r *Resolution) *string { return &r.Name }),
	jsonline.Texts("addresses", func(r *Resolution) *[]netip.Addr { return &r.Addresses }).Always(),
	jsonline.Millis("took_ms", func(r *Resolution) *time.Duration { return &r.Took }),
	jsonline.String("error", func(r *Resolution) *string { return &r.Err }),
}

// AppendJSON adds the resolution as an object.
func (r *Resolution) AppendJSON(dst []byte) []byte { return resolutionObject.Append(dst, r, "") }

// AppendLine adds the resolution as an object whose first key, "type", is line. It adds no newline.
func (r *Resolution) AppendLine(dst []byte, line string) []byte {
	return resolutionObject.Append(dst, r, line)
}

// MarshalJSON is [Resolution.AppendJSON]; it never fails.
func (r Resolution) MarshalJSON() ([]byte, error) { return r.AppendJSON(nil), nil }

// UnmarshalJSON reads what MarshalJSON wrote, to the nanosecond. Its errors name the key; after one, r is as it was
// before.
func (r *Resolution) UnmarshalJSON(text []byte) error { return resolutionObject.Unmarshal(text, r) }
