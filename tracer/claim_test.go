package tracer_test

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"

	"tcptrace/prober/lab"
	"tcptrace/tracer"
	"tcptrace/tracer/event"
)

// acceptInherited, as what to dial, makes the test binary accept one connection of the listener that it was born with, and
// read it to its end.
const acceptInherited = "accept"

func acceptOnce() error {
	const firstExtraFile = 3
	l, err := net.FileListener(os.NewFile(firstExtraFile, "listener"))
	if err != nil {
		return err
	}
	c, err := l.Accept()
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, c)
	return errors.Join(err, c.Close())
}

// newAcceptor starts that in another process; it waits until connect is called.
func newAcceptor(t *testing.T, l net.Listener) *stranger {
	t.Helper()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	s := &stranger{Cmd: exec.Command("/proc/self/exe")}
	s.Env = append(os.Environ(), dialVariable+"="+acceptInherited)
	s.Stderr, s.ExtraFiles = os.Stderr, []*os.File{file}
	if s.start, err = s.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Process.Kill(); s.Wait() })
	return s
}

// claimed is what two traces say of a connection that waits for another process than its listener's: one that follows
// everything, and one that follows only who accepts.
type claimed struct {
	connect, established event.Event // of either end, by the first
	events               []event.Event
	acceptor             int
}

// A claimant is about to accept what another process listens for.
type claimant struct {
	*stranger
	host     *lab.Host
	listener net.Listener
}

func newClaimant(t *testing.T, address string) claimant {
	t.Helper()
	h := newHost(t)
	l := listen(t, h, address+":0")
	return claimant{newAcceptor(t, l), h, l}
}

// follow traces them only.
func follow(t *testing.T, claimants ...claimant) *tracer.Tracer {
	t.Helper()
	var filter tracer.Filter
	for _, s := range claimants {
		filter.PIDs = append(filter.PIDs, s.Process.Pid)
	}
	return open(t, tracer.Options{Kinds: ends, Filter: filter, NewOnly: true})
}

// claim makes one, with tr to follow its acceptor. It is not complete where the first trace missed something.
func (s claimant) claim(t *testing.T, tr *tracer.Tracer) (c claimed, complete bool) {
	t.Helper()
	everything, h := watch(t), s.host
	client, err := dial(h, s.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Write(zeros[:1000]); err != nil {
		t.Fatal(err)
	}
	if err := client.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	s.connect(t)
	c.acceptor, c.events = s.Process.Pid, drain(t, tr, h.Inode())
	for _, ev := range everything.until(t, h.Inode(), "the accept", func(events []event.Event) bool {
		return has(events, event.Accept, event.RoleServer)
	}) {
		switch {
		case ev.Kind == event.Connect:
			c.connect = ev
		case ev.Kind == event.Established && ev.Role == event.RoleServer:
			c.established = ev
		}
	}
	return c, c.connect.Kind != 0 && c.established.Kind != 0
}

func TestConnectionIsClaimedByWhoAcceptsIt(t *testing.T) {
	addresses := []string{"127.0.0.1", "[::1]"}
	claimants := []claimant{newClaimant(t, addresses[0]), newClaimant(t, addresses[1])}
	tr := follow(t, claimants...)
	for i, name := range []string{"IPv4", "IPv6"} {
		t.Run(name, func(t *testing.T) {
			c, complete := claimants[i].claim(t, tr)
			if !complete { // a softirq may have been hidden
				again := newClaimant(t, addresses[i])
				c, complete = again.claim(t, follow(t, again))
			}
			if !complete || len(c.events) == 0 {
				t.Fatalf("the connection is not seen twice:\n%s", describe(c.events))
			}
			c.check(t)
		})
	}
}

func (c *claimed) check(t *testing.T) {
	t.Helper()
	got, want := c.events[0], c.established
	if got.Kind != event.Accept || got.Nth != 1 || got.Role != event.RoleServer || got.Owner.PID != c.acceptor || got.Owner.Via != "" {
		t.Errorf("it does not begin with an accept by process %d:\n%s", c.acceptor, describe(c.events))
	}
	if got.Local != want.Local || got.Remote != want.Remote || got.ISN != want.ISN || got.PeerISN != want.PeerISN {
		t.Errorf("its ends are %s→%s, numbers %x and %x; want %s→%s, %x and %x", got.Local, got.Remote, got.ISN, got.PeerISN,
			want.Local, want.Remote, want.ISN, want.PeerISN)
	}
	if since := got.Mono - got.Waited; since < c.connect.Mono || since > want.Mono {
		t.Errorf("it has waited since %s; want the time between the connect, %s, and when it is seen to be established, %s",
			since, c.connect.Mono, want.Mono)
	}
}
