package tracer_test

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
	"tcptrace/tracer"
	"tcptrace/tracer/event"
	"tcptrace/tracer/host"
	"tcptrace/tracer/sockets"
)

// A dying socket is one whose peer falls silent: what is said of it at any time must come true.
type dying struct {
	name    string
	sysctls map[string]string
	options map[int]int // of TCP
	// kill makes the peer silent, and brings the connection into the state that the kernel is to end. Without it the peer
	// is silent from the beginning.
	kill func(*testing.T, *ward)
	// timer is the one that ends it, and rules the clauses by which it may be, as kernels differ.
	timer string
	rules []sockets.Rule
	reset bool
}

// ward is the connection of a test, what was said of it, and how it ended.
type ward struct {
	*dying
	name   string
	host   *lab.Host
	client net.Conn
	server net.Conn
	to     netip.AddrPort // the server's end
	fd     int            // the client's
	cookie uint64

	said []prediction
	died time.Duration // 0: it lives
	err  event.Errno
}

// prediction is what was said of a socket at one time.
type prediction struct {
	at       time.Duration
	socket   *sockets.Socket
	forecast sockets.Forecast
}

// silence keeps everything from the server that is sent to it.
func (w *ward) silence(t *testing.T) {
	t.Helper()
	dropAllFor(t, w.host, w.to)
}

func fallSilent(t *testing.T, w *ward) { w.silence(t) }

func dataInFlight(t *testing.T, w *ward) {
	w.silence(t)
	if _, err := w.client.Write([]byte("lost")); err != nil {
		t.Fatal(err)
	}
}

// shutWindow fills the server until it has no room, and the client has data left.
func shutWindow(t *testing.T, w *ward) {
	t.Helper()
	w.client.SetWriteDeadline(time.Now().Add(betweenListings))
	for _, err := w.client.Write(zeros[:1<<16]); err == nil; _, err = w.client.Write(zeros[:1<<16]) {
	}
}

// shutWindowOnData takes back what the server had room for.
func shutWindowOnData(t *testing.T, w *ward) {
	setInt(t, w.server, unix.SOL_SOCKET, unix.SO_RCVBUF, 1)
	shutWindow(t, w)
}

func shutWindowInSilence(t *testing.T, w *ward) {
	shutWindow(t, w)
	w.silence(t)
}

