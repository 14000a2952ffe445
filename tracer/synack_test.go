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
	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
)

// TestSYNACKRetriesBelongToTheirRequest has a client that sends one SYN and goes: nobody acknowledges the SYN-ACK.
func TestSYNACKRetriesBelongToTheirRequest(t *testing.T) {
	t.Parallel()
	own := leaveSYNACKUnanswered(t, 1)
	if own[1].Attempt != 1 {
		// As for SYNs (see connectInSilence): the first may have been hidden.
		t.Log("the first retry was not seen: once more")
		own = leaveSYNACKUnanswered(t, 1)
	}
	first, again := own[0], own[1]
	if first.Kind != event.SYNReceived || again.Kind != event.SYNACKRetransmit || again.Conn != first.Conn {
		t.Fatalf("the request's events:\n%s", describe(own))
	}
	if again.Attempt != 1 || again.Nth != 2 || again.Owner.Via != "listener" {
		t.Errorf("attempt %d, number %d, owner via %q", again.Attempt, again.Nth, again.Owner.Via)
	}
	if after := again.Mono - first.Mono; after < aSecond || after > 1500*time.Millisecond {
		t.Errorf("repeated after %s, want 1s and the wheel's rounding", after)
	}
}

// TestSYNACKsComeWhenTheirListenersSettingsSay limits the waits between them to a second, which only some kernels heed, and
// their number to three.
func TestSYNACKsComeWhenTheirListenersSettingsSay(t *testing.T) {
	for attempt := 1; ; attempt++ {
		own := leaveSYNACKUnanswered(t, 2)
		settings := own[0]
		if settings.Sysctls == nil || settings.Sysctls.SYNACKRetries != 3 || settings.Options == nil || settings.Cookie != 0 {
			t.Fatalf("the request's settings: %+v %+v, cookie %d", settings.Options, settings.Sysctls, settings.Cookie)
		}
		tracker := timeline.New(timeline.Config{HZ: watch(t).tracer.HZ()})
		for i := range own {
			tracker.Add(&own[i])
		}
		last := own[len(own)-1]
		if len(only(own, event.SYNACKRetransmit)) != 2 && attempt < 3 {
			t.Log("a retry was not seen: once more")
			continue
		}
		if last.Attempt != 2 || last.Predicted == 0 || last.AttemptsExpected != 3 {
			t.Fatalf("the second retry is foretold as %d of %d at %s", last.Attempt, last.AttemptsExpected, last.Predicted)
		}
		if last.Offset < last.Predicted || last.Offset > last.Latest+500*time.Millisecond {
			t.Errorf("the second retry came after %s, foretold from %s to %s", last.Offset, last.Predicted, last.Latest)
		}
		return
	}
}

// leaveSYNACKUnanswered gives the events of a request up to as many retries of its SYN-ACK as are wanted. The server's RTO
// maximum is a second, where it has such a thing.
func leaveSYNACKUnanswered(t *testing.T, retries int) []event.Event {
	t.Helper()
	w := watch(t)
	network := new(lab.Network)
	defer network.Close()
	client, err := network.AddHost("client")
	if err != nil {
		t.Fatal(err)
	}
	server, err := network.AddHost("server")
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
	const clientPort = 40000
	if _, err := client.DropInput(lab.Drop{Port: clientPort}); err != nil {
		t.Fatal(err)
	}
	if err := server.Sysctl("net/ipv4/tcp_synack_retries", "3"); err != nil {
		t.Fatal(err)
	}
	if err := server.Sysctl("net/ipv4/tcp_rto_max_ms", "1000"); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	listen(t, server, "192.0.2.10:80")
	if err := client.Do(func() error { return sendOneSYN(clientPort) }); err != nil {
		t.Fatal(err)
	}

	isLast := func(ev event.Event) bool {
		return ev.Kind == event.SYNACKRetransmit && ev.Role == event.RoleServer && ev.Attempt >= retries
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
