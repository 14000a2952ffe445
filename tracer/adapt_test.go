package tracer

import (
	"testing"

	"github.com/cilium/ebpf"
)

func TestKernelWithoutTypesOfItsOwnGetsNoProgramThatNeedsThem(t *testing.T) {
	programs := embedded(t).Programs
	(&kernel{}).adapt(programs)
	for name, p := range programs {
		if p.Type == ebpf.Tracing && p.AttachType == ebpf.AttachTraceRawTp {
			t.Errorf("%s is still attached by the type of %s", name, p.AttachTo)
		}
	}
	if p := programs[bpfProgStateTracepoint]; p.Type != ebpf.RawTracepoint || p.AttachTo != "inet_sock_set_state" {
		t.Errorf("%s is a %s at %s", p.Name, p.Type, p.AttachTo)
	}
}

func TestKernelWithTypesOfItsOwnKeepsItsPrograms(t *testing.T) {
	programs := embedded(t).Programs
	(&kernel{describesItself: true}).adapt(programs)
	if p := programs[bpfProgStateTracepoint]; p.Type != ebpf.Tracing || p.AttachType != ebpf.AttachTraceRawTp {
		t.Errorf("%s is a %s", p.Name, p.Type)
	}
}