var dyings = []dying{
	{
		name: "keepalive", options: map[int]int{unix.TCP_KEEPIDLE: 1, unix.TCP_KEEPINTVL: 1, unix.TCP_KEEPCNT: 3},
		kill: fallSilent, timer: sockets.TimerKeepalive, rules: []sockets.Rule{"count"}, reset: true,
	},
	{
		name:    "keepalive and user timeout",
		options: map[int]int{unix.TCP_KEEPIDLE: 1, unix.TCP_KEEPINTVL: 2, unix.TCP_KEEPCNT: 1, unix.TCP_USER_TIMEOUT: 4000},
		kill:    fallSilent, timer: sockets.TimerKeepalive, rules: []sockets.Rule{"user_timeout"}, reset: true,
	},
	{
		name: "keepalive by sysctls",
		sysctls: map[string]string{"net/ipv4/tcp_keepalive_time": "2", "net/ipv4/tcp_keepalive_intvl": "1",
			"net/ipv4/tcp_keepalive_probes": "2"},
		options: map[int]int{}, kill: func(t *testing.T, w *ward) {
			setInt(t, w.client, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
			w.silence(t)
		},
		timer: sockets.TimerKeepalive, rules: []sockets.Rule{"count"}, reset: true,
	},
	{
		name: "data in flight", sysctls: map[string]string{"net/ipv4/tcp_retries2": "4"},
		kill: dataInFlight, timer: sockets.TimerRetransmit, rules: []sockets.Rule{"time_model"},
	},
	{
		name: "data in flight and user timeout", options: map[int]int{unix.TCP_USER_TIMEOUT: 3000},
		kill: dataInFlight, timer: sockets.TimerRetransmit, rules: []sockets.Rule{"user_timeout"},
	},
	{
		name: "window shut in silence", sysctls: map[string]string{"net/ipv4/tcp_retries2": "4"},
		kill: shutWindowInSilence, timer: sockets.TimerPersist, rules: []sockets.Rule{"count"},
	},
	{
		name: "window shut on data in flight and user timeout", options: map[int]int{unix.TCP_USER_TIMEOUT: 3000},
		kill: shutWindowOnData, timer: sockets.TimerRetransmit, rules: []sockets.Rule{"user_timeout"},
	},
	{
		name: "window shut and user timeout", options: map[int]int{unix.TCP_USER_TIMEOUT: 3000},
		kill: shutWindow, timer: sockets.TimerPersist, rules: []sockets.Rule{"user_timeout"},
	},
	{
		name: "SYN", options: map[int]int{unix.TCP_SYNCNT: 2},
		timer: sockets.TimerRetransmit, rules: []sockets.Rule{"count", "time_model"},
	},
	{
		name: "SYN and user timeout", options: map[int]int{unix.TCP_USER_TIMEOUT: 2500},
		timer: sockets.TimerRetransmit, rules: []sockets.Rule{"user_timeout"},
	},
}

func TestSocketsDieWhenItWasSaid(t *testing.T) {
	l := openSockets(t, tracer.SocketOptions{Filter: tracer.Filter{PIDs: []int{os.Getpid()}}})
	var wards []*ward
	for i := range dyings {
		for _, address := range []string{"127.0.0.1", "::1"} {
			wards = append(wards, dyings[i].prepare(t, address))
		}
	}
	ticks := watchTicks(t)
	for _, w := range wards {
		w.begin(t)
		predict(t, l, wards)
	}
	for deadline := host.Monotonic() + patience; slices.ContainsFunc(wards, (*ward).lives); {
		if host.Monotonic() > deadline {
			break
		}
		awaitDeath(t, wards)
		predict(t, l, wards)
	}
	late := ticks.end()
	for _, w := range wards {
		t.Run(w.name, func(t *testing.T) { w.check(t, late) })
	}
}

func (w *ward) lives() bool { return w.died == 0 }

// smallBuffer is a receive buffer that is soon full.
const smallBuffer = 16 << 10

// prepare makes all that takes its time.
func (d *dying) prepare(t *testing.T, address string) *ward {
	t.Helper()
	return d.prepareIn(t, newHost(t), address)
}

func (d *dying) prepareIn(t *testing.T, h *lab.Host, address string) *ward {
	t.Helper()
	w := &ward{dying: d, name: d.name + "/" + address, host: h}
	for name, value := range d.sysctls {
		if err := w.host.Sysctl(name, value); err != nil {
			t.Fatal(err)
		}
	}
	if d.kill == nil {
		w.to = netip.MustParseAddrPort(listen(t, w.host, net.JoinHostPort(address, "0")).Addr().String())
		w.silence(t)
	} else {
		w.establish(t, address)
	}
	return w
}

// begin brings the connection into the state that the kernel is to end.
func (w *ward) begin(t *testing.T) {
	t.Helper()
	if w.kill == nil {
		w.fd = startConnect(t, w.host, w.to, w.setOptions)
		t.Cleanup(func() { unix.Close(w.fd) })
	} else if err := w.setOptions(w.fd); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.cookie, err = unix.GetsockoptUint64(w.fd, unix.SOL_SOCKET, unix.SO_COOKIE); err != nil {
		t.Fatal(err)
	}
	if w.kill != nil {
		w.kill(t, w)
	}
}

func (w *ward) establish(t *testing.T, address string) {
	t.Helper()
	w.client, w.server = pair(t, w.host, address, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, smallBuffer)
	})
	w.to = netip.MustParseAddrPort(w.server.LocalAddr().String())
	raw(t, w.client.(syscall.Conn), func(fd int) error {
		w.fd = fd
		return nil
	})
}

