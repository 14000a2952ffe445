package prober

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"tcptrace/tracer/event"
)

func TestConnectToAListener(t *testing.T) {
	ns := newTestNetNS(t)
	for _, host := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(host, func(t *testing.T) {
			remote := listen(t, ns, host, untilClosed)
			p := connect(t, remote, Options{NetNS: ns})
			if !p.Connected || p.Errno != 0 || p.GaveUp != "" || p.Synchronous {
				t.Fatalf("not connected: %+v", p)
			}
			if p.Remote != remote || p.Local.Addr() != remote.Addr() || p.Local.Port() == 0 {
				t.Errorf("connected from %v to %v, want both on %v and the target's port", p.Local, p.Remote, remote)
			}
			if !p.HasInfo || p.State != event.StateEstablished || p.RTT == 0 || p.TotalRetrans != 0 || p.BytesAcked != 0 {
				t.Errorf("TCP_INFO of an established, unused connection: %+v", p)
			}
			if p.Connect <= 0 || p.Lifetime < p.Connect || p.StartedMono <= 0 || p.Started.IsZero() {
				t.Errorf("times: connect %v, lifetime %v, started %v (%v)", p.Connect, p.Lifetime, p.Started, p.StartedMono)
			}
			if p.Options != nil {
				t.Errorf("Options = %+v, but none was set", p.Options)
			}
		})
	}
}

func TestConnectUnmapsIPv4(t *testing.T) {
	ns := newTestNetNS(t)
	remote := listen(t, ns, "127.0.0.1:0", untilClosed)
	mapped := netip.AddrPortFrom(netip.AddrFrom16(remote.Addr().As16()), remote.Port())
	p := connect(t, mapped, Options{NetNS: ns})
	if !p.Connected || p.Remote != remote || !p.Local.Addr().Is4() {
		t.Errorf("connected=%v from %v to %v, want to %v by IPv4", p.Connected, p.Local, p.Remote, remote)
	}
}

func TestConnectByZone(t *testing.T) {
	a, b := newTestNetNS(t), newTestNetNS(t)
	link(t, a, "up0", []string{"fe80::a/64"}, b, []string{"fe80::b/64"})
	listening := listen(t, b, "[fe80::b%peer]:0", untilClosed)
	remote := netip.AddrPortFrom(netip.MustParseAddr("fe80::b%up0"), listening.Port())
	p := connect(t, remote, Options{NetNS: a})
	if !p.Connected || p.Local.Addr() != netip.MustParseAddr("fe80::a%up0") {
		t.Errorf("connected=%v (%v) from %v, want from fe80::a%%up0", p.Connected, p.Errno, p.Local)
	}
}

func TestConnectRefused(t *testing.T) {
	ns := newTestNetNS(t)
	for _, host := range []string{"127.0.0.1", "::1"} {
		p := connect(t, unused(t, ns, host), Options{NetNS: ns})
		if p.Connected || p.Errno != event.ECONNREFUSED || p.ICMP != nil || p.State != event.StateClose {
			t.Errorf("%s: connected=%v errno=%v icmp=%v state=%v, want ECONNREFUSED by a reset", host, p.Connected, p.Errno, p.ICMP, p.State)
		}
		if p.Local.Addr() != netip.MustParseAddr(host) || p.Local.Port() == 0 {
			t.Errorf("%s: local end %v, want a port of that address", host, p.Local)
		}
	}
}

func TestConnectGivesUpAtItsTimeout(t *testing.T) {
	ns := newTestNetNS(t)
	onTCP(t, ns, nftables.ChainHookInput, drop)
	for _, host := range []string{"127.0.0.1:9", "[::1]:9"} {
		const timeout = 150 * time.Millisecond
		p := connect(t, netip.MustParseAddrPort(host), Options{NetNS: ns, Timeout: timeout})
		if p.Connected || p.Errno != 0 || p.GaveUp != "timeout" || p.Timeout != timeout {
			t.Errorf("%s: connected=%v errno=%v gave up %q, want by timeout", host, p.Connected, p.Errno, p.GaveUp)
		}
		if p.State != event.StateSYNSent {
			t.Errorf("%s: gave up in %v, want SYN_SENT", host, p.State)
		}
		// Never early. The upper bound is for busy machines, but below the first SYN retry, which wakes the poller too.
		if p.Connect < timeout || p.Connect > timeout+500*time.Millisecond {
			t.Errorf("%s: gave up after %v, want %v", host, p.Connect, timeout)
		}
	}
}

