package tracer_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
	"tcptrace/tracer"
	"tcptrace/tracer/event"
)

// A socketOption is one that has an int for its value.
type socketOption struct{ level, name, value int }

// keepalive makes probes after a second without anything from the peer, and then each second.
func keepalive(count int) []socketOption {
	return []socketOption{
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, count},
	}
}

func userTimeout(d time.Duration) socketOption {
	return socketOption{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds())}
}

func setOptions(raw syscall.RawConn, options []socketOption) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		for _, o := range options {
			failed = errors.Join(failed, unix.SetsockoptInt(int(fd), o.level, o.name, o.value))
		}
	})
	return errors.Join(err, failed)
}

// setLater sets options of a socket that is there already.
func setLater(t *testing.T, c syscall.Conn, options ...socketOption) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err == nil {
		err = setOptions(raw, options)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// connectWith makes a connection within h whose client has these options from the start, and accepts it.
func connectWith(t *testing.T, h *lab.Host, address string, options ...socketOption) (client, server *net.TCPConn) {
	t.Helper()
	return connectTo(t, h, listen(t, h, address), options...)
}

func connectTo(t *testing.T, h *lab.Host, l net.Listener, options ...socketOption) (client, server *net.TCPConn) {
	t.Helper()
	var c net.Conn
	err := h.Do(func() (err error) {
		dialer := net.Dialer{KeepAlive: -1, Control: func(_, _ string, raw syscall.RawConn) error { return setOptions(raw, options) }}
		dialer.SetMultipathTCP(false)
		c, err = dialer.Dial("tcp", l.Addr().String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s := accept(t, l)
	t.Cleanup(func() { s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// A way is one direction of a connection.
type way struct{ from, to netip.AddrPort }

func fromClient(client *net.TCPConn) way {
	return way{client.LocalAddr().(*net.TCPAddr).AddrPort(), client.RemoteAddr().(*net.TCPAddr).AddrPort()}
}

// silence drops everything for the server from now on.
func silence(t *testing.T, h *lab.Host, server *net.TCPConn) {
	t.Helper()
	dropAllFor(t, h, server.LocalAddr().(*net.TCPAddr).AddrPort())
}

// expectDeath waits until the kernel has ended a connection, and ends the other side of it.
func expectDeath(t *testing.T, client, server *net.TCPConn) {
	t.Helper()
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, unix.ETIMEDOUT) {
		t.Errorf("the client reads: %v, want ETIMEDOUT", err)
	}
	client.Close()
	abort(t, server)
}

func abort(t *testing.T, c *net.TCPConn) {
	t.Helper()
	if err := c.SetLinger(0); err != nil {
		t.Error(err)
	}
	c.Close()
}

// keptAlive has two keepalive probes answered, and then no more.
func keptAlive(address string) func(*testing.T, *lab.Host) {
	return func(t *testing.T, h *lab.Host) {
		packets := capturePackets(t, h)
		client, server := connectWith(t, h, address, keepalive(3)...)
		awaitAnswers(t, packets, fromClient(client), 2)
		silence(t, h, server)
		expectDeath(t, client, server)
	}
}

func awaitProbes(t *testing.T, packets *capture, w way, n int) {
	t.Helper()
	packets.await(t, "probes", func(all []segment) bool { return len(probes(w.of(all))) >= n })
}

// awaitAnswers waits until the peer has answered so many probes; it has sent nothing else but a SYN-ACK, or a FIN.
func awaitAnswers(t *testing.T, packets *capture, w way, n int) {
	t.Helper()
	packets.await(t, "answers", func(all []segment) bool {
		bare := slices.DeleteFunc(way{w.to, w.from}.of(all), func(s segment) bool { return s.flags != flagACK })
		return len(bare) >= n
	})
}

// forgottenByPeer has the first keepalive probe meet a host that knows of no connection any more.
func forgottenByPeer(t *testing.T, h *lab.Host) {
	client, server := connectWith(t, h, "127.0.0.1:0", keepalive(3)...)
	setLater(t, server, socketOption{unix.IPPROTO_TCP, unix.TCP_REPAIR, 1}) // a socket under repair is closed without a word
	server.Close()
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the client reads: %v, want ECONNRESET", err)
	}
	client.Close()
}

// probeRefusedHere has this host's own firewall drop the keepalive probes, which is what ends the connection.
func probeRefusedHere(t *testing.T, h *lab.Host) {
	client, server := connectWith(t, h, "127.0.0.1:0", keepalive(1)...)
	port := uint16(server.LocalAddr().(*net.TCPAddr).Port)
	dropMatching(t, h, nftables.ChainHookOutput,
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)})
	expectDeath(t, client, server)
}

// halfClosed has keepalive probes answered while the client has closed its half, and then the server.
func halfClosed(address string) func(*testing.T, *lab.Host) {
	return func(t *testing.T, h *lab.Host) {
		packets := capturePackets(t, h)
		client, server := connectWith(t, h, address, keepalive(3)...)
		if err := server.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		awaitAnswers(t, packets, fromClient(client), 3)
		closeInTurn(t, client, server)
	}
}

// windowShut has the server's window be probed three times before the server reads.
func windowShut(address string) func(*testing.T, *lab.Host) {
	return func(t *testing.T, h *lab.Host) {
		packets := capturePackets(t, h)
		l := listen(t, h, address)
		setLater(t, l.(*net.TCPListener), socketOption{unix.SOL_SOCKET, unix.SO_RCVBUF, 4096}) // which its connections inherit
		// A small buffer is full before the first probe is due: one that is due while somebody writes is put off.
		client, server := connectTo(t, h, l, socketOption{unix.SOL_SOCKET, unix.SO_SNDBUF, 16 << 10})
		fillWindow(t, client)
		awaitProbes(t, packets, fromClient(client), 3)
		closeInTurn(t, client, server)
	}
}

// fillWindow writes until the socket takes no more.
func fillWindow(t *testing.T, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var full error
	for full == nil {
		if err := raw.Control(func(fd uintptr) { _, full = unix.Write(int(fd), zeros[:1<<16]) }); err != nil {
			t.Fatal(err)
		}
	}
	if full != unix.EAGAIN {
		t.Fatal(full)
	}
}

// dataLost has no data acknowledged, until TCP_USER_TIMEOUT ends the connection.
func dataLost(address string) func(*testing.T, *lab.Host) {
	return func(t *testing.T, h *lab.Host) {
		client, server := connectWith(t, h, address, userTimeout(2*time.Second))
		silence(t, h, server)
		if _, err := client.Write(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		expectDeath(t, client, server)
	}
}

// retransmissionsRefusedHere has this host's own firewall drop what is sent again.
func retransmissionsRefusedHere(t *testing.T, h *lab.Host) {
	client, server := connectWith(t, h, "127.0.0.1:0", userTimeout(time.Second))
	silence(t, h, server)
	if _, err := client.Write(zeros[:longSegment+1]); err != nil {
		t.Fatal(err)
	}
	dropLong(t, h, nftables.ChainHookOutput)
	expectDeath(t, client, server)
}

// lossyTransfer loses each tenth of the longer packets of a transfer.
func lossyTransfer(t *testing.T, h *lab.Host) {
	dropLong(t, h, nftables.ChainHookInput,
		&expr.Numgen{Register: 1, Modulus: 10, Type: unix.NFT_NG_INCREMENTAL},
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint32(9)})
	client, server := connectWith(t, h, "127.0.0.1:0")
	read := make(chan error)
	go func() {
		_, err := io.Copy(io.Discard, server)
		read <- err
	}()
	if _, err := client.Write(zeros[:8<<20]); err != nil {
		t.Error(err)
	}
	if err := client.CloseWrite(); err != nil {
		t.Error(err)
	}
	if err := <-read; err != nil {
		t.Error(err)
	}
	server.Close()
	if _, err := io.Copy(io.Discard, client); err != nil {
		t.Error(err)
	}
	client.Close()
}

// longSegment is longer than a handshake's, or a bare acknowledgement.
const longSegment = 1000

// dropLong drops packets that hold a longer segment, those of them that match.
func dropLong(t *testing.T, h *lab.Host, hook *nftables.ChainHook, match ...expr.Any) {
	t.Helper()
	dropMatching(t, h, hook, append([]expr.Any{
		&expr.Meta{Key: expr.MetaKeyLEN, Register: 1},
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpGt, Register: 1, Data: binaryutil.BigEndian.PutUint32(longSegment)},
	}, match...)...)
}

func dropMatching(t *testing.T, h *lab.Host, hook *nftables.ChainHook, match ...expr.Any) {
	t.Helper()
	err := h.Do(func() error {
		nft, err := nftables.New()
		if err != nil {
			return err
		}
		table := nft.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "test"})
		chain := nft.AddChain(&nftables.Chain{
			Name: "drop", Table: table, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: nftables.ChainPriorityFilter,
		})
		nft.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(match, &expr.Verdict{Kind: expr.VerdictDrop})})
		return nft.Flush()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// optionsSetLater sets some options anew, and one to what it is.
func optionsSetLater(t *testing.T, h *lab.Host) {
	client, server := connectWith(t, h, "127.0.0.1:0", keepalive(3)...)
	for _, o := range lateOptions {
		setLater(t, client, o)
	}
	closeInTurn(t, client, server)
}

var lateOptions = []socketOption{
	userTimeout(9 * time.Second),
	{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3},
	{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 7},
	{unix.IPPROTO_TCP, unix.TCP_LINGER2, 5},
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0},
	{unix.IPPROTO_TCP, unix.TCP_NODELAY, 0},
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
}

