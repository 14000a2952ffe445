package tracer_test

import (
	"net/netip"
	"os"
	"slices"
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

// dropAfterSYN drops what clients send to a port after their SYN: the first n such packets.
func dropAfterSYN(t *testing.T, h *lab.Host, port uint16, n uint32) {
	t.Helper()
	const flagsOffset, syn = 13, 0x02
	dropMatching(t, h, nftables.ChainHookInput,
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: flagsOffset, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{syn}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0}},
		&expr.Numgen{Register: 1, Modulus: 1 << 31, Type: unix.NFT_NG_INCREMENTAL},
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpLt, Register: 1, Data: binaryutil.BigEndian.PutUint32(n)})
}

// A crowdedHost has a listener that does not accept by itself, and clients one by one.
type crowdedHost struct {
	t        *testing.T
	host     *lab.Host
	address  netip.AddrPort
	listener int
	clients  []int
}

func crowded(t *testing.T, h *lab.Host, address string, backlog int) *crowdedHost {
	t.Helper()
	c := &crowdedHost{t: t, host: h, address: netip.MustParseAddrPort(address)}
	c.listener = backlogged{c.address, backlog, nil}.open(t, h)
	t.Cleanup(c.end)
	return c
}

// connect begins a connect, and waits for its end if it is to succeed.
func (c *crowdedHost) connect(succeeds bool) (fd int) {
	c.t.Helper()
	var one [1]int
	err := c.host.Do(func() error {
		if err := connectAll(one[:], 0, c.address); err != nil || !succeeds {
			return err
		}
		return awaitConnected(one[0])
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.clients = append(c.clients, one[0])
	return one[0]
}

func awaitConnected(fd int) error {
	if err := poll(fd, unix.POLLOUT); err != nil {
		return err
	}
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	return err
}

func poll(fd int, events int16) error {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, int(patience.Milliseconds()))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case n == 0:
			return os.ErrDeadlineExceeded
		}
		return nil
	}
}

// awaitQueued waits until so many connections may be accepted.
func (c *crowdedHost) awaitQueued(n uint32) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		info, err := unix.GetsockoptTCPInfo(c.listener, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			c.t.Fatal(err)
		}
		if info.Unacked >= n { // of a listener, the length of its accept queue (tcp_get_info)
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("waited in vain for %d connections in the queue: %d", n, info.Unacked)
		}
	}
}

// end resets what is left. Calling it again does nothing.
func (c *crowdedHost) end() {
	if c.listener >= 0 {
		unix.Close(c.listener)
		c.listener = -1
	}
	for _, fd := range c.clients {
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		unix.Close(fd)
	}
	c.clients = nil
}

// synRefused has the second client find no room.
func synRefused(address string) func(*testing.T, *lab.Host) {
	return func(t *testing.T, h *lab.Host) {
		c := crowded(t, h, address, 0)
		c.connect(true)
		c.awaitQueued(1)
		c.connect(false)
		awaitCount(t, h, "ListenOverflows", 1)
		c.end()
	}
}

// finalACKRefused has the final ACK of the first of four clients be lost; what it sends then finds no room.
func finalACKRefused(address string) func(*testing.T, *lab.Host) {
	return func(t *testing.T, h *lab.Host) {
		c := crowded(t, h, address, 2)
		dropAfterSYN(t, h, c.address.Port(), 1)
		late := c.connect(true)
		for range 3 {
			c.connect(true)
		}
		c.awaitQueued(3)
		if _, err := unix.Write(late, []byte("x")); err != nil {
			t.Fatal(err)
		}
		awaitCount(t, h, "ListenOverflows", 1)
		c.end()
	}
}

