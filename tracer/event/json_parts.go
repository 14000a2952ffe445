package event

import (
	"net/netip"
	"time"

	"tcptrace/tracer/jsonline"
)

// A UID of 0 is root's where there is an owner, and nothing otherwise.
var ownerObject = jsonline.Object[Owner]{
	jsonline.Int("pid", func(o *Owner) *int { return &o.PID }),
	jsonline.String("comm", func(o *Owner) *string { return &o.Comm }),
	jsonline.Uint("uid", func(o *Owner) *uint32 { return &o.UID }).
		When(func(o *Owner) bool { return o.Known() || o.UID != 0 }),
	jsonline.String("cgroup", func(o *Owner) *string { return &o.Cgroup }),
	jsonline.String("container", func(o *Owner) *string { return &o.Container }),
	jsonline.Uint("cgroup_id", func(o *Owner) *uint64 { return &o.CgroupID }),
	jsonline.String("via", func(o *Owner) *string { return &o.Via }),
}

// AppendJSON adds the owner as an object.
func (o *Owner) AppendJSON(dst []byte) []byte { return ownerObject.Append(dst, o, "") }

// MarshalJSON is [Owner.AppendJSON]; it never fails.
func (o Owner) MarshalJSON() ([]byte, error) { return o.AppendJSON(nil), nil }

// UnmarshalJSON reads what MarshalJSON wrote; its errors name the key.
func (o *Owner) UnmarshalJSON(text []byte) error { return ownerObject.Unmarshal(text, o) }

// Process 0 and CPU 0 are where a hook may well run.
var contextObject = jsonline.Object[Context]{
	jsonline.Int("pid", func(c *Context) *int { return &c.PID }).Always(),
	jsonline.String("comm", func(c *Context) *string { return &c.Comm }),
	jsonline.Int("cpu", func(c *Context) *int { return &c.CPU }).Always(),
}

// AppendJSON adds the context as an object.
func (c *Context) AppendJSON(dst []byte) []byte { return contextObject.Append(dst, c, "") }

// MarshalJSON is [Context.AppendJSON]; it never fails.
func (c Context) MarshalJSON() ([]byte, error) { return c.AppendJSON(nil), nil }

// UnmarshalJSON reads what MarshalJSON wrote; its errors name the key.
func (c *Context) UnmarshalJSON(text []byte) error { return contextObject.Unmarshal(text, c) }

var icmpObject = jsonline.Object[ICMP]{
	jsonline.Int("type", func(i *ICMP) *int { return &i.Type }).Always(),
	jsonline.Int("code", func(i *ICMP) *int { return &i.Code }).Always(),
	jsonline.String("name", func(i *ICMP) *string { return &i.Name }),
	jsonline.Text("from", func(i *ICMP) *netip.Addr { return &i.From }),
	jsonline.Int("mtu", func(i *ICMP) *int { return &i.MTU }),
}

// AppendJSON adds the ICMP error as an object.
func (i *ICMP) AppendJSON(dst []byte) []byte { return icmpObject.Append(dst, i, "") }

// MarshalJSON is [ICMP.AppendJSON]; it never fails.
func (i ICMP) MarshalJSON() ([]byte, error) { return i.AppendJSON(nil), nil }

// UnmarshalJSON reads what MarshalJSON wrote; its errors name the key.
func (i *ICMP) UnmarshalJSON(text []byte) error { return icmpObject.Unmarshal(text, i) }

var queueObject = jsonline.Object[Queue]{
	jsonline.Int("len", func(q *Queue) *int { return &q.Len }).Always(),
	jsonline.Int("max", func(q *Queue) *int { return &q.Max }).Always(),
}

// AppendJSON adds the queue as an object.
func (q *Queue) AppendJSON(dst []byte) []byte { return queueObject.Append(dst, q, "") }

// MarshalJSON is [Queue.AppendJSON]; it never fails.
func (q Queue) MarshalJSON() ([]byte, error) { return q.AppendJSON(nil), nil }

// UnmarshalJSON reads what MarshalJSON wrote; its errors name the key.
func (q *Queue) UnmarshalJSON(text []byte) error { return queueObject.Unmarshal(text, q) }

// Whether keepalive is on is always known with the other options; a number that is not set is absent.
var optionsObject = jsonline.Object[Options]{
	jsonline.Int("tcp_syncnt", func(o *Options) *int { return &o.SYNRetries }),
	jsonline.Millis("tcp_user_timeout_ms", func(o *Options) *time.Duration { return &o.UserTimeout }),
	jsonline.Bool("so_keepalive", func(o *Options) *bool { return &o.KeepAlive }).Always(),
	jsonline.Millis("tcp_keepidle_ms", func(o *Options) *time.Duration { return &o.KeepaliveIdle }),
	jsonline.Millis("tcp_keepintvl_ms", func(o *Options) *time.Duration { return &o.KeepaliveInterval }),
	jsonline.Int("tcp_keepcnt", func(o *Options) *int { return &o.KeepaliveCount }),
	jsonline.Millis("tcp_rto_max_ms", func(o *Options) *time.Duration { return &o.RTOMax }),
	jsonline.Millis("tcp_linger2_ms", func(o *Options) *time.Duration { return &o.Linger2 }),
	jsonline.Int("backlog", func(o *Options) *int { return &o.Backlog }),
	jsonline.Uint("so_mark", func(o *Options) *uint32 { return &o.Mark }),
	jsonline.Int("so_bindtoifindex", func(o *Options) *int { return &o.Device }),
}

