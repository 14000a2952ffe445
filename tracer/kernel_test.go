package tracer_test

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
	"tcptrace/tracer"
	"tcptrace/tracer/event"
	"tcptrace/tracer/host"
)

// patience is how long a test waits for events that should come at once. It is no bound on timing: only a broken
// test needs all of it.
const patience = 20 * time.Second

// aSecond is the least that a timer of one second takes: it counts jiffies, of which the first has begun already.
const aSecond = time.Second - 10*time.Millisecond

// basis is what traces share, of tests that are not about it.
var basis = tracer.NewBasis("")

// open starts a trace of its own for a test that needs other options than the shared one.
func open(t *testing.T, opts tracer.Options) *tracer.Tracer {
	t.Helper()
	opts.Mechanisms = mechanisms(t)
	if opts.Basis == nil {
		opts.Basis = basis
	}
	// An emulated machine takes its time to clear more than this.
	opts.RingBytes, opts.MaxConnections = cmp.Or(opts.RingBytes, 4<<20), cmp.Or(opts.MaxConnections, 4096)
	tr, err := tracer.Open(opts)
	if errors.Is(err, tracer.ErrPrivilege) && os.Getenv("TCPTRACE_KERNEL_TESTS") != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return tr
}

// ends are the kinds that tests need which are about whose connections are followed: an emulated machine takes seconds to
// attach all hooks.
var ends = []event.Kind{event.Connect, event.SYNReceived, event.Established, event.Accept, event.Close}

func mechanisms(t *testing.T) []tracer.Mechanism {
	t.Helper()
	allowed, err := tracer.ParseMechanisms(os.Getenv(tracer.MechanismsVariable))
	if err != nil {
		t.Fatal(err)
	}
	return allowed
}

// A watcher reads one tracer for many tests, which find their events by the network namespace: attaching hooks is the
// slow part.
type watcher struct {
	tracer *tracer.Tracer
	mu     sync.Mutex
	more   *sync.Cond
	events map[uint32][]event.Event // by namespace, in the order of their times
}

func newWatcher(tr *tracer.Tracer) *watcher {
	w := &watcher{tracer: tr, events: make(map[uint32][]event.Event)}
	w.more = sync.NewCond(&w.mu)
	go w.read()
	return w
}

func (w *watcher) read() {
	var ev event.Event
	for {
		if err := w.tracer.Read(&ev); errors.Is(err, os.ErrClosed) {
			return
		} else if err != nil {
			continue
		}
		if _, ours := births.Load(ev.NetNS); !ours {
			continue // others' traffic may come faster than it can be looked at
		}
		w.mu.Lock()
		w.events[ev.NetNS] = insert(w.events[ev.NetNS], ev)
		w.mu.Unlock()
		w.more.Broadcast()
	}
}

// insert puts an event behind those of its time.
func insert(events []event.Event, ev event.Event) []event.Event {
	i := len(events)
	for i > 0 && events[i-1].Mono > ev.Mono {
		i--
	}
	return slices.Insert(events, i, ev)
}

// until gives a namespace's events in the order of their times, once enough says so. What makes them may take a while itself,
// on an emulated CPU that others share: 500 connections took 20 s.
func (w *watcher) until(t *testing.T, namespace uint32, what string, enough func([]event.Event) bool) []event.Event {
	t.Helper()
	seen, ok := w.await(namespace, 3*patience, enough)
	if !ok {
		t.Fatalf("waited in vain for %s; saw:\n%s", what, describe(seen))
	}
	return seen
}

// await is until for those who go on without: it gives what there is when the time is over. As there may be a great many
// events of other tests, enough is asked only when there are more of this namespace, and may look at them only.
func (w *watcher) await(namespace uint32, wait time.Duration, enough func([]event.Event) bool) (seen []event.Event, ok bool) {
	deadline := time.Now().Add(wait)
	wake := time.AfterFunc(wait, w.more.Broadcast)
	defer wake.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	for asked := -1; ; w.more.Wait() {
		seen = w.seen(namespace)
		if len(seen) != asked {
			ok, asked = enough(seen), len(seen)
		}
		if ok || time.Now().After(deadline) {
			return slices.Clone(seen), ok
		}
	}
}

// seen are a namespace's events. They may be looked at while w is locked.
func (w *watcher) seen(namespace uint32) []event.Event {
	birth, _ := births.Load(namespace)
	since, _ := birth.(time.Duration)
	events := w.events[namespace]
	i, _ := slices.BinarySearchFunc(events, since, func(ev event.Event, t time.Duration) int { return cmp.Compare(ev.Mono, t) })
	return events[i:]
}

// births are the times at which the tests made their namespaces: the kernel gives an inode number again as soon as
// its namespace is gone.
var births sync.Map

func noteBirth(namespace uint32) {
	births.Store(namespace, host.Monotonic())
}

// forget ends what noteBirth began: a flood's events would be in the garbage collector's way in all tests that follow.
func forget(namespace uint32) {
	births.Delete(namespace)
	w := sharedWatcher.watcher
	if w == nil {
		return
	}
	w.mu.Lock()
	delete(w.events, namespace)
	w.mu.Unlock()
}

// zeros is what tests send. It is never written to: memory that was read before it is written to costs a page fault with
// an interrupt of every CPU for each page, once more when the garbage collector gives it to the next, which an emulated
// machine spends seconds on.
var zeros [8 << 20]byte

var sharedWatcher struct {
	once    sync.Once
	watcher *watcher
	err     error
}

