package tracer_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"tcptrace/prober/lab"
	"tcptrace/tracer"
	"tcptrace/tracer/event"
	"tcptrace/tracer/host"
)

// dialVariable makes the test binary another program: one that waits for its standard input to end, connects there,
// and ends. A value that begins with "fork:" makes it leave that to a child of its own; acceptInherited makes it accept.
const dialVariable = "TRACER_TEST_DIAL"

func TestMain(m *testing.M) {
	address := os.Getenv(dialVariable)
	if address == "" {
		status := m.Run()
		os.RemoveAll(strangers.dir)
		os.Exit(status)
	}
	io.Copy(io.Discard, os.Stdin)
	if address == acceptInherited {
		if err := acceptOnce(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if rest, ok := cutFork(address); ok {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), dialVariable+"="+rest)
		if err := child.Run(); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	c, err := net.Dial("tcp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	c.Close()
	os.Exit(0)
}

func cutFork(address string) (rest string, ok bool) {
	const prefix = "fork:"
	if len(address) > len(prefix) && address[:len(prefix)] == prefix {
		return address[len(prefix):], true
	}
	return address, false
}

const (
	dialerComm = "tcpt-dialer"
	dialerUID  = 65534
)

// A stranger is another process that is about to connect: another name, another user, another cgroup.
type stranger struct {
	*exec.Cmd
	start io.Closer
}

// newStranger starts one in h; it waits until connect is called.
func newStranger(t *testing.T, h *lab.Host, address, cgroup string) *stranger {
	t.Helper()
	strangers.once.Do(func() { strangers.err = strangers.copySelf() })
	if strangers.err != nil {
		t.Fatal(strangers.err)
	}
	s := &stranger{Cmd: exec.Command(filepath.Join(strangers.dir, dialerComm))}
	s.Env = append(os.Environ(), dialVariable+"="+address)
	s.Stderr = os.Stderr
	s.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: dialerUID, Gid: dialerUID}}
	if cgroup != "" {
		f, err := os.Open(cgroup)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		s.SysProcAttr.UseCgroupFD, s.SysProcAttr.CgroupFD = true, int(f.Fd())
	}
	var err error
	if s.start, err = s.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	// A child is born into the namespace of the thread that starts it.
	if err := h.Do(s.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Process.Kill(); s.Wait() })
	return s
}

// strangers is where their program is: this one, by their name, where another user finds it.
var strangers theirProgram

type theirProgram struct {
	once sync.Once
	dir  string
	err  error
}

func (p *theirProgram) copySelf() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if p.dir, err = os.MkdirTemp("", "tcptrace"); err != nil {
		return err
	}
	return errors.Join(os.Chmod(p.dir, 0o755), copyFile(self, filepath.Join(p.dir, dialerComm)))
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func (s *stranger) connect(t *testing.T) {
	t.Helper()
	s.start.Close()
	if err := s.Wait(); err != nil {
		t.Fatal(err)
	}
}

// drain gives everything that was recorded in a namespace so far.
func drain(t *testing.T, tr *tracer.Tracer, namespace uint32) []event.Event {
	t.Helper()
	if err := tr.Flush(); err != nil {
		t.Fatal(err)
	}
	var all []event.Event
	for {
		var ev event.Event
		err := tr.Read(&ev)
		if errors.Is(err, tracer.ErrFlushed) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if ev.NetNS == namespace {
			all = append(all, ev)
		}
	}
}