// played gives the client's events of a script, and what it sent. Where the kernel hides what a softirq does on top of
// certain tasks (see unseen), a timer's event may be missing: hardly twice in a row, so that it is played once more unless
// all is as expected.
func played(t *testing.T, play func(*testing.T, *lab.Host), asExpected func(client []event.Event, captured []segment) string) []event.Event {
	t.Helper()
	client, captured := playOnce(t, play)
	if problem := asExpected(client, captured); problem != "" {
		t.Logf("once more: %s", problem)
		client, captured = playOnce(t, play)
		if problem := asExpected(client, captured); problem != "" {
			t.Errorf("%s\n%s", problem, describe(client))
		}
	}
	expectWhole(t, client, os.Getpid())
	return client
}

func playOnce(t *testing.T, play func(*testing.T, *lab.Host)) ([]event.Event, []segment) {
	t.Helper()
	w, h := watch(t), newHost(t)
	packets := capturePackets(t, h)
	play(t, h)
	client := of(t, w.until(t, h.Inode(), "the end of both", closed(2)), event.RoleClient)
	return client, way{client[0].Local, client[0].Remote}.of(packets.sent(t))
}

func (w way) of(all []segment) []segment {
	return slices.DeleteFunc(slices.Clone(all), func(s segment) bool { return s.from != w.from || s.to != w.to })
}