// cookiesSent has requests fill the SYN queue, and a cookie come back.
func cookiesSent(address string) func(*testing.T, *lab.Host) {
	return func(t *testing.T, h *lab.Host) {
		const clients = 4 // two find room, and one of them only before 5.19
		if err := h.Sysctl("net/ipv4/tcp_syncookies", "1"); err != nil {
			t.Fatal(err)
		}
		c := crowded(t, h, address, 1)
		dropAfterSYN(t, h, c.address.Port(), clients)
		for range clients {
			c.connect(true)
		}
		awaitCount(t, h, "TCPReqQFullDoCookies", 2)
		if _, err := unix.Write(c.clients[clients-1], []byte("x")); err != nil {
			t.Fatal(err)
		}
		c.awaitQueued(1)
		c.end()
	}
}

// synQueueFull has requests fill the SYN queue, and no cookies.
func synQueueFull(t *testing.T, h *lab.Host) {
	if err := h.Sysctl("net/ipv4/tcp_syncookies", "0"); err != nil {
		t.Fatal(err)
	}
	c := crowded(t, h, "127.0.0.1:80", 1)
	dropAfterSYN(t, h, c.address.Port(), 1<<30)
	for range 4 {
		c.connect(false)
	}
	awaitCount(t, h, "TCPReqQFullDrop", 2)
	c.end()
}

// finalACKLost has a request expire while its client is established.
func finalACKLost(address string) func(*testing.T, *lab.Host) {
	return func(t *testing.T, h *lab.Host) {
		if err := h.Sysctl("net/ipv4/tcp_synack_retries", "1"); err != nil {
			t.Fatal(err)
		}
		c := crowded(t, h, address, 1)
		dropAfterSYN(t, h, c.address.Port(), 1<<30)
		c.connect(true)
		awaitCount(t, h, "TCPTimeouts", 2) // to send it again, and to give up
		c.end()
	}
}

// clientsAndServersClosed says whether n clients came to their end, and with them every server that was established.
func clientsAndServersClosed(n int) func([]event.Event) bool {
	return func(events []event.Event) bool {
		clients := 0
		for _, own := range connections(events) {
			ended := has(own, event.Close, own[len(own)-1].Role)
			if ended && own[0].Role == event.RoleClient {
				clients++
			}
			if !ended && len(only(own, event.Established)) > 0 {
				return false
			}
		}
		return clients >= n
	}
}

func TestRefusedSYNGoesOnAsTheSameConnection(t *testing.T) {
	t.Parallel()
	loopbacks(t, func(t *testing.T, address string) {
		w, h := watch(t), newHost(t)
		c := crowded(t, h, netip.AddrPortFrom(netip.MustParseAddr(address), 80).String(), 0)
		c.connect(true)
		c.awaitQueued(1)
		refused := c.connect(false)
		awaitCount(t, h, "ListenOverflows", 1)
		first, _, err := unix.Accept(c.listener)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(first)
		if err := awaitConnected(refused); err != nil { // by its next SYN
			t.Fatal(err)
		}
		c.awaitQueued(1)
		events := w.until(t, h.Inode(), "the second child", func(events []event.Event) bool {
			return len(only(events, event.Established)) == 4
		})
		c.end()

		own := of(t, events, event.RoleListener)
		if diff := cmp.Diff([]event.Kind{event.AcceptQueueFull, event.SYNReceived, event.Established}, kinds(own)); diff != "" {
			t.Fatalf("(-want +got):\n%s%s", diff, describe(own))
		}
		expectWhole(t, own, os.Getpid())
		full := own[0]
		if want := (event.Queue{Len: 1, Max: 0}); full.Queue == nil || *full.Queue != want || full.Stage != "syn" || full.Ambiguous {
			t.Errorf("queue %v, stage %q, ambiguous: %t", full.Queue, full.Stage, full.Ambiguous)
		}
		if full.Local != c.address || full.State != event.StateListen || full.Owner.Via != "" || full.Count != 0 {
			t.Errorf("%s of %s[%d]%s in %s stands for %d", full.Local, full.Owner.Comm, full.Owner.PID, full.Owner.Via, full.State, full.Count)
		}
		if own[1].Role != event.RoleServer || own[1].Owner.Via != "listener" || own[2].ByCookie {
			t.Errorf("then it is a %s, owner via %q, by cookie: %t", own[1].Role, own[1].Owner.Via, own[2].ByCookie)
		}
		client := connections(events)
		for _, side := range client {
			if side[0].Role == event.RoleClient && side[0].Local == full.Remote && (side[0].ISN != full.PeerISN || side[0].ISN != full.TCPSeq) {
				t.Errorf("the client's number is %d, the refused one's %d", side[0].ISN, full.PeerISN)
			}
		}
	})
}

