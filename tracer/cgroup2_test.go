package tracer_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tcptrace/tracer"
	"tcptrace/tracer/event"
	"tcptrace/tracer/host"
)

// hiddenVariable says that this process is the one that sees no cgroup2.
const hiddenVariable = "TRACER_TEST_NO_CGROUP2"

// TestSourcePortIsToldLaterWithoutCgroup2 runs itself where there is no cgroup2, as far as it can see, so that tcp_connect
// cannot be seen by sockops.
func TestSourcePortIsToldLaterWithoutCgroup2(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	// No process is in a cgroup of version 2 where it was never mounted.
	if err := unix.Mount("/dev/null", fmt.Sprintf("/proc/%d/cgroup", os.Getpid()), "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	unmountCgroup2(t)
	w := watchByTracepoints(t)
	if w.tracer.Mechanism(event.SYNReceived) != "" {
		t.Fatal("sockops are attached, to what?")
	}
	events := connectionSeen(t, w)
	expectJoined(t, of(t, events, event.RoleClient), of(t, events, event.RoleServer))
	first := of(t, events, event.RoleClient)[0]
	if first.Kind != event.Connect || first.Local.Port() != 0 {
		t.Errorf("the source port is known at once:\n%s", describe(events))
	}
}

// TestCgroup2NeedNotBeMountedHere runs itself as below ip netns exec, where /sys is another one.
func TestCgroup2NeedNotBeMountedHere(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	unmountCgroup2(t)
	expectSeenBySockops(t, connectionSeen(t, watchByTracepoints(t)))
	if mounts, err := os.ReadFile("/proc/self/mounts"); err != nil || strings.Contains(string(mounts), " cgroup2 ") {
		t.Errorf("it is mounted now, or nobody knows (%v):\n%s", err, mounts)
	}
}

// TestCgroupNamespaceHidesNoConnection traces as a container does: its cgroup namespace shows nothing but its own cgroup, and
// the connection is made outside of that.
func TestCgroupNamespaceHidesNoConnection(t *testing.T) {
	inCgroupNamespace(t, func(w *watcher, namespace uint32) {
		expectSeenBySockops(t, w.until(t, namespace, "two closed connections", closed(2)))
	})
}

// TestCgroupNamespaceIsNotTakenForTheHost does that without the capability to look out of it.
func TestCgroupNamespaceIsNotTakenForTheHost(t *testing.T) {
	inCgroupNamespace(t, func(w *watcher, namespace uint32) {
		if w.tracer.Mechanism(event.SYNReceived) != "" {
			t.Error("sockops are attached to a part of the host's cgroups")
		}
		client := of(t, w.until(t, namespace, "two closed connections", closed(2)), event.RoleClient)
		if client[0].Kind != event.Connect {
			t.Errorf("its connect was not seen:\n%s", describe(client))
		}
	}, unix.CAP_DAC_READ_SEARCH)
}

// inCgroupNamespace runs the test again in a cgroup and a cgroup namespace of its own, without some capabilities. There look is
// called, with who traces; here a connection is made, in a network namespace.
func inCgroupNamespace(t *testing.T, look func(w *watcher, namespace uint32), without ...int) {
	if namespace := os.Getenv(hiddenVariable); namespace != "" {
		traceInCgroupNamespace(t, namespace, look)
		return
	}
	h := newHost(t)
	own, err := os.Open(childCgroup(t))
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	tracing := again(t, strconv.FormatUint(uint64(h.Inode()), 10))
	tracing.SysProcAttr = &syscall.SysProcAttr{
		UseCgroupFD: true, CgroupFD: int(own.Fd()), Unshareflags: unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP,
	}
	said := new(strings.Builder)
	tracing.Stderr = said
	out, err := tracing.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := startWithout(tracing, without); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		said.WriteString(lines.Text() + "\n")
		if lines.Text() == ready {
			client, server := connect(t, h, "127.0.0.1:0")
			closeInTurn(t, client, server)
		}
	}
	if err := tracing.Wait(); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
}

// ready is what a process says that traces by now.
const ready = "traces"

func traceInCgroupNamespace(t *testing.T, namespace string, look func(*watcher, uint32)) {
	inode, err := strconv.ParseUint(namespace, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	noteBirth(uint32(inode))
	unmountCgroup2(t)
	if err := unix.Mount("none", "/sys/fs/cgroup", "cgroup2", 0, ""); err != nil {
		t.Fatal(err)
	}
	w := watchByTracepoints(t)
	fmt.Println(ready)
	look(w, uint32(inode))
}

// startWithout starts a process that never has these capabilities. The thread that starts it has them no more to give, and ends.
func startWithout(cmd *exec.Cmd, capabilities []int) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		for _, c := range capabilities {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil {
				started <- err
				return
			}
		}
		started <- cmd.Start()
	}()
	return <-started
}

// inMountNamespace runs the test again in a mount namespace of its own, and says whether this is there.
func inMountNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(hiddenVariable) != "" {
		return true
	}
	newHost(t) // says whether there is the privilege for all this
	hidden := again(t, "1")
	hidden.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	if out, err := hidden.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// again is the command that runs only this test, which finds the value in hiddenVariable.
func again(t *testing.T, value string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), hiddenVariable+"="+value)
	return cmd
}

func unmountCgroup2(t *testing.T) {
	t.Helper()
	for {
		root, err := host.CgroupRoot()
		if err != nil || strings.HasPrefix(root, "/proc/") {
			return
		}
		if err := unix.Unmount(root, unix.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
	}
}

// watchByTracepoints traces without functions to hook, so that only sockops tell of SYNs.
func watchByTracepoints(t *testing.T) *watcher {
	t.Helper()
	tr, err := tracer.Open(tracer.Options{
		Kinds: ends, Mechanisms: []tracer.Mechanism{tracer.Tracepoint}, NewOnly: true,
		RingBytes: 1 << 20, MaxConnections: 4096, Basis: basis,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return newWatcher(tr)
}

// connectionSeen gives the events of one that is made on a host of its own.
func connectionSeen(t *testing.T, w *watcher) []event.Event {
	t.Helper()
	h := newHost(t)
	client, server := connect(t, h, "127.0.0.1:0")
	closeInTurn(t, client, server)
	return w.until(t, h.Inode(), "two closed connections", closed(2))
}

// expectSeenBySockops looks for what nothing else sees.
func expectSeenBySockops(t *testing.T, events []event.Event) {
	t.Helper()
	first := of(t, events, event.RoleClient)[0]
	if first.Kind != event.Connect || first.Local.Port() == 0 || of(t, events, event.RoleServer)[0].Kind != event.SYNReceived {
		t.Errorf("sockops saw nothing:\n%s", describe(events))
	}
}