func only(events []event.Event, kinds ...event.Kind) []event.Event {
	return slices.DeleteFunc(slices.Clone(events), func(ev event.Event) bool { return !slices.Contains(kinds, ev.Kind) })
}

// compareSegments compares what events say was sent with what was captured, one by one.
func compareSegments(events []event.Event, captured []segment) string {
	var want, got []segment
	for _, s := range captured {
		s.flags = 0
		want = append(want, s)
	}
	for _, ev := range events {
		got = append(got, segment{from: ev.Local, to: ev.Remote, seq: ev.TCPSeq, ack: ev.TCPAck, len: ev.Len})
	}
	if diff := cmp.Diff(want, got, equality, cmp.AllowUnexported(segment{})); diff != "" {
		return "segments (-captured +traced):\n" + diff
	}
	return ""
}

func TestEachKeepaliveProbeAndItsAnswerIsSeen(t *testing.T) {
	t.Parallel()
	loopbacks(t, func(t *testing.T, address string) {
		t.Parallel()
		var clock *metronome
		played(t, timed(&clock, keptAlive(net.JoinHostPort(address, "0"))), func(client []event.Event, captured []segment) string {
			if problem := compareSegments(only(client, event.KeepaliveProbe), probes(captured)); problem != "" {
				return problem
			}
			return keptAliveUnlike(client, clock)
		})
	})
}

