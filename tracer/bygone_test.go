package tracer_test

import (
	"net/netip"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
	"tcptrace/tracer"
	"tcptrace/tracer/event"
)

// More listeners come and go than the kernel side has room for, and each refuses somebody, as a server does that is started again
// and again with its clients waiting.
func TestRefusalsOfListenersThatAreGoneAreKept(t *testing.T) {
	const listeners, aTime = 1400, 350 // of 1,024 that there is room for, and which other tests want some of
	w, h := watch(t), newHost(t)
	to := netip.MustParseAddrPort("127.0.0.1:80")
	earlier := refusalsIn(t, w.tracer, h, nil)
	for i := range listeners {
		refuseOnce(t, h, to)
		if (i+1)%aTime == 0 {
			if err := w.tracer.MakeRoom(); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := expectOverflowsCounted(t, w, h, earlier)
	least := listeners
	if w.tracer.Mechanism(event.AcceptQueueFull) == tracer.Kprobe {
		least -= listeners / 10 // what one misses is nobody's
	}
	told := refusalsIn(t, w.tracer, h, earlier)
	told = slices.DeleteFunc(told, func(r tracer.Refusals) bool { return r.Local != to || r.Owner.PID != os.Getpid() || r.Overflows() == 0 })
	if len(told) < least {
		t.Errorf("%d refusals by %d listeners are told of %d", want, listeners, len(told))
	}
}

// refuseOnce has a listener refuse somebody, and ends it.
func refuseOnce(t *testing.T, h *lab.Host, to netip.AddrPort) {
	t.Helper()
	before := tcpExt(t, h)["ListenOverflows"]
	listener := backlogged{to, 0, []socketOption{{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1}}}.open(t, h)
	defer unix.Close(listener)
	if err := overflowOnce(h, to, 4); err != nil {
		t.Fatal(err)
	}
	awaitCount(t, h, "ListenOverflows", before+1)
}