// childCgroup makes a cgroup for one test.
func childCgroup(t *testing.T) string {
	t.Helper()
	root, err := host.CgroupRoot()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(root, "tcptrace-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	return dir
}

// A filterTest is which ends of one connection a filter lets pass.
type filterTest struct {
	name           string
	filter         tracer.Filter
	client, server bool
}

// An emulated machine takes seconds to attach each filter. What is another kernel's there is where an owner is read, and one that
// is misread passes no filter: so a few at a time do.
func TestFiltersAreAboutTheOwner(t *testing.T) {
	h := newHost(t)
	l := listen(t, h, "127.0.0.1:0")
	go serve(l)
	cgroup := childCgroup(t)
	inside, err := os.MkdirTemp(cgroup, "inner")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(inside) })
	id, err := host.CgroupID(cgroup)
	if err != nil {
		t.Fatal(err)
	}
	otherPort := port(l) ^ 1

	tests := []filterTest{
		{"everything", tracer.Filter{}, true, true},
		{"the server's process", tracer.Filter{PIDs: []int{os.Getpid()}}, false, true},
		{"name", tracer.Filter{Comms: []string{dialerComm}}, true, false},
		{"another name", tracer.Filter{Comms: []string{dialerComm[:4]}}, false, false},
		{"user", tracer.Filter{UIDs: []uint32{dialerUID}}, true, false},
		{"two users", tracer.Filter{UIDs: []uint32{dialerUID, uint32(os.Getuid())}}, true, true},
		{"cgroup above", tracer.Filter{CgroupIDs: []uint64{id}}, true, false},
		{"namespace", tracer.Filter{NetNS: []uint32{h.Inode()}}, true, true},
		{"another namespace", tracer.Filter{NetNS: []uint32{h.Inode() + 1}}, false, false},
		{"port of either side", tracer.Filter{Ports: []uint16{port(l)}}, true, true},
		{"another port", tracer.Filter{Ports: []uint16{otherPort}}, false, false},
		{"local port", tracer.Filter{LocalPorts: []uint16{port(l)}}, false, true},
		{"remote port", tracer.Filter{RemotePorts: []uint16{port(l)}}, true, false},
		{"network", tracer.Filter{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, true, true},
		{"another network", tracer.Filter{Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}, false, false},
		{"IPv4", tracer.Filter{Family: 4}, true, true},
		{"IPv6", tracer.Filter{Family: 6}, false, false},
		{"name and port", tracer.Filter{Comms: []string{dialerComm}, Ports: []uint16{port(l)}}, true, false},
		{"name and another port", tracer.Filter{Comms: []string{dialerComm}, Ports: []uint16{otherPort}}, false, false},
	}
	if testing.Short() {
		tests = []filterTest{
			{"all of the client's", tracer.Filter{
				Comms: []string{dialerComm}, UIDs: []uint32{dialerUID}, CgroupIDs: []uint64{id}, NetNS: []uint32{h.Inode()},
				RemotePorts: []uint16{port(l)}, Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Family: 4,
			}, true, false},
			{"all of the server's", tracer.Filter{PIDs: []int{os.Getpid()}, LocalPorts: []uint16{port(l)}}, false, true},
		}
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newStranger(t, h, l.Addr().String(), inside)
			tr := open(t, tracer.Options{Kinds: ends, Filter: test.filter, NewOnly: len(test.filter.PIDs) == 0 && len(test.filter.UIDs) == 0})
			s.connect(t)
			events := drain(t, tr, h.Inode())
			if client := has(events, event.Connect, event.RoleClient); client != test.client {
				t.Errorf("the client's end seen: %t, want %t\n%s", client, test.client, describe(events))
			}
			if server := has(events, event.Established, event.RoleServer); server != test.server {
				t.Errorf("the server's end seen: %t, want %t\n%s", server, test.server, describe(events))
			}
			for _, ev := range events {
				if ev.Role == event.RoleClient && ev.Owner.PID != s.Process.Pid {
					t.Errorf("%s belongs to process %d, want %d", ev.Kind, ev.Owner.PID, s.Process.Pid)
				}
			}
		})
	}
}

// serve takes every connection and waits for its end.
func serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		io.Copy(io.Discard, c)
		c.Close()
	}
}

func TestOwnerIsDescribed(t *testing.T) {
	h := newHost(t)
	l := listen(t, h, "127.0.0.1:0")
	go serve(l)
	cgroup := childCgroup(t)
	s := newStranger(t, h, l.Addr().String(), cgroup)
	tr := open(t, tracer.Options{Kinds: ends})
	s.connect(t)
	for _, ev := range of(t, drain(t, tr, h.Inode()), event.RoleClient) {
		o := ev.Owner
		if o.PID != s.Process.Pid || o.Comm != dialerComm || o.UID != dialerUID || o.Cgroup != "/"+filepath.Base(cgroup) {
			t.Fatalf("owner of %s: %+v", ev.Kind, o)
		}
	}
}

func TestChildrenAreFollowed(t *testing.T) {
	h := newHost(t)
	l := listen(t, h, "127.0.0.1:0")
	go serve(l)
	s := newStranger(t, h, "fork:"+l.Addr().String(), "")
	unrelated := newStranger(t, h, l.Addr().String(), "")
	tr := open(t, tracer.Options{Kinds: ends, FollowForks: true, NewOnly: true})
	if err := tr.FollowTask(s.Process.Pid); err != nil {
		t.Fatal(err)
	}
	unrelated.connect(t)
	s.connect(t)
	events := drain(t, tr, h.Inode())
	client := of(t, events, event.RoleClient)
	if child := client[0].Owner.PID; child == s.Process.Pid || child == unrelated.Process.Pid {
		t.Errorf("process %s, want a child of %d", strconv.Itoa(child), s.Process.Pid)
	}
}

func TestPeerOfAFollowedConnectIsFollowed(t *testing.T) {
	h := newHost(t)
	l := listen(t, h, "127.0.0.1:0")
	go serve(l)
	for _, follow := range []bool{false, true} {
		s := newStranger(t, h, l.Addr().String(), "")
		tr := open(t, tracer.Options{Kinds: ends, Filter: tracer.Filter{PIDs: []int{s.Process.Pid}}, FollowPeers: follow, NewOnly: true})
		s.connect(t)
		events := drain(t, tr, h.Inode())
		if !has(events, event.Connect, event.RoleClient) {
			t.Errorf("the connect is not seen:\n%s", describe(events))
		}
		if got := has(events, event.SYNReceived, event.RoleServer); got != follow {
			t.Errorf("with FollowPeers %t its other end is seen: %t\n%s", follow, got, describe(events))
		}
	}
}