// timed has a metronome beat while a script is played.
func timed(clock **metronome, play func(*testing.T, *lab.Host)) func(*testing.T, *lab.Host) {
	return func(t *testing.T, h *lab.Host) {
		*clock = startMetronome(t)
		play(t, h)
		(*clock).end(t)
	}
}

// keptAliveUnlike says in what a connection's story is not that of one whose peer was silenced after some answers.
func keptAliveUnlike(client []event.Event, clock *metronome) string {
	story := only(client, event.KeepaliveProbe, event.KeepaliveAnswer, event.Close)
	answered := story[:max(0, len(story)-4)] // two or more: the peer is silenced as soon as this test comes to it
	for i := 0; i+1 < len(answered); i += 2 {
		probe, answer := answered[i], answered[i+1]
		if probe.Kind != event.KeepaliveProbe || probe.Attempt != 1 || answer.Kind != event.KeepaliveAnswer || answer.Attempt != 0 {
			return fmt.Sprintf("%s, attempt %d, and then %s, %d", probe.Kind, probe.Attempt, answer.Kind, answer.Attempt)
		}
	}
	want := []event.Kind{event.KeepaliveProbe, event.KeepaliveProbe, event.KeepaliveProbe, event.Close}
	rest := story[len(answered):]
	if diff := cmp.Diff(want, kinds(rest)); len(answered) < 4 || len(answered)%2 != 0 || diff != "" {
		return fmt.Sprintf("%d probes and answers, and then (-want +got):\n%s", len(answered), diff)
	}
	last := rest[3]
	if last.Errno != event.ETIMEDOUT || last.ProbesOut != 3 || last.Idle < 4*time.Second {
		return fmt.Sprintf("closed with %s, %d probes unanswered, idle for %s", last.Errno, last.ProbesOut, last.Idle)
	}
	heard := answered[len(answered)-1]
	for i, probe := range rest[:3] {
		// The kernel counts whole jiffies, of which one at each end has only begun or is not over. They stand still with the
		// machine, and it may do so between what the kernel notes and the event.
		const aside, before = 20 * time.Millisecond, 100 * time.Millisecond
		since := probe.Mono - heard.Mono
		apart := (probe.Idle - since).Abs()
		if probe.Attempt != i+1 || apart > aside+clock.paused(heard.Mono-before, probe.Mono+before) || probe.Idle < time.Duration(probe.Attempt)*aSecond {
			return fmt.Sprintf("unanswered probe %d has attempt %d, idle for %s, %s after the last answer", i+1, probe.Attempt, probe.Idle, since)
		}
	}
	return ""
}

