package tracer_test

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
	"tcptrace/tracer"
	"tcptrace/tracer/event"
)

func TestBothEndsAreSeenFromConnectToClose(t *testing.T) {
	loopbacks(t, func(t *testing.T, address string) {
		w, h := watch(t), newHost(t)
		l := listen(t, h, net.JoinHostPort(address, "0"))
		c, err := dial(h, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		peer := accept(t, l)
		// Half of it first: a socket that nobody holds any more leaves for its mini-socket already in FIN_WAIT2, if the
		// peer acknowledges its FIN before it sends its own.
		c.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, peer)
		peer.Close()
		io.Copy(io.Discard, c)
		c.Close()

		events := w.until(t, h.Inode(), "two closed connections", closed(2))
		client, server := of(t, events, event.RoleClient), of(t, events, event.RoleServer)
		wantClient := []event.Kind{
			event.Connect, event.SYNSent, event.Established, event.StateChange, event.StateChange, event.StateChange, event.Close,
		}
		if diff := cmp.Diff(wantClient, kinds(client)); diff != "" {
			t.Errorf("the client (-want +got):\n%s%s", diff, describe(client))
		}
		wantServer := []event.Kind{
			event.SYNReceived, event.Established, event.Accept, event.StateChange, event.StateChange, event.Close,
		}
		if diff := cmp.Diff(wantServer, kinds(server)); diff != "" {
			t.Errorf("the server (-want +got):\n%s%s", diff, describe(server))
		}
		expectWhole(t, client, os.Getpid())
		expectWhole(t, server, os.Getpid())
		expectJoined(t, client, server)
		if last := client[len(client)-2]; last.State != event.StateTimeWait {
			t.Errorf("before its close the client went to %s, want TIME_WAIT", last.State)
		}
	})
}

// expectJoined checks what lets user space recognise the two ends of one connection.
func expectJoined(t *testing.T, client, server []event.Event) {
	t.Helper()
	c, s := client[len(client)-1], server[len(server)-1]
	if c.ISN == 0 || c.ISN != s.PeerISN || c.PeerISN != s.ISN {
		t.Errorf("sequence numbers do not join: client %x/%x, server %x/%x", c.ISN, c.PeerISN, s.ISN, s.PeerISN)
	}
	if c.Local != s.Remote || c.Remote != s.Local {
		t.Errorf("ends do not match: client %s→%s, server %s→%s", c.Local, c.Remote, s.Local, s.Remote)
	}
}

func TestServersConnectionBelongsToItsListenerUntilAccept(t *testing.T) {
	w, h := watch(t), newHost(t)
	l := listen(t, h, "127.0.0.1:0")
	c, err := dial(h, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	accept(t, l).Close()
	events := w.until(t, h.Inode(), "an accept", func(events []event.Event) bool { return has(events, event.Accept, event.RoleServer) })
	for _, ev := range of(t, events, event.RoleServer) {
		before := ev.Kind == event.SYNReceived || ev.Kind == event.Established
		if before != (ev.Owner.Via == "listener") {
			t.Errorf("the owner of %s is known via %q", ev.Kind, ev.Owner.Via)
		}
		if ev.Kind == event.Accept && ev.Waited <= 0 {
			t.Errorf("accepted after %s in the queue", ev.Waited)
		}
	}
}

func TestRefusalIsSeenFromBothEnds(t *testing.T) {
	loopbacks(t, func(t *testing.T, address string) {
		w, h := watch(t), newHost(t)
		if _, err := dial(h, net.JoinHostPort(address, "1")); !errors.Is(err, unix.ECONNREFUSED) {
			t.Fatalf("connect: %v, want ECONNREFUSED", err)
		}
		events := w.until(t, h.Inode(), "a closed connection", closed(1))
		client := of(t, events, event.RoleClient)
		want := []event.Kind{event.Connect, event.SYNSent, event.ResetReceived, event.Close}
		if diff := cmp.Diff(want, kinds(client)); diff != "" {
			t.Errorf("the client (-want +got):\n%s%s", diff, describe(client))
		}
		expectWhole(t, client, os.Getpid())
		if got := client[len(client)-1].Errno; got != event.ECONNREFUSED {
			t.Errorf("closed with %s, want ECONNREFUSED", got)
		}
		if w.seesEveryReset() {
			server := of(t, events, event.RoleServer)
			if server[0].Kind != event.ResetSent || server[0].PeerISN != client[0].ISN || server[0].Reason != "NO_SOCKET" {
				t.Errorf("the refusing end: %s", describe(server))
			}
		}
	})
}

// seesEveryReset says whether RSTs for no socket are seen, with their reason.
func (w *watcher) seesEveryReset() bool {
	return !slices.ContainsFunc(w.tracer.Hooks(), func(h tracer.Hook) bool {
		return h.Kind == event.ResetSent && h.Partial != ""
	})
}

func TestConnectThatFailsAtOnceIsSeen(t *testing.T) {
	for _, test := range []struct {
		name    string
		prepare func(t *testing.T, h *lab.Host) string // gives the address to connect to
		want    event.Errno
	}{
		{"no route", func(*testing.T, *lab.Host) string { return "192.0.2.10:80" }, event.ENETUNREACH},
		{"no route by IPv6", func(*testing.T, *lab.Host) string { return "[2001:db8::10]:80" }, event.ENETUNREACH},
		{"no free port", func(t *testing.T, h *lab.Host) string {
			if err := h.Sysctl("net/ipv4/ip_local_port_range", "40000 40000"); err != nil {
				t.Fatal(err)
			}
			l := listen(t, h, "127.0.0.1:80")
			c, err := dial(h, "127.0.0.1:80")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			return l.Addr().String()
		}, event.EADDRNOTAVAIL},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, h := watch(t), newHost(t)
			address := test.prepare(t, h)
			if _, err := dial(h, address); err == nil {
				t.Fatal("connected")
			}
			events := w.until(t, h.Inode(), "an error and its close", func(events []event.Event) bool {
				failed := failedAtOnce(events)
				return len(failed) > 0 && failed[len(failed)-1].Kind == event.Close
			})
			failed := failedAtOnce(events)
			if diff := cmp.Diff([]event.Kind{event.Error, event.Close}, kinds(failed)); diff != "" {
				t.Fatalf("the failed connect (-want +got):\n%s%s", diff, describe(events))
			}
			for _, ev := range failed {
				if ev.Errno != test.want || ev.Owner.PID != os.Getpid() || ev.Remote.String() != address {
					t.Errorf("%s: %s to %s by process %d", ev.Kind, ev.Errno, ev.Remote, ev.Owner.PID)
				}
			}
		})
	}
}

