package tracer

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"tcptrace/tracer/event"
	"tcptrace/tracer/host"
)

// Options says what to trace. The zero value traces every connection of the host, by the best mechanisms there are.
type Options struct {
	Filter Filter
	// FollowForks makes the children of Filter.PIDs pass the filter as they do.
	FollowForks bool
	// FollowPeers follows the other end of a connection that passes, when it is on this host, whoever owns it.
	FollowPeers bool
	// Context asks for where hooks run: [event.Event].Context.
	Context bool
	// OnlyTroubled leaves out the connections that nothing happens to: those that need no retry, are not reset or
	// rejected, and end in order. The others begin to be told with their trouble: first what led to it, with the
	// times of then. It is for traces that run all day, as nothing at all is delivered of healthy traffic.
	OnlyTroubled bool
	// Kinds are the events to attach hooks for; nil means all, and StateChange is always seen. Others may still come:
	// one program can see several kinds.
	Kinds []event.Kind
	// Packets asks for syn_sent, which costs a little for every packet of the host, and for the time to live of handshakes and
	// resets on kernels where that has the same price.
	Packets bool
	// NewOnly leaves out sockets that are older than the trace.
	NewOnly bool

	// RingBytes is the size of the ring buffer, rounded up to a power of two and whole pages; 0 means 64 MiB.
	RingBytes int
	// MaxConnections is how many can be followed at a time; 0 means 65,536. What finds no room is counted as lost.
	MaxConnections int
	// Mechanisms restricts the choice; nil means all.
	Mechanisms []Mechanism
	// BTF is a file with the kernel's types, for kernels that do not have them themselves.
	BTF string
	// Basis is shared with other tracers, and has its own BTF; nil means none.
	Basis *Basis
}

func (o *Options) followsForks() bool      { return o.FollowForks }
func (o *Options) wantsOlderSockets() bool { return !o.NewOnly }

// wants says whether a kind of event is asked for.
func (o *Options) wants(kind event.Kind) bool {
	switch {
	case kind == event.SYNSent && !o.Packets:
		return false
	case kind == event.StateChange, o.Kinds == nil:
		return true
	}
	return slices.Contains(o.Kinds, kind)
}

// ErrPrivilege says that this process may not trace.
var ErrPrivilege = errors.New("tracing needs root, or the capabilities CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN: run it with sudo")

// A NothingError says that the kernel lets nothing be traced, though the privilege is there.
type NothingError struct{ Hooks []Hook }

func (e *NothingError) Error() string {
	return "this kernel lets no program see its TCP connections: `tcptrace doctor` says what it refuses"
}

// Tracer is a running trace. [Tracer.Read], [Tracer.ReadPending] and [Tracer.SetDeadline] belong to one goroutine; the other
// methods may be called meanwhile by another.
type Tracer struct {
	attacher  *attacher
	shared    *ebpf.Collection
	reader    *ringbuf.Reader
	record    ringbuf.Record
	wait      wait
	decoder   decoder
	hooks     []Hook
	ttl       Hook
	trouble   []string
	hz        int
	malformed atomic.Uint64
	bygone    bygone

	closing sync.RWMutex // the ring buffer's memory goes with its reader
	closed  bool
}

