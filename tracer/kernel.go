package tracer

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// ErrNoBTF says that the kernel does not describe its own types, without which no field can be found.
var ErrNoBTF = errors.New("this kernel has no BTF (" + ownTypes + "): give one made for it with --btf FILE, or " +
	"use a kernel built with CONFIG_DEBUG_INFO_BTF")

// ownTypes is where a kernel describes its types itself.
const ownTypes = "/sys/kernel/btf/vmlinux"

// errOnlyFromFile says that a file cannot stand in for the kernel's own types: the kernel looks up in its own what a
// program of this sort is to be attached to (check_attach_btf_id in kernel/bpf/verifier.c).
var errOnlyFromFile = errors.New("that needs BTF of the kernel's own, for which a file cannot stand in")

// kernel is what the running kernel says of itself.
type kernel struct {
	types *btf.Spec
	// cache is where the loader of programs finds the kernel's own types, which are in it already unless types are from a file.
	cache *btf.Cache
	// describesItself says that the kernel has BTF of its own, and not just a file made for it.
	describesItself bool
	// code is where some of its functions are; the zero value where that is hidden.
	code code
	// symbols names its functions.
	symbols *symbols
	// listenCounters looks for them once: see findListenCounters.
	listenCounters func() (listenCounters, error)
}

// newKernel is one of which the types are known.
func newKernel(types *btf.Spec, cache *btf.Cache) *kernel {
	k := &kernel{types: types, cache: cache, describesItself: describesItself()}
	k.listenCounters = sync.OnceValues(func() (listenCounters, error) { return findListenCounters(types) })
	return k
}

// loadKernel reads the kernel's BTF, from file where that is not empty.
func loadKernel(file string) (*kernel, error) {
	cache := btf.NewCache()
	if file != "" {
		types, err := btf.LoadSpec(file)
		if err != nil {
			return nil, fmt.Errorf("read BTF from %s: %w", file, err)
		}
		return newKernel(types, cache), nil
	}
	types, err := cache.Kernel()
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, btf.ErrNotSupported) {
		return nil, ErrNoBTF
	}
	if err != nil {
		return nil, fmt.Errorf("read the kernel's BTF: %w", err)
	}
	return newKernel(types, cache), nil
}

func describesItself() bool {
	_, err := os.Stat(ownTypes)
	return err == nil
}

// SYNACKsHeedRTOMax says whether the running kernel limits the waits between SYN-ACKs by tcp_rto_max_ms: see
// [event.Sysctls]. It is false also where the kernel does not describe its types.
func SYNACKsHeedRTOMax() bool {
	k, err := loadKernel("")
	if err != nil {
		return false
	}
	var sock *btf.Struct
	return k.types.TypeByName("sock", &sock) == nil && hasMember(sock.Members, "tcp_retransmit_timer")
}

// hasMember looks for a member by its name, also within those that have none.
func hasMember(members []btf.Member, name string) bool {
	return slices.ContainsFunc(members, func(m btf.Member) bool {
		if m.Name != "" {
			return m.Name == name
		}
		switch inner := btf.UnderlyingType(m.Type).(type) {
		case *btf.Struct:
			return hasMember(inner.Members, name)
		case *btf.Union:
			return hasMember(inner.Members, name)
		}
		return false
	})
}

// adapt makes programs of what this kernel can attach. A program for a tracepoint gets the same arguments whether it
// is attached by the tracepoint's type or, as kernels without BTF of their own need it, by its name: only the verifier
// knows less of them then, and those for such kernels read the kernel's memory by helpers that do not need more.
func (k *kernel) adapt(programs map[string]*ebpf.ProgramSpec) {
	if k.describesItself {
		return
	}
	for name, program := range programs {
		if program.Type == ebpf.Tracing && program.AttachType == ebpf.AttachTraceRawTp {
			own := *program // others may share it
			own.Type, own.AttachType = ebpf.RawTracepoint, ebpf.AttachNone
			programs[name] = &own
		}
	}
}

// A requirement is a fact of the kernel that a way needs. It says why not, or nil.
type requirement func(*kernel) error

// functionHas asks for a function with exactly that many arguments: a fexit program finds the result behind them.
func functionHas(name string, arguments int) requirement {
	return func(k *kernel) error {
		var function *btf.Func
		if err := k.types.TypeByName(name, &function); err != nil {
			return fmt.Errorf("the kernel has no function %s", name)
		}
		if have := len(function.Type.(*btf.FuncProto).Params); have != arguments {
			return fmt.Errorf("%s has %d arguments on this kernel, not %d", name, have, arguments)
		}
		return nil
	}
}

