package tracer_test

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
	"tcptrace/tracer"
	"tcptrace/tracer/event"
	"tcptrace/tracer/sockets"
	"tcptrace/tracer/timeline"
)

// TestSYNACKRetriesBelongToTheirRequest has a client that sends one SYN and goes: nobody acknowledges the SYN-ACK.
func TestSYNACKRetriesBelongToTheirRequest(t *testing.T) {
	t.Parallel()
	own := unansweredSYNACKs(t, 1)
	first, again := own[0], own[1]
	if first.Kind != event.SYNReceived || again.Kind != event.SYNACKRetransmit || again.Conn != first.Conn {
		t.Fatalf("the request's events:\n%s", describe(own))
	}
	if again.Attempt != 1 || again.Nth != 2 || again.Owner.Via != "listener" || again.Trigger != "rto" {
		t.Errorf("attempt %d, number %d, owner via %q, trigger %q", again.Attempt, again.Nth, again.Owner.Via, again.Trigger)
	}
	if after := again.Mono - first.Mono; after < aSecond || after > 1500*time.Millisecond {
		t.Errorf("repeated after %s, want 1s and the wheel's rounding", after)
	}
}

// TestSYNACKsComeWhenTheirListenersSettingsSay limits the waits between them to a second, which only some kernels heed, and
// their number to three.
func TestSYNACKsComeWhenTheirListenersSettingsSay(t *testing.T) {
	own := unansweredSYNACKs(t, 2)
	settings := own[0]
	if settings.Sysctls == nil || settings.Sysctls.SYNACKRetries != 3 || settings.Options == nil || settings.Cookie != 0 {
		t.Fatalf("the request's settings: %+v %+v, cookie %d", settings.Options, settings.Sysctls, settings.Cookie)
	}
	last := own[len(own)-1]
	if last.Attempt != 2 || last.Predicted == 0 || last.AttemptsExpected != 3 || last.Trigger != "rto" {
		t.Fatalf("the second retry is foretold as %d of %d at %s, trigger %q", last.Attempt, last.AttemptsExpected, last.Predicted, last.Trigger)
	}
	if last.Offset < last.Predicted || last.Offset > last.Latest+500*time.Millisecond {
		t.Errorf("the second retry came after %s, foretold from %s to %s", last.Offset, last.Predicted, last.Latest)
	}
}

// TestSYNACKsThatAnswerARepeatedSYNAreNoTimeouts sends the same SYN twice, long before the timer of the SYN-ACK runs out: it
// starts anew.
func TestSYNACKsThatAnswerARepeatedSYNAreNoTimeouts(t *testing.T) {
	t.Parallel()
	own := untilAsForetold(t, func() []event.Event {
		w, client, server := unanswering(t)
		sendSYNTwice(t, w, client, server)
		return untilRetry(t, w, server, 2)
	})
	asked, timedOut := own[1], own[2]
	if asked.Trigger != "syn" || asked.Predicted != 0 || asked.Attempt != 1 {
		t.Errorf("asked for by a SYN: trigger %q, due %s, attempt %d", asked.Trigger, asked.Predicted, asked.Attempt)
	}
	if timedOut.Trigger != "rto" || timedOut.Predicted != asked.Offset+time.Second || timedOut.Offset > timedOut.Latest+500*time.Millisecond {
		t.Errorf("then on the timer: trigger %q, due %s, at %s, the one before at %s",
			timedOut.Trigger, timedOut.Predicted, timedOut.Offset, asked.Offset)
	}
}

// sendSYNTwice sends the same SYN from silentPort, once more when the first has been answered, and waits for that answer.
func sendSYNTwice(t *testing.T, w *watcher, client, server *lab.Host) {
	t.Helper()
	syn := lab.Flood{From: netip.MustParseAddr("192.0.2.1"), To: netip.MustParseAddrPort("192.0.2.10:80"), Rate: 1000, SYNs: 1}
	for _, kind := range []event.Kind{event.SYNReceived, event.SYNACKRetransmit} {
		if _, err := client.Flood(t.Context(), syn); err != nil {
			t.Fatal(err)
		}
		w.until(t, server.Inode(), kind.String(), func(events []event.Event) bool {
			return slices.ContainsFunc(events, func(ev event.Event) bool { return ev.Kind == kind })
		})
	}
}