func TestConnectTimesOutByTheKernelsSchedule(t *testing.T) {
	ns := newTestNetNS(t)
	onTCP(t, ns, nftables.ChainHookInput, drop)
	// An elapsed user timeout is looked at when the first retry is due, after 1 s.
	opts := Options{NetNS: ns, SYNRetries: 1, UserTimeout: 300 * time.Millisecond}
	p := connect(t, netip.MustParseAddrPort("127.0.0.1:9"), opts)
	if p.Errno != event.ETIMEDOUT || p.GaveUp != "" || p.Synchronous || p.TotalRetrans != 1 {
		t.Errorf("errno=%v gave up %q retries %d, want ETIMEDOUT after 1", p.Errno, p.GaveUp, p.TotalRetrans)
	}
	want := &event.Options{SYNRetries: 1, UserTimeout: 300 * time.Millisecond}
	if diff := cmp.Diff(want, p.Options); diff != "" {
		t.Errorf("reported options (-want +got):\n%s", diff)
	}
}

func TestConnectFailsSynchronously(t *testing.T) {
	ns := newTestNetNS(t)
	addRoute(t, ns, "192.0.2.1/32", unix.RTN_PROHIBIT, netip.Addr{})
	addRoute(t, ns, "192.0.2.2/32", unix.RTN_UNREACHABLE, netip.Addr{})
	addRoute(t, ns, "192.0.2.3/32", unix.RTN_BLACKHOLE, netip.Addr{})
	addRoute(t, ns, "2001:db8::1/128", unix.RTN_PROHIBIT, netip.Addr{})
	tests := []struct {
		remote string
		want   event.Errno
	}{
		{"192.0.2.1:80", event.EACCES},
		{"192.0.2.2:80", event.EHOSTUNREACH},
		{"192.0.2.3:80", event.EINVAL},
		{"192.0.2.4:80", event.ENETUNREACH},
		{"224.0.0.1:80", event.ENETUNREACH},
		{"[2001:db8::1]:80", event.EACCES},
		{"[2001:db8::2]:80", event.ENETUNREACH},
		{"[fe80::1]:80", event.EINVAL}, // link-local without a zone
	}
	for _, tt := range tests {
		p := connect(t, netip.MustParseAddrPort(tt.remote), Options{NetNS: ns})
		if p.Errno != tt.want || !p.Synchronous || p.Connected || p.GaveUp != "" {
			t.Errorf("%s: errno=%v synchronous=%v, want %v from connect() itself", tt.remote, p.Errno, p.Synchronous, tt.want)
		}
		if p.Local.IsValid() {
			t.Errorf("%s: local end %v, but there was no route", tt.remote, p.Local)
		}
	}
}

// router is a client behind a router, which rejects by ICMP what it should forward.
func router(t *testing.T, code uint8) (client *NetNS) {
	t.Helper()
	client, via := newTestNetNS(t), newTestNetNS(t)
	link(t, client, "up0", []string{"10.0.0.2/24", "2001:db8:a::2/64"}, via, []string{"10.0.0.1/24", "2001:db8:a::1/64"})
	beyond := newTestNetNS(t)
	link(t, via, "far0", []string{"192.0.2.1/24", "2001:db8:b::1/64"}, beyond, nil)
	sysctl(t, via, "ipv4/ip_forward", "1")
	sysctl(t, via, "ipv6/conf/all/forwarding", "1")
	addRoute(t, client, "192.0.2.0/24", unix.RTN_UNICAST, netip.MustParseAddr("10.0.0.1"))
	addRoute(t, client, "2001:db8:b::/64", unix.RTN_UNICAST, netip.MustParseAddr("2001:db8:a::1"))
	onTCP(t, via, nftables.ChainHookForward, &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: code})
	return client
}