// failedAtOnce is the connection that begins with an error.
func failedAtOnce(events []event.Event) []event.Event {
	for _, own := range connections(events) {
		if own[0].Kind == event.Error {
			return own
		}
	}
	return nil
}

func TestSYNRetriesAreSeenWithTheirOwner(t *testing.T) {
	t.Parallel()
	client := connectInSilence(t)
	if !has(client, event.SYNRetransmit, event.RoleClient) {
		// There are kernels that hide what a softirq does on top of certain tasks (see unseen): hardly twice in a row.
		t.Log("no retry was seen: once more")
		client = connectInSilence(t)
	}
	expectWhole(t, client, os.Getpid())
	want := []event.Kind{event.Connect, event.SYNSent, event.SYNSent, event.SYNRetransmit}
	for range len(only(client, event.SYNRetransmit)) - 1 { // it gives up when it comes to it
		want = append(want, event.SYNSent, event.SYNRetransmit)
	}
	want = append(want, event.Close)
	if diff := cmp.Diff(want, kinds(client)); diff != "" {
		t.Fatalf("events (-want +got):\n%s%s", diff, describe(client))
	}
	retry := client[3]
	if retry.Attempt != 1 || retry.RTO != time.Second && retry.RTO != 2*time.Second {
		t.Errorf("retry %d, then an RTO of %s", retry.Attempt, retry.RTO)
	}
	// A second, rounded up by the timer wheel: at most 64 ms where HZ is 1000; the rest is for a busy machine.
	if after := retry.Mono - client[0].Mono; after < aSecond || after > time.Second+500*time.Millisecond {
		t.Errorf("first retry after %s, want 1s and the wheel's rounding", after)
	}
}

// connectInSilence gives the events of a connect that is given up some time after its first retry.
func connectInSilence(t *testing.T) []event.Event {
	t.Helper()
	w := watch(t)
	network, scene := build(t, "no-answer")
	defer network.Close()
	if _, err := dialTimeout(scene, 1500*time.Millisecond); err == nil {
		t.Fatal("connected")
	}
	return of(t, w.until(t, scene.Client.Inode(), "a closed connection", closed(1)), event.RoleClient)
}