// watch is the watcher that all tests share.
func watch(t *testing.T) *watcher {
	t.Helper()
	shared := &sharedWatcher
	shared.once.Do(func() {
		tr, err := tracer.Open(tracer.Options{Packets: true, Mechanisms: mechanisms(t), Basis: basis})
		if err != nil {
			shared.err = err
			return
		}
		shared.watcher = newWatcher(tr)
	})
	if errors.Is(shared.err, tracer.ErrPrivilege) && os.Getenv("TCPTRACE_KERNEL_TESTS") != "1" {
		t.Skip(shared.err)
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.watcher
}

// newHost is a network namespace with nothing but loopback.
func newHost(t *testing.T) *lab.Host {
	t.Helper()
	network := new(lab.Network)
	t.Cleanup(func() { network.Close() })
	h, err := network.AddHost("host")
	if errors.Is(err, unix.EPERM) && os.Getenv("TCPTRACE_KERNEL_TESTS") != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	noteBirth(h.Inode())
	t.Cleanup(func() { forget(h.Inode()) })
	return h
}

// listen listens in h, by plain TCP.
func listen(t *testing.T, h *lab.Host, address string) net.Listener {
	t.Helper()
	var l net.Listener
	err := h.Do(func() (err error) {
		var config net.ListenConfig
		config.SetMultipathTCP(false)
		config.KeepAlive = -1 // which would set options on what is accepted
		l, err = config.Listen(t.Context(), "tcp", address)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// dropAllFor throws away whatever arrives for an end, in its address family only: a listener of the other one may be given
// the same port.
func dropAllFor(t *testing.T, h *lab.Host, end netip.AddrPort) {
	t.Helper()
	if _, err := h.DropInput(lab.Drop{Port: end.Port(), Family: lab.FamilyOf(end.Addr())}); err != nil {
		t.Fatal(err)
	}
}

// dial connects in h, by plain TCP.
func dial(h *lab.Host, address string) (c net.Conn, err error) {
	err = h.Do(func() error {
		c, err = dialHere(address)
		return err
	})
	return c, err
}

// dialHere is dial for a thread that is in its host already.
func dialHere(address string) (net.Conn, error) {
	var dialer net.Dialer
	dialer.SetMultipathTCP(false)
	dialer.KeepAlive = -1
	return dialer.Dial("tcp", address)
}

func accept(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// connections groups events.
func connections(events []event.Event) map[event.ConnID][]event.Event {
	all := make(map[event.ConnID][]event.Event)
	for _, ev := range events {
		all[ev.Conn] = append(all[ev.Conn], ev)
	}
	return all
}

// of is the events of the one connection with that role.
func of(t *testing.T, events []event.Event, role event.Role) []event.Event {
	t.Helper()
	var found []event.Event
	for _, own := range connections(events) {
		if own[0].Role != role {
			continue
		}
		if found != nil {
			t.Fatalf("more than one %s:\n%s", role, describe(events))
		}
		found = own
	}
	if found == nil {
		t.Fatalf("no %s:\n%s", role, describe(events))
	}
	return found
}

func kinds(events []event.Event) []event.Kind {
	all := make([]event.Kind, len(events))
	for i, ev := range events {
		all[i] = ev.Kind
	}
	return all
}

func has(events []event.Event, kind event.Kind, role event.Role) bool {
	return slices.ContainsFunc(events, func(ev event.Event) bool { return ev.Kind == kind && ev.Role == role })
}

// closed says whether n connections came to their end.
func closed(n int) func([]event.Event) bool {
	return func(events []event.Event) bool {
		ended := 0
		for _, ev := range events {
			if ev.Kind == event.Close {
				ended++
			}
		}
		return ended >= n
	}
}

func describe(events []event.Event) string {
	var b strings.Builder
	for _, ev := range events {
		fmt.Fprintf(&b, "  %s %d %s %s %s→%s %s %s→%s errno=%s %s[%d]%s\n", ev.Mono, ev.Nth, ev.Conn, ev.Kind, ev.Local, ev.Remote,
			ev.Role, ev.OldState, ev.State, ev.Errno, ev.Owner.Comm, ev.Owner.PID, ev.Owner.Via)
	}
	return b.String()
}

// expectWhole checks what holds for every connection that was seen from its beginning: nothing is missing, and every
// event carries its owner and both ends.
func expectWhole(t *testing.T, own []event.Event, pid int) {
	t.Helper()
	var numbers []int
	for _, ev := range own {
		numbers = append(numbers, int(ev.Nth))
	}
	// An accept on another CPU may take its number after the time of what takes the next one.
	slices.Sort(numbers)
	for i, n := range numbers {
		if n != i+1 {
			t.Errorf("event %d of the connection is number %d:\n%s", i+1, n, describe(own))
			return
		}
	}
	for _, ev := range own {
		if ev.Owner.PID != pid {
			t.Errorf("%s belongs to process %d, want %d", ev.Kind, ev.Owner.PID, pid)
		}
		if !ev.Local.IsValid() || !ev.Remote.IsValid() {
			t.Errorf("%s lacks an end: %s→%s", ev.Kind, ev.Local, ev.Remote)
		}
		if ev.Kind == event.Close && ev.Total != ev.Nth {
			t.Errorf("close is number %d of %d", ev.Nth, ev.Total)
		}
	}
}

func loopbacks(t *testing.T, test func(t *testing.T, address string)) {
	for name, address := range map[string]string{"IPv4": "127.0.0.1", "IPv6": "::1"} {
		t.Run(name, func(t *testing.T) { test(t, address) })
	}
}

func port(l net.Listener) uint16 { return netip.MustParseAddrPort(l.Addr().String()).Port() }
