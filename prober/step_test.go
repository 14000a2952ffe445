package prober

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"tcptrace/tracer/event"
)

// echo sends back what it reads, until the peer closes.
func echo(conn *net.TCPConn) { _, _ = io.Copy(conn, conn) }

// aftermath is what a probe tells of the time after its handshake.
type aftermath struct {
	GaveUp                               string
	Met, PeerClosed                      bool
	ExchangeErrno, HoldErrno, WriteErrno event.Errno
}

func aftermathOf(p *event.Probe) aftermath {
	return aftermath{p.GaveUp, p.ExpectMet, p.PeerClosed, p.ExchangeErrno, p.HoldErrno, p.WriteErrno}
}

func TestHoldTellsWhatEndsIt(t *testing.T) {
	ns := newTestNetNS(t)
	quiet := listen(t, ns, "127.0.0.1:0", untilClosed)
	closing := listen(t, ns, "[::1]:0", func(conn *net.TCPConn) { conn.Write([]byte("goodbye")) })
	resetting := listen(t, ns, "127.0.0.1:0", func(conn *net.TCPConn) { conn.SetLinger(0) })
	const short, long = 60 * time.Millisecond, patience
	tests := []struct {
		name     string
		remote   netip.AddrPort
		opts     Options
		want     aftermath
		min      time.Duration
		received int64
	}{
		{"the time asked for", quiet, Options{Then: []Step{Hold{short}}}, aftermath{}, short, 0},
		{"the peer's close", closing, Options{Then: []Step{Hold{}}}, aftermath{PeerClosed: true}, 0, 7},
		{"a reset", resetting, Options{Then: []Step{Hold{long}}},
			aftermath{HoldErrno: event.ECONNRESET, WriteErrno: event.EPIPE}, 0, 0},
		{"the probe's timeout", quiet, Options{Timeout: short, Then: []Step{Hold{long}}}, aftermath{GaveUp: "timeout"}, short / 2, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.opts.NetNS = ns
			p := connect(t, tt.remote, tt.opts)
			if diff := cmp.Diff(tt.want, aftermathOf(p)); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
			if p.HeldFor <= 0 || p.HeldFor < tt.min || p.HeldFor > tt.min+long/2 {
				t.Errorf("held for %v, want %v or a little more", p.HeldFor, tt.min)
			}
			if !p.Connected || p.BytesReceived != tt.received || p.BytesSent != 0 {
				t.Errorf("connected=%v, received %d, sent %d; want %d received", p.Connected, p.BytesReceived, p.BytesSent, tt.received)
			}
		})
	}
}

func TestHoldEndsWithTheKernelsTimers(t *testing.T) {
	tests := []struct {
		name string
		opts Options
		min  time.Duration
	}{
		{"keepalive", Options{KeepaliveCount: 1}, 2 * time.Second},
		// Below idle plus interval: one probe, and the end at the next fire.
		{"user timeout", Options{KeepaliveCount: 9, UserTimeout: 500 * time.Millisecond}, 2 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ns := newTestNetNS(t)
			tt.opts.NetNS, tt.opts.KeepaliveIdle, tt.opts.KeepaliveInterval = ns, time.Second, time.Second
			tt.opts.Send, tt.opts.Expect = []byte("ping"), []byte("ping")
			tt.opts.Then = []Step{
				Call(func(context.Context) error { onTCP(t, ns, nftables.ChainHookInput, drop); return nil }),
				Hold{},
			}
			over := make(chan struct{})
			remote := listen(t, ns, "127.0.0.1:0", func(conn *net.TCPConn) {
				_, _ = io.CopyN(conn, conn, 4)
				<-over // no reset gets through to it any more
				conn.SetLinger(0)
			})
			defer close(over)
			p := connect(t, remote, tt.opts)
			want := aftermath{Met: true, HoldErrno: event.ETIMEDOUT, WriteErrno: event.EPIPE}
			if diff := cmp.Diff(want, aftermathOf(p)); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
			// Idle began with the answer, between the connect and the hold.
			if p.Lifetime < tt.min || p.HeldFor > tt.min+2*time.Second || p.State != event.StateClose {
				t.Errorf("ended in %v after %v, of which %v held; want CLOSE after %v", p.State, p.Lifetime, p.HeldFor, tt.min)
			}
		})
	}
}

