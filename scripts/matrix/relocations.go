package main

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// A relocationCount is how the CO-RE relocations of an object went with the types of a kernel. A dead one is of
// something that the kernel has not got, where the program has asked for it and does not come to it.
type relocationCount struct{ found, dead int }

// relocate tries the relocations of every program of an object, each program alone as it is loaded. The failures are
// those that the verifier would refuse: instructions it comes to that use what the kernel has not got.
func relocate(object *ebpf.CollectionSpec, kernel *btf.Spec) (count relocationCount, failures []error) {
	for _, name := range slices.Sorted(maps.Keys(object.Programs)) {
		n, errs := relocateProgram(object.Programs[name], kernel)
		count.found += n.found
		count.dead += n.dead
		failures = append(failures, errs...)
	}
	return count, failures
}

func relocateProgram(program *ebpf.ProgramSpec, kernel *btf.Spec) (count relocationCount, failures []error) {
	instructions := slices.Clone(program.Instructions)
	var at []int
	var relocations []*btf.CORERelocation
	for i := range instructions {
		if relocation := btf.CORERelocationMetadata(&instructions[i]); relocation != nil {
			at, relocations = append(at, i), append(relocations, relocation)
		}
	}
	// Only types that the kernel is to be told of need numbers of their own.
	noNumber := func(t btf.Type) (btf.TypeID, error) { return 0, fmt.Errorf("the number of %s is not known here", t) }
	fixups, err := btf.CORERelocate(relocations, []*btf.Spec{kernel}, binary.LittleEndian, noNumber)
	if err != nil {
		return count, []error{fmt.Errorf("%s: %w", program.Name, err)}
	}
	for i, fixup := range fixups {
		if err := fixup.Apply(&instructions[at[i]]); err != nil {
			failures = append(failures, fmt.Errorf("%s: %s: %w", program.Name, relocations[i], err))
		}
	}
	used := reachable(instructions)
	for i, relocation := range relocations {
		switch ins := &instructions[at[i]]; {
		case !poisoned(ins):
			count.found++
		case !used[at[i]]:
			count.dead++
		default:
			failures = append(failures, fmt.Errorf("%s: instruction %d uses what the kernel has not got: %s, at or near: %s",
				program.Name, at[i], relocation, sourceOf(program.Instructions[:at[i]+1])))
		}
	}
	return count, failures
}

// sourceOf is the line of C that the last of these instructions comes from, as far as the compiler kept their order:
// only the first of a line has it.
func sourceOf(instructions asm.Instructions) string {
	for i := range slices.Backward(instructions) {
		if source := instructions[i].Source(); source != nil {
			return strings.TrimSpace(source.String())
		}
	}
	return "unknown line"
}

// poisoned says whether a relocation found nothing: it makes an instruction of that which the verifier refuses.
func poisoned(ins *asm.Instruction) bool {
	return ins.Constant == btf.COREBadRelocationSentinel && (ins.IsBuiltinCall() || ins.OpCode.IsDWordLoad())
}
