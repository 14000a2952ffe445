package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/prober"
)

// slack is how late timers and a loaded machine may be.
const slack = 2 * time.Second

func TestConnectLabsFailAsTheySay(t *testing.T) {
	needKernel(t)
	t.Parallel()
	tests := map[string]map[string]struct {
		err      error
		min, max time.Duration
		retries  int
	}{
		"connected": {"192.0.2.10:443": {max: slack}},
		// The third SYN goes out after 2 seconds, or after 3 where there are no linear timeouts.
		"connected-after-retries": {"192.0.2.10:443": {min: 2 * time.Second, max: 3*time.Second + slack, retries: 2}},
		"no-answer":               {"192.0.2.10:443": {err: unix.ETIMEDOUT, min: 7 * time.Second, max: 7*time.Second + slack}},
		"refused":                 {"192.0.2.10:443": {err: unix.ECONNREFUSED, max: slack}},
		"name-not-resolved":       {},
		"v6-blackhole": {
			"[2001:db8::10]:443": {err: unix.ETIMEDOUT, min: 3 * time.Second, max: 3*time.Second + slack},
			"192.0.2.10:443":     {max: slack},
		},
	}
	for _, l := range connectLabs {
		t.Run(l.Name, func(t *testing.T) {
			t.Parallel() // no lab may disturb another
			want, ok := tests[l.Name]
			if !ok {
				t.Fatal("nobody says how this lab behaves")
			}
			n, scene, err := Build(testContext(t), l)
			must(t, err)
			defer n.Close()
			var tried int
			for _, target := range scene.Targets {
				for _, remote := range resolve(t, scene, target) {
					want, ok := want[remote.String()]
					if !ok {
						t.Errorf("%s became %v, which was not expected", target, remote)
						continue
					}
					tried++
					got, err := connect(scene.Client, remote, scene.Options)
					must(t, err)
					if got.err != want.err || got.took < want.min || got.took > want.max || got.retries != want.retries {
						t.Errorf("connect to %v: %+v, want %+v", remote, got, want)
					}
				}
			}
			if tried != len(want) {
				t.Errorf("%d addresses were tried, want %d", tried, len(want))
			}
		})
	}
}

// resolve looks a target up in the scene's DNS. A name that does not exist has no addresses.
func resolve(t *testing.T, scene *Scene, target string) []netip.AddrPort {
	t.Helper()
	if addr, err := netip.ParseAddrPort(target); err == nil {
		return []netip.AddrPort{addr}
	}
	name, portText, err := net.SplitHostPort(target)
	must(t, err)
	port, err := strconv.ParseUint(portText, 10, 16)
	must(t, err)
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
		err = scene.Client.Do(func() (err error) {
			conn, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(scene.DNS))
			return err
		})
		return conn, err
	}}
	addrs, err := resolver.LookupNetIP(testContext(t), "ip", name+".")
	var dnsErr *net.DNSError
	if errors.As(err, &dnsErr) && dnsErr.IsNotFound {
		return nil
	}
	must(t, err)
	var remotes []netip.AddrPort
	for _, addr := range addrs {
		remotes = append(remotes, netip.AddrPortFrom(addr.Unmap(), uint16(port)))
	}
	return remotes
}

func TestBuildAndCloseLeaveNothing(t *testing.T) {
	needKernel(t)
	cycle := func(l Lab) {
		n, _, err := Build(testContext(t), l)
		if _, missing := errors.AsType[*NotHereError](err); missing && l.Needs != "" {
			return // what there was of it must be gone, too
		}
		must(t, err)
		must(t, n.Close())
	}
	cycle(Labs()[0]) // what the runtime and libraries open once
	before := resources(t)
	labs, times := Labs(), 3
	if testing.Short() { // an emulated machine takes a second for each; what it is made of is the same in all
		labs, times = labs[:3], 1
	}
	for _, l := range labs {
		for range times {
			cycle(l)
		}
	}
	expectResources(t, before)
}

func TestFailedBuildCleansUp(t *testing.T) {
	needKernel(t)
	cause := errors.New("broken on purpose")
	var witnesses []*witness
	broken := Lab{Name: "broken", Build: func(ctx context.Context, n *Network) (*Scene, error) {
		client, server, err := clientAndServer(ctx, n, linkV4)
		must(t, err)
		must(t, server.Listen(serviceV4))
		witnesses = append(witnesses, watchNamespace(t, client.NetNS().FD()), watchNamespace(t, server.NetNS().FD()))
		return nil, cause
	}}
	n, scene, err := Build(testContext(t), broken)
	if n != nil || scene != nil || !errors.Is(err, cause) {
		t.Errorf("Build returned %v, %v, %v; want only %v", n, scene, err, cause)
	}
	if len(witnesses) != 2 {
		t.Fatalf("%d namespaces are watched, want 2", len(witnesses))
	}
	for _, w := range witnesses {
		w.awaitEnd(t)
	}
}