func TestConnectTellsWhoSentTheICMPError(t *testing.T) {
	// By way of veth the answer comes while connect() holds the socket, which then dies of the answer to its first retry.
	client := router(t, unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED)
	tests := []struct {
		remote string
		errno  event.Errno
		icmp   event.ICMP
	}{
		{"192.0.2.10:80", event.EHOSTUNREACH, event.ICMP{Type: 3, Code: 13,
			Name: "communication administratively prohibited", From: netip.MustParseAddr("10.0.0.1")}},
		{"[2001:db8:b::10]:80", event.EACCES, event.ICMP{Type: 1, Code: 1,
			Name: "communication administratively prohibited", From: netip.MustParseAddr("2001:db8:a::1")}},
	}
	for _, tt := range tests {
		p := connect(t, netip.MustParseAddrPort(tt.remote), Options{NetNS: client})
		if p.Errno != tt.errno || p.Synchronous || p.ICMP == nil {
			t.Fatalf("%s: errno=%v synchronous=%v icmp=%v, want %v by ICMP", tt.remote, p.Errno, p.Synchronous, p.ICMP, tt.errno)
		}
		if diff := cmp.Diff(tt.icmp, *p.ICMP, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("%s: ICMP (-want +got):\n%s", tt.remote, diff)
		}
	}
}

// An ICMP error that is generated inside connect() only leaves a note (sk_err_soft): the kernel sends on, and so the
// probe must wait on, though poll() reports an error.
func TestConnectOutlivesAnICMPErrorInsideConnect(t *testing.T) {
	ns := newTestNetNS(t)
	onTCP(t, ns, nftables.ChainHookOutput,
		&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH})
	// A softirq that has to wait for ksoftirqd comes after connect(), and then ends it at once; and where ticks come late, a
	// timer is early by the clock: try again.
	var p *event.Probe
	for range 10 {
		p = connect(t, netip.MustParseAddrPort("127.0.0.1:9"), Options{NetNS: ns})
		if p.TotalRetrans > 0 && p.Connect >= time.Second {
			break
		}
	}
	// On a busy machine the probe may be looking at its socket just when the first retry's answer comes.
	if p.Errno != event.ECONNREFUSED || p.TotalRetrans < 1 || p.TotalRetrans > 2 || p.Connect < time.Second {
		t.Errorf("errno=%v after %v and %d retries, want ECONNREFUSED at the first retry, or the second", p.Errno, p.Connect, p.TotalRetrans)
	}
	if p.ICMP == nil || p.ICMP.Name != "port unreachable" {
		t.Errorf("ICMP = %+v, want port unreachable", p.ICMP)
	}
}

func TestConnectWithoutNeighbour(t *testing.T) {
	client, peer := newTestNetNS(t), newTestNetNS(t)
	link(t, client, "up0", []string{"10.0.0.2/24"}, peer, []string{"10.0.0.1/24"})
	sysctl(t, client, "ipv4/neigh/up0/retrans_time_ms", "50") // three unanswered requests, 50 ms each
	p := connect(t, netip.MustParseAddrPort("10.0.0.77:80"), Options{NetNS: client})
	want := &event.ICMP{Type: 3, Code: 1, Name: "host unreachable", From: netip.MustParseAddr("10.0.0.2")}
	if p.Errno != event.EHOSTUNREACH || p.ICMP == nil || *p.ICMP != *want || p.Connect > time.Second {
		t.Errorf("errno=%v icmp=%+v after %v, want EHOSTUNREACH by this host's own ICMP", p.Errno, p.ICMP, p.Connect)
	}
}

func TestConnectIsInterrupted(t *testing.T) {
	ns := newTestNetNS(t)
	onTCP(t, ns, nftables.ChainHookInput, drop)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p, err := Connect(ctx, "", netip.MustParseAddrPort("127.0.0.1:9"), Options{NetNS: ns, Timeout: patience},
		func(uint64) { go cancel() })
	if err != nil {
		// The cancellation comes after the socket, so there was a try.
		t.Fatal(err)
	}
	if p.GaveUp != "interrupted" || p.Connected || p.Errno != 0 || p.Connect > patience/2 {
		t.Errorf("gave up %q (errno %v) after %v, want interrupted", p.GaveUp, p.Errno, p.Connect)
	}
}

