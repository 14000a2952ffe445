package tracer_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
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

// setLater sets options of a connection that is there already.
func setLater(t *testing.T, c *net.TCPConn, options ...socketOption) {
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
	l := listen(t, h, address)
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
	if _, err := h.DropInput(lab.Drop{Port: uint16(server.LocalAddr().(*net.TCPAddr).Port)}); err != nil {
		t.Fatal(err)
	}
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
		awaitProbes(t, packets, fromClient(client), 2)
		silence(t, h, server)
		expectDeath(t, client, server)
	}
}

func awaitProbes(t *testing.T, packets *capture, w way, n int) {
	t.Helper()
	packets.await(t, "probes", func(all []segment) bool { return len(probes(w.of(all))) >= n })
}

// halfClosed has keepalive probes answered while the client has closed its half, and then the server.
func halfClosed(address string) func(*testing.T, *lab.Host) {
	return func(t *testing.T, h *lab.Host) {
		packets := capturePackets(t, h)
		client, server := connectWith(t, h, address, keepalive(3)...)
		if err := server.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		awaitProbes(t, packets, fromClient(client), 3)
		closeInTurn(t, client, server)
	}
}

// windowShut has the server's window be probed three times before the server reads.
func windowShut(address string) func(*testing.T, *lab.Host) {
	return func(t *testing.T, h *lab.Host) {
		packets := capturePackets(t, h)
		client, server := connectWith(t, h, address)
		setLater(t, server, socketOption{unix.SOL_SOCKET, unix.SO_RCVBUF, 4096})
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
		if err := raw.Control(func(fd uintptr) { _, full = unix.Write(int(fd), make([]byte, 1<<16)) }); err != nil {
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

// retransmissionsRefusedHere takes the route away from data that is under way.
func retransmissionsRefusedHere(t *testing.T, h *lab.Host) {
	client, server := connectWith(t, h, "127.0.0.1:0", userTimeout(time.Second))
	silence(t, h, server)
	if _, err := client.Write(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if err := h.Do(setLoopbackDown); err != nil {
		t.Fatal(err)
	}
	expectDeath(t, client, server)
}

// lossyTransfer loses each tenth of the larger packets of a transfer.
func lossyTransfer(t *testing.T, h *lab.Host) {
	if err := h.Do(dropEachTenth); err != nil {
		t.Fatal(err)
	}
	client, server := connectWith(t, h, "127.0.0.1:0")
	read := make(chan error)
	go func() {
		_, err := io.Copy(io.Discard, server)
		read <- err
	}()
	if _, err := client.Write(make([]byte, 8<<20)); err != nil {
		t.Error(err)
	}
	if err := client.CloseWrite(); err != nil {
		t.Error(err)
	}
	if err := <-read; err != nil {
		t.Error(err)
	}
	server.Close()
	client.Close()
}

// dropEachTenth drops a tenth of what is larger than a bare acknowledgement, in the namespace of its caller.
func dropEachTenth() error {
	nft, err := nftables.New()
	if err != nil {
		return err
	}
	table := nft.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "lossy"})
	chain := nft.AddChain(&nftables.Chain{
		Name: "input", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter,
	})
	nft.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyLEN, Register: 1},
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpGt, Register: 1, Data: binaryutil.BigEndian.PutUint32(1000)},
		&expr.Numgen{Register: 1, Modulus: 10, Type: unix.NFT_NG_INCREMENTAL},
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint32(9)},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}})
	return nft.Flush()
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
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0},
	{unix.IPPROTO_TCP, unix.TCP_NODELAY, 0},
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
}

// played gives the client's events of a script, and what it sent.
func played(t *testing.T, play func(*testing.T, *lab.Host), ends int) ([]event.Event, []segment) {
	t.Helper()
	w, h := watch(t), newHost(t)
	packets := capturePackets(t, h)
	play(t, h)
	client := of(t, w.until(t, h.Inode(), "the end", closed(ends)), event.RoleClient)
	expectWhole(t, client, os.Getpid())
	return client, way{client[0].Local, client[0].Remote}.of(packets.sent(t))
}

func (w way) of(all []segment) []segment {
	return slices.DeleteFunc(slices.Clone(all), func(s segment) bool { return s.from != w.from || s.to != w.to })
}

func only(events []event.Event, kind event.Kind) []event.Event {
	return slices.DeleteFunc(slices.Clone(events), func(ev event.Event) bool { return ev.Kind != kind })
}

// segmentOf is the segment that an event speaks of.
func segmentOf(ev event.Event) segment {
	return segment{from: ev.Local, to: ev.Remote, seq: ev.TCPSeq, ack: ev.TCPAck, len: ev.Len}
}

// expectSegments compares what events say was sent with what was captured, one by one.
func expectSegments(t *testing.T, events []event.Event, captured []segment) {
	t.Helper()
	var want, got []segment
	for _, s := range captured {
		s.flags = 0
		want = append(want, s)
	}
	for _, ev := range events {
		got = append(got, segmentOf(ev))
	}
	if diff := cmp.Diff(want, got, equality, cmp.AllowUnexported(segment{})); diff != "" {
		t.Errorf("segments (-captured +traced):\n%s%s", diff, describe(events))
	}
}

func TestEachKeepaliveProbeAndItsAnswerIsSeen(t *testing.T) {
	loopbacks(t, func(t *testing.T, address string) {
		client, captured := played(t, keptAlive(net.JoinHostPort(address, "0")), 2)
		sent := only(client, event.KeepaliveProbe)
		expectSegments(t, sent, probes(captured))
		for _, ev := range client {
			t.Logf("%s %s attempt=%d idle=%s seq=%d ack=%d errno=%s", ev.Mono, ev.Kind, ev.Attempt, ev.Idle, ev.TCPSeq, ev.TCPAck, ev.Errno)
		}
	})
}