// Answers come in CLOSE_WAIT too, where the tracepoint does not see them: at the next probe, at the latest.
func TestAnswersToKeepaliveProbesAreKnownWhenHalfIsClosed(t *testing.T) {
	t.Parallel()
	client := played(t, halfClosed("127.0.0.1:0"), func(client []event.Event, captured []segment) string {
		return compareSegments(only(client, event.KeepaliveProbe), probes(captured))
	})
	story := only(client, event.KeepaliveProbe, event.KeepaliveAnswer)
	want := []event.Kind{
		event.KeepaliveProbe, event.KeepaliveAnswer, event.KeepaliveProbe, event.KeepaliveAnswer,
		event.KeepaliveProbe, event.KeepaliveAnswer,
	}
	if diff := cmp.Diff(want, kinds(story)); diff != "" {
		t.Fatalf("the client (-want +got):\n%s%s", diff, describe(client))
	}
	for i := 0; i < len(story); i += 2 {
		if took := story[i+1].Mono - story[i].Mono; took < 0 || took > 500*time.Millisecond {
			t.Errorf("probe %d was answered after %s on loopback", i/2+1, took)
		}
		// The last may be on its way still when the client closes, and then it is known by the end.
		last := i+2 == len(story)
		if !last && story[i+1].TCPAck != story[i].TCPSeq+1 || story[i].State != event.StateCloseWait {
			t.Errorf("probe %d of %d in %s was answered by %d", i/2+1, story[i].TCPSeq, story[i].State, story[i+1].TCPAck)
		}
	}
}

func TestResetIsNoAnswerToAKeepaliveProbe(t *testing.T) {
	t.Parallel()
	want := []event.Kind{event.KeepaliveProbe, event.ResetReceived, event.Close}
	played(t, forgottenByPeer, func(client []event.Event, _ []segment) string {
		got := kinds(only(client, event.KeepaliveProbe, event.KeepaliveAnswer, event.ResetReceived, event.Close))
		if diff := cmp.Diff(want, got); diff != "" {
			return "the client (-want +got):\n" + diff
		}
		return ""
	})
}

// What a firewall of this host drops on its way out is tried again on the timer of a shut window.
func TestWhatIsKeptHereIsToldFromAShutWindow(t *testing.T) {
	t.Parallel()
	loopbacks(t, func(t *testing.T, address string) {
		t.Parallel()
		w, h := watch(t), newHost(t)
		client, server := connectWith(t, h, net.JoinHostPort(address, "0"))
		if _, err := h.DropOutput(lab.Drop{Port: server.LocalAddr().(*net.TCPAddr).AddrPort().Port()}); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Write(zeros[:100]); err != nil {
			t.Fatal(err)
		}
		const enough = 2
		events := w.until(t, h.Inode(), "attempts", func(events []event.Event) bool {
			return len(only(events, event.WindowProbe)) >= enough
		})
		for _, ev := range only(events, event.WindowProbe) {
			if !ev.KeptHere || ev.Role != event.RoleClient {
				t.Errorf("it looks like a shut window:\n%s", describe(events))
			}
		}
	})
}

// What a queue of this host refuses is tried again after half a second, whatever the timer would be.
func TestWhatAQueueRefusesIsToldAndTriedAgainSoon(t *testing.T) {
	t.Parallel()
	loopbacks(t, func(t *testing.T, address string) {
		t.Parallel()
		w, h := watch(t), newHost(t)
		clock := startMetronome(t)
		client, _ := connectWith(t, h, net.JoinHostPort(address, "0"), keepalive(3)...)
		if err := h.RefuseAll("lo"); err != nil {
			t.Fatal(err)
		}
		const enough = 3
		await := func(kind event.Kind) []event.Event {
			events := w.until(t, h.Inode(), "attempts", func(events []event.Event) bool { return len(only(events, kind)) >= enough })
			return only(events, kind)[:enough]
		}
		probes := await(event.KeepaliveProbe)
		if _, err := client.Write(zeros[:100]); err != nil {
			t.Fatal(err)
		}
		tries := await(event.WindowProbe)
		clock.end(t)
		expectSoon(t, clock, probes)
		expectSoon(t, clock, tries)
		for i := range enough {
			if probe, try := probes[i], tries[i]; probe.Attempt != 1 || try.Attempt != i+1 || try.Backoff != 0 || !try.KeptHere {
				t.Errorf("keepalive probe %d is attempt %d, want 1; window probe %d is attempt %d, backoff %d, kept here %t",
					i+1, probe.Attempt, i+1, try.Attempt, try.Backoff, try.KeptHere)
			}
		}
	})
}