func TestConnectDoesNotTryWhenInterruptedBefore(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Connect(ctx, "", netip.MustParseAddrPort("127.0.0.1:9"), Options{}, func(uint64) { t.Error("made a socket") })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

func TestConnectNamesItsSocketBeforeConnecting(t *testing.T) {
	ns := newTestNetNS(t)
	remote := listen(t, ns, "127.0.0.1:0", untilClosed)
	var before uint64
	var found []uint64
	p, err := Connect(t.Context(), "", remote, Options{NetNS: ns}, func(cookie uint64) {
		before = cookie
		found = cookiesOfUnconnected(t)
	})
	if err != nil {
		t.Fatal(err)
	}
	if before == 0 || p.Cookie != before {
		t.Errorf("cookie %d before, %d in the result; want the same", before, p.Cookie)
	}
	if !slices.Contains(found, before) {
		t.Errorf("no unconnected socket of this process has the cookie %d, only %d", before, found)
	}
}

// cookiesOfUnconnected reads SO_COOKIE of every TCP socket of this process that is in CLOSE.
func cookiesOfUnconnected(t *testing.T) []uint64 {
	var cookies []uint64
	for _, fd := range openFDs(t) {
		info, err := unix.GetsockoptTCPInfo(fd, unix.SOL_TCP, unix.TCP_INFO)
		if err != nil || event.State(info.State) != event.StateClose {
			continue
		}
		cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
		if err != nil {
			t.Errorf("SO_COOKIE of fd %d: %v", fd, err)
		}
		cookies = append(cookies, cookie)
	}
	return cookies
}

// openFDs lists this process's file descriptors.
func openFDs(t *testing.T) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var fds []int
	for _, entry := range entries {
		var fd int
		if _, err := fmt.Sscan(entry.Name(), &fd); err != nil {
			t.Fatal(err)
		}
		fds = append(fds, fd)
	}
	return fds
}

func TestConnectLeavesNoDescriptors(t *testing.T) {
	ns := newTestNetNS(t)
	accepted := listen(t, ns, "127.0.0.1:0", untilClosed)
	refused := unused(t, ns, "127.0.0.1")
	noRoute := netip.MustParseAddrPort("192.0.2.1:9")
	reset := time.Duration(0)
	once := func() {
		connect(t, accepted, Options{NetNS: ns, Linger: &reset})
		connect(t, refused, Options{NetNS: ns})
		connect(t, noRoute, Options{NetNS: ns})
		ctx, cancel := context.WithCancel(t.Context())
		Connect(ctx, "", accepted, Options{NetNS: ns, Linger: &reset}, func(uint64) { cancel() })
		if _, err := Connect(t.Context(), "", accepted, Options{NetNS: ns, Interface: "none"}, nil); err == nil {
			t.Fatal("bound to an interface that does not exist")
		}
	}
	once() // opens what the runtime and the test keep for good
	before := len(openFDs(t))
	times := 1000
	if testing.Short() { // in an emulated machine
		times = 200
	}
	for range times {
		once()
	}
	// The listener's side closes after ours.
	for deadline := time.Now().Add(patience); ; {
		after := len(openFDs(t))
		if after <= before {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d descriptors are open, %d were before %d connects", after, before, 5*times)
		}
	}
}

func TestConnectManyAtOnce(t *testing.T) {
	ns := newTestNetNS(t)
	onTCP(t, ns, nftables.ChainHookInput, drop)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const many = 300
	var probes, sockets sync.WaitGroup
	sockets.Add(many)
	for range many {
		probes.Go(func() {
			p, err := Connect(ctx, "", netip.MustParseAddrPort("127.0.0.1:9"), Options{NetNS: ns}, func(uint64) { sockets.Done() })
			if err != nil || p.GaveUp != "interrupted" {
				t.Errorf("%+v, %v: want it interrupted", p, err)
			}
		})
	}
	sockets.Wait()
	cancel()
	probes.Wait()
}