func build(t *testing.T, name string) (*lab.Network, *lab.Scene) {
	t.Helper()
	l, err := lab.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	network, scene, err := lab.Build(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	noteBirth(scene.Client.Inode())
	return network, scene
}

func dialTimeout(scene *lab.Scene, timeout time.Duration) (c net.Conn, err error) {
	err = scene.Client.Do(func() error {
		dialer := net.Dialer{Timeout: timeout}
		dialer.SetMultipathTCP(false)
		c, err = dialer.Dial("tcp", scene.Targets[0])
		return err
	})
	return c, err
}

func TestAbortSendsItsResetAfterTheClose(t *testing.T) {
	w, h := watch(t), newHost(t)
	l := listen(t, h, "127.0.0.1:0")
	c, err := dial(h, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	peer := accept(t, l)
	if err := peer.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	peer.Close()
	events := w.until(t, h.Inode(), "a RST at both ends", func(events []event.Event) bool {
		return has(events, event.ResetReceived, event.RoleClient) && has(events, event.ResetSent, event.RoleServer)
	})
	server := of(t, events, event.RoleServer)
	if last := server[len(server)-1]; last.Kind != event.ResetSent || last.Nth != server[len(server)-2].Nth+1 {
		t.Errorf("the aborting end:\n%s", describe(server))
	}
}

func TestSocketThatConnectsAgainIsAnotherConnection(t *testing.T) {
	w, h := watch(t), newHost(t)
	err := h.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, port := range []int{1, 2} {
			if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != unix.ECONNREFUSED {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	events := w.until(t, h.Inode(), "two closed connections", closed(2))
	clients := 0
	for _, own := range connections(events) {
		if own[0].Role == event.RoleClient {
			clients++
			expectWhole(t, own, os.Getpid())
		}
	}
	if clients != 2 {
		t.Errorf("%d connections, want 2:\n%s", clients, describe(events))
	}
}

func TestWhereHooksRunIsRecordedWhenAskedFor(t *testing.T) {
	for _, asked := range []bool{false, true} {
		h := newHost(t)
		w := newWatcher(open(t, tracer.Options{Kinds: ends, Filter: onlyIn(h), NewOnly: true, Context: asked}))
		if _, err := dial(h, "127.0.0.1:1"); !errors.Is(err, unix.ECONNREFUSED) {
			t.Fatalf("connect: %v, want ECONNREFUSED", err)
		}
		connect := of(t, w.until(t, h.Inode(), "a closed connection", closed(1)), event.RoleClient)[0]
		if known := connect.Context.PID == os.Getpid() && connect.Context.Comm != ""; known != asked {
			t.Errorf("asked for it: %t, got %+v", asked, connect.Context)
		}
	}
}

func TestSettingsAreTheSocketsOwn(t *testing.T) {
	w, h := watch(t), newHost(t)
	for name, value := range map[string]string{"net/ipv4/tcp_syn_retries": "3", "net/ipv4/tcp_keepalive_time": "600"} {
		if err := h.Sysctl(name, value); err != nil {
			t.Fatal(err)
		}
	}
	err := h.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_SYNCNT, 5)
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 2500)
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 7)
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 1, Addr: [4]byte{127, 0, 0, 1}}); err != unix.ECONNREFUSED {
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	connect := of(t, w.until(t, h.Inode(), "a closed connection", closed(1)), event.RoleClient)[0]
	o, s := connect.Options, connect.Sysctls
	if o == nil || s == nil {
		t.Fatal("connect carries no settings")
	}
	if o.SYNRetries != 5 || o.UserTimeout != 2500*time.Millisecond || !o.KeepAlive || o.KeepaliveInterval != 7*time.Second {
		t.Errorf("options %+v", *o)
	}
	if s.SYNRetries != 3 || s.KeepaliveIdle != 10*time.Minute {
		t.Errorf("sysctls %+v", *s)
	}
}

func TestSocketOlderThanTheTraceHasItsOwner(t *testing.T) {
	h := newHost(t)
	l := listen(t, h, "127.0.0.1:0")
	c, err := dial(h, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	peer := accept(t, l)
	defer peer.Close()

	w := newWatcher(open(t, tracer.Options{Kinds: ends, Filter: tracer.Filter{PIDs: []int{os.Getpid()}}}))
	c.Close()
	events := w.until(t, h.Inode(), "a change of state", func(events []event.Event) bool { return len(events) > 0 })
	if ev := events[0]; !ev.PreExisting || ev.Owner.PID != os.Getpid() || ev.Kind != event.StateChange {
		t.Errorf("the first event of an older socket:\n%s", describe(events))
	}

	// Its listener is older too, and so is known as the owner of what it takes from now on.
	again, err := dial(h, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	events = w.until(t, h.Inode(), "a SYN taken", func(events []event.Event) bool { return has(events, event.SYNReceived, event.RoleServer) })
	for _, ev := range events {
		if ev.Kind == event.SYNReceived && (ev.Owner.PID != os.Getpid() || ev.Owner.Via != "listener") {
			t.Errorf("a listener older than the trace: %s", describe(events))
		}
	}
}