func TestFinalACKIsRefusedOnItsRequest(t *testing.T) {
	loopbacks(t, func(t *testing.T, address string) {
		w, h := watch(t), newHost(t)
		earlier := refusalsIn(t, w.tracer, h, nil)
		finalACKRefused(netip.AddrPortFrom(netip.MustParseAddr(address), 80).String())(t, h)
		events := w.until(t, h.Inode(), "the end of all but the refused request", closed(7))
		expectOverflowsCounted(t, w, h, earlier)
		full := only(events, event.AcceptQueueFull)[0]
		own := connections(events)[full.Conn]
		if got := kinds(only(own, event.SYNReceived, event.AcceptQueueFull))[:2]; !slices.Equal(got, []event.Kind{event.SYNReceived, event.AcceptQueueFull}) {
			t.Fatalf("the request's events:\n%s", describe(own))
		}
		expectWhole(t, own, os.Getpid())
		if want := (event.Queue{Len: 3, Max: 2}); full.Queue == nil || *full.Queue != want || full.Stage != "ack" || full.State != event.StateNewSYNRecv {
			t.Errorf("queue %v, stage %q, state %s", full.Queue, full.Stage, full.State)
		}
		if full.Role != event.RoleServer || full.Owner.Via != "listener" {
			t.Errorf("a %s, owner via %q", full.Role, full.Owner.Via)
		}
	})
}

func TestCookiesAreCountedAndTheirChildrenKnown(t *testing.T) {
	loopbacks(t, func(t *testing.T, address string) {
		w, h := watch(t), newHost(t)
		earlier := refusalsIn(t, w.tracer, h, nil)
		cookiesSent(netip.AddrPortFrom(netip.MustParseAddr(address), 80).String())(t, h)
		events := w.until(t, h.Inode(), "the end of four clients and their servers", clientsAndServersClosed(4))
		expectRefusalsCounted(t, w, h, earlier, "TCPReqQFullDoCookies", 0, event.SYNQueueFull,
			func(r tracer.Refusals) (total, untold uint64) { return r.CookiesSent, r.UntoldQueueFull })
		children := false // which those that find room become as well, once their SYN-ACK is sent again
		for _, ev := range events {
			if ev.Kind == event.SYNQueueFull && (ev.Action != "cookie" || ev.Queue == nil || ev.Queue.Max != 1 || ev.Queue.Len < 1) {
				t.Errorf("action %q, queue %v", ev.Action, ev.Queue)
			}
			if ev.Kind == event.Established && ev.Role == event.RoleServer {
				own := connections(events)[ev.Conn]
				if ev.ByCookie != (own[0].Kind == event.SYNQueueFull) {
					t.Errorf("by cookie: %t\n%s", ev.ByCookie, describe(own))
				}
				children = children || ev.ByCookie
				expectWhole(t, own, os.Getpid())
			}
		}
		if !children {
			t.Errorf("no cookie came back:\n%s", describe(events))
		}
	})
}

func TestSYNsDroppedByAFullQueueAreCounted(t *testing.T) {
	w, h := watch(t), newHost(t)
	earlier := refusalsIn(t, w.tracer, h, nil)
	synQueueFull(t, h)
	expectRefusalsCounted(t, w, h, earlier, "TCPReqQFullDrop", 0, event.SYNQueueFull, func(r tracer.Refusals) (total, untold uint64) { return r.QueueDrops, r.UntoldQueueFull })
	w.until(t, h.Inode(), "drops", func(events []event.Event) bool {
		for _, ev := range only(events, event.SYNQueueFull) {
			if ev.Action != "drop" || ev.Role != event.RoleListener {
				t.Errorf("action %q of a %s", ev.Action, ev.Role)
			}
		}
		return true
	})
}