func TestConnectSendsAndFindsWhatItExpects(t *testing.T) {
	ns := newTestNetNS(t)
	echo := listen(t, ns, "127.0.0.1:0", func(conn *net.TCPConn) {
		var buf [1 << 16]byte // emulated CPUs take their time for each system call
		for {
			n, err := conn.Read(buf[:])
			if err != nil {
				return
			}
			conn.Write(buf[:n])
		}
	})
	// Larger than all buffers between the two, so that a probe that first sends and then reads would never end.
	large := append(bytes.Repeat([]byte("."), 20<<20), "the end"...)
	tests := []struct {
		name, expect string
		send         []byte
	}{
		{"small", "pong", []byte("ping pong")},
		{"large", "the end", large},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := connect(t, echo, Options{NetNS: ns, Send: tt.send, Expect: []byte(tt.expect)})
			if !p.ExpectMet || p.ExchangeErrno != 0 || p.GaveUp != "" || p.Expected != tt.expect {
				t.Fatalf("expectation met %v, errno %v, gave up %q", p.ExpectMet, p.ExchangeErrno, p.GaveUp)
			}
			size := int64(len(tt.send))
			if p.BytesSent != size || p.BytesReceived != size || p.BytesAcked != size {
				t.Errorf("sent %d, acknowledged %d, received %d; want %d each", p.BytesSent, p.BytesAcked, p.BytesReceived, size)
			}
		})
	}
}

func TestConnectSendsUntilAllIsAcknowledged(t *testing.T) {
	ns := newTestNetNS(t)
	remote := listen(t, ns, "127.0.0.1:0", untilClosed)
	data := bytes.Repeat([]byte("x"), 5<<20)
	p := connect(t, remote, Options{NetNS: ns, Send: data})
	if p.GaveUp != "" || p.ExchangeErrno != 0 || p.BytesSent != int64(len(data)) || p.BytesAcked != int64(len(data)) {
		t.Errorf("sent %d, acknowledged %d (gave up %q, errno %v), want all %d", p.BytesSent, p.BytesAcked, p.GaveUp, p.ExchangeErrno, len(data))
	}
}

// With IP_RECVERR an established connection would die of ICMP errors that any other outlives.
// A server that resets at once can do so before the probe looks: what it then finds is a dead socket, of a connection that
// was established.
func TestConnectionThatIsResetBeforeAnybodyLooksWasConnected(t *testing.T) {
	ns := newTestNetNS(t)
	for _, host := range []string{"127.0.0.1", "::1"} {
		remote := listen(t, ns, net.JoinHostPort(host, "0"), func(conn *net.TCPConn) { conn.SetLinger(0) })
		p := resetUnseen(t, remote, Options{NetNS: ns, Then: []Step{Hold{patience}}})
		if !p.result.Connected || p.result.Errno != 0 {
			t.Errorf("%s: connected=%v errno=%v, want connected", host, p.result.Connected, p.result.Errno)
		}
		want := aftermath{HoldErrno: event.ECONNRESET, WriteErrno: event.EPIPE}
		if diff := cmp.Diff(want, aftermathOf(&p.result)); diff != "" {
			t.Errorf("%s: result (-want +got):\n%s", host, diff)
		}
	}
}

// resetUnseen is a probe that first looks at its connection when that has been reset.
func resetUnseen(t *testing.T, remote netip.AddrPort, opts Options) *probe {
	t.Helper()
	s, err := newSocket(remote.Addr(), opts.NetNS)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	p := &probe{socket: s, opts: &opts, result: event.Probe{Remote: remote, Started: time.Now()}}
	sockaddr, err := prepare(s, remote, &opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(s.fd, sockaddr); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		t.Fatal(err)
	}
	if err := s.file.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if err := s.waitRead(func() bool { return s.state() == event.StateClose }); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.await(t.Context()), p.use(t.Context())); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestConnectStopsQueueingErrorsOnceConnected(t *testing.T) {
	ns := newTestNetNS(t)
	cookies, during := make(chan uint64, 1), make(chan int, 1)
	remote := listen(t, ns, "127.0.0.1:0", func(conn *net.TCPConn) {
		conn.Read(make([]byte, 1))
		during <- readOption(t, <-cookies, unix.SOL_IP, unix.IP_RECVERR)
		conn.Write([]byte("y"))
	})
	p, err := Connect(t.Context(), "", remote, Options{NetNS: ns, Send: []byte("x"), Expect: []byte("y")},
		func(cookie uint64) { cookies <- cookie })
	if err != nil || !p.ExpectMet {
		t.Fatalf("%+v, %v", p, err)
	}
	if got := <-during; got != 0 {
		t.Errorf("IP_RECVERR is %d on the established connection, want 0", got)
	}
}

