package tracer_test

import (
	"errors"
	"net/netip"
	"os"
	"testing"

	"tcptrace/tracer"
	"tcptrace/tracer/event"
	"tcptrace/tracer/host"
)

func openHandshakes(t *testing.T) *tracer.Handshakes {
	t.Helper()
	h, err := tracer.OpenHandshakes(tracer.HandshakeOptions{PID: os.Getpid(), Mechanisms: mechanisms(t)})
	if errors.Is(err, tracer.ErrPrivilege) && os.Getenv("TCPTRACE_KERNEL_TESTS") != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// answerOf is the record of the connect to that address, among all that there are at this moment.
func answerOf(t *testing.T, h *tracer.Handshakes, remote netip.AddrPort) (found tracer.Handshake, ok bool) {
	t.Helper()
	for {
		var record tracer.Handshake
		more, err := h.Read(&record)
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			return found, ok
		}
		if record.Remote == remote {
			found, ok = record, true
		}
	}
}

// attemptsAtAnAnswer is how often a test tries to see one: a softirq that sees it may be hidden from programs.
const attemptsAtAnAnswer = 5

func TestAnAnswerIsRecordedBeforeItsSocketKnows(t *testing.T) {
	loopbacks(t, func(t *testing.T, address string) {
		h, on := openHandshakes(t), newHost(t)
		l := listen(t, on, netip.AddrPortFrom(netip.MustParseAddr(address), 0).String())
		remote := netip.MustParseAddrPort(l.Addr().String())
		for range attemptsAtAnAnswer {
			before := host.Monotonic()
			c, err := dial(on, remote.String())
			if err != nil {
				t.Fatal(err)
			}
			got, ok := answerOf(t, h, remote)
			after := host.Monotonic()
			c.Close()
			if !ok {
				continue
			}
			if got.SYNs != 1 || got.Errno != 0 || got.Began < before || got.Ended <= got.Began || got.Ended > after {
				t.Errorf("%+v; want one SYN, answered between %v and %v", got, before, after)
			}
			return
		}
		t.Errorf("none of %d connects to %v has a record", attemptsAtAnAnswer, remote)
	})
}

func TestARefusalIsAnAnswer(t *testing.T) {
	loopbacks(t, func(t *testing.T, address string) {
		h, on := openHandshakes(t), newHost(t)
		l := listen(t, on, netip.AddrPortFrom(netip.MustParseAddr(address), 0).String())
		remote := netip.MustParseAddrPort(l.Addr().String())
		l.Close()
		for range attemptsAtAnAnswer {
			if c, err := dial(on, remote.String()); err == nil {
				c.Close()
				t.Fatalf("connected to %v, where nobody listens", remote)
			}
			if got, ok := answerOf(t, h, remote); ok {
				if got.SYNs != 1 || got.Errno != event.ECONNREFUSED || got.Ended <= got.Began {
					t.Errorf("%+v; want ECONNREFUSED after one SYN", got)
				}
				return
			}
		}
		t.Errorf("none of %d connects to %v has a record", attemptsAtAnAnswer, remote)
	})
}
