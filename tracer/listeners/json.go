package listeners

import (
	"net/netip"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/jsonline"
	"tcptrace/tracer/sockets"
)

// line is a listener as it is written: what is worked out besides what was read.
type line struct {
	Listener
	listening             sockets.Listening
	accept, syn, fastOpen event.Queue
	backlog               int
	bound                 Bound
	deferred, over        time.Duration
	owners                []event.Owner
	dropsChange, accepted int
	sharing               int // listeners; 0: it is the only one
	rate                  float64
	watched, wasCounted   bool // what was read has Recent, and its Accepted
}

// lineObject is a line about one listener. Times are in milliseconds from when it was read, which mono_ns tells; what the
// kernel has is known even where it is 0.
var lineObject = jsonline.Object[line]{
	jsonline.Nanos("mono_ns", func(l *line) *time.Duration { return &l.Mono }),
	jsonline.AddrPort("local", func(l *line) *netip.AddrPort { return &l.Local }),
	jsonline.Bool("ipv6_only", func(l *line) *bool { return &l.listening.IPv6Only }),
	jsonline.String("device", func(l *line) *string { return &l.Device }),
	jsonline.Uint("netns", func(l *line) *uint32 { return &l.NetNS }),
	jsonline.Uint("cookie", func(l *line) *uint64 { return &l.Cookie }),
	jsonline.Uint("inode", func(l *line) *uint64 { return &l.Inode }),
	jsonline.Nested("owner", func(l *line) *event.Owner { return &l.Owner }),
	jsonline.Objects("owners", func(l *line) *[]event.Owner { return &l.owners }).When(func(l *line) bool { return len(l.Others) > 0 }),
	jsonline.Uint("uid", func(l *line) *uint32 { return &l.UID }).When(func(l *line) bool { return l.HasUID }).
		Found(func(l *line) { l.HasUID = true }),

	jsonline.Nested("accept_queue", func(l *line) *event.Queue { return &l.accept }).Always(),
	jsonline.Millis("oldest_waiting_ms", func(l *line) *time.Duration { return &l.Waiting }).When(func(l *line) bool { return l.HasWaiting }).
		Found(func(l *line) { l.HasWaiting = true }),
	jsonline.Nested("syn_queue", func(l *line) *event.Queue { return &l.syn }).When(func(l *line) bool { return l.HasSYNs }).
		Found(func(l *line) { l.HasSYNs = true }),
	jsonline.Int("syn_young", func(l *line) *int { return &l.listening.Young }).When(whole).
		Found(func(l *line) { l.listening.Whole = true }),
	jsonline.Int("backlog", func(l *line) *int { return &l.backlog }).Always(),
	jsonline.String("backlog_bound_by", func(l *line) *Bound { return &l.bound }),
	jsonline.Int("somaxconn", func(l *line) *int { return &l.Limits.SoMaxConn }),
	jsonline.Int("tcp_max_syn_backlog", func(l *line) *int { return &l.Limits.MaxSYNBacklog }),
	jsonline.Int("tcp_syncookies", func(l *line) *int { return &l.Limits.SYNCookies }).When(func(l *line) bool { return l.Limits.HasSYNCookies }).
		Found(func(l *line) { l.Limits.HasSYNCookies = true }),
	jsonline.Millis("defer_accept_ms", func(l *line) *time.Duration { return &l.deferred }),
	jsonline.Nested("fastopen_queue", func(l *line) *event.Queue { return &l.fastOpen }).When(func(l *line) bool { return l.fastOpen.Max > 0 }),
	jsonline.Bool("reuseport", func(l *line) *bool { return &l.listening.ReusePort }),
	jsonline.Int("reuseport_group", func(l *line) *int { return &l.listening.Group }),

	jsonline.Int("drops", func(l *line) *int { return &l.Drops }).Always(),
	jsonline.Millis("over_ms", func(l *line) *time.Duration { return &l.over }),
	jsonline.Int("drops_change", func(l *line) *int { return &l.dropsChange }).When(func(l *line) bool { return l.Recent != nil }).
		Found(func(l *line) { l.watched = true }),
	jsonline.Int("accepted", func(l *line) *int { return &l.accepted }).When(counted).
		Found(func(l *line) { l.wasCounted = true }),
	jsonline.Float("accept_rate", func(l *line) *float64 { return &l.rate }).When(counted),
	jsonline.Int("accepted_together_by", func(l *line) *int { return &l.sharing }),
	jsonline.Objects("warnings", func(l *line) *[]Warning { return &l.Warnings }).Always(),
}

func whole(l *line) bool { return l.listening.Whole }

func counted(l *line) bool { return l.Recent != nil && l.Recent.HasAccepted }

// AppendLine adds the listener as an object whose first key, "type", is kind. It adds no newline.
func (l *Listener) AppendLine(dst []byte, kind string) []byte {
	told := line{
		Listener: *l, listening: *l.Listening, accept: l.Accept(), syn: l.SYN(), fastOpen: l.Listening.FastOpen,
		backlog: l.Backlog(), bound: l.BoundBy(), deferred: l.DeferAccept(), owners: l.Owners(),
	}
	if r := l.Recent; r != nil {
		told.over, told.dropsChange, told.accepted, told.rate = r.Over, r.Drops, r.Accepted, r.Rate()
		if r.Sharing > 1 {
			told.sharing = r.Sharing
		}
	}
	return lineObject.Append(dst, &told, kind)
}

// UnmarshalJSON reads what [Listener.AppendLine] wrote; its errors name the key. The state is not written, nor is what only
// the kernel needs to tell the listener from others.
func (l *Listener) UnmarshalJSON(text []byte) error {
	var told line
	if err := lineObject.Unmarshal(text, &told); err != nil {
		return err
	}
	*l = told.Listener
	l.State, l.Listening = event.StateListen, &told.listening
	l.Listening.Accept, l.Listening.SYNs, l.Listening.FastOpen = told.accept, told.syn.Len, told.fastOpen
	for l.Listening.Deferred < maxDeferred && l.DeferAccept() < told.deferred {
		l.Listening.Deferred++
	}
	if len(told.owners) > 1 {
		l.Others = told.owners[1:]
	}
	if told.watched {
		l.Recent = &Recent{
			Over: told.over, Drops: told.dropsChange, Accepted: told.accepted, HasAccepted: told.wasCounted, Sharing: told.sharing,
		}
	}
	return nil
}

// maxDeferred is the most that the kernel has room for (rskq_defer_accept).
const maxDeferred = 255
