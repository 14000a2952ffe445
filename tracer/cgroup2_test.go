package tracer_test

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tcptrace/tracer"
	"tcptrace/tracer/event"
	"tcptrace/tracer/host"
)

// hiddenVariable says that this process is the one that sees no cgroup2.
const hiddenVariable = "TRACER_TEST_NO_CGROUP2"

// TestSourcePortIsToldLaterWithoutCgroup2 runs itself where no cgroup2 is mounted, in a mount namespace of its own, so
// that tcp_connect cannot be seen by sockops.
func TestSourcePortIsToldLaterWithoutCgroup2(t *testing.T) {
	if os.Getenv(hiddenVariable) == "" {
		newHost(t) // says whether there is the privilege for all this
		self := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
		self.Env = append(os.Environ(), hiddenVariable+"=1")
		self.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
		if out, err := self.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	hideCgroup2(t)
	tr, err := tracer.Open(tracer.Options{Mechanisms: []tracer.Mechanism{tracer.Tracepoint}, NewOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	w, h := newWatcher(tr), newHost(t)
	if w.tracer.Mechanism(event.SYNReceived) != "" {
		t.Fatal("sockops are attached, to what?")
	}
	client, server := connect(t, h, "127.0.0.1:0")
	closeInTurn(t, client, server)
	events := w.until(t, h.Inode(), "two closed connections", closed(2))
	expectJoined(t, of(t, events, event.RoleClient), of(t, events, event.RoleServer))
	first := of(t, events, event.RoleClient)[0]
	if first.Kind != event.Connect || first.Local.Port() != 0 {
		t.Errorf("the source port is known at once:\n%s", describe(events))
	}
}

func hideCgroup2(t *testing.T) {
	t.Helper()
	for {
		root, err := host.CgroupRoot()
		if err != nil {
			return
		}
		if err := unix.Unmount(root, unix.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
	}
}