// Open starts a trace. When it returns, everything that happens from then on is seen; the caller closes it.
//
// The error is [ErrPrivilege], [ErrNoBTF] or a [*NothingError] where one of these is the reason.
func Open(opts Options) (*Tracer, error) {
	if err := checkPrivilege(); err != nil {
		return nil, err
	}
	basis := basisOf(opts.Basis, opts.BTF)
	functions := begin(func() (code, error) {
		if !opts.wants(event.Drop) && !opts.wants(event.ICMPError) {
			return code{}, nil // nothing else asks where a packet was freed
		}
		return basis.code()
	})
	programs := begin(func() (*attacher, error) { return prepare(&opts, basis) })
	_, kernelErr := basis.kernel()
	a, err := programs()
	if err != nil {
		return nil, errors.Join(kernelErr, err)
	}
	t := &Tracer{attacher: a, shared: a.shared}
	where, hidden := functions()
	t.trouble = troubleWithCode(hidden)
	kernel, err := basis.kernelWith(where)
	if err != nil {
		t.Close()
		return nil, err
	}
	if err := t.start(&opts, kernel); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// prepare does what needs no knowledge of the kernel.
func prepare(opts *Options, basis *Basis) (*attacher, error) {
	spec, err := basis.spec()
	if err != nil {
		return nil, err
	}
	spec.Maps[bpfMapEvents].MaxEntries = ringSize(opts.RingBytes)
	if opts.MaxConnections > 0 {
		spec.Maps[bpfMapConnections].MaxEntries = uint32(opts.MaxConnections)
		spec.Maps[bpfMapSocketsByEnds].MaxEntries = uint32(opts.MaxConnections)
	}
	return newAttacher(spec, opts.Mechanisms)
}

// begin has f run beside its caller; what it returns waits for f's results.
func begin[T any](f func() (T, error)) (results func() (T, error)) {
	results = sync.OnceValues(f)
	go func() { _, _ = results() }()
	return results
}

// configure sets the constants.
func configure(spec *ebpf.CollectionSpec, opts *Options, kernel *kernel, hz int) error {
	// Without them the programs that read them are not attached: see countersKnown.
	counters, _ := kernel.listenCounters()
	for name, value := range map[string]any{
		bpfVarMibListenOverflows:  counters.overflows,
		bpfVarMibQueueFullDrop:    counters.queueFullDrop,
		bpfVarMibQueueFullCookies: counters.queueFullCookies,
		bpfVarMibCookiesReceived:  counters.cookiesReceived,
		bpfVarFilterDimensions:    uint32(opts.Filter.dimensions(opts.FollowForks)),
		bpfVarFilterFamily:        opts.Filter.family(),
		bpfVarFollowPeers:         opts.FollowPeers,
		bpfVarWithContext:         opts.Context,
		bpfVarOnlyTroubled:        opts.OnlyTroubled,
		bpfVarTicksPerSecond:      uint32(hz),

		bpfVarDropClasses:        classifyDrops(kernel.dropReasons()),
		bpfVarQuietFunctions:     kernel.code.quiet,
		bpfVarQuietFunctionCount: kernel.code.quietCount,
		bpfVarIcmpv6Function:     kernel.code.icmpv6,
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

// defaultRing holds the events of some 29,000 connections that come faster than anyone reads.
const defaultRing = 64 << 20

// ringSize is what the kernel accepts as the size of a ring buffer: a power of two, and whole pages.
func ringSize(wanted int) uint32 {
	if wanted <= 0 {
		return defaultRing
	}
	size := os.Getpagesize()
	for size < wanted && size < 1<<30 {
		size <<= 1
	}
	return uint32(size)
}

func (t *Tracer) start(opts *Options, kernel *kernel) error {
	hz, err := host.HZ()
	t.hz, t.trouble = hz, append(t.trouble, troubleWithHZ(err)...)
	if err := configure(t.attacher.spec, opts, kernel, hz); err != nil {
		return err
	}
	if err := t.attacher.setKernel(kernel); err != nil {
		return err
	}
	if err := opts.Filter.store(t.shared.Maps); err != nil {
		return err
	}
	reader, err := ringbuf.NewReader(t.shared.Maps[bpfMapEvents])
	if err != nil {
		return fmt.Errorf("open the ring buffer: %w", err)
	}
	t.reader = reader
	if err := withTracefs(func() { t.attachAll(opts) }); err != nil {
		t.trouble = append(t.trouble, fmt.Sprintf("system calls cannot be traced: %v", err))
		t.attachAll(opts)
	}
	if t.Mechanism(event.StateChange) == "" {
		return &NothingError{t.hooks}
	}
	if err := t.setModes(); err != nil {
		return err
	}
	t.keepHouse(opts)
	if err := t.shared.Variables[bpfVarListenersAreKnown].Set(flag(true)); err != nil {
		return fmt.Errorf("have refusals counted: %w", err)
	}
	t.decoder = t.newDecoder()
	t.attacher.finish()
	return nil
}

func (t *Tracer) attachAll(opts *Options) {
	wanted := slices.DeleteFunc(slices.Clone(hooks), func(h hook) bool { return !opts.wants(h.kind) })
	t.hooks = make([]Hook, len(wanted))
	// Whether the kernel refuses a mechanism altogether shows in one hook; it tells which programs the others need.
	first := max(0, slices.IndexFunc(wanted, func(h hook) bool { return h.ways[0].mechanism != Tracepoint }))
	t.hooks[first] = t.attacher.choose(wanted[first])
	t.attacher.preload(t.needed(opts, wanted))
	for i, h := range wanted {
		if i != first {
			t.hooks[i] = t.attacher.choose(h)
		}
	}
	t.attachTTL(opts)
}

// needed lists what programs these hooks, and the rest of what opts ask for, will be attached, in that order.
func (t *Tracer) needed(opts *Options, wanted []hook) []instance {
	if ttl, ok := ttlOf(opts); ok {
		wanted = append(wanted, ttl)
	}
	var all []instance
	for _, h := range wanted {
		all = append(all, t.attacher.likely(h)...)
	}
	for _, h := range housekeeping {
		for copy := range h.copies {
			if h.when(opts) {
				all = append(all, instance{h.program, copy})
			}
		}
	}
	return all
}

// setModes tells the kernel side which of its hooks could be had, and that they are all there.
func (t *Tracer) setModes() error {
	modes := bpfHookModes{
		Armed:           1,
		AnnounceAtState: flag(t.announcedByState()),
		ErrorsFollow:    flag(t.Mechanism(event.Error) != ""),
		StatesTwice:     flag(t.Mechanism(event.StateChange) != Kprobe), // see twice
	}
	if err := t.shared.Variables[bpfVarModes].Set(modes); err != nil {
		return fmt.Errorf("set the modes of the hooks: %w", err)
	}
	packets := flag(t.Mechanism(event.Drop) != "" || t.Mechanism(event.ICMPError) != "")
	if err := t.shared.Variables[bpfVarPacketsAreTraced].Set(packets); err != nil {
		return fmt.Errorf("have packets traced: %w", err)
	}
	return nil
}

func (t *Tracer) announcedByState() bool {
	for _, h := range t.hooks {
		if h.Kind == event.Connect {
			return h.Mechanism == "" || slices.Contains(h.Programs, bpfProgStateTracepoint)
		}
	}
	return true
}

func flag(set bool) uint8 {
	if set {
		return 1
	}
	return 0
}

// keepHouse attaches the programs that see no event of their own.
func (t *Tracer) keepHouse(opts *Options) {
	for _, h := range housekeeping {
		if !h.when(opts) {
			continue
		}
		for copy := range h.copies {
			if err := t.attacher.attach(instance{h.program, copy}); err != nil {
				t.trouble = append(t.trouble, fmt.Sprintf("%s: %v", h.cost, err))
				break
			}
		}
	}
}

func (t *Tracer) newDecoder() decoder {
	clock := &wallClock{}
	cgroups := host.NewCgroups()
	d := decoder{
		wall:    clock.at,
		reasons: t.attacher.kernel.enumNames("sk_rst_reason", "SK_RST_REASON_"),
		drops:   t.attacher.kernel.dropReasons(),
		symbol:  t.attacher.kernel.symbols.name,
		comms:   make(map[[16]int8]string),
		cgroups: cgroups.Lookup,
	}
	if t.hz > 0 {
		d.jiffy = time.Second / time.Duration(t.hz)
	}
	return d
}

func troubleWithHZ(err error) []string {
	if err == nil {
		return nil
	}
	return []string{fmt.Sprintf("the length of a jiffy is unknown, and with it every timer: %v", err)}
}

// HZ is how many jiffies a second has, and 0 where that could not be known.
func (t *Tracer) HZ() int { return t.hz }

// TellsDropReasons says whether this kernel gives reasons for the packets that it drops (enum skb_drop_reason, since 5.17).
// Without them, those that TCP itself refuses cannot be told from those that it has used up.
func (t *Tracer) TellsDropReasons() bool { return len(t.decoder.drops) > 0 }

// Hooks says how each event kind is seen.
func (t *Tracer) Hooks() []Hook { return t.hooks }

// Mechanism is how a kind is seen; empty: not at all.
func (t *Tracer) Mechanism(kind event.Kind) Mechanism {
	for _, h := range t.hooks {
		if h.Kind == kind {
			return h.Mechanism
		}
	}
	return ""
}

// Trouble lists, a sentence each, what is amiss beyond single hooks.
func (t *Tracer) Trouble() []string { return t.trouble }

// SetDeadline makes [Tracer.Read] give up at that time; the zero time means never. It belongs to the goroutine that reads.
func (t *Tracer) SetDeadline(deadline time.Time) {
	t.wait.deadline = deadline
	t.reader.SetDeadline(t.wait.next(time.Now()))
}

// ErrFlushed says that everything up to a call of [Tracer.Flush] was read.
var ErrFlushed = ringbuf.ErrFlushed

// Flush wakes a [Tracer.Read] that waits; it returns [ErrFlushed] once it has read all that there was. It may be
// called while Read waits.
func (t *Tracer) Flush() error { return t.reader.Flush() }

// Pending says whether there is more to read at once. There is not once the tracer is closed.
func (t *Tracer) Pending() bool {
	t.closing.RLock()
	defer t.closing.RUnlock()
	return !t.closed && t.reader.AvailableBytes() > 0
}

// Read waits for the next event and fills ev with it. Events of different CPUs may be microseconds out of order.
//
// The error is [os.ErrDeadlineExceeded] after the deadline, [ErrFlushed] after a flush, and [os.ErrClosed] once the
// tracer is closed.
func (t *Tracer) Read(ev *event.Event) error {
	for {
		if read, err := t.read(ev, false); err != nil || read {
			return err
		}
	}
}

// ReadPending fills events with what there is to read at once, as far as they go. The error is one of [Tracer.Read]'s; the
// first n events are filled then too.
func (t *Tracer) ReadPending(events []*event.Event) (n int, err error) {
	for n < len(events) && t.Pending() {
		read, err := t.read(events[n], true)
		if err != nil {
			return n, err
		}
		if read {
			n++
		}
	}
	return n, nil
}

// read fills ev with the next record, if that is an event: only a kernel side of another build could write one that is not,
// and it counts as lost. Where there is known to be a record, nobody asks again.
func (t *Tracer) read(ev *event.Event, pending bool) (isEvent bool, err error) {
	if err := t.next(pending); err != nil {
		return false, err
	}
	if err := t.decoder.decode(t.record.RawSample, ev); err != nil {
		t.malformed.Add(1)
		return false, nil
	}
	return true, nil
}

// next reads a record, and waits for one unless there is known to be one.
func (t *Tracer) next(pending bool) error {
	for ; ; pending = false {
		if !pending && !t.Pending() {
			t.reader.SetDeadline(t.wait.next(time.Now()))
		}
		err := t.reader.ReadInto(&t.record)
		if err == nil {
			t.wait.came()
			return nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || t.wait.over(time.Now()) {
			return err
		}
	}
}

// FollowTask makes a process pass the filter from now on.
func (t *Tracer) FollowTask(pid int) error {
	if err := t.shared.Maps[bpfMapTasks].Put(uint32(pid), uint8(1)); err != nil {
		return fmt.Errorf("follow process %d: %w", pid, err)
	}
	return nil
}

// Lost is a number of records that the kernel side could not deliver, or of changes of state that it knows it has not seen.
type Lost struct {
	Kind  event.Kind // KindUnknown: events that no program saw, or whole connections that found no room in the kernel's map
	CPU   int        // -1: unknown
	Count uint64
}

// Lost lists what was lost since the start, by kind and CPU.
func (t *Tracer) Lost() ([]Lost, error) {
	all, err := lostRecords(t.shared.Maps[bpfMapLost])
	if err != nil {
		return nil, err
	}
	unseen, err := unseenChanges(t.shared.Maps[bpfMapLost])
	if err != nil {
		return nil, err
	}
	if unseen += t.attacher.misses() + t.malformed.Load(); unseen > 0 {
		all = append(all, Lost{CPU: -1, Count: unseen})
	}
	return all, nil
}

// lostRecords lists what found no room in the ring.
func lostRecords(lost *ebpf.Map) ([]Lost, error) {
	var all []Lost
	for kind := range uint32(bpfEventKindEVENT_KINDS) {
		var counts []uint64
		if err := lost.Lookup(kind, &counts); err != nil {
			return nil, fmt.Errorf("count lost events: %w", err)
		}
		for cpu, count := range counts {
			if count > 0 {
				all = append(all, Lost{Kind: event.Kind(kind), CPU: cpu, Count: count})
			}
		}
	}
	return all, nil
}

// unseenChanges is how many changes of state are known by the next one alone, as no program saw them.
func unseenChanges(lost *ebpf.Map) (all uint64, err error) {
	var counts []uint64
	if err := lost.Lookup(uint32(bpfEventKindEVENT_KINDS), &counts); err != nil {
		return 0, fmt.Errorf("count unseen changes: %w", err)
	}
	for _, count := range counts {
		all += count
	}
	return all, nil
}

// Detach ends the tracing; what was recorded can still be read.
func (t *Tracer) Detach() error { return t.attacher.close() }

// Close ends the trace and gives back everything. A [Tracer.Read] that waits returns [os.ErrClosed].
func (t *Tracer) Close() error {
	err := t.attacher.close()
	t.closing.Lock()
	t.closed = true
	t.closing.Unlock()
	if t.reader != nil {
		err = errors.Join(err, t.reader.Close())
	}
	t.shared.Close()
	return err
}