// expectSoon says that events are of attempts which a queue refused, half a second apart.
func expectSoon(t *testing.T, clock *metronome, events []event.Event) {
	t.Helper()
	for i, ev := range events {
		if !ev.LocalCongestion || ev.Errno != event.ENOBUFS {
			t.Errorf("%s %d: local congestion %t, %s", ev.Kind, i+1, ev.LocalCongestion, ev.Errno)
		}
		if i == 0 {
			continue
		}
		// Jiffies stand still with the machine, and timers that were set meanwhile are early by the clock.
		const before, soon = 100 * time.Millisecond, 500 * time.Millisecond // TCP_RESOURCE_PROBE_INTERVAL
		aside := clock.paused(events[i-1].Mono-before, ev.Mono+before)
		if after := ev.Mono - events[i-1].Mono; after < soon-10*time.Millisecond-aside || after > soon+500*time.Millisecond+aside {
			t.Errorf("%s %d after %s", ev.Kind, i+1, after)
		}
	}
}

func TestEachWindowProbeIsSeen(t *testing.T) {
	t.Parallel()
	loopbacks(t, func(t *testing.T, address string) {
		t.Parallel()
		var clock *metronome
		client := played(t, timed(&clock, windowShut(net.JoinHostPort(address, "0"))), func(client []event.Event, captured []segment) string {
			return compareSegments(withoutData(only(client, event.WindowProbe)), probes(captured))
		})
		story := only(client, event.WindowProbe)
		if len(story) < 3 {
			t.Fatalf("%d window probes, want 3 at least:\n%s", len(story), describe(client))
		}
		for i, probe := range story[:3] {
			// The timer backs off though the peer answers; not each one, as it answers at most twice a second
			// (tcp_oow_rate_limited).
			if probe.Attempt < 1 || probe.Attempt > 2 || probe.Backoff != i+1 || probe.KeptHere {
				t.Errorf("window probe %d is attempt %d, with a backoff of %d, kept here: %t", i+1, probe.Attempt, probe.Backoff, probe.KeptHere)
			}
			if i == 0 {
				continue
			}
			if probe.RTO != 2*story[i-1].RTO {
				t.Errorf("after window probe %d the timer is %s, before it was %s", i+1, probe.RTO, story[i-1].RTO)
			}
			// Jiffies stand still with the machine, and timers that were set meanwhile are early by the clock.
			const before = 100 * time.Millisecond
			aside := clock.paused(story[i-1].Mono-before, probe.Mono+before)
			// What the kernel counts from, and what it does not, as the first probe is when it is set.
			if since := probe.Mono - story[0].Mono; (probe.Elapsed - since).Abs() > 20*time.Millisecond+clock.paused(story[0].Mono-before, probe.Mono+before) {
				t.Errorf("%s elapsed at window probe %d, %s after the first", probe.Elapsed, i+1, since)
			}
			after := probe.Mono - story[i-1].Mono
			if armed := story[i-1].RTO; after < armed-10*time.Millisecond-aside || after > armed+armed/8+500*time.Millisecond+aside {
				t.Errorf("window probe %d after %s, with a timer of %s", i+1, after, armed)
			}
		}
	})
}

func withoutData(events []event.Event) []event.Event {
	return slices.DeleteFunc(events, func(ev event.Event) bool { return ev.Len != 0 })
}