// With cookies for everybody no queue is full.
func TestRoutineCookiesAreNoEvent(t *testing.T) {
	w, h := watch(t), newHost(t)
	if err := h.Sysctl("net/ipv4/tcp_syncookies", "2"); err != nil {
		t.Fatal(err)
	}
	var events []event.Event
	byCookie := func(ev event.Event) bool {
		return ev.Kind == event.Established && ev.Role == event.RoleServer && ev.ByCookie
	}
	for take := 1; take <= takes && !slices.ContainsFunc(events, byCookie); take++ { // a kprobe may be passed by
		client, server := connect(t, h, "127.0.0.1:0")
		closeInTurn(t, client, server)
		events = w.until(t, h.Inode(), "the end of both", closed(2*take))
	}
	if has(events, event.SYNQueueFull, event.RoleListener) {
		t.Errorf("a queue is full:\n%s", describe(events))
	}
	if !slices.ContainsFunc(events, byCookie) {
		t.Errorf("no child is known to be a cookie's:\n%s", describe(events))
	}
}

func TestRequestExpiresWhileItsClientIsEstablished(t *testing.T) {
	t.Parallel()
	loopbacks(t, func(t *testing.T, address string) {
		client, server := loseFinalACK(t, address)
		if len(only(client, event.SYNACKDuplicate)) != 1 || len(only(server, event.SYNACKRetransmit, event.SYNACKTimeout)) != 2 {
			// As for SYNs (see connectInSilence): one of them may have been hidden.
			t.Log("not all was seen: once more")
			client, server = loseFinalACK(t, address)
		}
		if diff := cmp.Diff([]event.Kind{event.SYNReceived, event.SYNACKRetransmit, event.SYNACKTimeout}, kinds(without(server, event.Drop))); diff != "" {
			t.Fatalf("the request (-want +got):\n%s%s", diff, describe(server))
		}
		expectWhole(t, server, os.Getpid())
		all := len(server)
		server = without(server, event.Drop)
		expired := server[2]
		if int(expired.Total) != all || expired.Attempt != 1 || expired.Stage != "" || expired.State != event.StateClose {
			t.Errorf("total %d, after %d retries, stage %q, %s", expired.Total, expired.Attempt, expired.Stage, expired.State)
		}
		if after := expired.Mono - server[1].Mono; after < 2*aSecond || after > 2*time.Second+timerSlack {
			t.Errorf("it expired %s after its last SYN-ACK, want 2s and the wheel's rounding", after)
		}
		again := only(client, event.SYNACKDuplicate)[0]
		if again.Attempt != 1 || again.State != event.StateEstablished || again.TCPSeq != server[0].ISN || again.TCPAck != server[0].ISN+1 {
			t.Errorf("SYN-ACK %d again, in %s: number %d, want %d", again.Attempt, again.State, again.TCPSeq, server[0].ISN)
		}
		if apart := again.Mono - server[1].Mono; apart.Abs() > simultaneous {
			t.Errorf("it was sent %s before", apart)
		}
	})
}

// timerSlack is for the timer wheel, an emulated CPU and a noisy neighbour.
const timerSlack = 500 * time.Millisecond

// without leaves out a kind.
func without(events []event.Event, kind event.Kind) []event.Event {
	return slices.DeleteFunc(slices.Clone(events), func(ev event.Event) bool { return ev.Kind == kind })
}

func loseFinalACK(t *testing.T, address string) (client, server []event.Event) {
	t.Helper()
	w, h := watch(t), newHost(t)
	finalACKLost(netip.AddrPortFrom(netip.MustParseAddr(address), 80).String())(t, h)
	events := w.until(t, h.Inode(), "the client's end", closed(1))
	return of(t, events, event.RoleClient), of(t, events, event.RoleServer)
}