// AppendJSON adds the options as an object.
func (o *Options) AppendJSON(dst []byte) []byte { return optionsObject.Append(dst, o, "") }

// MarshalJSON is [Options.AppendJSON]; it never fails.
func (o Options) MarshalJSON() ([]byte, error) { return o.AppendJSON(nil), nil }

// UnmarshalJSON reads what MarshalJSON wrote; its errors name the key.
func (o *Options) UnmarshalJSON(text []byte) error { return optionsObject.Unmarshal(text, o) }

// The presence of tcp_syn_linear_timeouts says whether the kernel has it, so 0 is written too.
var sysctlsObject = jsonline.Object[Sysctls]{
	jsonline.Int("tcp_syn_retries", func(s *Sysctls) *int { return &s.SYNRetries }),
	jsonline.Int("tcp_syn_linear_timeouts", func(s *Sysctls) *int { return &s.SYNLinearTimeouts }).
		When(func(s *Sysctls) bool { return s.HasSYNLinearTimeouts }).
		Found(func(s *Sysctls) { s.HasSYNLinearTimeouts = true }),
	jsonline.Int("tcp_synack_retries", func(s *Sysctls) *int { return &s.SYNACKRetries }),
	jsonline.Int("tcp_retries1", func(s *Sysctls) *int { return &s.Retries1 }),
	jsonline.Int("tcp_retries2", func(s *Sysctls) *int { return &s.Retries2 }),
	jsonline.Int("tcp_orphan_retries", func(s *Sysctls) *int { return &s.OrphanRetries }),
	jsonline.Millis("tcp_rto_max_ms", func(s *Sysctls) *time.Duration { return &s.RTOMax }),
	jsonline.Millis("tcp_keepalive_time_ms", func(s *Sysctls) *time.Duration { return &s.KeepaliveIdle }),
	jsonline.Millis("tcp_keepalive_intvl_ms", func(s *Sysctls) *time.Duration { return &s.KeepaliveInterval }),
	jsonline.Int("tcp_keepalive_probes", func(s *Sysctls) *int { return &s.KeepaliveCount }),
	jsonline.Millis("tcp_fin_timeout_ms", func(s *Sysctls) *time.Duration { return &s.FinTimeout }),
	jsonline.Bool("tcp_abort_on_overflow", func(s *Sysctls) *bool { return &s.AbortOnOverflow }),
	jsonline.Int("tcp_syncookies", func(s *Sysctls) *int { return &s.SYNCookies }),
	jsonline.Bool("synack_rto_max", func(s *Sysctls) *bool { return &s.SYNACKRTOMax }),
}

// AppendJSON adds the sysctls as an object.
func (s *Sysctls) AppendJSON(dst []byte) []byte { return sysctlsObject.Append(dst, s, "") }

// MarshalJSON is [Sysctls.AppendJSON]; it never fails.
func (s Sysctls) MarshalJSON() ([]byte, error) { return s.AppendJSON(nil), nil }

// UnmarshalJSON reads what MarshalJSON wrote; its errors name the key.
func (s *Sysctls) UnmarshalJSON(text []byte) error { return sysctlsObject.Unmarshal(text, s) }

// Of what a connection carried, nothing is as much a fact as a number.
var trafficObject = jsonline.Object[Traffic]{
	jsonline.Int("bytes_sent", func(t *Traffic) *int64 { return &t.BytesSent }).Always(),
	jsonline.Int("bytes_acked", func(t *Traffic) *int64 { return &t.BytesAcked }).Always(),
	jsonline.Int("bytes_received", func(t *Traffic) *int64 { return &t.BytesReceived }).Always(),
	jsonline.Int("retransmits", func(t *Traffic) *int { return &t.Retransmits }).Always(),
	jsonline.Int("unacked_bytes", func(t *Traffic) *int { return &t.Unacked }).Always(),
	jsonline.Int("unsent_bytes", func(t *Traffic) *int { return &t.Unsent }).Always(),
	jsonline.Int("unread_bytes", func(t *Traffic) *int { return &t.Unread }).Always(),
	jsonline.Int("send_window_bytes", func(t *Traffic) *int { return &t.SendWindow }).Always(),
}

// AppendJSON adds the traffic as an object.
func (t *Traffic) AppendJSON(dst []byte) []byte { return trafficObject.Append(dst, t, "") }

// MarshalJSON is [Traffic.AppendJSON]; it never fails.
func (t Traffic) MarshalJSON() ([]byte, error) { return t.AppendJSON(nil), nil }

// UnmarshalJSON reads what MarshalJSON wrote; its errors name the key.
func (t *Traffic) UnmarshalJSON(text []byte) error { return trafficObject.Unmarshal(text, t) }