// TestRequestWhoseSYNCameAgainHasAllItsTimeouts lists it: what answered the SYN is no timeout there either.
func TestRequestWhoseSYNCameAgainHasAllItsTimeouts(t *testing.T) {
	t.Parallel()
	l := openSockets(t, tracer.SocketOptions{Mini: true})
	w, client, server := unanswering(t)
	sendSYNTwice(t, w, client, server)
	waits := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second}
	for timeouts := range 2 {
		s := halfOpenIn(t, l, server)
		if s.Sysctls != nil && s.Sysctls.SYNACKRTOMax {
			waits = slices.Repeat([]time.Duration{time.Second}, len(waits))
		}
		var life time.Duration
		for _, wait := range waits[timeouts:] {
			life += wait
		}
		f := s.Forecast(hz(t))
		if s.Backoff != timeouts || s.Retransmits != 1+timeouts || f.Next.Attempt != 2+timeouts || f.Next.Of != 4 ||
			f.GivesUp <= life-waits[timeouts] || f.GivesUp > life+10*time.Millisecond {
			t.Errorf("%d timeouts of %d repeats; said %+v, want an attempt of 4 after %d timeouts, and the end in %s",
				s.Backoff, s.Retransmits, f, timeouts, life)
		}
		if timeouts == 0 {
			untilRetry(t, w, server, 2)
		}
	}
}

// halfOpenIn is the only request there.
func halfOpenIn(t *testing.T, l *tracer.SocketLister, h *lab.Host) *sockets.Socket {
	t.Helper()
	all := listed(t, l, h)
	i := slices.IndexFunc(all, func(s *sockets.Socket) bool { return s.State == event.StateNewSYNRecv })
	if i < 0 {
		t.Fatal("no half-open request is listed")
	}
	return all[i]
}

// unansweredSYNACKs gives the events of a request up to as many retries of its SYN-ACK as are wanted, with what was foretold
// of them.
func unansweredSYNACKs(t *testing.T, retries int) []event.Event {
	t.Helper()
	return untilAsForetold(t, func() []event.Event { return leaveSYNACKUnanswered(t, retries) })
}

// untilAsForetold plays until every retry was seen, and none came before its time, three times at most. One may be hidden, as
// of SYNs (see connectInSilence). And a machine that is short of CPU may hear of its ticks late, when the clock has gone on: a
// timer counts from the last tick that the kernel has heard of.
func untilAsForetold(t *testing.T, play func() []event.Event) []event.Event {
	t.Helper()
	for attempt := 1; ; attempt++ {
		own := play()
		tracker := timeline.New(timeline.Config{HZ: watch(t).tracer.HZ()})
		asForetold := true
		for i := range own {
			tracker.Add(&own[i])
			asForetold = asForetold && own[i].Attempt == i && (i == 0 || own[i].Trigger != "rto" || own[i].Offset >= own[i-1].NextDue)
		}
		if asForetold || attempt == 3 {
			return own
		}
		t.Logf("a retry was not seen, or came early; once more after\n%s", describe(own))
	}
}

func leaveSYNACKUnanswered(t *testing.T, retries int) []event.Event {
	t.Helper()
	w, client, server := unanswering(t)
	if err := client.Do(func() error { return sendOneSYN(silentPort) }); err != nil {
		t.Fatal(err)
	}
	return untilRetry(t, w, server, retries)
}

// silentPort is where the client of unanswering hears nothing.
const silentPort = 1024

// unanswering is a client that hears nothing at silentPort, and a server that listens at port 80. The server sends a SYN-ACK
// again three times, and its RTO maximum is a second, where it has such a thing.
func unanswering(t *testing.T) (w *watcher, client, server *lab.Host) {
	t.Helper()
	w = watch(t)
	network := new(lab.Network)
	t.Cleanup(func() { network.Close() })
	client, err := network.AddHost("client")
	if err != nil {
		t.Fatal(err)
	}
	server, err = network.AddHost("server")
	if err != nil {
		t.Fatal(err)
	}
	noteBirth(server.Inode())
	err = network.Connect(t.Context(),
		lab.End{Host: client, Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}},
		lab.End{Host: server, Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24")}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.DropInput(lab.Drop{Port: silentPort}); err != nil {
		t.Fatal(err)
	}
	if err := server.Sysctl("net/ipv4/tcp_synack_retries", "3"); err != nil {
		t.Fatal(err)
	}
	if err := server.Sysctl("net/ipv4/tcp_rto_max_ms", "1000"); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	listen(t, server, "192.0.2.10:80")
	return w, client, server
}

// untilRetry gives the server's events up to a retry of its SYN-ACK.
func untilRetry(t *testing.T, w *watcher, server *lab.Host, retry int) []event.Event {
	t.Helper()
	isLast := func(ev event.Event) bool {
		return ev.Kind == event.SYNACKRetransmit && ev.Role == event.RoleServer && ev.Attempt >= retry
	}
	events := w.until(t, server.Inode(), "SYN-ACKs", func(events []event.Event) bool { return slices.ContainsFunc(events, isLast) })
	own := of(t, events, event.RoleServer)
	return own[:slices.IndexFunc(own, isLast)+1]
}

func sendOneSYN(port int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{192, 0, 2, 1}, Port: port}); err != nil {
		return err
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{192, 0, 2, 10}, Port: 80})
	if err == unix.EINPROGRESS {
		return nil
	}
	return err
}
