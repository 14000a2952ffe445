package main

import (
	"github.com/cilium/ebpf/asm"
)

// A constant is what is known of a register before an instruction.
type constant struct {
	known bool
	value uint64
}

// registers are all of them; what is on the stack counts as unknown.
type registers [11]constant

// meet keeps what both ways to an instruction agree on, and says whether that is less than r had.
func (r *registers) meet(other registers) bool {
	changed := false
	for i := range r {
		if r[i].known && r[i] != other[i] {
			r[i], changed = constant{}, true
		}
	}
	return changed
}

// reachable says of each instruction whether the kernel's verifier may come to it. Like the verifier it follows only
// one way out of a branch whose outcome is known, as that on whether a field exists is once it has been relocated. It
// knows less of values than the verifier does, so it may call something reachable that is not, and never the reverse.
func reachable(program asm.Instructions) []bool {
	w := walk{program: program, index: make(map[asm.RawInstructionOffset]int), functions: make(map[string]int),
		seen: make([]bool, len(program)), before: make([]registers, len(program))}
	for iter := program.Iterate(); iter.Next(); {
		w.index[iter.Offset] = iter.Index
		w.offsets = append(w.offsets, iter.Offset)
		if symbol := iter.Ins.Symbol(); symbol != "" {
			w.functions[symbol] = iter.Index
		}
	}
	w.visit(0, registers{})
	for len(w.pending) > 0 {
		last := len(w.pending) - 1
		i := w.pending[last]
		w.pending = w.pending[:last]
		w.follow(i)
	}
	return w.seen
}

// walk is a way through a program.
type walk struct {
	program   asm.Instructions
	index     map[asm.RawInstructionOffset]int
	offsets   []asm.RawInstructionOffset
	functions map[string]int
	seen      []bool
	before    []registers
	pending   []int
}

// visit comes to instruction i with these registers.
func (w *walk) visit(i int, r registers) {
	if i >= len(w.program) {
		return
	}
	if !w.seen[i] {
		w.seen[i], w.before[i] = true, r
	} else if !w.before[i].meet(r) {
		return
	}
	w.pending = append(w.pending, i)
}

// follow goes from instruction i to those that may come after it.
func (w *walk) follow(i int) {
	ins, r := &w.program[i], w.before[i]
	if ins.IsFunctionCall() || ins.IsFunctionReference() {
		w.visit(w.functions[ins.Reference()], registers{})
	}
	if !ins.OpCode.Class().IsJump() || ins.OpCode.JumpOp() == asm.Call {
		r.execute(ins)
		w.visit(i+1, r)
		return
	}
	if ins.OpCode.JumpOp() == asm.Exit {
		return
	}
	taken, passed := r.branch(ins)
	if taken {
		w.visit(w.target(i), r)
	}
	if passed {
		w.visit(i+1, r)
	}
}

func (w *walk) target(i int) int {
	ins := &w.program[i]
	distance := int64(ins.Offset)
	if ins.OpCode.Class() == asm.Jump32Class && ins.OpCode.JumpOp() == asm.Ja {
		distance = ins.Constant // of a jump that is too far for the offset
	}
	return w.index[asm.RawInstructionOffset(int64(w.offsets[i])+1+distance)]
}

// execute does to the registers what an instruction that is no jump does, as far as that is of use here.
func (r *registers) execute(ins *asm.Instruction) {
	switch class := ins.OpCode.Class(); {
	case class.IsJump(): // a call
		for i := asm.R0; i <= asm.R5; i++ {
			r[i] = constant{}
		}
	case class.IsALU():
		r[ins.Dst] = r.compute(ins)
	case ins.IsConstantLoad(asm.DWord):
		r[ins.Dst] = constant{true, uint64(ins.Constant)}
	case class == asm.StXClass && ins.OpCode.Mode() == asm.AtomicMode:
		r[ins.Src], r[asm.R0] = constant{}, constant{} // which of them it fetches into is no matter
	case class.IsLoad():
		r[ins.Dst], r[asm.R0] = constant{}, constant{} // the legacy packet loads write to R0
	}
}

// operand is the second one of an instruction.
func (r *registers) operand(ins *asm.Instruction) constant {
	if ins.OpCode.Source() == asm.RegSource {
		return r[ins.Src]
	}
	return constant{true, uint64(ins.Constant)}
}

// compute is the result of arithmetic with constants, of the kinds that compilers put between a relocated constant and
// the branch on it.
func (r *registers) compute(ins *asm.Instruction) constant {
	left, right := r[ins.Dst], r.operand(ins)
	result := constant{known: left.known && right.known}
	switch ins.OpCode.ALUOp() {
	case asm.Mov:
		if ins.Offset != 0 { // with sign extension
			return constant{}
		}
		result = right
	case asm.And:
		result.value = left.value & right.value
	case asm.Or:
		result.value = left.value | right.value
	case asm.Xor:
		result.value = left.value ^ right.value
	default:
		return constant{}
	}
	if !result.known {
		return constant{}
	}
	if ins.OpCode.Class() == asm.ALUClass {
		result.value = uint64(uint32(result.value))
	}
	return result
}

// branch says whether a jump may be taken, and whether it may be passed.
func (r *registers) branch(ins *asm.Instruction) (taken, passed bool) {
	op := ins.OpCode.JumpOp()
	if op == asm.Ja {
		return true, false
	}
	left, right := r[ins.Dst], r.operand(ins)
	if !left.known || !right.known {
		return true, true
	}
	if ins.OpCode.Class() == asm.Jump32Class {
		left.value, right.value = uint64(uint32(left.value)), uint64(uint32(right.value))
	}
	switch op {
	case asm.JEq:
		taken = left.value == right.value
	case asm.JNE:
		taken = left.value != right.value
	case asm.JSet:
		taken = left.value&right.value != 0
	default:
		return true, true
	}
	return taken, !taken
}
