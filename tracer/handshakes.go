package tracer

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"tcptrace/tracer/event"
)

// Handshake is how one connect was answered.
type Handshake struct {
	Remote netip.AddrPort
	Began  time.Duration // connect(), just before the first SYN; on CLOCK_MONOTONIC
	Ended  time.Duration // the answer
	SYNs   int           // sent by then
	Errno  event.Errno   // of the answer; 0: it is connected
}

// HandshakeOptions says whose handshakes to time.
type HandshakeOptions struct {
	// PID is the process, by its number in the host's first PID namespace.
	PID int
	// MaxPending is how many connects can be under way at a time; 0 means 65,536. What finds no room is counted as lost.
	MaxPending int
	// RingBytes is the size of the ring buffer, rounded up to a power of two and whole pages; 0 means 2 MiB, which is
	// some 37,000 answers between two looks.
	RingBytes int
	// Mechanisms restricts the choice; nil means all.
	Mechanisms []Mechanism
	// BTF is a file with the kernel's types, for kernels that do not have them themselves.
	BTF string
}

// defaultHandshakeRing is the size of the ring buffer of one who looks at it each few milliseconds.
const defaultHandshakeRing = 2 << 20

// Handshakes times the connects of one process, and does nothing else: a [Tracer] that tells only when each was answered,
// for very many at a time. Its records are there before the process itself is told of an answer, so that there is
// never anything to wait for. Silence is not told.
//
// It belongs to one goroutine.
type Handshakes struct {
	attacher *attacher
	shared   *ebpf.Collection
	reader   *ringbuf.Reader
	record   ringbuf.Record
	hook     Hook
}

// OpenHandshakes starts to time connects; the caller closes it. The error is [ErrPrivilege], [ErrNoBTF] or a
// [*NothingError] where one of these is the reason.
func OpenHandshakes(opts HandshakeOptions) (*Handshakes, error) {
	if err := checkPrivilege(); err != nil {
		return nil, err
	}
	basis := NewBasis(opts.BTF)
	begin(basis.programs)
	kernel, err := basis.kernel()
	if err != nil {
		return nil, err
	}
	spec, err := basis.spec()
	if err != nil {
		return nil, err
	}
	if err := configureHandshakes(spec, &opts); err != nil {
		return nil, err
	}
	a, err := newAttacher(spec, opts.Mechanisms)
	if err != nil {
		return nil, err
	}
	h := &Handshakes{shared: a.shared, attacher: a}
	if err := h.start(kernel); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// handshakeMaps are those that the programs use: the others are not made.
var handshakeMaps = []string{bpfMapEvents, bpfMapHandshakes, bpfMapLost, constants}

func configureHandshakes(spec *ebpf.CollectionSpec, opts *HandshakeOptions) error {
	if err := spec.Variables[bpfVarHandshakesOf].Set(uint32(opts.PID)); err != nil {
		return fmt.Errorf("set %s: %w", bpfVarHandshakesOf, err)
	}
	maps.DeleteFunc(spec.Maps, func(name string, _ *ebpf.MapSpec) bool { return !slices.Contains(handshakeMaps, name) })
	maps.DeleteFunc(spec.Variables, func(_ string, v *ebpf.VariableSpec) bool { return v.SectionName != constants })
	if opts.RingBytes == 0 {
		opts.RingBytes = defaultHandshakeRing
	}
	spec.Maps[bpfMapEvents].MaxEntries = ringSize(opts.RingBytes)
	if opts.MaxPending > 0 {
		spec.Maps[bpfMapHandshakes].MaxEntries = uint32(opts.MaxPending)
	}
	return nil
}

// handshakeHook is how they are seen. A softirq that interrupts the only copy of a program would bring the answers to 64
// connects and more unseen. The second copy overwrites when a connect began, and finds nothing of an answer that the first saw.
var handshakeHook = hook{
	kind: event.Established,
	ways: []way{
		{Tracepoint, twice(bpfProgHandshakesTracepoint), nil, ""},
		{Fentry, twice(bpfProgHandshakesFentry), nil, ""},
		{Kprobe, programs(bpfProgHandshakesKprobe), nil, kprobesSkip},
	},
	cost: "it is not known when which answer came",
}

func (h *Handshakes) start(kernel *kernel) (err error) {
	if err := h.attacher.setKernel(kernel); err != nil {
		return err
	}
	if h.reader, err = ringbuf.NewReader(h.shared.Maps[bpfMapEvents]); err != nil {
		return fmt.Errorf("open the ring buffer: %w", err)
	}
	h.reader.SetDeadline(time.Unix(1, 0)) // long ago: reading never waits
	if h.hook = h.attacher.choose(handshakeHook); h.hook.Mechanism == "" {
		return &NothingError{[]Hook{h.hook}}
	}
	return nil
}

// Hook says how they are seen.
func (h *Handshakes) Hook() Hook { return h.hook }

// Read takes the next record, if there is one, without waiting.
func (h *Handshakes) Read(to *Handshake) (ok bool, err error) {
	switch err := h.reader.ReadInto(&h.record); {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return false, nil
	case err != nil:
		return false, err
	}
	return true, decodeHandshake(h.record.RawSample, to)
}

const handshakeSize = int(unsafe.Sizeof(bpfHandshake{}))

func decodeHandshake(record []byte, to *Handshake) error {
	if len(record) != handshakeSize {
		return fmt.Errorf("%w: %d bytes of a handshake", errRecord, len(record))
	}
	var r bpfHandshake
	read(&r, record)
	_, remote, err := endpoints(r.Family, [16]uint8{}, 0, r.Remote, r.RemotePort)
	*to = Handshake{
		Remote: remote, Began: time.Duration(r.BeganNs), Ended: time.Duration(r.EndedNs),
		SYNs: int(r.Syns), Errno: event.Errno(r.Error),
	}
	return err
}

// Lost lists what was lost since the start, by kind and CPU.
func (h *Handshakes) Lost() ([]Lost, error) {
	all, err := lostRecords(h.shared.Maps[bpfMapLost])
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].Kind == event.KindUnknown { // a connect without room, which each copy counts
			all[i].Count = (all[i].Count + h.copies() - 1) / h.copies()
		}
	}
	if unseen := h.attacher.misses(); unseen > 0 {
		all = append(all, Lost{CPU: -1, Count: unseen})
	}
	return all, nil
}

// copies is in how many the program is attached.
func (h *Handshakes) copies() uint64 { return uint64(max(1, len(h.attacher.links))) }

// Close ends it and gives back everything.
func (h *Handshakes) Close() error {
	err := h.attacher.close()
	if h.reader != nil {
		err = errors.Join(err, h.reader.Close())
	}
	h.shared.Close()
	return err
}
