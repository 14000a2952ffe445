package tracer

import "tcptrace/tracer/event"

// ttlHook is how it is seen with which time to live the peer's part of a handshake came, and a RST: what
// [event.Event].TTL says. A server's socket knows that of the final ACK by itself. Without it no event is missing.
var ttlHook = hook{
	kind: event.ResetReceived,
	ways: []way{
		{Fentry, programs(bpfProgTtlResetFentry, bpfProgTtlSynackFentry), requirements(functionHas("tcp_reset", 2)), ""},
		{Kprobe, programs(bpfProgTtlResetKprobe, bpfProgTtlSynackKprobe), requirements(functionHas("tcp_reset", 2)), kprobesSkip},
	},
	cost: "without a look at each packet, the time to live of a RST is not known, nor that of a SYN-ACK",
}

// ttlOfEach is ttlHook for who looks at each packet anyway: one way for all kernels, whatever mechanism is allowed, and
// one that a busy CPU does not pass by.
var ttlOfEach = hook{
	kind: event.ResetReceived,
	ways: append([]way{
		{Tracepoint, programs(bpfProgTtlCgroup), nil, ""},
		{Fentry, programs(bpfProgTtlCgroup), nil, ""},
		{Kprobe, programs(bpfProgTtlCgroup), nil, ""},
	}, ttlHook.ways...),
	cost: "the time to live of a RST is not known, nor that of a SYN-ACK",
}

// ttlOf is how it is to be seen for these options, if they ask for resets.
func ttlOf(opts *Options) (h hook, wanted bool) {
	if opts.Packets {
		return ttlOfEach, opts.wants(event.ResetReceived)
	}
	return ttlHook, opts.wants(event.ResetReceived)
}

// attachTTL attaches them for who wants resets told.
func (t *Tracer) attachTTL(opts *Options) {
	if h, wanted := ttlOf(opts); wanted {
		t.ttl = t.attacher.choose(h)
	}
}

// TTL says how it is seen with which time to live the peer's packets come. It is no kind of event, and may be missing from
// those that have it.
func (t *Tracer) TTL() Hook { return t.ttl }
