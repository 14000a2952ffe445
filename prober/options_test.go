package prober

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"tcptrace/tracer/event"
)

func TestValidateNamesWhatTheKernelWouldRefuse(t *testing.T) {
	linger := 1500 * time.Millisecond
	tests := []struct {
		opts Options
		want string
	}{
		{Options{SYNRetries: 128}, "SYN retries must be 1 to 127, not 128"},
		{Options{SYNRetries: -1}, "SYN retries must be 1 to 127, not -1"},
		{Options{KeepaliveCount: 128}, "the keepalive count must be 1 to 127, not 128"},
		{Options{UserTimeout: -time.Second}, "the user timeout must be a multiple of 1ms"},
		{Options{UserTimeout: 100 * time.Microsecond}, "the user timeout must be a multiple of 1ms"},
		{Options{UserTimeout: 1 << 31 * time.Millisecond}, "the user timeout must be a multiple of 1ms, at most 596h31m23.647s"},
		{Options{KeepaliveIdle: 1500 * time.Millisecond}, "the keepalive idle time must be a multiple of 1s, at most 9h6m7s, not 1.5s"},
		{Options{KeepaliveInterval: 32768 * time.Second}, "the keepalive interval must be a multiple of 1s, at most 9h6m7s, not 9h6m8s"},
		{Options{Linger: &linger}, "the linger time must be a multiple of 1s"},
		{Options{Interface: "sixteen-bytes-ab"}, `the interface name "sixteen-bytes-ab" is longer than 15 bytes`},
		{Options{Timeout: -1}, "the timeout must not be negative, but is -1ns"},
		{Options{Then: []Step{Hold{-1}}}, "a connection cannot be held for a negative time, such as -1ns"},
		{Options{Then: []Step{Hold{}, Exchange{}}}, "an exchange must send or expect something"},
		{Options{Then: []Step{Await{event.StateEstablished}}}, "the peer does not bring a connection into ESTABLISHED"},
		{Options{Then: []Step{Set{KeepaliveCount: 128}}}, "the keepalive count must be 1 to 127, not 128"},
		{Options{Then: []Step{Call(nil)}}, "there is no function to call"},
		{Options{Then: []Step{nil}}, "a step is missing"},
	}
	for _, tt := range tests {
		err := tt.opts.Validate()
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("Validate(%+v) = %v, want %q", tt.opts, err, tt.want)
		}
	}
}

// Whatever Validate accepts, the kernel accepts too; and what it rejects among the kernel's own numbers, the kernel
// rejects.
func TestValidateAgreesWithTheKernel(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	rapid.Check(t, func(t *rapid.T) {
		opts := Options{
			SYNRetries:        rapid.IntRange(-2, 200).Draw(t, "SYN retries"),
			KeepaliveCount:    rapid.IntRange(-2, 200).Draw(t, "keepalive count"),
			KeepaliveIdle:     time.Second * time.Duration(rapid.IntRange(-2, 40000).Draw(t, "idle")),
			KeepaliveInterval: time.Second * time.Duration(rapid.IntRange(-2, 40000).Draw(t, "interval")),
			UserTimeout:       time.Millisecond * time.Duration(rapid.Int32().Draw(t, "user timeout")),
		}
		var refused error
		s := &socket{fd: fd}
		for _, opt := range opts.settings() {
			if opt.wanted && refused == nil {
				refused = s.set(opt)
			}
		}
		if invalid := opts.Validate(); (invalid == nil) != (refused == nil) {
			t.Fatalf("Validate says %v, the kernel %v", invalid, refused)
		}
	})
}

func TestConnectSetsItsOptions(t *testing.T) {
	ns := newTestNetNS(t)
	remote := listen(t, ns, "127.0.0.1:0", untilClosed)
	linger := 3 * time.Second
	opts := Options{
		Source: netip.MustParseAddr("127.0.0.5"), SourcePort: 4321, Interface: "lo",
		SYNRetries: 3, UserTimeout: 1234 * time.Millisecond,
		KeepaliveIdle: 5 * time.Second, KeepaliveInterval: 6 * time.Second, KeepaliveCount: 7,
		Linger: &linger, Mark: 0xdeadbeef, MarkSet: true, NetNS: ns,
	}
	var got map[string]int
	p, err := Connect(t.Context(), "", remote, opts, func(cookie uint64) { got = readOptions(t, cookie) })
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{
		"TCP_SYNCNT": 3, "TCP_USER_TIMEOUT": 1234, "TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 6, "TCP_KEEPCNT": 7,
		"SO_KEEPALIVE": 1, "SO_MARK": 0xdeadbeef, "SO_BINDTOIFINDEX": 1, "IP_RECVERR": 1, "SO_LINGER": 3,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("options on the socket (-want +got):\n%s", diff)
	}
	if !p.Connected || p.Local != netip.MustParseAddrPort("127.0.0.5:4321") {
		t.Errorf("connected=%v (%v) from %v, want from 127.0.0.5:4321", p.Connected, p.Errno, p.Local)
	}
	report := &event.Options{SYNRetries: 3, UserTimeout: 1234 * time.Millisecond, KeepAlive: true,
		KeepaliveIdle: 5 * time.Second, KeepaliveInterval: 6 * time.Second, KeepaliveCount: 7,
		Mark: 0xdeadbeef, Device: 1}
	if diff := cmp.Diff(report, p.Options); diff != "" {
		t.Errorf("reported options (-want +got):\n%s", diff)
	}
}

