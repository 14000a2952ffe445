package tracer_test

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tcptrace/tracer"
)

const littleMemory = "TCPTRACE_TEST_LITTLE_MEMORY"

// Before Linux 5.11 BPF's memory counts as locked memory, and what is short of that gets EPERM, as who lacks the privilege does.
func TestKernelWithLittleLockedMemorySaysSo(t *testing.T) {
	if os.Getenv(littleMemory) != "" {
		giveUpLockedMemory(t)
		tr, err := tracer.Open(tracer.Options{Mechanisms: mechanisms(t)})
		if err != nil {
			t.Fatal(err)
		}
		tr.Close()
		return
	}
	watch(t) // which needs the privilege
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(self, "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), littleMemory+"=1")
	said, err := withoutCapability(unix.CAP_SYS_RESOURCE, child.CombinedOutput)
	if !countsLockedMemory(t) {
		if err != nil {
			t.Errorf("this kernel does not count it: %v\n%s", err, said)
		}
		return
	}
	if err == nil || !strings.Contains(string(said), "this process may have 64 KiB and no more: give it CAP_SYS_RESOURCE") {
		t.Errorf("%v\n%s", err, said)
	}
}

// giveUpLockedMemory leaves this process 64 KiB of it, for good.
func giveUpLockedMemory(t *testing.T) {
	t.Helper()
	const little = 64 << 10
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: little, Max: little}); err != nil {
		t.Fatal(err)
	}
}

// withoutCapability runs a program that will never have it.
func withoutCapability(capability uintptr, run func() ([]byte, error)) (output []byte, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with this, and what it lacks with it
		if err = unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err == nil {
			output, err = run()
		}
	}()
	<-done
	return output, err
}

func countsLockedMemory(t *testing.T) bool {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	return strings.HasPrefix(unix.ByteSliceToString(u.Release[:]), "5.10.")
}
