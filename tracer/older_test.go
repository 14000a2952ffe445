package tracer_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
	"tcptrace/tracer"
	"tcptrace/tracer/event"
)

// Nobody has been told of the options of a connection that is older than the trace. They matter once a timer goes by them: from
// then on it can be foretold, and what ends it is known.
func TestOptionsOfOlderConnectionsAreToldWithTheFirstTimer(t *testing.T) {
	tests := []struct {
		name  string
		timer event.Kind
		begin func(t *testing.T, h *lab.Host) (timed func()) // once the trace has begun
		want  event.Options
	}{
		{"data", event.Retransmit, olderWithData, event.Options{UserTimeout: time.Minute}},
		{"keepalive", event.KeepaliveProbe, olderWithKeepalive, event.Options{
			KeepAlive: true, KeepaliveIdle: time.Second, KeepaliveInterval: time.Second, KeepaliveCount: 100,
		}},
		{"SYN", event.SYNRetransmit, olderSYN, event.Options{SYNRetries: 7}},
	}
	hosts := make([]*lab.Host, len(tests))
	timed := make([]func(), len(tests))
	var all tracer.Filter
	for i, test := range tests {
		hosts[i] = newHost(t)
		timed[i] = test.begin(t, hosts[i])
		all.NetNS = append(all.NetNS, hosts[i].Inode())
	}
	w := newWatcher(open(t, tracer.Options{Kinds: append([]event.Kind{event.Retransmit, event.KeepaliveProbe, event.SYNRetransmit}, ends...), Filter: all}))
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			timed[i]()
			events := w.until(t, hosts[i].Inode(), "two timers of a client", func(events []event.Event) bool { return len(timers(events, test.timer)) >= 2 })
			told := only(events, event.OptionsChanged)
			if len(told) != 1 || !told[0].PreExisting || told[0].Options == nil || told[0].Trigger != "timer" {
				t.Fatalf("the options of an older connection:\n%s", describe(events))
			}
			first := timers(events, test.timer)[0]
			if told[0].Mono > first.Mono || told[0].Conn != first.Conn {
				t.Errorf("they are not told with the first timer:\n%s", describe(events))
			}
			if test.timer == event.SYNRetransmit && first.Elapsed < (time.Second-10*time.Millisecond) {
				t.Errorf("the first SYN was %s before retry %d", first.Elapsed, first.Attempt)
			}
			got := *told[0].Options
			got.RTOMax = 0 // what a kernel that has such an option says
			if got != test.want {
				t.Errorf("the options are %+v, want %+v", got, test.want)
			}
		})
	}
}

// timers are the events of one connection's timer.
func timers(events []event.Event, kind event.Kind) []event.Event {
	var all []event.Event
	for _, ev := range only(events, kind) {
		if ev.Trigger == "" || ev.Trigger == "rto" {
			all = append(all, ev)
		}
	}
	return all
}

func olderWithData(t *testing.T, h *lab.Host) func() {
	t.Helper()
	client, server := connectTo(t, h, listen(t, h, "127.0.0.1:0"), userTimeout(time.Minute))
	return func() {
		silence(t, h, server)
		if _, err := client.Write(zeros[:1]); err != nil {
			t.Error(err)
		}
	}
}

func olderWithKeepalive(t *testing.T, h *lab.Host) func() {
	t.Helper()
	_, server := connectTo(t, h, listen(t, h, "127.0.0.1:0"), keepalive(100)...)
	silence(t, h, server)
	return func() {}
}

func olderSYN(t *testing.T, h *lab.Host) func() {
	t.Helper()
	silent := netip.MustParseAddrPort("127.0.0.1:81")
	dropAllFor(t, h, silent)
	err := h.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		t.Cleanup(func() { unix.Close(fd) })
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_SYNCNT, 7); err != nil {
			return err
		}
		if err := unix.Connect(fd, sockaddr(silent)); err != unix.EINPROGRESS {
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return func() {}
}

// The same of one that nobody followed before its accept.
func TestOptionsOfAClaimedConnectionAreToldWithItsFirstTimer(t *testing.T) {
	s := newClaimant(t, "127.0.0.1")
	w := newWatcher(open(t, tracer.Options{
		Kinds: append([]event.Kind{event.Retransmit, event.Accept}, ends...), Filter: tracer.Filter{PIDs: []int{s.Process.Pid}}, NewOnly: true,
	}))
	c, err := dial(s.host, s.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	client := c.(*net.TCPConn)
	dropAllFor(t, s.host, client.LocalAddr().(*net.TCPAddr).AddrPort())
	if err := client.CloseWrite(); err != nil { // the acceptor closes, too, and nobody hears it
		t.Fatal(err)
	}
	s.connect(t)
	events := w.until(t, s.host.Inode(), "the FIN again", func(events []event.Event) bool { return len(timers(events, event.Retransmit)) >= 2 })
	own := of(t, events, event.RoleServer)
	told := only(own, event.OptionsChanged)
	if len(told) != 1 || told[0].PreExisting || told[0].Options == nil || told[0].Mono > timers(own, event.Retransmit)[0].Mono {
		t.Errorf("the options of a connection that was claimed:\n%s", describe(events))
	}
}
