package main

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
)

func TestReachableFollowsWhatIsKnown(t *testing.T) {
	jump := func(op asm.JumpOp, register asm.Register, value int32, distance int16) asm.Instruction {
		ins := op.Imm(register, value, "")
		ins.Offset = distance
		return ins
	}
	for name, test := range map[string]struct {
		program asm.Instructions
		dead    []int
	}{
		"a branch on what is known": {asm.Instructions{
			asm.Mov.Imm(asm.R1, 0), jump(asm.JEq, asm.R1, 0, 1), asm.FnKtimeGetNs.Call(), asm.Return(),
		}, []int{2}},
		"the same with another outcome": {asm.Instructions{
			asm.Mov.Imm(asm.R1, 1), jump(asm.JNE, asm.R1, 1, 1), jump(asm.Ja, 0, 0, 1), asm.FnKtimeGetNs.Call(), asm.Return(),
		}, []int{3}},
		"through another register and a mask": {asm.Instructions{
			asm.Mov.Imm(asm.R1, 2), asm.Mov.Reg(asm.R6, asm.R1), asm.And.Imm(asm.R6, 1), jump(asm.JSet, asm.R6, 1, 1),
			jump(asm.Ja, 0, 0, 1), asm.FnKtimeGetNs.Call(), asm.Return(),
		}, []int{5}},
		"a branch on what a call returned": {asm.Instructions{
			asm.Mov.Imm(asm.R0, 0), asm.FnJiffies64.Call(), jump(asm.JEq, asm.R0, 0, 1), asm.FnKtimeGetNs.Call(), asm.Return(),
		}, nil},
		"a branch on what was loaded": {asm.Instructions{
			asm.Mov.Imm(asm.R2, 0), asm.LoadMem(asm.R2, asm.R1, 0, asm.Word), jump(asm.JEq, asm.R2, 0, 1), asm.FnKtimeGetNs.Call(), asm.Return(),
		}, nil},
		"two ways that disagree": {asm.Instructions{
			asm.Mov.Imm(asm.R6, 0), asm.FnJiffies64.Call(), jump(asm.JEq, asm.R0, 0, 1), asm.Mov.Imm(asm.R6, 1),
			jump(asm.JEq, asm.R6, 0, 1), asm.FnKtimeGetNs.Call(), asm.Return(),
		}, nil},
		"two ways that agree": {asm.Instructions{
			asm.Mov.Imm(asm.R6, 0), asm.FnJiffies64.Call(), jump(asm.JEq, asm.R0, 0, 1), asm.Mov.Imm(asm.R7, 1),
			jump(asm.JEq, asm.R6, 0, 1), asm.FnKtimeGetNs.Call(), asm.Return(),
		}, []int{5}},
		"over an instruction of two": {asm.Instructions{
			asm.Mov.Imm(asm.R1, 0), jump(asm.JEq, asm.R1, 0, 2), asm.LoadImm(asm.R2, 1<<40, asm.DWord), asm.Return(),
		}, []int{2}},
		"a function that is called": {asm.Instructions{
			asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call), Src: asm.PseudoCall, Constant: -1}.WithReference("callee"),
			asm.Return(),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("callee"), asm.Return(),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("nobody's"), asm.Return(),
		}, []int{4, 5}},
	} {
		var dead []int
		for i, reached := range reachable(test.program) {
			if !reached {
				dead = append(dead, i)
			}
		}
		if diff := cmp.Diff(test.dead, dead); diff != "" {
			t.Errorf("%s: dead instructions (-want +got):\n%s\n%v", name, diff, test.program)
		}
	}
}

