package main

import (
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
)

// loopbackService is where the connections of a host to itself go.
var loopbackService = netip.MustParseAddrPort("127.0.0.1:80")

// listenOnLoopback gives a host a server for its own connections.
func listenOnLoopback(t *testing.T) *lab.Host {
	t.Helper()
	n := new(lab.Network)
	t.Cleanup(func() { acceptMust(t, n.Close()) })
	h, err := n.AddHost("host")
	acceptMust(t, err)
	acceptMust(t, h.Listen(loopbackService))
	return h
}

// connectAndClose makes so many connections to the service, one after the other.
func connectAndClose(h *lab.Host, times int) error {
	return h.Do(func() error {
		for i := range times {
			if err := connectOnce(loopbackService); err != nil {
				return fmt.Errorf("connection %d: %w", i+1, err)
			}
		}
		return nil
	})
}

// connectOnce connects to an IPv4 address with a plain socket, and closes it.
func connectOnce(to netip.AddrPort) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = unix.EINTR
	for err == unix.EINTR || err == unix.EALREADY { // a signal of the Go runtime interrupts the wait, not the connect
		err = unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
	}
	if err == unix.EISCONN {
		return nil
	}
	return err
}

// hidden is how many of many connections may never be seen to end, without any fault of ours: there are kernels that run
// no BPF program in softirqs on top of certain tasks, such as those of a micro-VM's supervisor.
func hidden(connections int) int { return connections / 500 }

func TestTenThousandConnectionsLoseNothing(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	h := listenOnLoopback(t)
	const connections = 10_000
	watch := acceptCommand{args: []string{"watch", "-o", "json", "--netns", acceptNetNS(h)}}.start(t)
	watch.awaitTrace(t)
	acceptMust(t, connectAndClose(h, connections))
	watch.await(t, connections-hidden(connections), `{"type":"verdict",`)
	result := watch.interrupt(t)
	lines := result.lines(t)
	sum := lines.only(t, typeSummary)
	for _, l := range lines.of(typeLost) {
		if l.Kind != "close" {
			t.Errorf("%d %s events were lost", l.Count, l.Kind)
		}
	}
	if sum.Lost > uint64(hidden(connections)) || result.stderr != "" {
		t.Fatalf("%d events were lost, %q on stderr", sum.Lost, result.stderr)
	}
	checkComplete(t, lines, connections)
	open := 0
	for _, v := range lines.of(typeVerdict) {
		if v.Outcome != "closed" {
			open++
		}
		if len(v.Doubts) != 0 && sum.Lost == 0 && v.Outcome == "closed" {
			t.Fatalf("doubts without a loss: %+v after %+v", v, lines.events(v.Conn))
		}
	}
	if open > hidden(connections) {
		t.Errorf("%d connections never ended", open)
	}
}

// checkComplete wants so many connections, each with a verdict, at the client's end, and each event that the kernel
// numbered of either end. Two processors may number events the other way round than they stamp them, or two alike.
func checkComplete(t *testing.T, lines acceptLines, connections int) {
	t.Helper()
	clients := make(map[string]bool)
	seen := make(map[string]int)
	total := make(map[string]uint32)
	for _, ev := range lines.of(typeEvent) {
		seen[ev.Conn]++
		total[ev.Conn] = max(total[ev.Conn], ev.Nth, ev.Total)
		if ev.Role == "client" {
			clients[ev.Conn] = true
		}
	}
	for conn, arrived := range seen {
		if arrived != int(total[conn]) {
			t.Fatalf("%d of %d events of connection %s arrived: %+v", arrived, total[conn], conn, lines.events(conn))
		}
	}
	judged := make(map[string]bool)
	for _, v := range lines.of(typeVerdict) {
		if !clients[v.Conn] || judged[v.Conn] {
			t.Fatalf("a verdict about %s, which is no client or was judged before: %+v", v.Conn, v)
		}
		judged[v.Conn] = true
	}
	if len(clients) != connections || len(judged) != connections {
		t.Errorf("%d clients and %d verdicts about them, want %d", len(clients), len(judged), connections)
	}
}

func TestLossesAreCountedAndDoubted(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	h := listenOnLoopback(t)
	const connections = 200
	watch := acceptCommand{args: []string{"watch", "-o", "json", "--ring-bytes", "4096", "--netns", acceptNetNS(h)}}.start(t)
	watch.awaitTrace(t)
	// A reader that stands still loses what finds no room, on a machine of any speed.
	watch.signal(t, syscall.SIGSTOP)
	acceptMust(t, connectAndClose(h, connections))
	watch.signal(t, syscall.SIGCONT)
	lines := watch.interrupt(t).lines(t)

	sum := lines.only(t, typeSummary)
	var lost uint64
	for _, l := range lines.of(typeLost) {
		lost += l.Count
	}
	if lost == 0 || lost != sum.Lost {
		t.Errorf("lost lines count %d, the summary %d; want the same, and some", lost, sum.Lost)
	}
	if sum.Lost < connections {
		t.Errorf("%d events lost; one page cannot hold as many as the others", sum.Lost)
	}
	verdicts := lines.of(typeVerdict)
	if len(verdicts) == 0 {
		t.Error("no verdict at all, though the ring holds the first connection")
	}
	for _, v := range verdicts {
		if hasGap(lines.events(v.Conn)) && (len(v.Doubts) == 0 || v.Confidence == "certain") {
			t.Errorf("events of it are missing, and the verdict does not doubt: %+v", v)
		}
	}
	if !slices.ContainsFunc(verdicts, func(v acceptLine) bool { return hasGap(lines.events(v.Conn)) }) {
		t.Error("no verdict is about a connection with a gap: nothing was tested")
	}
}

// hasGap says that the kernel numbered events of a connection that did not arrive, its close perhaps among them.
func hasGap(events acceptLines) bool {
	if len(events) == 0 {
		return true
	}
	last := events[len(events)-1]
	return last.Kind != "close" || int(last.Total) != len(events)
}
