package tracer_test

import (
	"bufio"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
	"tcptrace/tracer"
	"tcptrace/tracer/event"
)

// A backlogged listener listens and never accepts.
type backlogged struct {
	bind    netip.AddrPort
	backlog int
	options []socketOption
}

// listen listens until the end of the test.
func (b backlogged) listen(t *testing.T, h *lab.Host) {
	t.Helper()
	fd := b.open(t, h)
	t.Cleanup(func() { unix.Close(fd) })
}

// open gives the listener, for the caller to close.
func (b backlogged) open(t *testing.T, h *lab.Host) (listener int) {
	t.Helper()
	err := h.Do(func() error {
		domain := unix.AF_INET
		if b.bind.Addr().Is6() {
			domain = unix.AF_INET6
		}
		fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		listener = fd
		for _, o := range b.options {
			err = errors.Join(err, unix.SetsockoptInt(fd, o.level, o.name, o.value))
		}
		return errors.Join(err, unix.Bind(fd, sockaddr(b.bind)), unix.Listen(fd, b.backlog))
	})
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// connectMany begins n connects within h, half of them on each of two CPUs if there are so many, and gives a function that
// ends them.
func connectMany(t *testing.T, h *lab.Host, to netip.AddrPort, n int) (end func()) {
	t.Helper()
	var all sync.WaitGroup
	fds := make([]int, n)
	errs := make([]error, 2)
	for half := range 2 {
		all.Go(func() {
			errs[half] = h.Do(func() error { return connectAll(fds[half*n/2:(half+1)*n/2], half, to) })
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	})
	t.Cleanup(end)
	return end
}

// connectAll begins a connect for each of fds, on one CPU.
func connectAll(fds []int, cpu int, to netip.AddrPort) error {
	var before, only unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	if only.Set(cpu); before.IsSet(cpu) {
		if err := unix.SchedSetaffinity(0, &only); err != nil {
			return err
		}
		defer unix.SchedSetaffinity(0, &before)
	}
	domain := unix.AF_INET
	if to.Addr().Is6() {
		domain = unix.AF_INET6
	}
	for i := range fds {
		fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		fds[i] = fd
		if err := unix.Connect(fd, sockaddr(to)); err != nil && err != unix.EINPROGRESS {
			return err
		}
	}
	return nil
}

// tcpExt are the counters of h in /proc/net/netstat.
func tcpExt(t *testing.T, h *lab.Host) map[string]uint64 {
	t.Helper()
	counters := make(map[string]uint64)
	err := h.Do(func() error {
		file, err := os.Open("/proc/thread-self/net/netstat")
		if err != nil {
			return err
		}
		defer file.Close()
		lines := bufio.NewScanner(file)
		lines.Buffer(nil, 1<<16)
		for lines.Scan() {
			names := strings.Fields(lines.Text())
			if !lines.Scan() {
				break
			}
			for i, value := range strings.Fields(lines.Text()) {
				if names[0] == "TcpExt:" && i > 0 {
					counters[names[i]], err = strconv.ParseUint(value, 10, 64)
					if err != nil {
						return err
					}
				}
			}
		}
		return lines.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	return counters
}

// awaitCount waits until a counter of h is at least so high.
func awaitCount(t *testing.T, h *lab.Host, name string, atLeast uint64) {
	t.Helper()
	for deadline := time.Now().Add(patience); tcpExt(t, h)[name] < atLeast; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s to be %d: %d", name, atLeast, tcpExt(t, h)[name])
		}
	}
}

// refusalsIn are those of h's listeners, but for those of earlier namespaces that had its number.
func refusalsIn(t *testing.T, tr *tracer.Tracer, h *lab.Host, earlier []tracer.Refusals) []tracer.Refusals {
	t.Helper()
	all, err := tr.Refusals()
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(r tracer.Refusals) bool { return r.NetNS != h.Inode() || slices.Contains(earlier, r) })
}

// standFor is how many refusals h's events of a kind stand for so far.
func (w *watcher) standFor(h *lab.Host, kind event.Kind) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var n uint64
	for _, ev := range w.seen(h.Inode()) {
		if ev.Kind == kind {
			n += uint64(max(1, ev.Count))
		}
	}
	return n
}

