package tracer_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
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

// One timer of handshakes does for all that ask the same of it: to attach its programs takes an emulated machine half a second.
func TestHandshakes(t *testing.T) {
	h := openHandshakes(t)
	for _, test := range []struct {
		name   string
		expect func(*testing.T, *tracer.Handshakes)
	}{
		{"an answer is recorded before its socket knows", expectAnAnswerBeforeItsSocketKnows},
		{"a refusal is an answer", expectARefusalToBeAnAnswer},
		{"an answer tells how many SYNs it took", expectAnAnswerToTellItsSYNs},
		{"silence has no record", expectNoRecordOfSilence},
	} {
		t.Run(test.name, func(t *testing.T) { test.expect(t, h) })
	}
}

func expectAnAnswerBeforeItsSocketKnows(t *testing.T, h *tracer.Handshakes) {
	t.Helper()
	loopbacks(t, func(t *testing.T, address string) {
		on := newHost(t)
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

func expectARefusalToBeAnAnswer(t *testing.T, h *tracer.Handshakes) {
	t.Helper()
	loopbacks(t, func(t *testing.T, address string) {
		on := newHost(t)
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

func expectAnAnswerToTellItsSYNs(t *testing.T, h *tracer.Handshakes) {
	t.Helper()
	on := newHost(t)
	l := listen(t, on, "127.0.0.1:0")
	remote := netip.MustParseAddrPort(l.Addr().String())
	for range attemptsAtAnAnswer {
		if _, err := on.DropInput(lab.Drop{Port: remote.Port(), FirstSYNs: 1}); err != nil {
			t.Fatal(err)
		}
		c, err := dial(on, remote.String())
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if got, ok := answerOf(t, h, remote); ok {
			if got.SYNs != 2 || got.Ended-got.Began < aSecond {
				t.Errorf("%+v; want two SYNs, a second apart", got)
			}
			return
		}
	}
	t.Errorf("none of %d connects to %v has a record", attemptsAtAnAnswer, remote)
}

func expectNoRecordOfSilence(t *testing.T, h *tracer.Handshakes) {
	t.Helper()
	on := newHost(t)
	remote := netip.MustParseAddrPort("127.0.0.1:4567")
	if _, err := on.DropInput(lab.Drop{Port: remote.Port()}); err != nil {
		t.Fatal(err)
	}
	err := on.Do(func() error {
		dialer := net.Dialer{Timeout: 50 * time.Millisecond}
		c, err := dialer.Dial("tcp4", remote.String())
		if err == nil {
			c.Close()
		}
		return err
	})
	if err == nil {
		t.Fatalf("connected to %v, which drops everything", remote)
	}
	if got, ok := answerOf(t, h, remote); ok {
		t.Errorf("%+v; want nothing", got)
	}
}

func TestConnectsBeyondTheRoomAreLost(t *testing.T) {
	on := newHost(t)
	h, err := tracer.OpenHandshakes(tracer.HandshakeOptions{PID: os.Getpid(), MaxPending: 1, Mechanisms: mechanisms(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if _, err := on.DropInput(lab.Drop{Port: 4567}); err != nil {
		t.Fatal(err)
	}
	// Two at a time, of which only one has room.
	err = on.Do(func() error {
		for range 2 {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 4567, Addr: [4]byte{127, 0, 0, 1}}); !errors.Is(err, unix.EINPROGRESS) {
				return fmt.Errorf("connect: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	lost, err := h.Lost()
	if err != nil || len(lost) != 1 || lost[0].Kind != event.KindUnknown || lost[0].Count != 1 {
		t.Errorf("lost %+v, %v; want one connect", lost, err)
	}
}
