package tracer_test

import (
	"net/netip"
	"slices"
	"testing"

	"tcptrace/prober/lab"
	"tcptrace/tracer/event"
)

// More handshakes than there are near places wait for their last ACK, and more come when the first are late: each is the
// same connection from its SYN to its end.
func TestHandshakesThatTakeLongStayTheirOwn(t *testing.T) {
	const early, late = 300, 200
	w, h := watch(t), newHost(t)
	to := netip.MustParseAddrPort("127.0.0.1:80")
	backlogged{to, 2 * (early + late), nil}.listen(t, h)
	final, err := h.DropInput(lab.Drop{Port: to.Port(), AfterSYN: true})
	if err != nil {
		t.Fatal(err)
	}
	expectCopies := func(requests int) {
		t.Helper()
		w.until(t, h.Inode(), "copies of the SYN-ACKs", func(events []event.Event) bool {
			copied := 0
			for _, own := range connections(fromServer(events)) {
				if slices.Contains(kinds(own), event.SYNACKRetransmit) {
					copied++
				}
			}
			return copied >= requests-hiddenOf(requests)
		})
	}
	connectMany(t, h, to, early)
	expectCopies(early)
	connectMany(t, h, to, late)
	expectCopies(early + late)
	// The next copies are answered by final ACKs that arrive.
	if err := final.Remove(); err != nil {
		t.Fatal(err)
	}
	w.until(t, h.Inode(), "of each its SYN, a copy of its SYN-ACK and its beginning", func(events []event.Event) bool {
		whole := 0
		for _, own := range connections(fromServer(events)) {
			first, last := own[0].Kind, own[len(own)-1].Kind
			if first == event.SYNReceived && last == event.Established && slices.Contains(kinds(own), event.SYNACKRetransmit) {
				whole++
			}
		}
		return whole >= early+late-hiddenOf(early+late)
	})
}

// hiddenOf is how many of n connections may lack an event: there are kernels that run no BPF program in some softirqs.
func hiddenOf(n int) int { return n / 20 }

func fromServer(events []event.Event) []event.Event {
	return slices.DeleteFunc(slices.Clone(events), func(ev event.Event) bool { return ev.Role != event.RoleServer })
}
