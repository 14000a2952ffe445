package lab

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"tcptrace/tracer/event"
)

// peerStory is how a lab of the peer, or of the server, should go, seen from user space.
type peerStory struct {
	errno, errno6                event.Errno // of the connect; errno6 is that over IPv6, where it is another one
	connected                    bool
	hold, hold6, exchange, write event.Errno
	gaveUp                       string
	peerClosed                   bool
	// When it should end, from the connect or from the beginning of the act. The first is the timers' own; the second is
	// with what the timer wheel may add.
	min, max time.Duration
	// Segments sent again, SYNs among them.
	minRetrans, maxRetrans int
	counts                 []count
}

// once is a count of exactly one.
func once(host, group, name string) count { return count{host, group, name, 1, 1} }

func never(host, group, name string) count { return count{host, group, name, 0, 0} }

// What one SYN retry makes of a connect that nobody answers: three SYNs, or two where there are no linear timeouts.
const (
	leastSYNs, mostSYNs = 2, 3
	twoTicks            = 300 * time.Millisecond // with HZ=100, and what a relay in user space takes
)

var peerStories = map[string]peerStory{
	"accept-queue-full": {errno: event.ETIMEDOUT,
		min: 3 * time.Second, max: 3500 * time.Millisecond, minRetrans: 1, maxRetrans: 2,
		counts: []count{{"server", "TcpExt", "ListenOverflows", leastSYNs, mostSYNs},
			never("server", "TcpExt", "TCPReqQFullDoCookies")}},
	// The request lives for 3 seconds; then the first segment from the client meets the listener.
	"accept-queue-full-at-ack": {connected: true, hold: event.ECONNRESET, write: event.EPIPE,
		min: 3 * time.Second, max: 7500 * time.Millisecond,
		minRetrans: 3, maxRetrans: 6,
		counts: []count{{"server", "TcpExt", "ListenOverflows", 3, 12}, once("server", "TcpExt", "TCPSynRetrans")}},
	"accept-queue-full-then-room": {connected: true,
		min: time.Second, max: 1100 * time.Millisecond, minRetrans: 1, maxRetrans: 1,
		counts: []count{once("server", "TcpExt", "ListenOverflows")}},
	"closed-awaiting-reply": {connected: true, gaveUp: "timeout",
		min: 1500 * time.Millisecond, max: 1600 * time.Millisecond},
	"closed-by-peer": {connected: true, peerClosed: true, max: twoTicks,
		counts: []count{once("server", "TCP", "tw"), never("client", "TCP", "tw"), never("client", "Tcp", "OutRsts")}},
	"closed-locally": {max: twoTicks,
		counts: []count{once("client", "TCP", "tw"), never("client", "Tcp", "OutRsts")}},
	// The answer comes after the first SYN was sent again.
	"connected-after-late-answer": {connected: true,
		min: lateBy, max: lateBy + twoTicks, minRetrans: 1, maxRetrans: 1},
	"half-closed": {min: halfClosedFor, max: halfClosedFor + twoTicks,
		counts: []count{once("client", "TCP", "tw"), never("server", "TCP", "tw")}},
	"half-closed-by-peer": {min: halfClosedFor, max: halfClosedFor + twoTicks,
		counts: []count{once("server", "TCP", "tw"), never("client", "Tcp", "OutRsts")}},
	"handshake-incomplete": {connected: true, min: 3500 * time.Millisecond, max: 3600 * time.Millisecond,
		counts: []count{never("server", "Tcp", "PassiveOpens"), once("server", "TcpExt", "TCPSynRetrans"),
			{"server", "TcpExt", "TCPTimeouts", 2, 2}}},
	"handshake-incomplete-forged": {min: 3500 * time.Millisecond, max: 3600 * time.Millisecond,
		counts: []count{never("server", "Tcp", "PassiveOpens"), once("server", "TcpExt", "TCPSynRetrans"),
			{"server", "TcpExt", "TCPTimeouts", 2, 2}}},
	"md5-or-ao-mismatch": {errno: event.ETIMEDOUT,
		min: 3 * time.Second, max: 3500 * time.Millisecond, minRetrans: 1, maxRetrans: 2,
		counts: []count{{"server", "TcpExt", "TCPMD5NotFound", leastSYNs, mostSYNs}}},
	"old-connection-in-the-way": {connected: true, max: twoTicks, minRetrans: 1, maxRetrans: 1,
		counts: []count{once("server", "TcpExt", "TCPChallengeACK"), once("server", "Tcp", "EstabResets"),
			{"server", "Tcp", "PassiveOpens", 2, 2}}},
	// The second SYN comes at once, and the timer after a second, or two, is the first one that gives up.
	"old-connection-in-the-way-for-good": {errno: event.ETIMEDOUT,
		min: 2 * time.Second, max: 4500 * time.Millisecond, minRetrans: 1, maxRetrans: 4,
		counts: []count{once("server", "Tcp", "PassiveOpens"), {"client", "Tcp", "OutRsts", 1, 6}}},
	"old-connection-in-the-way-time-wait": {connected: true, max: twoTicks, minRetrans: 1, maxRetrans: 1,
		counts: []count{{"server", "Tcp", "PassiveOpens", 2, 2}, once("client", "Tcp", "OutRsts")}},
	"refused-after-retries": {errno: event.ECONNREFUSED,
		min: time.Second, max: 1100 * time.Millisecond, minRetrans: 1, maxRetrans: 1,
		counts: []count{once("server", "Tcp", "OutRsts")}},
	"refused-by-middlebox": {errno: event.ECONNREFUSED, min: time.Millisecond, max: 25 * time.Millisecond},
	// The server knows of no reset.
	"reset-by-middlebox": {connected: true, exchange: event.ECONNRESET, max: twoTicks,
		counts: []count{never("server", "Tcp", "OutRsts"), never("server", "Tcp", "EstabResets")}},
	"reset-by-overflow": {connected: true, hold: event.ECONNRESET, write: event.EPIPE, max: twoTicks,
		counts: []count{once("server", "TcpExt", "ListenOverflows"), once("server", "Tcp", "OutRsts")}},
	"reset-by-peer": {connected: true, exchange: event.ECONNRESET, max: twoTicks,
		counts: []count{once("server", "TcpExt", "TCPAbortOnClose")}},
	"reset-by-peer-mid-conversation": {connected: true, hold: event.ECONNRESET, write: event.EPIPE, max: twoTicks,
		counts: []count{never("server", "TcpExt", "TCPAbortOnClose"), once("server", "Tcp", "OutRsts")}},
	"reset-locally": {max: twoTicks,
		counts: []count{once("client", "Tcp", "OutRsts"), never("client", "TCP", "tw")}},
	"reset-locally-unread": {max: twoTicks,
		counts: []count{once("client", "TcpExt", "TCPAbortOnClose"), never("client", "TCP", "tw")}},
	// One connection, and nobody accepted it.
	"simultaneous-open": {connected: true, max: twoTicks,
		counts: []count{once("client", "Tcp", "ActiveOpens"), once("server", "Tcp", "ActiveOpens"),
			never("server", "Tcp", "PassiveOpens")}},
	// Otherwise only who closes first has a TIME_WAIT.
	"simultaneous-close": {max: twoTicks,
		counts: []count{once("client", "TCP", "tw"), once("server", "TCP", "tw")}},
	"syn-cookie-sent": {connected: true, max: twoTicks, counts: []count{{"server", "TcpExt", "SyncookiesSent", 1, 2},
		once("server", "TcpExt", "SyncookiesRecv"), {"server", "TcpExt", "TCPReqQFullDoCookies", 1, 2}}},
	"syn-queue-full": {errno: event.ETIMEDOUT,
		min: 3 * time.Second, max: 3500 * time.Millisecond, minRetrans: 1, maxRetrans: 2,
		counts: []count{{"server", "TcpExt", "TCPReqQFullDrop", leastSYNs, mostSYNs}, never("server", "TcpExt", "ListenOverflows")}},
	// As retransmission-timeout, but an error takes a doubling back (tcp_ld_RTO_revert).
	"unreachable-while-connected": {connected: true, hold: event.EHOSTUNREACH, hold6: event.ENETUNREACH, write: event.EPIPE,
		min: 3 * time.Second, max: 7500 * time.Millisecond, minRetrans: 3, maxRetrans: 40},
	"wrong-acknowledgement": {errno: event.ETIMEDOUT,
		min: 2 * time.Second, max: 4500 * time.Millisecond, minRetrans: 1, maxRetrans: 4,
		counts: []count{{"client", "Tcp", "OutRsts", 2, 5}}},
}