func TestEachRetransmissionIsSeenUntilTheConnectionDies(t *testing.T) {
	t.Parallel()
	loopbacks(t, func(t *testing.T, address string) {
		t.Parallel()
		client := played(t, dataLost(net.JoinHostPort(address, "0")), func(client []event.Event, captured []segment) string {
			data := slices.DeleteFunc(captured, func(s segment) bool { return s.len == 0 })
			return compareSegments(only(client, event.Retransmit), data[1:])
		})
		story := only(client, event.Retransmit)
		if story[0].Trigger != "tlp" || story[0].Attempt != 0 {
			t.Errorf("sent again first by %s, attempt %d: want a loss probe", story[0].Trigger, story[0].Attempt)
		}
		timeouts := story[1:]
		for i, ev := range timeouts {
			if ev.Trigger != "rto" || ev.Attempt != i+1 || ev.Backoff != i+1 || ev.Len != 100 || ev.State != event.StateEstablished {
				t.Errorf("timeout %d: %s, attempt %d, backoff %d, %d bytes in %s", i+1, ev.Trigger, ev.Attempt, ev.Backoff, ev.Len, ev.State)
			}
			if i == 0 {
				continue
			}
			if ev.RTO != 2*timeouts[i-1].RTO {
				t.Errorf("after timeout %d the RTO is %s, before it was %s", i+1, ev.RTO, timeouts[i-1].RTO)
			}
			if since := ev.Mono - timeouts[0].Mono; (ev.Elapsed - since).Abs() > 20*time.Millisecond {
				t.Errorf("%s elapsed at timeout %d, %s after the first", ev.Elapsed, i+1, since)
			}
		}
		last := client[len(client)-1]
		if last.Errno != event.ETIMEDOUT || last.Retransmits != len(timeouts) || last.Idle < 2*aSecond {
			t.Errorf("closed with %s after %d timeouts, idle for %s", last.Errno, last.Retransmits, last.Idle)
		}
		want := &event.Traffic{
			BytesSent: int64(100 * (len(story) + 1)), Retransmits: len(story), Unacked: 100, SendWindow: last.Traffic.SendWindow,
		}
		if diff := cmp.Diff(want, last.Traffic); diff != "" {
			t.Errorf("what it carried (-want +got):\n%s", diff)
		}
	})
}

func TestRetransmissionsThatThisHostRefusesSayWhy(t *testing.T) {
	t.Parallel()
	hidden := !watch(t).seesRefusedRetransmissions()
	played(t, retransmissionsRefusedHere, func(client []event.Event, _ []segment) string {
		if seen := len(only(client, event.Retransmit)); hidden != (seen == 0) {
			return fmt.Sprintf("%d retransmissions seen; that none can be: %t", seen, hidden)
		}
		for _, ev := range only(client, event.Retransmit) {
			if ev.Errno != event.EPERM || ev.Len != longSegment+1 {
				return fmt.Sprintf("%d bytes sent again by %s: %s, want EPERM", ev.Len, ev.Trigger, ev.Errno)
			}
		}
		return ""
	})
}

// seesRefusedRetransmissions says whether timeouts are seen whose retransmission this host refused to send.
func (w *watcher) seesRefusedRetransmissions() bool {
	return !slices.ContainsFunc(w.tracer.Hooks(), func(h tracer.Hook) bool {
		return h.Kind == event.Retransmit && strings.Contains(h.Partial, "a retransmission that this host itself refused to send")
	})
}

// A lossy transfer makes more fast retransmissions than anybody wants to see; those that are left out are counted.
func TestFastRetransmissionsAreThinnedOutAndCounted(t *testing.T) {
	client := played(t, lossyTransfer, func(client []event.Event, _ []segment) string {
		if !slices.ContainsFunc(client, func(ev event.Event) bool { return ev.Trigger == "fast" }) {
			return "no fast retransmission"
		}
		return ""
	})
	last := client[len(client)-1]
	if last.Traffic.BytesAcked != 8<<20 || last.Traffic.Retransmits < 2 {
		t.Fatalf("carried %+v", *last.Traffic)
	}
	var previous time.Duration
	recorded := 0
	for _, ev := range only(client, event.Retransmit) {
		recorded += max(ev.Count, 1)
		if ev.Trigger != "fast" {
			continue
		}
		if previous != 0 && ev.Mono-previous < 100*time.Millisecond {
			t.Errorf("two fast retransmissions within %s", ev.Mono-previous)
		}
		previous = ev.Mono
	}
	if recorded > last.Traffic.Retransmits {
		t.Errorf("%d retransmissions recorded, of %d segments", recorded, last.Traffic.Retransmits)
	}
}

