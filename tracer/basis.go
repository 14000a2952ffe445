package tracer

import (
	"maps"
	"sync"

	"github.com/cilium/ebpf"
)

// A Basis is what tracers are built on: the types and functions of the running kernel, and the programs. Reading all that takes
// half of the time in which a tracer is opened; those who open several have them share one, and others need none.
//
// It may be used by several goroutines at a time. It keeps some 7 MiB, and more with what is looked up, for as long as it
// is there.
type Basis struct {
	types    string // the file that they are in; empty: the kernel's own
	kernel   func() (*kernel, error)
	programs func() (*ebpf.CollectionSpec, error)
	code     func() (code, error)
	symbols  *symbols
}

// NewBasis is of the running kernel. Its types are read from btf, a file, where that is not empty: see [Options].BTF. Nothing
// is read before it is needed; what is wrong with the file is said by whoever is given the Basis.
func NewBasis(btf string) *Basis {
	return &Basis{
		types:    btf,
		kernel:   sync.OnceValues(func() (*kernel, error) { return loadKernel(btf) }),
		programs: sync.OnceValues(func() (*ebpf.CollectionSpec, error) { return readPrograms(btf) }),
		code:     sync.OnceValues(func() (code, error) { return readCode(symbolsFile) }),
		symbols:  newSymbols(symbolsFile),
	}
}

// basisOf is the one that is given, or one for this time alone.
func basisOf(given *Basis, btf string) *Basis {
	if given != nil {
		return given
	}
	return NewBasis(btf)
}

// spec gives the programs and maps, to be changed as needed, but for the programs themselves: these are shared.
func (b *Basis) spec() (*ebpf.CollectionSpec, error) {
	all, err := b.programs()
	if err != nil {
		return nil, err
	}
	own := (&ebpf.CollectionSpec{Maps: all.Maps, Variables: all.Variables, ByteOrder: all.ByteOrder}).Copy()
	own.Programs, own.Types = maps.Clone(all.Programs), all.Types
	return own, nil
}

// kernelWith gives what is known of the kernel, with the code that a trace has read.
func (b *Basis) kernelWith(c code) (*kernel, error) {
	shared, err := b.kernel()
	if err != nil {
		return nil, err
	}
	k := *shared
	k.code, k.symbols = c, b.symbols
	return &k, nil
}

// DescribeTypes says in a clause where the kernel's types come from.
func (b *Basis) DescribeTypes() string {
	k, err := b.kernel()
	switch {
	case err != nil:
		return err.Error()
	case b.types != "" && !k.describesItself:
		return "from " + b.types + "; the kernel has none of its own (BTF)"
	case b.types != "":
		return "from " + b.types
	}
	return "the kernel describes its own (BTF)"
}
