package tracer

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// stackLimit is MAX_BPF_STACK, for a chain of calls together; kernels that give functions stacks of their own take more.
const stackLimit = 512

// TestStacksFitIntoWhatOldKernelsAllow reckons as check_max_stack_depth does: each function of a chain takes what it uses
// at most, in steps of 32 bytes. The verifier leaves out what it finds dead, so this is an upper bound.
func TestStacksFitIntoWhatOldKernelsAllow(t *testing.T) {
	for _, load := range []func() (*ebpf.CollectionSpec, error){loadBpf, loadBpfLoads} {
		for name, program := range programsOf(t, load).Programs {
			functions := framesOf(program.Instructions)
			if len(functions) == 0 {
				t.Fatalf("%s has no functions", name)
			}
			if size, chain := deepest(functions, program.Instructions[0].Symbol()); size > stackLimit {
				t.Errorf("%s needs %d bytes of stack: %s", name, size, strings.Join(chain, " > "))
			}
		}
	}
}

// A frame is what one function uses of the stack, and whom it calls.
type frame struct {
	size  int
	calls []string
}

func framesOf(program asm.Instructions) map[string]*frame {
	functions := make(map[string]*frame)
	var current *frame
	for _, ins := range program {
		if name := ins.Symbol(); name != "" {
			current = new(frame)
			functions[name] = current
		}
		if ins.IsFunctionCall() {
			current.calls = append(current.calls, ins.Reference())
		}
		current.size = max(current.size, stackUsedBy(ins))
	}
	return functions
}

// stackUsedBy is how far below the frame pointer an instruction reaches: by an access, or by what is likely its address.
func stackUsedBy(ins asm.Instruction) int {
	class := ins.OpCode.Class()
	switch {
	case class.IsLoad() && ins.Src == asm.RFP, class.IsStore() && ins.Dst == asm.RFP:
		return -int(ins.Offset)
	case class == asm.ALU64Class && ins.OpCode.ALUOp() == asm.Add && ins.OpCode.Source() == asm.ImmSource &&
		ins.Constant < 0 && ins.Constant >= -stackLimit:
		return -int(ins.Constant)
	}
	return 0
}

func deepest(functions map[string]*frame, name string) (size int, chain []string) {
	f := functions[name]
	if f == nil {
		return 0, nil
	}
	for _, callee := range f.calls {
		if below, path := deepest(functions, callee); below > size {
			size, chain = below, path
		}
	}
	const step = 32
	return size + (max(f.size, 1)+step-1)/step*step, append([]string{name}, chain...)
}
