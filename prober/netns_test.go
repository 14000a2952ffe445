package prober

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// threadNetNS is the inode of the calling thread's namespace.
func threadNetNS() (uint32, error) {
	var st unix.Stat_t
	err := unix.Stat("/proc/thread-self/ns/net", &st)
	return uint32(st.Ino), err
}

func TestDoIsInsideAndNothingElseIs(t *testing.T) {
	ns := newTestNetNS(t)
	home, err := threadNetNS()
	if err != nil {
		t.Fatal(err)
	}
	if ns.Inode() == 0 || ns.Inode() == home {
		t.Fatalf("inode %d of the new namespace, %d of this one", ns.Inode(), home)
	}
	var calls sync.WaitGroup
	for range 50 {
		calls.Go(func() {
			err := ns.Do(func() error {
				if inode, err := threadNetNS(); err != nil || inode != ns.Inode() {
					return fmt.Errorf("inside is namespace %d, %v", inode, err)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			if inode, err := threadNetNS(); err != nil || inode != home {
				t.Errorf("after Do, this thread is in namespace %d (%v), not %d", inode, err, home)
			}
		})
	}
	calls.Wait()
}

// The runtime cannot end the process's first thread, so a namespace entered there would stay in /proc/self/net.
func TestDoNeverMovesTheFirstThread(t *testing.T) {
	ns := newTestNetNS(t)
	var calls sync.WaitGroup
	for range 200 { // enough that the first thread is among those that are free to be taken
		calls.Go(func() {
			err := ns.Do(func() error {
				if unix.Gettid() == unix.Getpid() {
					return errors.New("runs on the first thread")
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	if got := (*NetNS)(nil).Inode(); got == ns.Inode() {
		t.Errorf("/proc/self is in namespace %d", got)
	}
}

func TestDoReturnsTheError(t *testing.T) {
	ns := newTestNetNS(t)
	want := errors.New("mine")
	if err := ns.Do(func() error { return want }); err != want {
		t.Errorf("Do = %v, want the function's error", err)
	}
	if err := ns.Do(func() error { runtime.Goexit(); return nil }); err == nil {
		t.Error("Do of a function that exits its goroutine succeeded")
	}
	ns.Close()
	if err := ns.Do(func() error { return nil }); !errors.Is(err, unix.EBADF) {
		t.Errorf("Do after Close = %v, want EBADF", err)
	}
}

func TestDoWithoutNamespaceStaysHere(t *testing.T) {
	var ns *NetNS
	home, err := threadNetNS()
	if err != nil {
		t.Fatal(err)
	}
	if err := ns.Do(func() error { return nil }); err != nil {
		t.Error(err)
	}
	if ns.Inode() != home || ns.FD() != -1 || ns.Close() != nil || ns.String() != "this network namespace" {
		t.Errorf("the nil handle is %v, inode %d (this one is %d), fd %d", ns, ns.Inode(), home, ns.FD())
	}
}

func TestOpenNetNSByPathAndPID(t *testing.T) {
	current, err := CurrentNetNS()
	if err != nil {
		t.Fatal(err)
	}
	defer current.Close()
	for _, ref := range []string{"/proc/self/ns/net", strconv.Itoa(os.Getpid())} {
		ns, err := OpenNetNS(ref)
		if err != nil {
			t.Errorf("OpenNetNS(%q): %v", ref, err)
			continue
		}
		if ns.Inode() != current.Inode() {
			t.Errorf("OpenNetNS(%q) is namespace %d, want %d", ref, ns.Inode(), current.Inode())
		}
		ns.Close()
	}
}

func TestNetNSFromFDLeavesTheCallersDescriptorAlone(t *testing.T) {
	original, err := CurrentNetNS()
	if err != nil {
		t.Fatal(err)
	}
	defer original.Close()
	ns, err := NetNSFromFD(original.FD())
	if err != nil {
		t.Fatal(err)
	}
	if ns.Inode() != original.Inode() {
		t.Errorf("namespace %d, want %d", ns.Inode(), original.Inode())
	}
	ns.Close()
	if original.Inode() == 0 {
		t.Error("closing the handle closed the caller's descriptor")
	}
}

func TestOpenNetNSSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	const noPID = "2147483647" // above the largest that Linux gives out
	tests := []struct{ ref, want string }{
		{"", "a network namespace is named by its name, path or PID: it cannot be empty"},
		{"no-such-name", `no network namespace is named "no-such-name" in /run/netns`},
		{"..", `no network namespace is named ".." in /run/netns`},
		{noPID, "no process has the PID 2147483647, and no network namespace that name in /run/netns"},
		{dir + "/absent", "open network namespace " + dir + "/absent: no such file or directory"},
		{fifo, fifo + " is not a network namespace"},
		{"/proc/self/ns/pid", "/proc/self/ns/pid is not a network namespace"},
		{"/dev/null", "/dev/null is not a network namespace"},
	}
	for _, tt := range tests {
		ns, err := OpenNetNS(tt.ref)
		if err == nil {
			ns.Close()
			t.Errorf("OpenNetNS(%q) succeeded", tt.ref)
		} else if err.Error() != tt.want {
			t.Errorf("OpenNetNS(%q) = %q, want %q", tt.ref, err, tt.want)
		}
	}
	if _, err := NetNSFromFD(-1); !errors.Is(err, unix.EBADF) {
		t.Errorf("NetNSFromFD(-1) = %v, want EBADF", err)
	}
}
