package tracer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"tcptrace/tracer/host"
	"tcptrace/tracer/sockets"
)

// SocketOptions says which sockets to list. The zero value lists all but mini-sockets.
type SocketOptions struct {
	// Filter is about sockets and their owners as always, but listeners pass whatever it says of their ends: they own what
	// nobody has accepted yet.
	Filter Filter
	// Mini asks for TIME_WAIT and half-open requests too, of which there may be very many.
	Mini bool
	// Listening asks for listeners alone.
	Listening bool
	// BTF is a file with the kernel's types, for kernels that do not have them themselves.
	BTF string
	// Basis is shared with other tracers, and has its own BTF; nil means none.
	Basis *Basis
}

// SocketLister reads the sockets that exist, by iterators that run in the kernel. It belongs to one goroutine at a time.
type SocketLister struct {
	shared  *ebpf.Collection
	held    *link.Iter
	in      *link.Iter
	decoder decoder
	pages   []byte
	intern  map[bpfSettings]settings
}

// OpenSockets prepares a listing; the caller closes it. The error is [ErrPrivilege] or [ErrNoBTF] where one of these is the
// reason.
func OpenSockets(opts SocketOptions) (*SocketLister, error) {
	if err := checkPrivilege(); err != nil {
		return nil, err
	}
	basis := basisOf(opts.Basis, opts.BTF)
	kernel, err := basis.kernel()
	if err != nil {
		return nil, err
	}
	low := allowLockedMemory()
	spec, err := socketSpec(&opts, basis)
	if err != nil {
		return nil, err
	}
	shared, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		Programs: ebpf.ProgramOptions{KernelTypes: kernel.types},
		Cache:    kernel.cache,
	})
	if errors.Is(err, os.ErrPermission) && low != nil {
		return nil, low
	}
	if err != nil {
		return nil, explainIterators(kernel, err)
	}
	l := &SocketLister{shared: shared, pages: make([]byte, iteratorBuffer), intern: make(map[bpfSettings]settings)}
	if err := l.prepare(&opts); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// socketSpec is what of the embedded object the iterators need.
func socketSpec(opts *SocketOptions, basis *Basis) (*ebpf.CollectionSpec, error) {
	all, err := basis.spec()
	if err != nil {
		return nil, err
	}
	spec := &ebpf.CollectionSpec{
		Maps: make(map[string]*ebpf.MapSpec), Programs: make(map[string]*ebpf.ProgramSpec),
		Variables: make(map[string]*ebpf.VariableSpec), Types: all.Types, ByteOrder: all.ByteOrder,
	}
	for _, name := range iterators {
		spec.Programs[name] = all.Programs[name]
		for _, used := range mapsOf(all.Programs[name]) {
			spec.Maps[used] = all.Maps[used]
		}
	}
	for name, variable := range all.Variables {
		if spec.Maps[variable.SectionName] != nil {
			spec.Variables[name] = variable
		}
	}
	for name, value := range map[string]any{
		bpfVarFilterDimensions: uint32(opts.Filter.dimensions(false)),
		bpfVarFilterFamily:     opts.Filter.family(),
		bpfVarSocketsMini:      opts.Mini,
		bpfVarSocketsListening: opts.Listening,
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
	}
	return spec, nil
}

// explainIterators makes a sentence of a refusal.
func explainIterators(kernel *kernel, err error) error {
	if !kernel.describesItself {
		return fmt.Errorf("load the iterators: %w", errOnlyFromFile)
	}
	if verifier, ok := errors.AsType[*ebpf.VerifierError](err); ok {
		// Its last line says why; the whole log is for developers.
		return fmt.Errorf("the verifier refuses the iterators: %v", verifier)
	}
	return fmt.Errorf("load the iterators: %w", err)
}

// iterators are the programs that are run rather than attached.
var iterators = programs(bpfProgSocketsHeldIterator, bpfProgSocketsIterator)