// tracepointHas asks for a tracepoint with at least that many arguments.
func tracepointHas(name string, arguments int) requirement {
	return func(k *kernel) error {
		var typedef *btf.Typedef
		if err := k.types.TypeByName("btf_trace_"+name, &typedef); err != nil {
			return fmt.Errorf("the kernel has no tracepoint %s", name)
		}
		prototype, ok := btf.UnderlyingType(typedef).(*btf.Pointer)
		if !ok {
			return fmt.Errorf("the tracepoint %s is not described as expected", name)
		}
		// The first parameter is the tracepoint's own data.
		if have := len(prototype.Target.(*btf.FuncProto).Params) - 1; have < arguments {
			return fmt.Errorf("the tracepoint %s has %d arguments on this kernel, not %d", name, have, arguments)
		}
		return nil
	}
}

// listenCounters are the kernel's numbers of the counters that tell what listeners refuse.
type listenCounters struct {
	overflows, queueFullDrop, queueFullCookies, cookiesReceived uint32
}

// countersKnown asks for the numbers of the counters that tell what listeners refuse.
func countersKnown(k *kernel) error {
	_, err := k.listenCounters()
	return err
}

// findListenCounters looks for the enum that numbers struct linux_mib's counters. It has no name to be found by, but both come
// from the same header, so that one is described close to the other; or else, where a kernel sorts its types by name so as to find
// them sooner, those without one come first.
func findListenCounters(types *btf.Spec) (listenCounters, error) {
	var mib *btf.Struct
	if err := types.TypeByName("linux_mib", &mib); err != nil {
		return listenCounters{}, errors.New("the kernel has no struct linux_mib")
	}
	id, err := types.TypeID(mib)
	if err != nil {
		return listenCounters{}, fmt.Errorf("find struct linux_mib: %w", err)
	}
	for t := range nearestFirst(types, id) {
		if counters, ok := listenCountersOf(t); ok {
			return counters, nil
		}
	}
	return listenCounters{}, errors.New("the kernel's types do not tell the numbers of its TCP counters")
}

// nearestFirst gives some types about this one, then all.
func nearestFirst(types *btf.Spec, id btf.TypeID) iter.Seq[btf.Type] {
	const near = 250
	return func(yield func(btf.Type) bool) {
		for distance := range min(id, near) {
			for _, at := range []btf.TypeID{id - distance, id + distance} {
				if t, err := types.TypeByID(at); err == nil && !yield(t) {
					return
				}
			}
		}
		for at := btf.TypeID(1); ; at++ {
			if t, err := types.TypeByID(at); err != nil || !yield(t) {
				return
			}
		}
	}
}

func listenCountersOf(t btf.Type) (c listenCounters, ok bool) {
	enum, ok := t.(*btf.Enum)
	if !ok || enum.Name != "" {
		return c, false
	}
	wanted := map[string]*uint32{
		"LINUX_MIB_LISTENOVERFLOWS":      &c.overflows,
		"LINUX_MIB_TCPREQQFULLDROP":      &c.queueFullDrop,
		"LINUX_MIB_TCPREQQFULLDOCOOKIES": &c.queueFullCookies,
		"LINUX_MIB_SYNCOOKIESRECV":       &c.cookiesReceived,
	}
	for _, value := range enum.Values {
		if into := wanted[value.Name]; into != nil {
			*into = uint32(value.Value)
			delete(wanted, value.Name)
		}
	}
	return c, len(wanted) == 0
}

// enumNames maps the values of a kernel enum to their names without prefix. It is empty where the kernel has no
// such enum.
func (k *kernel) enumNames(enum, prefix string) map[uint32]string {
	var found *btf.Enum
	if err := k.types.TypeByName(enum, &found); err != nil {
		return nil
	}
	names := make(map[uint32]string, len(found.Values))
	for _, value := range found.Values {
		names[uint32(value.Value)] = strings.TrimPrefix(value.Name, prefix)
	}
	return names
}

// dropReasons are the names of skb_drop_reason. It is empty before 5.17, when packets were dropped without one.
func (k *kernel) dropReasons() map[uint32]string {
	names := k.enumNames("skb_drop_reason", "SKB_DROP_REASON_")
	for value, name := range names {
		names[value] = strings.TrimPrefix(name, "SKB_")
	}
	return names
}

// showsSymbols says why not.
func (k *kernel) showsSymbols() error {
	if k.code.quietCount == 0 {
		return errHiddenSymbols
	}
	return nil
}
