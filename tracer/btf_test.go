package tracer_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"tcptrace/tracer"
	"tcptrace/tracer/event"
)

// withoutTypes runs fn where the kernel does not show its types: in a mount namespace of a thread that ends with it.
func withoutTypes(fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // without unlocking: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = unix.Mount("none", "/sys/kernel/btf", "tmpfs", unix.MS_RDONLY, "")
		}
		if err == nil {
			err = fn()
		}
		done <- err
	}()
	return <-done
}

// openWithoutTypes opens a tracer where the kernel does not show its types, with those in a file if it is not empty.
func openWithoutTypes(t *testing.T, file string) (tr *tracer.Tracer, err error) {
	t.Helper()
	err = withoutTypes(func() (err error) {
		tr, err = tracer.Open(tracer.Options{
			BTF: file, NewOnly: true, Mechanisms: mechanisms(t), RingBytes: 1 << 20, MaxConnections: 4096,
		})
		return err
	})
	if (errors.Is(err, tracer.ErrPrivilege) || errors.Is(err, unix.EPERM)) && os.Getenv("TCPTRACE_KERNEL_TESTS") != "1" {
		t.Skip(err)
	}
	return tr, err
}

func TestKernelWithoutTypesIsRefused(t *testing.T) {
	tr, err := openWithoutTypes(t, "")
	if !errors.Is(err, tracer.ErrNoBTF) {
		t.Fatalf("%v, %v; want %v", tr, err, tracer.ErrNoBTF)
	}
}

// Only fentry cannot do without the kernel's own types.
func TestTypesFromAFileStandInForTheKernelsOwn(t *testing.T) {
	types, err := os.ReadFile("/sys/kernel/btf/vmlinux")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kernel.btf")
	if err := os.WriteFile(file, types, 0o644); err != nil {
		t.Fatal(err)
	}
	tr, err := openWithoutTypes(t, file)
	if slices.Equal(mechanisms(t), []tracer.Mechanism{tracer.Fentry}) {
		if _, ok := errors.AsType[*tracer.NothingError](err); !ok {
			t.Fatalf("%v, %v; want that nothing can be traced", tr, err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	for _, h := range tr.Hooks() {
		if h.Mechanism == tracer.Fentry {
			t.Errorf("%s is seen by fentry", h.Kind)
		}
	}
	w, h := newWatcher(tr), newHost(t)
	l := listen(t, h, "127.0.0.1:0")
	c, err := dial(h, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s := accept(t, l)
	c.Close()
	s.Close()
	events := w.until(t, h.Inode(), "the end of both", closed(2))
	expectWhole(t, of(t, events, event.RoleClient), os.Getpid())
	got := kinds(of(t, events, event.RoleClient))
	for _, want := range []event.Kind{event.Connect, event.Established, event.Close} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s among the client's events:\n%s", want, describe(events))
		}
	}
	if !has(events, event.SYNReceived, event.RoleServer) {
		t.Errorf("the server's SYN was not seen:\n%s", describe(events))
	}
}