func TestConnectExpectsInVain(t *testing.T) {
	ns := newTestNetNS(t)
	silent := listen(t, ns, "127.0.0.1:0", untilClosed)
	closing := listen(t, ns, "127.0.0.1:0", func(conn *net.TCPConn) { conn.Write([]byte("220 hello")) })
	resetting := listen(t, ns, "127.0.0.1:0", func(conn *net.TCPConn) {
		conn.Read(make([]byte, 1))
		conn.SetLinger(0)
	})
	tests := []struct {
		name   string
		remote netip.AddrPort
		opts   Options
		want   event.Probe
	}{
		{"silence", silent, Options{Timeout: 100 * time.Millisecond}, event.Probe{GaveUp: "timeout"}},
		{"end", closing, Options{}, event.Probe{BytesReceived: 9}},
		{"reset", resetting, Options{Send: []byte("x")}, event.Probe{ExchangeErrno: event.ECONNRESET, BytesSent: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.opts.NetNS, tt.opts.Expect = ns, []byte("welcome")
			p := connect(t, tt.remote, tt.opts)
			tt.want.Connected, tt.want.Expected = true, "welcome"
			got := event.Probe{Connected: p.Connected, Expected: p.Expected, ExpectMet: p.ExpectMet, GaveUp: p.GaveUp,
				BytesSent: p.BytesSent, BytesReceived: p.BytesReceived, ExchangeErrno: p.ExchangeErrno}
			if diff := cmp.Diff(tt.want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConnectWithFastOpen(t *testing.T) {
	ns := newTestNetNS(t)
	sysctl(t, ns, "ipv4/tcp_fastopen", "3") // client and server
	plain := listen(t, ns, "127.0.0.1:0", untilClosed)
	if p := connect(t, plain, Options{NetNS: ns, FastOpen: true}); !p.Connected {
		t.Errorf("with a server that knows no Fast Open: %+v", p)
	}

	data := make(chan string, 4)
	remote := listenFastOpen(t, ns, func(conn *net.TCPConn) {
		var buf [100]byte
		n, _ := conn.Read(buf[:])
		data <- string(buf[:n])
		conn.Write(buf[:n])
	})
	for i, what := range []string{"asks for a cookie", "sends data with its SYN"} {
		p := connect(t, remote, Options{NetNS: ns, FastOpen: true, Send: []byte("hello"), Expect: []byte("hello")})
		if !p.Connected || !p.ExpectMet || p.BytesSent != 5 || p.BytesAcked != 5 {
			t.Errorf("connect %d, which %s: %+v", i, what, p)
		}
		if got := <-data; got != "hello" {
			t.Errorf("connect %d: the server read %q, want hello", i, got)
		}
	}
	if got := tcpExt(t, ns, "TCPFastOpenActive"); got != 1 {
		t.Errorf("%d SYNs carried data, want 1", got)
	}
	// With a cookie and nothing to send, connect() returns 0 and has sent nothing.
	p := connect(t, remote, Options{NetNS: ns, FastOpen: true})
	if !p.Connected || p.State != event.StateEstablished {
		t.Errorf("connect with a cookie and without data: %+v", p)
	}
}

func TestConnectExplainsRefusedFastOpen(t *testing.T) {
	ns := newTestNetNS(t)
	sysctl(t, ns, "ipv4/tcp_fastopen", "0")
	_, err := Connect(t.Context(), "", netip.MustParseAddrPort("127.0.0.1:9"), Options{NetNS: ns, FastOpen: true}, nil)
	const want = "set TCP_FASTOPEN_CONNECT: operation not supported: the sysctl net.ipv4.tcp_fastopen does not allow clients"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}