func (w *ward) setOptions(fd int) error {
	for option, value := range w.options {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, option, value); err != nil {
			return err
		}
	}
	if w.options[unix.TCP_KEEPIDLE] == 0 {
		return nil
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
}

// betweenListings is how long to wait for a death between two listings. It decides only how often is asked.
const betweenListings = 100 * time.Millisecond

// awaitDeath waits for some of the connections to die, and notes when they did.
func awaitDeath(t *testing.T, wards []*ward) {
	t.Helper()
	var living []*ward
	var poll []unix.PollFd
	for _, w := range wards {
		if w.lives() {
			living, poll = append(living, w), append(poll, unix.PollFd{Fd: int32(w.fd)})
		}
	}
	if _, err := unix.Poll(poll, int(betweenListings/time.Millisecond)); err != nil && err != unix.EINTR {
		t.Fatal(err)
	}
	now := host.Monotonic()
	for i, w := range living {
		if poll[i].Revents&unix.POLLERR == 0 {
			continue
		}
		value, err := unix.GetsockoptInt(w.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil {
			t.Fatal(err)
		}
		w.died, w.err = now, event.Errno(value)
	}
}

// predict notes what is said of all the connections now.
func predict(t *testing.T, l *tracer.SocketLister, wards []*ward) {
	t.Helper()
	byCookie := make(map[uint64]*ward)
	for _, w := range wards {
		byCookie[w.cookie] = w
	}
	err := l.Held(func(s *sockets.Socket) {
		if w := byCookie[s.Cookie]; s.Cookie != 0 && w != nil && w.lives() {
			w.said = append(w.said, prediction{s.Mono, s, s.Forecast(hz(t))})
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// noise is by how much a busy machine may be late to run a timer, or a test to see that it did.
const noise = 700 * time.Millisecond

// A tickWatch finds out how late ticks come. Jiffies stand still meanwhile, and what the kernel counts in them from then on
// is over as much earlier by the clock.
type tickWatch struct {
	stop  chan struct{}
	worst chan time.Duration
}

// watchTicks looks every millisecond until the end is asked for: CLOCK_MONOTONIC_COARSE is the clock of the last tick.
func watchTicks(t *testing.T) *tickWatch {
	t.Helper()
	w := &tickWatch{make(chan struct{}), make(chan time.Duration, 1)}
	go func() {
		var worst time.Duration
		for {
			var coarse unix.Timespec
			if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &coarse); err == nil {
				worst = max(worst, host.Monotonic()-time.Duration(coarse.Nano()))
			}
			select {
			case <-w.stop:
				w.worst <- worst
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	return w
}

// end gives by how much jiffies were behind the clock at most.
func (w *tickWatch) end() time.Duration {
	close(w.stop)
	return <-w.worst
}

// check allows a timer to be early by as much as ticks were late, if that is more than usual.
func (w *ward) check(t *testing.T, late time.Duration) {
	if w.lives() {
		t.Fatalf("it does not die; last said %+v", w.said[len(w.said)-1])
	}
	seen := 0
	for _, p := range w.said {
		f := p.forecast
		if p.socket.Live().Name != w.timer {
			continue
		}
		seen++
		if !f.Ends || !slices.Contains(w.rules, f.Rule) || f.Reset != w.reset || f.Errno != w.err {
			t.Fatalf("said %+v; want %s, reset %t, errno %s\n%+v", f, w.rules, w.reset, w.err, p.socket)
		}
		left := w.died - p.at
		// Jiffies and the clock do not change together.
		if left < f.Earliest-max(10*time.Millisecond, late) || left > f.Latest+noise {
			t.Fatalf("it died after %s; said %s to %s, ticks %s late\n%+v\n%+v", left, f.Earliest, f.Latest, late, f, p.socket)
		}
	}
	if seen == 0 {
		t.Errorf("none of %d listings showed the timer %s", len(w.said), w.timer)
	}
}
