package tracer

import (
	"bytes"
	"errors"
	"os"
	"testing"
)

func TestWhatIsLoadedForNothingIsGivenBack(t *testing.T) {
	a := newTestAttacher(t)
	before := loadedPrograms(t)
	foreseen := []instance{{bpfProgStateTracepoint, 0}, {bpfProgStateTracepoint, 1}, {bpfProgDestroyTracepoint, 0}}
	a.preload(foreseen)
	program, err := a.loaded(foreseen[2]) // loaded by another, or here
	if err != nil {
		t.Fatal(err)
	}
	if n := loadedPrograms(t); n <= before {
		t.Errorf("%d programs, %d before any was loaded", n, before)
	}
	program.Close()
	a.finish()
	if n := loadedPrograms(t); n != before {
		t.Errorf("%d programs stay, %d were there before", n, before)
	}
}

func newTestAttacher(t *testing.T) *attacher {
	t.Helper()
	basis := NewBasis("")
	kernel, err := basis.kernel()
	if err != nil {
		t.Fatal(err)
	}
	a, err := prepare(&Options{RingBytes: 1}, basis)
	if errors.Is(err, ErrPrivilege) && os.Getenv("TCPTRACE_KERNEL_TESTS") != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.shared.Close)
	if err := a.setKernel(kernel); err != nil {
		t.Fatal(err)
	}
	return a
}

// loadedPrograms is how many BPF programs this process holds.
func loadedPrograms(t *testing.T) (n int) {
	t.Helper()
	const dir = "/proc/self/fdinfo/"
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		info, err := os.ReadFile(dir + entry.Name())
		if err == nil && bytes.Contains(info, []byte("prog_type:")) { // a descriptor may be closed meanwhile
			n++
		}
	}
	return n
}
