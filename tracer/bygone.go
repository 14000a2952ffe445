package tracer

import (
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/cilium/ebpf"
)

// bygone are the refusals of listeners that are gone, and that the kernel side has forgotten to have room for others.
type bygone struct {
	mu  sync.Mutex
	all map[bpfRefuserKey]Refusals
}

// with adds them to those that the kernel side keeps: more of a namespace's that are nobody's may be there by now.
func (b *bygone) with(kept map[bpfRefuserKey]Refusals) map[bpfRefuserKey]Refusals {
	all := maps.Clone(b.all)
	if all == nil {
		return kept
	}
	for key, r := range kept {
		all[key] = r.plus(all[key])
	}
	return all
}

// plus is r with what was refused before.
func (r Refusals) plus(before Refusals) Refusals {
	r.SYNs += before.SYNs
	r.FinalACKs += before.FinalACKs
	r.QueueDrops += before.QueueDrops
	r.CookiesSent += before.CookiesSent
	r.UntoldOverflows += before.UntoldOverflows
	r.UntoldQueueFull += before.UntoldQueueFull
	return r
}

// MakeRoom takes from the kernel side what listeners have refused that are gone, once those that it keeps, of 1,024 for which
// it has room, are more than half of these. [Tracer.Refusals] goes on to list them. Who traces for long calls it now and then.
func (t *Tracer) MakeRoom() error {
	t.bygone.mu.Lock()
	defer t.bygone.mu.Unlock()
	if err := t.takeBygone(); err != nil {
		return fmt.Errorf("make room for refusals: %w", err)
	}
	return nil
}

func (t *Tracer) takeBygone() error {
	kept, err := t.keptRefusals()
	if err != nil || len(kept) <= int(t.shared.Maps[bpfMapRefusals].MaxEntries())/2 {
		return err
	}
	alive, err := t.listening() // later: all of them had a listener
	if err != nil {
		return err
	}
	maps.DeleteFunc(kept, func(key bpfRefuserKey, _ Refusals) bool { return alive[key] })
	t.bygone.all = t.bygone.with(kept)
	for key := range kept {
		for _, m := range []string{bpfMapRefusals, bpfMapRefusers} {
			if err := t.shared.Maps[m].Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				return err
			}
		}
	}
	return nil
}

// listening are the keys by which somebody may yet refuse: those of listeners, and of their namespaces.
func (t *Tracer) listening() (map[bpfRefuserKey]bool, error) {
	alive := make(map[bpfRefuserKey]bool)
	var socket uint64
	var l bpfListener
	entries := t.shared.Maps[bpfMapListeners].Iterate()
	for entries.Next(&socket, &l) {
		alive[bpfRefuserKey{Listener: l.Id, Netns: l.Netns}] = true
		alive[bpfRefuserKey{Netns: l.Netns}] = true
	}
	return alive, entries.Err()
}
