package main

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

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
			failures = append(failures, fmt.Errorf("%s: instruction %d uses what the kernel has not got: %s", program.Name, at[i], relocation))
		}
	}
	return count, failures
}

// poisoned says whether a relocation found nothing: it makes an instruction of that which the verifier refuses.
func poisoned(ins *asm.Instruction) bool {
	return ins.Constant == btf.COREBadRelocationSentinel && (ins.IsBuiltinCall() || ins.OpCode.IsDWordLoad())
}
