package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"tcptrace/prober/lab"
)

// promptly is how soon after a signal a command has said what it knows and is gone.
const promptly = 2 * time.Second

func TestSignalDuringAHandshakeGetsTheVerdictSoFar(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	p := newAcceptPair(t)
	const silent = 443
	p.drop(t, silent, 0)
	service := acceptService4(silent).String()
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		for _, test := range []struct {
			name    string
			command acceptCommand
			endedBy string
		}{
			{"connect", acceptCommand{args: []string{"connect", "-o", "json", service}, host: p.client}, "probe"},
			{"watch", acceptCommand{args: []string{"watch", "-o", "json", "--netns", acceptNetNS(p.client)}}, ""},
		} {
			t.Run(fmt.Sprint(test.name, " ", signal), func(t *testing.T) {
				traced := test.command.start(t)
				traced.awaitTrace(t)
				if test.name == "watch" {
					acceptCommand{args: []string{"connect", service}, uid: acceptNobody, host: p.client}.start(t)
				}
				traced.awaitEvent(t, "syn_retransmit")
				traced.signal(t, signal)
				sent := time.Now()
				got := traced.wait(t)
				if took := time.Since(sent); took > promptly {
					t.Errorf("it ended %v after the signal", took)
				}
				lines := got.lines(t)
				v, sum := lines.only(t, typeVerdict), lines.only(t, typeSummary)
				if v.Cause != "no_answer" || v.Outcome != "open" || v.EndedBy != test.endedBy || !sum.Interrupted {
					t.Errorf("%+v, %+v; want no_answer so far, ended by %q, of an interrupted run", v, sum, test.endedBy)
				}
				if got.status != exitOK || got.stderr != "" {
					t.Errorf("exit status %d, %q; want 0: the trace ended as asked", got.status, got.stderr)
				}
			})
		}
	}
}

func TestKilledLabLeavesNothing(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	run := acceptCommand{args: []string{"lab", "no-answer", "-o", "json"}}.start(t)
	connect := run.awaitEvent(t, "connect")
	gone := watchNamespaceOf(t, run.cmd.Process.Pid, connect.NetNS)
	run.signal(t, syscall.SIGKILL)
	gone()
}

// watchNamespaceOf finds a namespace that a process has open, and gives a function that waits until the kernel has taken
// it down. A veth pair tells: it goes with the namespace of either end.
func watchNamespaceOf(t *testing.T, pid int, inode uint32) func() {
	t.Helper()
	n := new(lab.Network)
	t.Cleanup(func() { acceptMust(t, n.Close()) })
	witness, err := n.AddHost("witness")
	acceptMust(t, err)
	kept := openNamespaceOf(t, pid, inode)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "witness"
	acceptMust(t, witness.Do(func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "watched", PeerNamespace: netlink.NsFd(int(kept.Fd()))})
	}))
	acceptMust(t, kept.Close())

	changes, stop := make(chan netlink.LinkUpdate), make(chan struct{})
	t.Cleanup(func() { close(stop) })
	at := netns.NsHandle(witness.NetNS().FD())
	acceptMust(t, netlink.LinkSubscribeWithOptions(changes, stop, netlink.LinkSubscribeOptions{Namespace: &at, ListExisting: true}))
	return func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), acceptPatience)
		defer cancel()
		for {
			select {
			case change := <-changes:
				if change.Header.Type == syscall.RTM_DELLINK && change.Attrs().Name == attrs.Name {
					return
				}
			case <-ctx.Done():
				t.Fatal("the namespace is still there")
			}
		}
	}
}

func openNamespaceOf(t *testing.T, pid int, inode uint32) *os.File {
	t.Helper()
	fds, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "fd", "*"))
	acceptMust(t, err)
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && to == fmt.Sprintf("net:[%d]", inode) {
			file, err := os.Open(fd)
			acceptMust(t, err)
			return file
		}
	}
	t.Fatalf("process %d does not have the namespace %d open", pid, inode)
	return nil
}

func TestCommandEndsWithItsWatcher(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	for _, test := range []struct {
		signal syscall.Signal
		status int
	}{
		{syscall.SIGKILL, -1},
		{syscall.SIGTERM, 128 + int(syscall.SIGTERM)},
		{syscall.SIGINT, 128 + int(syscall.SIGTERM)}, // no terminal here sends ^C to the command as well
	} {
		t.Run(test.signal.String(), func(t *testing.T) {
			watch := acceptCommand{args: []string{"watch", "-q", "--port", "1", "--", "sh", "-c", "echo pid $$; exec sleep 3600"}}.start(t)
			watch.await(t, 1, "pid ")
			out, _ := watch.output(0)
			var pid int
			_, err := fmt.Sscanf(out, "pid %d\n", &pid)
			acceptMust(t, err)
			// A command that outlives its watcher must not outlive the test.
			spare := time.AfterFunc(acceptPatience/4, func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
			defer spare.Stop()
			sent := time.Now()
			watch.signal(t, test.signal)
			// The command has inherited stdout: as long as it lives, that does not end.
			got := watch.wait(t)
			if took := time.Since(sent); took > promptly || got.status != test.status {
				t.Errorf("both ended after %v, exit status %d; want less than %v, and %d", took, got.status, promptly, test.status)
			}
		})
	}
}
