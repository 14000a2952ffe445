package tracer_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
	"tcptrace/tracer"
	"tcptrace/tracer/event"
	"tcptrace/tracer/sockdiag"
	"tcptrace/tracer/sockets"
)

// A crew of listeners on h, of all sorts; nobody accepts.
const (
	crewFull     = "127.0.0.1:80" // with a backlog of 2, and clients
	crewDeferred = "127.0.0.1:81" // whose clients say nothing
	crewFastOpen = "127.0.0.1:82"
	crewShared   = "127.0.0.1:83" // three of them
	crewIPv6     = "[::]:84"
	crewAny      = "[::]:85"
	crewDevice   = "0.0.0.0:86" // bound to the loopback device
)

const crewSilent = 4 // clients

func listenAsCrew(t *testing.T, h *lab.Host) {
	t.Helper()
	loopback := 1
	for _, l := range []struct {
		bind    string
		backlog int
		options []socketOption
	}{
		{crewFull, 2, nil},
		{crewDeferred, 16, []socketOption{{unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 5}}},
		{crewFastOpen, 100, []socketOption{{unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 16}}},
		{crewShared, 5, []socketOption{reusePort}},
		{crewShared, 6, []socketOption{reusePort}},
		{crewShared, 7, []socketOption{reusePort}},
		{crewIPv6, 8, []socketOption{{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1}}},
		{crewAny, 1 << 20, []socketOption{{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0}}},
		{crewDevice, 9, []socketOption{{unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, loopback}}},
	} {
		backlogged{netip.MustParseAddrPort(l.bind), l.backlog, l.options}.listen(t, h)
	}
	connectFew(t, h, crewFull, 6)
	connectFew(t, h, crewDeferred, crewSilent)
}

// connectFew begins n connects from one CPU, until the end of the test.
func connectFew(t *testing.T, h *lab.Host, to string, n int) {
	t.Helper()
	fds := make([]int, n)
	if err := h.Do(func() error { return connectAll(fds, 0, netip.MustParseAddrPort(to)) }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	})
}

// listeningOn are h's listeners of that address, as the iterator of h's namespace sees them.
func listeningOn(t *testing.T, l *tracer.SocketLister, h *lab.Host, local string) []*sockets.Socket {
	t.Helper()
	var found []*sockets.Socket
	if err := h.Do(func() error {
		return l.Here(func(s *sockets.Socket) {
			if s.State != event.StateListen {
				t.Errorf("%s → %s is listed, in %s; want listeners alone", s.Local, s.Remote, s.State)
			} else if s.Local.String() == local {
				found = append(found, s)
			}
		})
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

// awaitQueues waits until the crew's clients have come.
func awaitQueues(t *testing.T, l *tracer.SocketLister, h *lab.Host) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		full, deferred := listeningOn(t, l, h, crewFull)[0].Listening, listeningOn(t, l, h, crewDeferred)[0].Listening
		if full.Accept.Len > full.Accept.Max && deferred.SYNs == crewSilent {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the queues are %+v and %+v", full, deferred)
		}
	}
}

func TestSocketsTellListenersQueues(t *testing.T) {
	l, h := openSockets(t, tracer.SocketOptions{Listening: true}), newHost(t)
	began := time.Now()
	listenAsCrew(t, h)
	awaitQueues(t, l, h)
	filled := time.Now()
	with := func(max int, set func(*sockets.Listening)) sockets.Listening {
		w := sockets.Listening{Accept: event.Queue{Max: max}, Whole: true}
		set(&w)
		return w
	}
	for local, want := range map[string]sockets.Listening{
		crewFull:     with(2, func(w *sockets.Listening) { w.Accept.Len = 3 }),
		crewDeferred: with(16, func(w *sockets.Listening) { w.SYNs, w.Deferred = crewSilent, 3 }), // after 1, 3 and 7 s
		crewFastOpen: with(100, func(w *sockets.Listening) { w.FastOpen.Max = 16 }),
		crewIPv6:     with(8, func(w *sockets.Listening) { w.IPv6Only = true }),
		crewAny:      with(4096, func(*sockets.Listening) {}),
		crewDevice:   with(9, func(w *sockets.Listening) { w.Device = 1 }),
	} {
		all := listeningOn(t, l, h, local)
		if len(all) != 1 || all[0].Listening == nil {
			t.Errorf("%s is listed %d times", local, len(all))
			continue
		}
		got := *all[0].Listening
		got.Young = 0 // until the first SYN-ACK is sent again
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", local, diff)
		}
	}
	shared := listeningOn(t, l, h, crewShared)
	for _, s := range shared {
		if !s.Listening.ReusePort || s.Listening.Group != 3 || len(shared) != 3 {
			t.Errorf("one of three by SO_REUSEPORT is one of %d: %+v", len(shared), s.Listening)
		}
	}
	before := time.Now()
	full := listeningOn(t, l, h, crewFull)[0]
	const jiffies = 20 * time.Millisecond // two, of the slowest usual clock
	if least, most := before.Sub(filled)-jiffies, time.Since(began)+jiffies; !full.HasWaiting || full.Waiting < least || full.Waiting > most {
		t.Errorf("the first waits for %s (known: %t); want %s to %s", full.Waiting, full.HasWaiting, least, most)
	}
	if full.Drops == 0 {
		t.Error("the full one has dropped nothing")
	}
	if idle := listeningOn(t, l, h, crewFastOpen)[0]; idle.HasWaiting {
		t.Errorf("somebody waits at an empty queue, for %s", idle.Waiting)
	}
}

func TestSocketsOfListenersAgreeWithSockDiag(t *testing.T) {
	l, h := openSockets(t, tracer.SocketOptions{Listening: true}), newHost(t)
	listenAsCrew(t, h)
	awaitQueues(t, l, h)
	type known struct {
		Local    string
		Accept   event.Queue
		IPv6Only bool
		Device   int
		Inode    uint64
		UID      uint32
	}
	of := func(s *sockets.Socket) known {
		return known{s.Local.String(), s.Listening.Accept, s.Listening.IPv6Only, s.Listening.Device, s.Inode, s.UID}
	}
	var ours, theirs []known
	if err := h.Do(func() error {
		err := l.Here(func(s *sockets.Socket) { ours = append(ours, of(s)) })
		if err != nil {
			return err
		}
		return sockdiag.ListStates(func(s *sockets.Socket) { theirs = append(theirs, of(s)) }, event.StateListen)
	}); err != nil {
		t.Fatal(err)
	}
	byInode := func(a, b known) int { return int(int64(a.Inode) - int64(b.Inode)) }
	slices.SortFunc(ours, byInode)
	slices.SortFunc(theirs, byInode)
	if diff := cmp.Diff(theirs, ours); diff != "" || len(ours) != 9 {
		t.Errorf("%d listeners, by sock_diag (-) and by iterator (+):\n%s", len(ours), diff)
	}
}
