package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
)

// The acceptance tests run the finished command against the kernel of this machine, each in network namespaces of its
// own. The command is a process of its own, too: a trace tells its probes from others by their pid.

// acceptPatience is how long a test waits for what should have happened long before.
const acceptPatience = 60 * time.Second

// The addresses of the tests' one link, from ranges that are reserved for documentation.
var (
	acceptClient4 = netip.MustParsePrefix("192.0.2.1/24")
	acceptServer4 = netip.MustParsePrefix("192.0.2.10/24")
	acceptClient6 = netip.MustParsePrefix("2001:db8::1/64")
	acceptServer6 = netip.MustParsePrefix("2001:db8::10/64")
)

// acceptNobody is the user without any privilege.
const acceptNobody = 65534

// acceptKernel skips a test that needs privilege where there is none, unless the kernel tests are demanded.
func acceptKernel(t *testing.T) {
	t.Helper()
	n := new(lab.Network)
	_, err := n.AddHost("trial")
	if err == nil {
		acceptMust(t, n.Close())
		return
	}
	if errors.Is(err, unix.EPERM) && os.Getenv("TCPTRACE_KERNEL_TESTS") != "1" {
		t.Skipf("needs root: %v", err)
	}
	t.Fatal(err)
}

func acceptMust(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// acceptPair is a client and a server on one link, with both address families.
type acceptPair struct {
	network        *lab.Network
	client, server *lab.Host
}

func newAcceptPair(t *testing.T) *acceptPair {
	t.Helper()
	p := &acceptPair{network: new(lab.Network)}
	t.Cleanup(func() { acceptMust(t, p.network.Close()) })
	p.client, p.server = p.addHost(t, "client"), p.addHost(t, "server")
	p.join(t, lab.End{Host: p.client, Addrs: []netip.Prefix{acceptClient4, acceptClient6}},
		lab.End{Host: p.server, Addrs: []netip.Prefix{acceptServer4, acceptServer6}})
	return p
}

func (p *acceptPair) addHost(t *testing.T, name string) *lab.Host {
	t.Helper()
	host, err := p.network.AddHost(name)
	acceptMust(t, err)
	return host
}

func (p *acceptPair) join(t *testing.T, a, b lab.End) {
	t.Helper()
	acceptMust(t, p.network.Connect(t.Context(), a, b))
}

// drop has the server throw away what comes for a port; all of it, or only the first SYNs.
func (p *acceptPair) drop(t *testing.T, port uint16, firstSYNs uint32) {
	t.Helper()
	_, err := p.server.DropInput(lab.Drop{Port: port, FirstSYNs: firstSYNs})
	acceptMust(t, err)
}

// acceptService4 is a port of the server.
func acceptService4(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(acceptServer4.Addr(), port)
}

func acceptService6(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(acceptServer6.Addr(), port)
}

// acceptNetNS names a host's network namespace in a way that other processes understand.
func acceptNetNS(h *lab.Host) string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), h.NetNS().FD())
}

// hangUp serves an address with a server that closes each connection at once, as programs that would wait for an answer
// need it. It is plain TCP, which package net would not make it by itself.
func hangUp(t *testing.T, h *lab.Host, addr netip.AddrPort) {
	t.Helper()
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	var listener net.Listener
	acceptMust(t, h.Do(func() (err error) {
		listener, err = config.Listen(t.Context(), "tcp", addr.String())
		return err
	}))
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	})
	t.Cleanup(func() {
		listener.Close()
		served.Wait()
	})
}

// acceptProgram is this test program under another name: as the command tcptrace, it is what [TestMain] makes of it
// when its first argument says so. Everybody may execute it.
func acceptProgram(t *testing.T, name string) string {
	t.Helper()
	self, err := os.Executable()
	acceptMust(t, err)
	path := filepath.Join(acceptPublicDir(t), name)
	if os.Link(self, path) == nil {
		return path
	}
	acceptMust(t, acceptCopy(self, path))
	return path
}

// acceptPublicDir is a directory that other users may look into, unlike that of [testing.T.TempDir].
func acceptPublicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tcptrace-accept")
	acceptMust(t, err)
	t.Cleanup(func() { acceptMust(t, os.RemoveAll(dir)) })
	acceptMust(t, os.Chmod(dir, 0o755))
	return dir
}

