package tracer_test

import (
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
	"tcptrace/tracer"
	"tcptrace/tracer/event"
)

// connectAndClose makes n connections within h.
func connectAndClose(t *testing.T, h *lab.Host, n int) {
	t.Helper()
	l := listen(t, h, "127.0.0.1:0")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range n {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.Copy(io.Discard, c)
			c.Close()
		}
	}()
	// To enter the namespace for each would take longer than the connection does.
	err := h.Do(func() error {
		for range n {
			c, err := dialHere(l.Addr().String())
			if err != nil {
				return err
			}
			c.Close()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	<-ended
}

// onlyIn follows what happens in h: other traffic of this machine would use up the ring's room.
func onlyIn(h *lab.Host) tracer.Filter { return tracer.Filter{NetNS: []uint32{h.Inode()}} }

func TestLossIsCountedByKindAndLeavesAGap(t *testing.T) {
	const n = 50
	h := newHost(t)
	tr := open(t, tracer.Options{Kinds: ends, Filter: onlyIn(h), RingBytes: 1, NewOnly: true})
	connectAndClose(t, h, n)
	delivered := drain(t, tr, h.Inode())
	lost, err := tr.Lost()
	if err != nil {
		t.Fatal(err)
	}
	var count uint64
	for _, l := range lost {
		if l.Kind == event.KindUnknown && l.CPU >= 0 { // without a CPU it is hooks that the kernel passed by
			t.Errorf("%d whole connections lost, though there is room for them", l.Count)
		}
		count += l.Count
	}
	// A connection makes 12 records when its client closes first; what was not delivered was counted.
	if total, least := uint64(len(delivered))+count, 11*(n-unseen(tr, n)); count == 0 || total < uint64(least) {
		t.Errorf("%d delivered and %d lost of the records of %d connections", len(delivered), count, n)
	}

	// Room again: what comes next is delivered, and by its number shows what is missing before it.
	connectAndClose(t, h, 1)
	for _, own := range connections(drain(t, tr, h.Inode())) {
		if own[0].Kind == event.Connect && own[0].Nth != 1 {
			t.Errorf("a connection after the loss begins with number %d", own[0].Nth)
		}
	}
}

func TestConnectionsWithoutRoomAreCounted(t *testing.T) {
	h := newHost(t)
	tr := open(t, tracer.Options{Kinds: ends, Filter: onlyIn(h), MaxConnections: 1, NewOnly: true})
	l := listen(t, h, "127.0.0.1:0")
	for range 3 {
		c, err := dial(h, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	// Three clients and three children, of which one found room.
	if count := lostConnections(t, tr); count < 5 {
		t.Errorf("%d connections counted as lost, want at least 5", count)
	}
}

// Sockets older than the trace that found no room are not forgotten silently either.
func TestOlderConnectionsWithoutRoomAreCounted(t *testing.T) {
	h := newHost(t)
	l := listen(t, h, "127.0.0.1:0")
	for range 2 {
		c, err := dial(h, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		defer accept(t, l).Close()
	}
	tr := open(t, tracer.Options{Kinds: ends, Filter: onlyIn(h), MaxConnections: 1})
	// Two clients and two children, of which one found room: the map is one for all CPUs.
	if count := lostConnections(t, tr); count != 3 {
		t.Errorf("%d older connections counted as lost, want 3", count)
	}
}

func lostConnections(t *testing.T, tr *tracer.Tracer) uint64 {
	t.Helper()
	lost, err := tr.Lost()
	if err != nil {
		t.Fatal(err)
	}
	var count uint64
	for _, l := range lost {
		if l.Kind == event.KindUnknown {
			count += l.Count
		}
	}
	return count
}

// Where the kernel left out each copy of the program, the next change shows that there was one, or the socket's end does. Of a
// kprobe it counts that itself.
func TestChangesOfStateThatNoCopySawAreCounted(t *testing.T) {
	h := newHost(t)
	tr := open(t, tracer.Options{Kinds: append(slices.Clone(ends), event.Error), Filter: onlyIn(h), NewOnly: true})
	l := listen(t, h, "127.0.0.1:0")
	client, server := connectTo(t, h, l)
	silent := netip.MustParseAddrPort("127.0.0.1:81")
	dropAllFor(t, h, silent)
	fds, err := beginConnects(h, silent, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Unsee(); err != nil {
		t.Fatal(err)
	}
	unix.Close(fds[0])
	client.Close()
	server.Close()
	want := unseenLoss{changes: 1, ends: 1}
	if tr.Mechanism(event.StateChange) == tracer.Kprobe {
		want = unseenLoss{}
	}
	var got unseenLoss
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if got = lossOf(t, tr); got == want {
			return
		}
	}
	t.Errorf("counted as lost: %+v, want %+v", got, want)
}

// A child whose ESTABLISHED no copy saw is its request's all the same: by its accept, or by what it does after that.
func TestChildrenThatNoCopySawAreNotOlderThanTheTrace(t *testing.T) {
	tests := []struct {
		name     string
		accepted bool // before it is forgotten
	}{{"before its accept", false}, {"after its accept", true}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			tr := open(t, tracer.Options{Kinds: append(slices.Clone(ends), event.SYNReceived, event.Accept), Filter: onlyIn(h), NewOnly: true})
			w := newWatcher(tr)
			l := listen(t, h, "127.0.0.1:0")
			client, err := dial(h, l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			serve := func() net.Conn { return accept(t, l) }
			if test.accepted {
				server := serve()
				serve = func() net.Conn { return server }
			}
			w.until(t, h.Inode(), "a server's ESTABLISHED", func(events []event.Event) bool { return has(events, event.Established, event.RoleServer) })
			if err := tr.UnseeChildren(); err != nil {
				t.Fatal(err)
			}
			server := serve()
			exchange(t, client.(*net.TCPConn), server.(*net.TCPConn), 100)
			exchange(t, server.(*net.TCPConn), client.(*net.TCPConn), 200)
			client.Close()
			server.Close()
			own := of(t, w.until(t, h.Inode(), "two closed connections", closed(2)), event.RoleServer)
			want := []event.Kind{event.SYNReceived, event.Established, event.Accept, event.StateChange, event.StateChange, event.Close}
			if got := kinds(own); !slices.Equal(got, want) {
				t.Errorf("the server's side is told as %v, want %v:\n%s", got, want, describe(own))
			}
			for _, ev := range own {
				if ev.PreExisting || ev.Kind == event.Accept && (ev.Waited <= 0 || ev.Waited > patience) {
					t.Errorf("it is older than the trace, or waited for %s:\n%s", ev.Waited, describe(own))
				}
			}
			if tr.Mechanism(event.StateChange) == tracer.Kprobe {
				return
			}
			if loss := lossOf(t, tr); loss != (unseenLoss{changes: 1}) {
				t.Errorf("counted as lost: %+v, want the ESTABLISHED", loss)
			}
		})
	}
}

// unseenLoss is what is counted of changes that no program saw.
type unseenLoss struct{ changes, ends uint64 }

func lossOf(t *testing.T, tr *tracer.Tracer) (loss unseenLoss) {
	t.Helper()
	changes, err := tr.UnseenChanges()
	if err != nil {
		t.Fatal(err)
	}
	lost, err := tr.Lost()
	if err != nil {
		t.Fatal(err)
	}
	loss.changes = changes
	for _, l := range lost {
		if l.Kind == event.Close {
			loss.ends += l.Count
		}
	}
	return loss
}

func TestNothingIsLostInTenThousandConnections(t *testing.T) {
	h := newHost(t)
	tr := open(t, tracer.Options{Kinds: ends, Filter: onlyIn(h), NewOnly: true, RingBytes: 64 << 20, MaxConnections: 65536})
	n := 10_000
	if testing.Short() { // an emulated machine needs minutes for all of them
		n = 500
	}
	clients, whole := connectionsSeen(t, tr, h, n)
	expectNoLoss(t, tr, n)
	if unseen := unseen(tr, n); clients < n-unseen || whole < n-unseen {
		// On 7.3, not on 6.12, the second copy of a tracepoint's program is passed by as well, now and then. On an emulated CPU
		// with others beside it one close of 12,000 was missed, and later none of 100,000, where that happened 69 times.
		clients, whole = connectionsSeen(t, tr, h, n)
		if clients < n-unseen || whole < n-unseen {
			t.Errorf("%d of %d connects seen, %d of them whole, at the second try", clients, n, whole)
		}
	}
}

// connectionsSeen makes n connections and says of how many the client was seen, and of how many with all of its events.
func connectionsSeen(t *testing.T, tr *tracer.Tracer, h *lab.Host, n int) (clients, whole int) {
	t.Helper()
	connectAndClose(t, h, n)
	// The last segments may still be with ksoftirqd when both ends have called close.
	var events []event.Event
	for last := time.Now(); !closed(2*n)(events) && time.Since(last) < 3*time.Second; {
		if more := drain(t, tr, h.Inode()); len(more) > 0 {
			events, last = append(events, more...), time.Now()
		}
	}
	for _, own := range connections(events) {
		if own[0].Role != event.RoleClient {
			continue
		}
		clients++
		if last := own[len(own)-1]; last.Kind == event.Close && int(last.Total) == len(own) {
			whole++
		} else if last.Kind == event.Close || int(last.Nth) != len(own) {
			t.Errorf("numbered, and not delivered:\n%s", describe(own))
		}
	}
	return clients, whole
}

// unseen is how many of n connections may go unseen, or their ends, without any fault of ours: kernels that keep BPF
// programs away from certain tasks hide what interrupts those, and a kprobe is skipped in the middle of another, which
// those before 6.7 do not count.
func unseen(tr *tracer.Tracer, n int) int {
	if tr.Mechanism(event.Close) == tracer.Kprobe {
		return n / 20
	}
	return n / 500
}

// expectNoLoss allows only for ends that were missed in this way. A connection calls kprobes fifteen times, so the calls
// that the kernel has counted as left out may be more than the connections of which anything was missed.
func expectNoLoss(t *testing.T, tr *tracer.Tracer, n int) {
	t.Helper()
	lost, err := tr.Lost()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lost {
		limit := 0
		switch {
		case l.Kind == event.Close:
			limit = unseen(tr, n)
		case l.Kind == event.KindUnknown && l.CPU < 0 && tr.Mechanism(event.Close) == tracer.Kprobe:
			limit = n / 8 // of 15 n calls
		case l.Kind == event.KindUnknown:
			limit = unseen(tr, n)
		}
		if l.Count > uint64(limit) {
			t.Errorf("lost %d of %s on CPU %d", l.Count, l.Kind, l.CPU)
		}
	}
}