func (l *SocketLister) prepare(opts *SocketOptions) error {
	if err := opts.Filter.store(l.shared.Maps); err != nil {
		return err
	}
	cgroups := host.NewCgroups()
	l.decoder = decoder{comms: make(map[[16]int8]string), cgroups: cgroups.Lookup}
	hz, err := host.HZ()
	if err != nil {
		return fmt.Errorf("list sockets: %w", err)
	}
	l.decoder.jiffy = time.Second / time.Duration(hz)
	for _, iterator := range []struct {
		program string
		into    **link.Iter
	}{{bpfProgSocketsHeldIterator, &l.held}, {bpfProgSocketsIterator, &l.in}} {
		*iterator.into, err = link.AttachIter(link.IterOptions{Program: l.shared.Programs[iterator.program]})
		if err != nil {
			return fmt.Errorf("start %s: %w", iterator.program, err)
		}
	}
	return nil
}

// Held lists the sockets that processes hold, in every network namespace, with their owners. One that several processes
// hold is listed for each of them, that of the lowest number first.
func (l *SocketLister) Held(visit func(*sockets.Socket)) error { return l.walk(l.held, visit) }

// Here lists the sockets of the network namespace of the calling thread, those included that nobody holds. None has an
// owner.
func (l *SocketLister) Here(visit func(*sockets.Socket)) error { return l.walk(l.in, visit) }

// iteratorBuffer is a multiple of what the kernel writes at once (8 pages, bpf_seq_read).
const iteratorBuffer = 256 << 10

func (l *SocketLister) walk(iterator *link.Iter, visit func(*sockets.Socket)) error {
	file, err := iterator.Open()
	if err != nil {
		return fmt.Errorf("list sockets: %w", err)
	}
	defer file.Close()
	rest := l.pages[:0]
	for {
		n, err := file.Read(l.pages[len(rest):])
		if interrupted(err) {
			continue
		}
		if err != nil && err != io.EOF {
			return fmt.Errorf("list sockets: %w", err)
		}
		read := l.pages[:len(rest)+n]
		for len(read) >= socketRecordSize {
			if err := l.visit(read[:socketRecordSize], visit); err != nil {
				return err
			}
			read = read[socketRecordSize:]
		}
		rest = l.pages[:copy(l.pages, read)]
		if err == io.EOF {
			return nil
		}
	}
}

// interrupted says whether to read on. bpf_seq_read gives the CPU back with EAGAIN after a million things of which no
// program wrote anything.
func interrupted(err error) bool {
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR)
}

const socketRecordSize = int(unsafe.Sizeof(bpfSocketRecord{}))

func (l *SocketLister) visit(record []byte, visit func(*sockets.Socket)) error {
	var raw bpfSocketRecord
	// The kernel side writes the same struct with the same layout: bpf2go generated one from the other.
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&raw)), socketRecordSize), record)
	s, err := l.decoder.socket(&raw)
	if err != nil {
		return fmt.Errorf("list sockets: %w", err)
	}
	if bpfSocketFlags(raw.Flags)&bpfSocketFlagsSOCKET_HAS_SETTINGS != 0 {
		shared := l.settings(&raw.Settings)
		s.Options, s.Sysctls = shared.options, shared.sysctls
	}
	visit(s)
	return nil
}

// settings are the same values for all sockets that have the same: most of them do.
func (l *SocketLister) settings(raw *bpfSettings) settings {
	known, ok := l.intern[*raw]
	if !ok {
		known = l.decoder.settingsOf(raw)
		if len(l.intern) < maxSettings {
			l.intern[*raw] = known
		}
	}
	return known
}

// maxSettings bounds what programs that set every socket's options in another way can make us remember.
const maxSettings = 4096

// Close gives back everything.
func (l *SocketLister) Close() error {
	var err error
	for _, iterator := range []*link.Iter{l.held, l.in} {
		if iterator != nil {
			err = errors.Join(err, iterator.Close())
		}
	}
	l.shared.Close()
	return err
}
