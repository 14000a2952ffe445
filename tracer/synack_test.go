package tracer_test

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
	"tcptrace/tracer/event"
)

// TestSYNACKRetriesBelongToTheirRequest has a client that sends one SYN and goes: nobody acknowledges the SYN-ACK.
func TestSYNACKRetriesBelongToTheirRequest(t *testing.T) {
	t.Parallel()
	own := leaveSYNACKUnanswered(t)
	if own[1].Attempt != 1 {
		// As for SYNs (see connectInSilence): the first may have been hidden.
		t.Log("the first retry was not seen: once more")
		own = leaveSYNACKUnanswered(t)
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

// leaveSYNACKUnanswered gives the events of a request up to the first retry of its SYN-ACK that is seen.
func leaveSYNACKUnanswered(t *testing.T) []event.Event {
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
	listen(t, server, "192.0.2.10:80")
	if err := client.Do(func() error { return sendOneSYN(clientPort) }); err != nil {
		t.Fatal(err)
	}

	events := w.until(t, server.Inode(), "a second SYN-ACK", func(events []event.Event) bool {
		return has(events, event.SYNACKRetransmit, event.RoleServer)
	})
	return of(t, events, event.RoleServer)
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