func acceptCopy(from, to string) error {
	// A child that is forked meanwhile would keep the file open for writing, and then it cannot be executed.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

// acceptCommand is a process to start.
type acceptCommand struct {
	path  string // empty: the command tcptrace
	args  []string
	uid   uint32    // 0: as we are
	host  *lab.Host // nil: where we are
	as    string    // what its first argument calls it; empty: its path
	stdin io.Reader
	// thread prepares the thread that the process is forked from. That thread ends with it.
	thread func() error
}

// acceptProcess is one that was started.
type acceptProcess struct {
	cmd    *exec.Cmd
	stdout io.ReadCloser
	stderr bytes.Buffer
	began  time.Time
	ended  chan struct{} // closed when the process has ended and its output was read
	err    error         // of waiting for it, once ended

	mu      sync.Mutex
	out     []byte
	changed chan struct{} // closed, and replaced, when there is more of out
}

// start runs the process; it is killed with the test if it still lives then.
func (c acceptCommand) start(t *testing.T) *acceptProcess {
	t.Helper()
	if c.path == "" {
		c.path = acceptProgram(t, "tcptrace")
	}
	p := &acceptProcess{cmd: exec.Command(c.path, c.args...), ended: make(chan struct{}), changed: make(chan struct{})}
	if c.as != "" {
		p.cmd.Args[0] = c.as
	}
	p.cmd.Dir, p.cmd.Stdin, p.cmd.Stderr = "/", c.stdin, &p.stderr
	if c.uid != 0 {
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: c.uid, Gid: c.uid}}
	}
	var err error
	p.stdout, err = p.cmd.StdoutPipe()
	acceptMust(t, err)
	acceptMust(t, c.launch(p))
	go p.read()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // most often it has ended
		<-p.ended
	})
	return p
}

// launch forks from a thread that is where the process is to be: a child is born into its parent's namespaces.
func (c acceptCommand) launch(p *acceptProcess) error {
	start := func() error {
		p.began = time.Now()
		return p.cmd.Start()
	}
	switch {
	case c.host != nil:
		return c.host.Do(start)
	case c.thread != nil:
		return onLostThread(func() error { return errors.Join(c.thread(), start()) })
	}
	return start()
}

// read keeps what the process writes until it has closed its output, and then waits for it.
func (p *acceptProcess) read() {
	buf := make([]byte, 1<<16)
	for {
		n, err := p.stdout.Read(buf)
		p.mu.Lock()
		p.out = append(p.out, buf[:n]...)
		close(p.changed)
		p.changed = make(chan struct{})
		p.mu.Unlock()
		if err != nil {
			break
		}
	}
	p.err = p.cmd.Wait()
	close(p.ended)
}

// output is what the process has written from an offset on, and a channel that is closed when there is more.
func (p *acceptProcess) output(from int) (string, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.out[from:]), p.changed
}

// await waits until the process has written so many lines that begin with what is wanted, or one that begins as one of
// enough.
func (p *acceptProcess) await(t *testing.T, times int, wanted string, enough ...string) {
	t.Helper()
	patience := time.After(acceptPatience)
	read, found := 0, 0
	for ended := false; ; {
		more, changed := p.output(read)
		whole := more[:strings.LastIndexByte(more, '\n')+1]
		read += len(whole)
		for line := range strings.Lines(whole) {
			if strings.HasPrefix(line, wanted) {
				found++
			}
			if slices.ContainsFunc(enough, func(prefix string) bool { return strings.HasPrefix(line, prefix) }) {
				return
			}
		}
		if found >= times {
			return
		}
		if ended {
			t.Fatalf("%v ended (%v) with %d of %d lines %s: ...%s%s", p.cmd.Args[1:], p.err, found, times, wanted, p.tail(), &p.stderr)
		}
		select {
		case <-changed:
		case <-p.ended:
			ended = true
		case <-patience:
			t.Fatalf("%v has said %d of %d lines %s: ...%s", p.cmd.Args[1:], found, times, wanted, p.tail())
		}
	}
}

// tail is the end of the output, to show what went wrong.
func (p *acceptProcess) tail() string {
	out, _ := p.output(0)
	return out[max(0, len(out)-2000):]
}

// awaitTrace waits until a trace that is told as JSON is there.
func (p *acceptProcess) awaitTrace(t *testing.T) {
	t.Helper()
	p.await(t, 1, `{"type":"meta",`)
}

// awaitEvent waits for the first event of that kind in a trace that is told as JSON.
func (p *acceptProcess) awaitEvent(t *testing.T, kind string) acceptLine {
	t.Helper()
	for events := 1; ; events++ {
		p.await(t, events, `{"type":"event",`)
		out, _ := p.output(0)
		lines := parseLines(t, out[:strings.LastIndexByte(out, '\n')+1])
		if i := slices.IndexFunc(lines, func(l acceptLine) bool { return l.Kind == kind }); i >= 0 {
			return lines[i]
		}
	}
}

