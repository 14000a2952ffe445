package tracer

import (
	"testing"

	"github.com/cilium/ebpf/asm"
)

func TestObjectsReadAsTheirNameSays(t *testing.T) {
	helper, loads := embedded(t).Programs[bpfProgStateTracepoint], programsOf(t, loadBpfLoads).Programs[bpfProgStateTracepoint]
	if n := casts(helper.Instructions); n != 0 {
		t.Errorf("the object for all kernels needs bpf_rdonly_cast %d times", n)
	}
	if n := casts(loads.Instructions); n == 0 {
		t.Error("the object that reads by loads does not")
	}
}

func casts(program asm.Instructions) (n int) {
	for _, ins := range program {
		if ins.IsKfuncCall() && ins.Reference() == "bpf_rdonly_cast" {
			n++
		}
	}
	return n
}

func TestMemoryIsReadByLoadsWhereThatWasSeenToWork(t *testing.T) {
	tests := []struct {
		name           string
		version        uint32
		typesAreItsOwn bool
		want           bool
	}{
		{"without bpf_rdonly_cast", 6<<16 | 1<<8 | 99, true, false},
		{"untried", 6<<16 | 11<<8 | 11, true, false},
		{"tried", 6<<16 | 12<<8, true, true},
		{"of a later line", 7 << 16, true, true},
		{"types from a file", 7 << 16, false, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := readByLoads(test.version, test.typesAreItsOwn); got != test.want {
				t.Errorf("%t", got)
			}
		})
	}
}
