package main

import (
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
	"tcptrace/tracer/event"
	"tcptrace/tracer/sockdiag"
	"tcptrace/tracer/sockets"
)

// countersHost is a host of its own, whose counters only the test moves.
func countersHost(t *testing.T) *lab.Host {
	t.Helper()
	acceptKernel(t)
	n := new(lab.Network)
	t.Cleanup(func() { acceptMust(t, n.Close()) })
	host, err := n.AddHost("counted")
	acceptMust(t, err)
	return host
}

// crowdedUDP sends more datagrams to a socket than it has room for, and returns the socket and how many did not get in.
func crowdedUDP(t *testing.T, h *lab.Host) (receiver *net.UDPConn, lost int64) {
	t.Helper()
	const sent, size = 200, 1000
	var sender net.Conn
	acceptMust(t, h.Do(func() (err error) {
		if receiver, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5140}); err != nil {
			return err
		}
		if err := receiver.SetReadBuffer(20 * size); err != nil {
			return err
		}
		sender, err = net.Dial("udp4", receiver.LocalAddr().String())
		return err
	}))
	t.Cleanup(func() { receiver.Close() })
	defer sender.Close()
	for range sent {
		_, err := sender.Write(make([]byte, size))
		acceptMust(t, err)
	}
	// What came in is there; loopback may still be carrying the last one.
	got := 0
	buf := make([]byte, size)
	for {
		acceptMust(t, receiver.SetReadDeadline(time.Now().Add(500*time.Millisecond)))
		if _, err := receiver.Read(buf); err != nil {
			return receiver, int64(sent - got)
		}
		got++
	}
}

// crowdedListener has clients connect to a listener that accepts nobody and has room for one, and returns it and how many
// segments it refused.
func crowdedListener(t *testing.T, h *lab.Host) (addr netip.AddrPort, refused int64) {
	t.Helper()
	const clients = 20
	addr = netip.MustParseAddrPort("127.0.0.1:4430")
	address := &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	listener := countersSocket(t, h)
	t.Cleanup(func() { unix.Close(listener) })
	acceptMust(t, unix.Bind(listener, address))
	acceptMust(t, unix.Listen(listener, 0))
	for range clients {
		client := countersSocket(t, h)
		if err := unix.Connect(client, address); err != unix.EINPROGRESS {
			t.Fatalf("connect: %v", err)
		}
		defer unix.Close(client) // so that no SYN is sent again
	}
	acceptMust(t, h.Do(func() error {
		return sockdiag.List(false, func(s *sockets.Socket) {
			if s.Local == addr && s.State == event.StateListen {
				refused = int64(s.Drops)
			}
		})
	}))
	if refused != clients-1 {
		t.Errorf("the listener refused %d of %d clients, want all but one", refused, clients)
	}
	return addr, refused
}

// countersSocket is a TCP socket of a host that blocks nobody. The caller closes it.
func countersSocket(t *testing.T, h *lab.Host) int {
	t.Helper()
	fd := -1
	acceptMust(t, h.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return err
	}))
	return fd
}

// countersSummary is the last line of a stream.
func countersSummary(t *testing.T, result acceptResult) countersSummaryLine {
	t.Helper()
	if result.status != exitOK || result.stderr != "" {
		t.Fatalf("status %d, %q", result.status, result.stderr)
	}
	lines := strings.Split(strings.TrimSpace(result.stdout), "\n")
	var summary countersSummaryLine
	acceptMust(t, json.Unmarshal([]byte(lines[len(lines)-1]), &summary))
	return summary
}

func TestCountersTellExactlyWhatWasLost(t *testing.T) {
	h := countersHost(t)
	p := acceptCommand{args: []string{"counters", "--netns", acceptNetNS(h), "--interval", "100ms", "-o", "json"}}.start(t)
	p.await(t, 1, `{"type":"meta",`)
	receiver, lost := crowdedUDP(t, h)
	listener, refused := crowdedListener(t, h)
	summary := countersSummary(t, p.interrupt(t))
	if lost == 0 || !summary.Interrupted || summary.Intervals == 0 {
		t.Errorf("%d datagrams were lost; %+v", lost, summary)
	}
	for name, want := range map[string]int64{
		"Udp.RcvbufErrors": lost, "Udp.InErrors": lost, "Udp.InCsumErrors": 0, "Udp.OutDatagrams": 200, "Udp.InDatagrams": 200 - lost,
		"TcpExt.ListenOverflows": refused, "TcpExt.ListenDrops": refused, "Tcp.ActiveOpens": 20,
	} {
		if got := summary.Changes[name]; got != want {
			t.Errorf("%s changed by %d, want %d", name, got, want)
		}
	}

	path := tcptraceRun(t, "counters", "--netns", acceptNetNS(h), "--path", "-o", "json")
	drops := make(map[string]int64)
	for line := range strings.Lines(path.stdout) {
		var s stationLine
		acceptMust(t, json.Unmarshal([]byte(line), &s))
		for _, socket := range s.Sockets {
			if socket.Owner == nil || socket.Owner.PID != os.Getpid() {
				t.Errorf("%s %s is owned by %+v; want process %d", socket.Protocol, socket.Local, socket.Owner, os.Getpid())
			}
			if s.Name == stationSockets {
				drops[socket.Protocol+" "+socket.Local.String()] = socket.Drops
			}
		}
	}
	if got := drops["UDP "+receiver.LocalAddr().String()]; got != lost {
		t.Errorf("the way shows %d datagrams lost at the socket, want %d: %v", got, lost, drops)
	}
	if got := drops["TCP "+listener.String()]; got != refused {
		t.Errorf("the way shows %d segments refused by the listener, want %d: %v", got, refused, drops)
	}
}

func TestCountersNeedNoPrivilege(t *testing.T) {
	acceptKernel(t)
	for _, args := range []string{"counters --all -q", "counters --path -o json", "counters --interval 20ms -c 1"} {
		result := acceptCommand{args: strings.Fields(args), uid: acceptNobody}.run(t)
		if result.status != exitOK || result.stderr != "" || result.stdout == "" {
			t.Errorf("%s: status %d, %q", args, result.status, result.stderr)
		}
	}
}

func TestPathHasEveryStation(t *testing.T) {
	p := newAcceptPair(t)
	result := tcptraceRun(t, "counters", "--netns", acceptNetNS(p.client), "--path", "-o", "json")
	var names []string
	for line := range strings.Lines(result.stdout) {
		var s stationLine
		acceptMust(t, json.Unmarshal([]byte(line), &s))
		if s.Type == typeStation {
			names = append(names, s.Way+" "+s.Name)
		}
	}
	want := "received device lo, received device eth0, received softirq, received IP, received TCP, received UDP, received sockets, received application, " +
		"sent sockets and IP, sent queue of lo, sent device lo, sent queue of eth0, sent device eth0"
	if got := strings.Join(names, ", "); got != want {
		t.Errorf("stations %s\nwant %s", got, want)
	}
}
