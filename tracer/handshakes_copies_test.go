package tracer

import (
	"errors"
	"net"
	"os"
	"slices"
	"testing"
)

// The kernel skips a copy of a program that is running already: each has to do without the other, and both together may
// tell an answer only once.
func TestEachCopyTimesConnectsWithoutTheOther(t *testing.T) {
	for i, name := range []string{"without the first", "without the second"} {
		t.Run(name, func(t *testing.T) {
			h := openTwoCopies(t)
			expectOneRecordOfAConnect(t, h)
			if err := h.attacher.links[i].link.Close(); err != nil {
				t.Fatal(err)
			}
			expectOneRecordOfAConnect(t, h)
		})
	}
}

func expectOneRecordOfAConnect(t *testing.T, h *Handshakes) {
	t.Helper()
	const attempts = 5 // a softirq that sees the answer may be hidden from programs
	for range attempts {
		switch found := recordsOfAConnect(t, h); found {
		case 0:
		case 1:
			return
		default:
			t.Fatalf("%d records of one connect", found)
		}
	}
	t.Errorf("none of %d connects has a record", attempts)
}

// openTwoCopies leaves kprobes to the other tests: they are attached once.
func openTwoCopies(t *testing.T) *Handshakes {
	t.Helper()
	allowed, err := ParseMechanisms(os.Getenv(MechanismsVariable))
	if err != nil {
		t.Fatal(err)
	}
	if slices.Equal(allowed, []Mechanism{Kprobe}) {
		allowed = nil
	}
	h, err := OpenHandshakes(HandshakeOptions{PID: os.Getpid(), Mechanisms: allowed})
	if errors.Is(err, ErrPrivilege) && os.Getenv("TCPTRACE_KERNEL_TESTS") != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	if n := len(h.attacher.links); n != 2 {
		t.Fatalf("%d copies, want 2", n)
	}
	return h
}

// recordsOfAConnect counts what is recorded of a connect on loopback.
func recordsOfAConnect(t *testing.T, h *Handshakes) (found int) {
	t.Helper()
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	l, err := config.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var dialer net.Dialer
	dialer.SetMultipathTCP(false)
	c, err := dialer.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for {
		var record Handshake
		more, err := h.Read(&record)
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			return found
		}
		if record.Remote.String() == l.Addr().String() {
			found++
		}
	}
}