func (p *acceptProcess) signal(t *testing.T, s os.Signal) {
	t.Helper()
	acceptMust(t, p.cmd.Process.Signal(s))
}

// acceptResult is what became of a process.
type acceptResult struct {
	status         int // -1: killed by a signal
	stdout, stderr string
	took           time.Duration
}

// wait waits for the end of the process.
func (p *acceptProcess) wait(t *testing.T) acceptResult {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(acceptPatience):
		t.Fatalf("%v does not end: ...%s", p.cmd.Args[1:], p.tail())
	}
	var exit *exec.ExitError
	if p.err != nil && !errors.As(p.err, &exit) {
		t.Fatal(p.err)
	}
	out, _ := p.output(0)
	return acceptResult{p.cmd.ProcessState.ExitCode(), out, p.stderr.String(), time.Since(p.began)}
}

// run starts the process and waits for its end.
func (c acceptCommand) run(t *testing.T) acceptResult {
	t.Helper()
	return c.start(t).wait(t)
}

// tcptraceRun runs the command with those arguments.
func tcptraceRun(t *testing.T, args ...string) acceptResult {
	t.Helper()
	return acceptCommand{args: args}.run(t)
}

// interrupt sends ^C to a process and waits for its end.
func (p *acceptProcess) interrupt(t *testing.T) acceptResult {
	t.Helper()
	p.signal(t, os.Interrupt)
	return p.wait(t)
}

// acceptLine is what the tests look at of a line of JSON.
type acceptLine struct {
	Type, Kind, Conn, Role, Cause, Outcome, Errno, Summary, Confidence string

	Local, Remote     netip.AddrPort
	N                 uint64
	Nth, Total        uint32
	Time              time.Time
	NetNS             uint32
	TCPSeq            uint32 `json:"tcp_seq"`
	EndedBy           string `json:"ended_by"`
	Attempt           int
	TTL               int
	OffsetMS          float64  `json:"offset_ms"`
	PredictedOffsetMS *float64 `json:"predicted_offset_ms"`
	LatestOffsetMS    *float64 `json:"latest_offset_ms"`
	LateMS            float64  `json:"late_ms"`
	SYNSent           int      `json:"syn_sent"`
	Doubts            []string
	Contributing      []struct{ Cause string }
	Owner             struct {
		PID  int
		Comm string
		UID  uint32
		Via  string
	}

	Count, Lost  uint64
	Causes       map[string]int
	ExitStatus   *int `json:"exit_status"`
	Interrupted  bool
	BySYN        []shareLine `json:"by_syn"`
	ByAddress    []shareLine `json:"by_address"`
	BySourcePort []shareLine `json:"by_source_port"`
}

// acceptLines are the lines of a stream.
type acceptLines []acceptLine

func parseLines(t *testing.T, stream string) acceptLines {
	t.Helper()
	var lines acceptLines
	for text := range strings.Lines(stream) {
		var line acceptLine
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%v in the line %s", err, text)
		}
		lines = append(lines, line)
	}
	return lines
}

// lines reads what the process wrote as JSON.
func (r acceptResult) lines(t *testing.T) acceptLines {
	t.Helper()
	return parseLines(t, r.stdout)
}

// of gives the lines of one type.
func (ls acceptLines) of(kind string) acceptLines {
	return slices.DeleteFunc(slices.Clone(ls), func(l acceptLine) bool { return l.Type != kind })
}

// events gives those of a connection that are of these kinds; of every kind when none is given.
func (ls acceptLines) events(conn string, kinds ...string) acceptLines {
	return slices.DeleteFunc(ls.of(typeEvent), func(l acceptLine) bool {
		return l.Conn != conn || len(kinds) > 0 && !slices.Contains(kinds, l.Kind)
	})
}

// only is the only line of that type.
func (ls acceptLines) only(t *testing.T, kind string) acceptLine {
	t.Helper()
	found := ls.of(kind)
	if len(found) != 1 {
		t.Fatalf("there are %d lines of type %s, want 1: %+v", len(found), kind, found)
	}
	return found[0]
}

// verdictsByRemote are the verdicts by the address that was connected to. There must be no two of one.
func (ls acceptLines) verdictsByRemote(t *testing.T) map[netip.AddrPort]acceptLine {
	t.Helper()
	found := make(map[netip.AddrPort]acceptLine)
	for _, v := range ls.of(typeVerdict) {
		if other, ok := found[v.Remote]; ok {
			t.Errorf("two verdicts about %v: %+v and %+v", v.Remote, other, v)
		}
		found[v.Remote] = v
	}
	return found
}