// committed is an object as it is in the repository.
func committed(t *testing.T, o object) *ebpf.CollectionSpec {
	t.Helper()
	spec, err := ebpf.LoadCollectionSpec("../../" + o.path)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// shape is what the tracer relies on in an object.
type shape struct {
	Programs map[string]string    // their sections
	Maps     map[string][4]uint32 // type, sizes of key and value, entries
}

func shapeOf(spec *ebpf.CollectionSpec) shape {
	s := shape{Programs: make(map[string]string), Maps: make(map[string][4]uint32)}
	for name, p := range spec.Programs {
		s.Programs[name] = p.SectionName
	}
	for name, m := range spec.Maps {
		s.Maps[name] = [4]uint32{uint32(m.Type), m.KeySize, m.ValueSize, m.MaxEntries}
	}
	return s
}

// The tracer takes one for the other, and the tests that need a kernel run on some of them.
func TestObjectsAreOfOneSource(t *testing.T) {
	first := shapeOf(committed(t, objects[0]))
	for _, o := range objects[1:] {
		if diff := cmp.Diff(first, shapeOf(committed(t, o))); diff != "" {
			t.Errorf("-%s +%s:\n%s", objects[0].path, o.path, diff)
		}
	}
}

func TestObjectsAreTriedOnKernelsThatHaveWhatTheyNeed(t *testing.T) {
	without, with := committed(t, objects[0]).Types, committed(t, objects[1]).Types
	for _, o := range objects {
		if !o.isFor(o.architecture, with) {
			t.Errorf("%s is not for a kernel that has all", o.path)
		}
		if o.isFor(o.architecture, without) != (o.needs == "") {
			t.Errorf("%s, which needs %q: %t", o.path, o.needs, o.needs != "")
		}
		if o.isFor("riscv64", with) {
			t.Errorf("%s is for another architecture", o.path)
		}
	}
}

// kernelLike has the types that the object was compiled with, but for one field that has another name.
func kernelLike(t *testing.T, object *ebpf.CollectionSpec, structure, without string) *btf.Spec {
	t.Helper()
	var types []btf.Type
	for typ, err := range object.Types.Copy().All() {
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := typ.(*btf.Struct); ok && s.Name == structure {
			i := slices.IndexFunc(s.Members, func(m btf.Member) bool { return m.Name == without })
			if i < 0 {
				t.Fatalf("struct %s has no %s", structure, without)
			}
			s.Members[i].Name = "renamed"
		}
		types = append(types, typ)
	}
	builder, err := btf.NewBuilder(types[1:], nil) // the first is void
	if err != nil {
		t.Fatal(err)
	}
	raw, err := builder.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestRelocationsAreFoundDeadOrFail(t *testing.T) {
	for _, o := range objects {
		object := committed(t, o)
		whole, failures := relocate(object, object.Types)
		if whole.found == 0 || whole.dead != 0 || len(failures) > 0 {
			t.Errorf("%s, with its own types: %+v, %v", o.path, whole, failures)
		}

		guarded, failures := relocate(object, kernelLike(t, object, "netns_ipv4", "sysctl_tcp_syn_linear_timeouts"))
		if guarded.dead == 0 || guarded.found+guarded.dead != whole.found || len(failures) > 0 {
			t.Errorf("%s, without a field that is asked for: %+v, %v", o.path, guarded, failures)
		}

		_, failures = relocate(object, kernelLike(t, object, "sock_common", "skc_family"))
		if !slices.ContainsFunc(failures, func(err error) bool { return strings.Contains(err.Error(), `Struct:"sock_common"`) }) {
			t.Errorf("%s, without a field that is not asked for: %v", o.path, failures)
		}
	}
}

// blob is BTF with nothing in it but these types and names.
func blob(types, names string) []byte {
	var b bytes.Buffer
	b.WriteString("\x9f\xeb\x01\x00")
	for _, field := range []int{24, 0, len(types), len(types), len(names)} {
		binary.Write(&b, binary.LittleEndian, uint32(field))
	}
	b.WriteString(types + names)
	return b.Bytes()
}

func TestTypesAreCutOutOfAKernel(t *testing.T) {
	whole := blob("some", "\x00name\x00")
	for name, test := range map[string]struct {
		kernel string
		want   []byte
	}{
		"among others":       {"code" + string(whole) + "data", whole},
		"after its magic":    {"\x9f\xeb\x01\x00 is compared with" + string(whole), whole},
		"names without end":  {string(blob("some", "\x00name")), nil},
		"names without void": {string(blob("some", "name\x00")), nil},
		"cut off":            {string(whole[:len(whole)-1]), nil},
		"no more than magic": {string(whole[:4]), nil},
		"none":               {"code", nil},
	} {
		got, err := cutTypes([]byte(test.kernel))
		if !bytes.Equal(got, test.want) || (err == nil) != (test.want != nil) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestPayloadOfAnImage(t *testing.T) {
	image := make([]byte, 3*512)
	image[0x1f1] = 1
	copy(image[0x202:], "HdrS")
	binary.LittleEndian.PutUint32(image[0x248:], 16)
	binary.LittleEndian.PutUint32(image[0x24c:], 11)
	copy(image[2*512+16:], "payloadSIZErest")
	if got, err := payloadOf(image); string(got) != "payload" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := payloadOf(image[:2*512+20]); err == nil {
		t.Errorf("of one that is cut off: %q", got)
	}
	if got, err := payloadOf([]byte("MZ of another architecture")); got != nil || err != nil {
		t.Errorf("of another architecture: %q, %v", got, err)
	}
}

func TestFailedRelocationFailsTheMatrix(t *testing.T) {
	object := committed(t, objects[0])
	check := relocationCheck{types: typesFile{architecture: objects[0].architecture, release: "6.1"}}
	check.count, check.failures = relocate(object, kernelLike(t, object, "sock_common", "skc_family"))
	var out strings.Builder
	if status := conclude(&out, nil, []relocationCheck{check}); status != 1 || !strings.Contains(out.String(), "does not fit") {
		t.Errorf("exit status %d:\n%s", status, out.String())
	}
}