func TestHoldIsInterrupted(t *testing.T) {
	ns := newTestNetNS(t)
	remote := listen(t, ns, "127.0.0.1:0", untilClosed)
	// The end of ctx comes before the hold, during it, or between its deadline and its wait.
	for range 50 {
		ctx, cancel := context.WithCancel(t.Context())
		steps := []Step{Call(func(context.Context) error { go cancel(); return nil }), Hold{patience}}
		p, err := Connect(ctx, "", remote, Options{NetNS: ns, Then: steps}, nil)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(aftermath{GaveUp: "interrupted"}, aftermathOf(p)); diff != "" || p.Lifetime > patience/2 {
			t.Fatalf("after %v (-want +got):\n%s", p.Lifetime, diff)
		}
	}
}

func TestStepsFollowEachOther(t *testing.T) {
	ns := newTestNetNS(t)
	remote := listen(t, ns, "127.0.0.1:0", echo)
	p := connect(t, remote, Options{NetNS: ns, Send: []byte("one"), Expect: []byte("one"), Then: []Step{
		Write{[]byte("two")}, // its echo comes while the probe holds, or later
		Hold{10 * time.Millisecond},
		Exchange{Send: []byte("three")},
		Exchange{Send: []byte("four"), Expect: []byte("four")},
		Hold{10 * time.Millisecond},
	}})
	if diff := cmp.Diff(aftermath{Met: true}, aftermathOf(p)); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	if p.Expected != "four" || p.BytesSent != 15 || p.BytesReceived != 15 || p.BytesAcked != 15 {
		t.Errorf("expected %q, sent %d, acknowledged %d, received %d; want four and 15 each",
			p.Expected, p.BytesSent, p.BytesAcked, p.BytesReceived)
	}
	if p.HeldFor < 10*time.Millisecond {
		t.Errorf("held for %v, want at least 10ms", p.HeldFor)
	}
}

func TestStepsEndWithTheOneThatFails(t *testing.T) {
	ns := newTestNetNS(t)
	closing := listen(t, ns, "127.0.0.1:0", func(*net.TCPConn) {})
	resetting := listen(t, ns, "127.0.0.1:0", func(conn *net.TCPConn) {
		conn.Read(make([]byte, 1))
		conn.SetLinger(0)
	})
	quiet := listen(t, ns, "127.0.0.1:0", untilClosed)
	dead := []Step{Write{[]byte("x")}, Await{event.StateClose}}
	tests := []struct {
		name   string
		remote netip.AddrPort
		opts   Options
		want   aftermath
	}{
		{"first exchange", closing, Options{Expect: []byte("x")}, aftermath{PeerClosed: true}},
		{"exchange", closing, Options{Then: []Step{Exchange{Expect: []byte("x")}}}, aftermath{PeerClosed: true}},
		{"hold", closing, Options{Then: []Step{Hold{}}}, aftermath{PeerClosed: true}},
		{"write", resetting, Options{Then: append(dead, Write{[]byte("y")})},
			aftermath{ExchangeErrno: event.ECONNRESET, WriteErrno: event.EPIPE}},
		{"fill", resetting, Options{Then: []Step{Fill{}}}, aftermath{ExchangeErrno: event.ECONNRESET, WriteErrno: event.EPIPE}},
		{"await in vain", quiet, Options{Timeout: 100 * time.Millisecond, Then: []Step{Await{event.StateCloseWait}}},
			aftermath{GaveUp: "timeout"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.opts.NetNS = ns
			tt.opts.Then = append(tt.opts.Then, Call(func(context.Context) error {
				t.Error("went on")
				return nil
			}))
			if diff := cmp.Diff(tt.want, aftermathOf(connect(t, tt.remote, tt.opts))); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
		})
	}
}