var reusePort = socketOption{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1}

// crowd is how many clients come to a listener that has room for few.
const crowd = 200

func TestOverflowsAreCountedExactly(t *testing.T) {
	loopback, loopback6 := netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()
	tests := []struct {
		name      string
		listeners []backlogged
		to        netip.AddrPort
		owned     bool // all of it by the first listener
	}{
		{"IPv4", []backlogged{{netip.AddrPortFrom(loopback, 80), 1, nil}}, netip.AddrPortFrom(loopback, 80), true},
		{"IPv6", []backlogged{{netip.AddrPortFrom(loopback6, 80), 8, nil}}, netip.AddrPortFrom(loopback6, 80), true},
		{"wildcard", []backlogged{{netip.AddrPortFrom(netip.IPv4Unspecified(), 80), 3, nil}}, netip.AddrPortFrom(loopback, 80), true},
		{"both families", []backlogged{{netip.AddrPortFrom(netip.IPv6Unspecified(), 80), 0, nil}}, netip.AddrPortFrom(loopback, 80), true},
		{
			"an address before the wildcard", []backlogged{
				{netip.AddrPortFrom(loopback, 80), 2, []socketOption{reusePort}},
				{netip.AddrPortFrom(netip.IPv4Unspecified(), 80), 2, []socketOption{reusePort}},
			}, netip.AddrPortFrom(loopback, 80), true,
		},
		{
			"SO_REUSEPORT", slices.Repeat([]backlogged{{netip.AddrPortFrom(loopback, 80), 4, []socketOption{reusePort}}}, 4),
			netip.AddrPortFrom(loopback, 80), false,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w, h := watch(t), newHost(t)
			earlier := refusalsIn(t, w.tracer, h, nil)
			room := 0
			for _, l := range test.listeners {
				l.listen(t, h)
				room += l.backlog + 1
			}
			end := connectMany(t, h, test.to, crowd)
			awaitCount(t, h, "ListenOverflows", uint64(crowd-2*room)) // two CPUs may fill it at once
			end()
			want := expectOverflowsCounted(t, w, h, earlier)
			for _, r := range refusalsIn(t, w.tracer, h, earlier) {
				switch {
				case !r.Local.IsValid():
					t.Errorf("%d overflows are nobody's", r.Overflows())
				case r.Owner.PID != os.Getpid():
					t.Errorf("%s belongs to %+v", r.Local, r.Owner)
				case test.owned && (r.Overflows() != want || r.Local != test.listeners[0].bind || r.Max != test.listeners[0].backlog):
					t.Errorf("%d overflows of %d are those of %s, with room for %d", r.Overflows(), want, r.Local, r.Max)
				}
			}
		})
	}
}

// expectOverflowsCounted compares events and totals with ListenOverflows, once there is nobody left to be refused.
func expectOverflowsCounted(t *testing.T, w *watcher, h *lab.Host, earlier []tracer.Refusals) uint64 {
	t.Helper()
	return expectRefusalsCounted(t, w, h, earlier, "ListenOverflows", 0, event.AcceptQueueFull, overflows)
}

func overflows(r tracer.Refusals) (total, untold uint64) { return r.Overflows(), r.UntoldOverflows }

// expectRefusalsCounted compares events and totals with what a counter has gained since it was before. It allows for what a
// busy CPU has put off: a SYN may be refused when its client is gone already.
func expectRefusalsCounted(t *testing.T, w *watcher, h *lab.Host, earlier []tracer.Refusals, counter string, before uint64,
	kind event.Kind, of func(tracer.Refusals) (total, untold uint64)) uint64 {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		want := tcpExt(t, h)[counter] - before
		var untold, total uint64
		for _, r := range refusalsIn(t, w.tracer, h, earlier) {
			all, rest := of(r)
			total += all
			untold += rest
		}
		told := w.standFor(h, kind)
		if total == want && told+untold == want {
			return want
		}
		if time.Now().After(deadline) {
			t.Errorf("%s is %d; counted %d; events stand for %d, and %d are untold", counter, want, total, told, untold)
			return want
		}
	}
}

