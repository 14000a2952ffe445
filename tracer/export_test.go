package tracer

import (
	"errors"
	"io"
	"strings"

	"github.com/cilium/ebpf/link"

	"tcptrace/tracer/event"
)

// SecondCopiesPassedBy is how often the kernel ran neither copy of a program at an event, or not the second when the first had
// done the work: it tells no difference.
func (t *Tracer) SecondCopiesPassedBy() (all uint64) {
	for _, l := range t.attacher.links {
		if l.copy == 0 {
			continue
		}
		if stats, err := l.program.Stats(); err == nil {
			all += stats.RecursionMisses
		}
	}
	return all
}

// WithoutStates has the kernel run no program at changes of state for as long as f takes, as if it had left out each copy.
func (t *Tracer) WithoutStates(f func()) error {
	var detached []*attachment
	var errs []error
	for i := range t.attacher.links {
		l := &t.attacher.links[i]
		info, err := l.program.Info()
		if err != nil {
			return err
		}
		if strings.HasPrefix(info.Name, "state_") {
			detached = append(detached, l)
			errs = append(errs, l.link.Close())
		}
	}
	f()
	for _, l := range detached {
		again, err := t.attachStates(l)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		l.link = again
	}
	return errors.Join(errs...)
}

func (t *Tracer) attachStates(l *attachment) (io.Closer, error) {
	if t.Mechanism(event.StateChange) == Kprobe {
		return link.Kprobe("tcp_set_state", l.program, nil)
	}
	return link.AttachTracing(link.TracingOptions{Program: l.program})
}