// The peer answers what is written after its close with a reset, and in CLOSE_WAIT that is EPIPE (tcp_reset).
func TestWriteAfterThePeersClose(t *testing.T) {
	ns := newTestNetNS(t)
	remote := listen(t, ns, "127.0.0.1:0", func(*net.TCPConn) {})
	half := []Step{Await{event.StateCloseWait}, Write{[]byte("x")}}
	tests := []struct {
		name string
		then []Step
		want aftermath
	}{
		{"noticed by writing again", append(half, Await{event.StateClose}, Write{[]byte("y")}),
			aftermath{ExchangeErrno: event.EPIPE, WriteErrno: event.EPIPE}},
		{"noticed by reading", append(half, Await{event.StateClose}, Hold{}),
			aftermath{PeerClosed: true, HoldErrno: event.EPIPE, WriteErrno: event.EPIPE}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := connect(t, remote, Options{NetNS: ns, Then: tt.then})
			if diff := cmp.Diff(tt.want, aftermathOf(p)); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFillShutsThePeersWindow(t *testing.T) {
	for _, host := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(host, func(t *testing.T) {
			ns := newTestNetNS(t)
			over := make(chan struct{})
			remote := listen(t, ns, host, func(conn *net.TCPConn) { <-over; conn.SetLinger(0) })
			defer close(over)
			var cookie uint64
			var filled *unix.TCPInfo
			then := []Step{Fill{}, Call(func(context.Context) (err error) {
				filled, err = unix.GetsockoptTCPInfo(fdOf(t, cookie), unix.SOL_TCP, unix.TCP_INFO)
				return err
			}), Hold{10 * time.Millisecond}}
			p, err := Connect(t.Context(), "", remote, Options{NetNS: ns, Then: then}, func(c uint64) { cookie = c })
			if err != nil {
				t.Fatal(err)
			}
			if filled.Snd_wnd != 0 || filled.Unacked != 0 || filled.Notsent_bytes == 0 {
				t.Errorf("window %d, %d segments in flight, %d bytes unsent; want the window shut and only unsent data",
					filled.Snd_wnd, filled.Unacked, filled.Notsent_bytes)
			}
			if p.BytesAcked == 0 || p.BytesSent <= p.BytesAcked || p.HeldFor < 10*time.Millisecond || p.GaveUp != "" {
				t.Errorf("sent %d, acknowledged %d, held for %v (gave up %q)", p.BytesSent, p.BytesAcked, p.HeldFor, p.GaveUp)
			}
		})
	}
}

func TestSetChangesOptionsOfTheLiveSocket(t *testing.T) {
	ns := newTestNetNS(t)
	remote := listen(t, ns, "127.0.0.1:0", untilClosed)
	set := Set{UserTimeout: 4321 * time.Millisecond, KeepaliveIdle: 7 * time.Second, KeepaliveInterval: 8 * time.Second, KeepaliveCount: 9}
	var cookie uint64
	var before, after []int
	read := func(into *[]int) Call {
		return func(context.Context) error {
			*into = []int{
				readOption(t, cookie, unix.SOL_TCP, unix.TCP_USER_TIMEOUT),
				readOption(t, cookie, unix.SOL_SOCKET, unix.SO_KEEPALIVE),
				readOption(t, cookie, unix.SOL_TCP, unix.TCP_KEEPIDLE),
				readOption(t, cookie, unix.SOL_TCP, unix.TCP_KEEPINTVL),
				readOption(t, cookie, unix.SOL_TCP, unix.TCP_KEEPCNT),
			}
			return nil
		}
	}
	opts := Options{NetNS: ns, KeepaliveIdle: 3 * time.Second, KeepaliveInterval: time.Second, KeepaliveCount: 2,
		Then: []Step{read(&before), set, read(&after)}}
	if _, err := Connect(t.Context(), "", remote, opts, func(c uint64) { cookie = c }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]int{{0, 1, 3, 1, 2}, {4321, 1, 7, 8, 9}}, [][]int{before, after}); diff != "" {
		t.Errorf("options before and after (-want +got):\n%s", diff)
	}
}

func TestAFailedCallIsAnErrorOfConnect(t *testing.T) {
	ns := newTestNetNS(t)
	cause := errors.New("broken on purpose")
	opts := Options{NetNS: ns, Then: []Step{Call(func(context.Context) error { return cause }), Hold{}}}
	p, err := Connect(t.Context(), "", listen(t, ns, "127.0.0.1:0", untilClosed), opts, nil)
	if p != nil || !errors.Is(err, cause) {
		t.Errorf("%+v, %v; want only the error %v", p, err, cause)
	}
}