// refusals are the kinds that a listener's refusals are known by.
var refusals = append([]event.Kind{event.AcceptQueueFull, event.SYNQueueFull}, ends...)

// An older listener's earlier drops are not the trace's, whatever CPU counted them.
func TestOverflowsOfOlderListenersAreCountedFromTheStart(t *testing.T) {
	h := newHost(t)
	to := netip.MustParseAddrPort("127.0.0.1:80")
	backlogged{to, 2, nil}.listen(t, h)
	const early = 40
	connectMany(t, h, to, early)()
	awaitCount(t, h, "ListenOverflows", early/2)
	tr := open(t, tracer.Options{Kinds: refusals, Filter: onlyIn(h)})
	before := tcpExt(t, h)["ListenOverflows"]
	connectMany(t, h, to, crowd)()
	w := newWatcher(tr)
	awaitCount(t, h, "ListenOverflows", before+crowd)
	expectRefusalsCounted(t, w, h, nil, "ListenOverflows", before, event.AcceptQueueFull, overflows)
	if all := refusalsIn(t, tr, h, nil); len(all) != 1 || all[0].Owner.PID != os.Getpid() || all[0].Local != to {
		t.Errorf("the listener is not known: %+v", all)
	}
}

// A flood is counted, and not told one by one.
func TestFloodOfRefusalsIsSampled(t *testing.T) {
	const flood = 3000
	h := newHost(t)
	to := netip.MustParseAddrPort("127.0.0.1:80")
	backlogged{to, 0, nil}.listen(t, h)
	tr := open(t, tracer.Options{Kinds: refusals, Filter: onlyIn(h)})
	start := time.Now()
	for range flood / 500 {
		connectMany(t, h, to, 500)()
	}
	seconds := int(time.Since(start)/time.Second) + 2 // of the clock, begun or ended within
	w := newWatcher(tr)
	awaitCount(t, h, "ListenOverflows", flood-10) // a few found room
	expectOverflowsCounted(t, w, h, nil)
	// A kprobe may miss some, which are nobody's then.
	if all := refusalsIn(t, tr, h, nil); len(all) == 0 || all[0].Local != to {
		t.Errorf("it was no flood of that listener: %+v", all)
	}
	w.until(t, h.Inode(), "events", func(events []event.Event) bool {
		const aSecondOnEachCPU = 2 * 256
		if told := len(only(events, event.AcceptQueueFull)); told > seconds*aSecondOnEachCPU {
			t.Errorf("%d events in %d seconds", told, seconds)
		}
		return true
	})
}

// SYNs that come faster than anybody connects, from a client that is none.
func TestFloodOfSYNsIsCountedExactly(t *testing.T) {
	const syns, rate = 20000, 20000
	h := newHost(t)
	to := netip.MustParseAddrPort("127.0.0.1:80")
	backlogged{to, 8, nil}.listen(t, h)
	connectFew(t, h, to.String(), 9)
	tr := open(t, tracer.Options{Kinds: refusals, Filter: onlyIn(h)})
	before := tcpExt(t, h)["ListenOverflows"]
	sent, err := h.Flood(t.Context(), lab.Flood{From: to.Addr(), To: to, Rate: rate, SYNs: syns})
	if err != nil {
		t.Fatal(err)
	}
	w := newWatcher(tr)
	awaitCount(t, h, "ListenOverflows", before+uint64(sent)/2) // a busy host drops what its queue of packets has no room for
	expectRefusalsCounted(t, w, h, nil, "ListenOverflows", before, event.AcceptQueueFull, overflows)
}