func TestLabsOfPeersGoAsTheySay(t *testing.T) {
	needKernel(t)
	t.Parallel()
	labs := slices.Concat(handshakeLabs, oldLabs, queueLabs, unreachableLabs, closeLabs)
	play(t, toPlay(t, labs, peerStories, true), 8*runtime.GOMAXPROCS(0))
}

func (want peerStory) counted() []count { return want.counts }

func (want peerStory) problems(l *played) []string {
	problems := span(l.took, want.min, want.max)
	p := l.probe
	if p == nil {
		return problems
	}
	problem := func(format string, values ...any) { problems = append(problems, fmt.Sprintf(format, values...)) }
	if p.Remote.Addr().Is6() {
		want.errno, want.hold = cmp.Or(want.errno6, want.errno), cmp.Or(want.hold6, want.hold)
	}
	if p.Connected != want.connected || p.Errno != want.errno || p.GaveUp != want.gaveUp || p.PeerClosed != want.peerClosed {
		problem("connected %t, %v, gave up %q, peer closed %t; want %t, %v, %q, %t",
			p.Connected, p.Errno, p.GaveUp, p.PeerClosed, want.connected, want.errno, want.gaveUp, want.peerClosed)
	}
	if p.HoldErrno != want.hold || p.ExchangeErrno != want.exchange || p.WriteErrno != want.write {
		problem("hold %v, exchange %v, write %v; want %v, %v, %v",
			p.HoldErrno, p.ExchangeErrno, p.WriteErrno, want.hold, want.exchange, want.write)
	}
	return append(problems, sentAgain(p, want.minRetrans, want.maxRetrans)...)
}
