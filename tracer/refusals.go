package tracer

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"tcptrace/tracer/event"
	"tcptrace/tracer/host"
)

// Refusals are what one listener has refused since the trace began because a queue of its was full. Every one is counted
// here, while of many in one second only some are told as events.
type Refusals struct {
	// ID tells listeners apart. It is opaque, and 0 for those of which nobody knows which of the namespace's listeners
	// refused them.
	ID    uint64
	NetNS uint32
	Local netip.AddrPort // what it is bound to
	Owner event.Owner
	// Max is the length of its accept queue (sk_max_ack_backlog), at the first refusal.
	Max int

	SYNs        uint64 // dropped: the accept queue was full
	FinalACKs   uint64 // dropped with what followed them: the accept queue was full
	QueueDrops  uint64 // SYNs dropped: the SYN queue was full
	CookiesSent uint64 // SYNs answered by a SYN cookie: the SYN queue was full

	// UntoldOverflows and UntoldQueueFull are those of the first two and of the last two that no event stands for, neither
	// by itself nor in another one's Count.
	UntoldOverflows uint64
	UntoldQueueFull uint64
}

// Overflows is what the listener adds to ListenOverflows of its network namespace.
func (r *Refusals) Overflows() uint64 { return r.SYNs + r.FinalACKs }

// Refusals lists every listener that has refused anything, and for each namespace what is nobody's, those that refused the
// most first. Listeners that the filter leaves out, by owner or namespace, are not among them.
func (t *Tracer) Refusals() ([]Refusals, error) {
	t.bygone.mu.Lock()
	defer t.bygone.mu.Unlock()
	kept, err := t.keptRefusals()
	if err != nil {
		return nil, fmt.Errorf("count refusals: %w", err)
	}
	all := slices.AppendSeq(make([]Refusals, 0, len(kept)), maps.Values(t.bygone.with(kept)))
	slices.SortFunc(all, func(a, b Refusals) int {
		return cmp.Or(cmp.Compare(b.Overflows()+b.QueueDrops, a.Overflows()+a.QueueDrops), cmp.Compare(b.CookiesSent, a.CookiesSent))
	})
	return all, nil
}

// keptRefusals are those that the kernel side keeps.
func (t *Tracer) keptRefusals() (map[bpfRefuserKey]Refusals, error) {
	// Its own, as the reader's is in use.
	names := decoder{comms: make(map[[16]int8]string), cgroups: host.NewCgroups().Lookup}
	kept := make(map[bpfRefuserKey]Refusals)
	var key bpfRefuserKey
	var totals []bpfRefusalTotals
	entries := t.shared.Maps[bpfMapRefusals].Iterate()
	for entries.Next(&key, &totals) {
		r := Refusals{ID: key.Listener, NetNS: key.Netns}
		for i := range totals { // each CPU
			r.add(&totals[i])
		}
		if err := t.introduce(&names, &r, &key); err != nil {
			return nil, err
		}
		kept[key] = r
	}
	return kept, entries.Err()
}

// add adds what one CPU has counted.
func (r *Refusals) add(on *bpfRefusalTotals) {
	r.SYNs += on.Total[bpfRefusalREFUSED_SYN]
	r.FinalACKs += on.Total[bpfRefusalREFUSED_ACK]
	r.QueueDrops += on.Total[bpfRefusalREFUSED_DROP]
	r.CookiesSent += on.Total[bpfRefusalREFUSED_COOKIE]
	r.UntoldOverflows += uint64(on.Untold[bpfRefusalREFUSED_SYN]) + uint64(on.Untold[bpfRefusalREFUSED_ACK])
	r.UntoldQueueFull += uint64(on.Untold[bpfRefusalREFUSED_DROP]) + uint64(on.Untold[bpfRefusalREFUSED_COOKIE])
}

// introduce fills in who the listener is, or was.
func (t *Tracer) introduce(names *decoder, r *Refusals, key *bpfRefuserKey) error {
	var who bpfRefuser
	if key.Listener == 0 || t.shared.Maps[bpfMapRefusers].Lookup(key, &who) != nil {
		return nil
	}
	local, _, err := endpoints(who.Family, who.Local, who.Port, [16]uint8{}, 0)
	if err != nil {
		return err
	}
	r.Local, r.Max = local, int(who.Max)
	if who.Owner.Pid != 0 {
		r.Owner = names.owner(who.Owner.Pid, who.Owner.Uid, who.Owner.Comm, who.Owner.Cgroup)
	}
	return nil
}