func TestBuildEndsWithItsContext(t *testing.T) {
	needKernel(t)
	before := resources(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	// The link may be up before anybody has to wait for it.
	if n, _, err := Build(ctx, Labs()[0]); err == nil {
		must(t, n.Close())
	} else if !errors.Is(err, context.Canceled) {
		t.Errorf("%v; want an error that is context.Canceled", err)
	}
	expectResources(t, before)
}

// held is what a process must give back.
type held struct {
	fds        []string
	goroutines int
}

func resources(t *testing.T) held {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	var h held
	for _, entry := range entries {
		h.fds = append(h.fds, entry.Name())
	}
	h.goroutines = runtime.NumGoroutine()
	return h
}

// expectResources waits, for a goroutine that has given its result may take a moment to end.
func expectResources(t *testing.T, before held) {
	t.Helper()
	var now held
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		now = resources(t)
		if now.goroutines <= before.goroutines && slices.Equal(now.fds, before.fds) {
			return
		}
	}
	stacks := make([]byte, 1<<16)
	stacks = stacks[:runtime.Stack(stacks, true)]
	t.Errorf("before %+v, now %+v\n%s", before, now, stacks)
}

// childLab, in the environment of this test program, names the lab that it is to build and keep.
const childLab = "TCPTRACE_TEST_CHILD_LAB"

func TestMain(m *testing.M) {
	if name, ok := os.LookupEnv(childLab); ok {
		os.Exit(keepLab(name))
	}
	os.Exit(m.Run())
}

// keepLab builds a lab, connects in it, tells the file descriptor of the client's namespace, and holds on until its standard
// input ends.
func keepLab(name string) int {
	l, err := Find(name)
	if err == nil {
		err = keep(l)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func keep(l Lab) error {
	n, scene, err := Build(context.Background(), l)
	if err != nil {
		return err
	}
	defer n.Close()
	hold := prober.Call(func(context.Context) error {
		return scene.Client.Do(func() error { // with a thread inside, too
			fmt.Println(scene.Client.NetNS().FD())
			_, err := io.Copy(io.Discard, os.Stdin)
			return err
		})
	})
	// What the lab does once all is prepared is to hold the connection.
	options := scene.Options
	options.Then = append(options.Then[:max(len(options.Then)-1, 0)], hold)
	remote, err := netip.ParseAddrPort(scene.Targets[0])
	if err != nil {
		return err
	}
	p, err := prober.Connect(context.Background(), "", remote, options, nil)
	if err == nil && !p.Connected {
		err = hold(context.Background())
	}
	return err
}

func TestNamespacesGoWithAKilledProcess(t *testing.T) {
	needKernel(t)
	t.Parallel()
	// Connections are closed when their process is killed. In a broken network their FIN is not answered, or cannot even
	// be sent, and the kernel repeats it, in a namespace that must not go meanwhile.
	for _, name := range []string{
		"accept-queue-full-at-ack", "connected", "handshake-incomplete", "keepalive-timeout", "old-connection-in-the-way",
		"ports-exhausted-time-wait", "rejected-by-icmp", "simultaneous-open", "syn-queue-full", "user-timeout-in-flight", "zero-window-timeout",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			killKept(t, name)
		})
	}
}

func killKept(t *testing.T, name string) {
	child := exec.Command("/proc/self/exe")
	child.Env = append(os.Environ(), childLab+"="+name)
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe()
	must(t, err)
	defer stdin.Close()
	stdout, err := child.StdoutPipe()
	must(t, err)
	must(t, child.Start())
	defer child.Wait()
	defer child.Process.Kill()

	line, err := bufio.NewReader(stdout).ReadString('\n')
	must(t, err)
	ns, err := os.Open(filepath.Join("/proc", strconv.Itoa(child.Process.Pid), "fd", strings.TrimSpace(line)))
	must(t, err)
	w := watchNamespace(t, int(ns.Fd()))
	var stat unix.Stat_t
	must(t, unix.Fstat(int(ns.Fd()), &stat))
	must(t, ns.Close())
	if kept := users(t, uint32(stat.Ino)); len(kept) == 0 {
		t.Fatal("nothing keeps the namespace while the child lives: this test could not fail")
	}

	must(t, child.Process.Kill())
	w.awaitEnd(t)
}

func TestFind(t *testing.T) {
	tests := map[string]struct {
		found string
		err   string
	}{
		"no-answer": {found: "no-answer"},
		"no_answer": {found: "no-answer"},
		"no-anwser": {err: `no lab is called "no-anwser"`},
		"":          {err: `no lab is called ""`},
	}
	for name, want := range tests {
		l, err := Find(name)
		if l.Name != want.found || fmt.Sprint(err) != fmt.Sprint(errorText(want.err)) {
			t.Errorf("Find(%q) = %q, %v; want %q, %v", name, l.Name, err, want.found, want.err)
		}
	}
}

func errorText(text string) error {
	if text == "" {
		return nil
	}
	return errors.New(text)
}

func TestLabsAreSortedAndComplete(t *testing.T) {
	all := Labs()
	if len(all) == 0 {
		t.Fatal("there are no labs")
	}
	for i, l := range all {
		if i > 0 && all[i-1].Name >= l.Name {
			t.Errorf("%s comes after %s", l.Name, all[i-1].Name)
		}
		if l.Name == "" || l.Summary == "" || len(l.Steps) == 0 || l.Expect == "" || l.Build == nil {
			t.Errorf("%+v lacks something", l)
		}
		if strings.Contains(l.Name, "_") || strings.Contains(l.Expect, "-") {
			t.Errorf("lab %s expects %s: a lab's name has -, a cause has _", l.Name, l.Expect)
		}
	}
}