// fdOf finds the socket of this process with that cookie.
func fdOf(t *testing.T, cookie uint64) int {
	t.Helper()
	for _, fd := range openFDs(t) {
		if c, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE); err == nil && c == cookie {
			return fd
		}
	}
	t.Errorf("no socket has the cookie %d", cookie)
	return -1
}

// readOption reads an option of the socket with that cookie, -1 if there is none.
func readOption(t *testing.T, cookie uint64, level, opt int) int {
	t.Helper()
	value, err := unix.GetsockoptInt(fdOf(t, cookie), level, opt)
	if err != nil {
		t.Errorf("socket option %d/%d: %v", level, opt, err)
		return -1
	}
	return int(uint32(value))
}

// readOptions reads what TestConnectSetsItsOptions sets.
func readOptions(t *testing.T, cookie uint64) map[string]int {
	t.Helper()
	values := make(map[string]int)
	for _, opt := range []setting{
		{name: "TCP_SYNCNT", level: unix.SOL_TCP, opt: unix.TCP_SYNCNT},
		{name: "TCP_USER_TIMEOUT", level: unix.SOL_TCP, opt: unix.TCP_USER_TIMEOUT},
		{name: "TCP_KEEPIDLE", level: unix.SOL_TCP, opt: unix.TCP_KEEPIDLE},
		{name: "TCP_KEEPINTVL", level: unix.SOL_TCP, opt: unix.TCP_KEEPINTVL},
		{name: "TCP_KEEPCNT", level: unix.SOL_TCP, opt: unix.TCP_KEEPCNT},
		{name: "SO_KEEPALIVE", level: unix.SOL_SOCKET, opt: unix.SO_KEEPALIVE},
		{name: "SO_MARK", level: unix.SOL_SOCKET, opt: unix.SO_MARK},
		{name: "SO_BINDTOIFINDEX", level: unix.SOL_SOCKET, opt: unix.SO_BINDTOIFINDEX},
		{name: "IP_RECVERR", level: unix.SOL_IP, opt: unix.IP_RECVERR},
	} {
		values[opt.name] = readOption(t, cookie, opt.level, opt.opt)
	}
	linger, err := unix.GetsockoptLinger(fdOf(t, cookie), unix.SOL_SOCKET, unix.SO_LINGER)
	if err != nil || linger.Onoff == 0 {
		t.Errorf("SO_LINGER: %+v, %v", linger, err)
	} else {
		values["SO_LINGER"] = int(linger.Linger)
	}
	return values
}

func TestConnectFromASourcePortAgain(t *testing.T) {
	ns := newTestNetNS(t)
	const port = 4321
	for range 3 { // the earlier connection may still be in TIME_WAIT
		remote := listen(t, ns, "127.0.0.1:0", untilClosed)
		p := connect(t, remote, Options{NetNS: ns, SourcePort: port})
		if !p.Connected || p.Local.Port() != port {
			t.Errorf("connected=%v (%v) from %v, want from port %d", p.Connected, p.Errno, p.Local, port)
		}
	}
}

func TestConnectSharesASourcePortAmongTargets(t *testing.T) {
	ns := newTestNetNS(t)
	onTCP(t, ns, nftables.ChainHookInput, drop)
	sysctl(t, ns, "ipv4/ip_local_port_range", "5000 5000")
	// One port for all, which is enough as long as the targets differ; bind() alone would give it to the first only.
	for _, source := range []string{"127.0.0.1", "::1"} {
		ctx, cancel := context.WithCancel(t.Context())
		var probes, sockets sync.WaitGroup
		sockets.Add(5)
		for port := range uint16(5) {
			remote := netip.AddrPortFrom(netip.MustParseAddr(source), 10+port)
			probes.Go(func() {
				opts := Options{NetNS: ns, Source: remote.Addr()}
				p, err := Connect(ctx, "", remote, opts, func(uint64) { sockets.Done() })
				if err != nil || p.Errno != 0 || p.Local.Port() != 5000 {
					t.Errorf("%v: %+v, %v; want it in SYN_SENT from port 5000", remote, p, err)
				}
			})
		}
		sockets.Wait()
		cancel()
		probes.Wait()
	}
}

func TestConnectCannotTry(t *testing.T) {
	ns := newTestNetNS(t)
	taken := listen(t, ns, "127.0.0.1:0", untilClosed)
	tests := []struct {
		name, remote string
		opts         Options
		want         string
	}{
		{"foreign source", "127.0.0.1:9", Options{Source: netip.MustParseAddr("192.0.2.1")}, "bind to 192.0.2.1:0: cannot assign requested address"},
		{"other family", "127.0.0.1:9", Options{Source: netip.MustParseAddr("::1")}, "the source address ::1 is not of the target's address family"},
		{"taken port", "127.0.0.1:9", Options{SourcePort: taken.Port()}, "address already in use"},
		{"no interface", "127.0.0.1:9", Options{Interface: "eth9"}, `bind to interface "eth9": no such device`},
		{"no zone", "[fe80::1%eth9]:9", Options{}, "the zone of fe80::1%eth9: no such device"},
		{"port 0", "127.0.0.1:0", Options{}, "127.0.0.1:0 is not an address and port to connect to"},
		{"bad option", "127.0.0.1:9", Options{SYNRetries: 1000}, "SYN retries must be 1 to 127, not 1000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.opts.NetNS = ns
			_, err := Connect(t.Context(), "", netip.MustParseAddrPort(tt.remote), tt.opts, func(uint64) { t.Error("was going to connect") })
			if err == nil || !strings.HasSuffix(err.Error(), tt.want) {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}