func TestOptionsSetOnALivingConnectionAreSeen(t *testing.T) {
	client, _ := playOnce(t, optionsSetLater)
	expectWhole(t, client, os.Getpid())
	at := event.Options{KeepAlive: true, KeepaliveIdle: time.Second, KeepaliveInterval: time.Second, KeepaliveCount: 3}
	var want []event.Options
	for _, change := range []func(*event.Options){
		func(o *event.Options) { o.UserTimeout = 9 * time.Second },
		func(o *event.Options) { o.KeepaliveInterval = 7 * time.Second },
		func(o *event.Options) { o.Linger2 = 5 * time.Second },
		func(o *event.Options) { o.KeepAlive = false },
		func(o *event.Options) { o.KeepAlive = true },
	} {
		change(&at)
		want = append(want, at)
	}
	var got []event.Options
	for _, ev := range only(client, event.OptionsChanged) {
		o := *ev.Options
		o.RTOMax = 0 // the kernel's own, where it has that option
		got = append(got, o)
		if ev.Sysctls == nil || ev.State != event.StateEstablished {
			t.Errorf("options changed in %s, sysctls %v", ev.State, ev.Sysctls)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("options (-want +got):\n%s%s", diff, describe(client))
	}
}

func TestCloseTellsWhatWasCarried(t *testing.T) {
	loopbacks(t, func(t *testing.T, address string) {
		w, h := watch(t), newHost(t)
		client, server := connect(t, h, net.JoinHostPort(address, "0"))
		exchange(t, client, server, 1000)
		exchange(t, server, client, 500)
		closeInTurn(t, client, server)
		events := w.until(t, h.Inode(), "the end of both", closed(2))
		expectTraffic(t, events, event.RoleClient, event.Traffic{BytesSent: 1000, BytesAcked: 1000, BytesReceived: 500})
		expectTraffic(t, events, event.RoleServer, event.Traffic{BytesSent: 500, BytesAcked: 500, BytesReceived: 1000})
	})
}

func TestCloseTellsWhatWasLeftUnread(t *testing.T) {
	w, h := watch(t), newHost(t)
	client, server := connect(t, h, "127.0.0.1:0")
	exchange(t, client, server, 1000)
	if _, err := server.Write(make([]byte, 500)); err != nil {
		t.Fatal(err)
	}
	if err := server.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	exchange(t, nil, client, 200)
	client.Close()
	server.Close()
	events := w.until(t, h.Inode(), "the end of both", closed(2))
	expectTraffic(t, events, event.RoleClient, event.Traffic{BytesSent: 1000, BytesAcked: 1000, BytesReceived: 500, Unread: 300})
}

// exchange sends so many bytes, unless from is nil, and reads them.
func exchange(t *testing.T, from, to *net.TCPConn, n int) {
	t.Helper()
	if from != nil {
		if _, err := from.Write(zeros[:n]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.ReadFull(to, make([]byte, n)); err != nil {
		t.Fatal(err)
	}
}

func expectTraffic(t *testing.T, events []event.Event, role event.Role, want event.Traffic) {
	t.Helper()
	own := only(of(t, events, role), event.Close)
	if len(own) != 1 || own[0].Traffic == nil {
		t.Fatalf("the %s does not tell what it carried:\n%s", role, describe(own))
	}
	want.SendWindow = own[0].Traffic.SendWindow
	if diff := cmp.Diff(want, *own[0].Traffic); diff != "" {
		t.Errorf("what the %s carried (-want +got):\n%s", role, diff)
	}
	if want.SendWindow == 0 {
		t.Errorf("the %s knows of no window", role)
	}
}
