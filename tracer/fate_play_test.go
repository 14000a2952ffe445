package tracer_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"tcptrace/prober"
	"tcptrace/prober/lab"
	"tcptrace/tracer/event"
	"tcptrace/tracer/host"
	"tcptrace/tracer/timeline"
)

// A family is an address family: its loopback, netfilter's number for it, and how long an acknowledgement without data
// is that carries a timestamp.
type family struct {
	name    string
	address string
	number  byte
	bareACK uint32
}

var bothFamilies = []family{
	{"IPv4", "127.0.0.1", unix.NFPROTO_IPV4, 20 + 20 + 12},
	{"IPv6", "::1", unix.NFPROTO_IPV6, 40 + 20 + 12},
}

// A world is a namespace for the lives that need the same one. Namespaces are what takes the time in an emulated
// machine.
type world struct {
	settings
	host    *lab.Host
	packets *capture
	clock   *metronome

	lives   []*life
	tracker *timeline.Tracker
	wire    []segment // all that was sent
}

// settings are those of a namespace.
type settings struct {
	retries2    int // 0: as it is
	noLossProbe bool
}

func (f *fate) needs() settings {
	// At a shut window the server may delay its last acknowledgement. A loss probe would not wait for it.
	return settings{f.retries2, f.load == dataUnsent}
}

// A life is a connection with a fate.
type life struct {
	*fate
	*world
	family family

	listener *net.TCPListener
	remote   netip.AddrPort // the listener's; its port alone may be that of another as well, of the other family
	server   *net.TCPConn
	begun    func()
	turned   time.Duration // when the peer had its way, on CLOCK_MONOTONIC; data in flight is sent right after it

	probe  *event.Probe
	err    error
	client *timeline.Connection // nil where none was seen
}

func (l *life) String() string { return l.fate.String() + "/" + l.family.name }

// play lets lives take their course side by side. All that takes its time is there before the first begins, and one
// begins after the other, so that none is late.
func play(t *testing.T, lives []*life) {
	t.Helper()
	watcher := watch(t)
	worlds := make(map[settings]*world)
	for _, l := range lives {
		if worlds[l.needs()] == nil {
			worlds[l.needs()] = newWorld(t, l.needs())
		}
		l.world = worlds[l.needs()]
		l.world.lives = append(l.world.lives, l)
		l.prepare(t)
	}
	clock := startMetronome(t)
	var all sync.WaitGroup
	for _, l := range lives {
		begun := make(chan struct{})
		l.begun = sync.OnceFunc(func() { close(begun) })
		all.Go(func() { l.live(t.Context()) })
		if l.load != dataUnsent { // which takes a while
			<-begun
		}
	}
	all.Wait()
	for _, w := range worlds {
		w.read(t, watcher)
		w.clock = clock
	}
	clock.end(t)
}

func newWorld(t *testing.T, s settings) *world {
	t.Helper()
	w := &world{settings: s, host: newHost(t)}
	if s.retries2 != 0 {
		w.set(t, "net/ipv4/tcp_retries2", s.retries2)
	}
	if s.noLossProbe {
		w.set(t, "net/ipv4/tcp_early_retrans", 0)
	}
	w.packets = capturePackets(t, w.host)
	return w
}

func (w *world) set(t *testing.T, sysctl string, value int) {
	t.Helper()
	if err := w.host.Sysctl(sysctl, strconv.Itoa(value)); err != nil {
		t.Fatal(err)
	}
}

// prepare makes the server.
func (l *life) prepare(t *testing.T) {
	t.Helper()
	l.listener = listen(t, l.host, net.JoinHostPort(l.family.address, "0")).(*net.TCPListener)
	l.remote = netip.MustParseAddrPort(l.listener.Addr().String())
	if l.load == dataUnsent {
		setLater(t, l.listener, // which its connections inherit
			socketOption{unix.SOL_SOCKET, unix.SO_RCVBUF, smallBuffer},
			socketOption{unix.IPPROTO_TCP, unix.TCP_MAXSEG, usualSegment})
	}
	if l.peer == silent {
		l.silence(t)
	}
}

// usualSegment is the longest segment on an Ethernet. Loopback's own would fill a small buffer by half.
const usualSegment = 1448

// silence has the firewall let through to the server only what makes the connection, and, where the window is to shut,
// the data that does. It is there from the beginning, so that nobody has to be in time with it.
func (l *life) silence(t *testing.T) {
	t.Helper()
	const flags, passing = 13, 1 // the handshake's last acknowledgement passes
	match := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{l.family.number}},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(l.remote.Port())},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: flags, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{flagSYN}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0}},
	}
	if l.load == dataUnsent {
		match = append(match, &expr.Meta{Key: expr.MetaKeyLEN, Register: 1})
		match = append(match, compareNumber(expr.CmpOpEq, l.family.bareACK)...)
	}
	match = append(match, &expr.Numgen{Register: 1, Modulus: 1 << 31, Type: unix.NFT_NG_INCREMENTAL})
	dropMatching(t, l.host, nftables.ChainHookInput, append(match, compareNumber(expr.CmpOpGte, passing)...)...)
}

// compareNumber compares what is in the register, in the machine's byte order. A comparison goes byte by byte.
func compareNumber(op expr.CmpOp, n uint32) []expr.Any {
	return []expr.Any{
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: op, Register: 1, Data: binaryutil.BigEndian.PutUint32(n)},
	}
}

// live makes the connection and waits for what comes. It runs beside the test.
func (l *life) live(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer l.begun()
	l.probe, l.err = prober.Connect(ctx, "", l.remote, l.options(), nil)
}

// options are those of the client, with what it does.
func (l *life) options() prober.Options {
	options := prober.Options{
		KeepaliveIdle:     time.Duration(l.idle) * time.Second,
		KeepaliveInterval: time.Duration(l.interval) * time.Second,
		KeepaliveCount:    l.count,
		UserTimeout:       l.userTimeout,
		NetNS:             l.host.NetNS(),
	}
	if l.aborts() {
		options.Linger = new(time.Duration)
	}
	if l.worked {
		options.Send = []byte("anybody there?")
	}
	if l.load == dataUnsent {
		options.Then = append(options.Then, prober.Fill{})
	}
	options.Then = append(options.Then, prober.Call(l.turn))
	if l.load == dataInTransit {
		options.Then = append(options.Then, prober.Write{Data: make([]byte, 100)})
	}
	options.Then = append(options.Then, prober.Hold{For: l.held})
	return options
}

// aborts says that the client's application ends it with a reset: a FIN would not get through.
func (l *life) aborts() bool { return l.held > 0 && (l.peer == silent || l.load == dataUnsent) }

// turn is when the peer goes, if it is to.
func (l *life) turn(context.Context) error {
	if err := l.listener.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	conn, err := l.listener.AcceptTCP()
	if err != nil {
		return err
	}
	l.server = conn
	if l.peer == gone {
		err = l.vanish()
	}
	l.turned = host.Monotonic()
	l.begun()
	return err
}

// vanish has the server's kernel forget the connection, as if it had been started anew: a socket under repair is closed
// without a word (tcp_close).
func (l *life) vanish() error {
	conn := l.server
	l.server = nil
	raw, err := conn.SyscallConn()
	if err == nil {
		err = setOptions(raw, []socketOption{{unix.IPPROTO_TCP, unix.TCP_REPAIR, 1}})
	}
	return errors.Join(err, conn.Close(), l.listener.Close())
}

// read takes what was seen of all, annotated as it would be for users, and ends what is left of them.
func (w *world) read(t *testing.T, watcher *watcher) {
	t.Helper()
	const soon = 2 * time.Second
	events, _ := watcher.await(w.host.Inode(), soon, func(events []event.Event) bool {
		ended := 0
		for i := range events {
			if events[i].Kind == event.Close && events[i].Role == event.RoleClient {
				ended++
			}
		}
		return ended == len(w.lives)
	})
	w.tracker = timeline.New(timeline.Config{HZ: hz(t)})
	for i := range events {
		c := w.tracker.Add(&events[i])
		for _, l := range w.lives {
			if c.Role == event.RoleClient && c.Remote == l.remote {
				l.client = c
			}
		}
	}
	w.wire = w.packets.sent(t)
	w.packets.expectAll(t)
	for _, l := range w.lives {
		if l.server != nil {
			abort(t, l.server)
		}
	}
}

// describe tells what a reader of a failed test needs to know.
func (l *life) describe() string {
	text := fmt.Sprintf("%+v\n", *l.probe)
	for i := range l.client.Events {
		ev := &l.client.Events[i]
		text += fmt.Sprintf("  %s attempt %d of %d, due %s to %s, next %s, gives up %s, rto %s, elapsed %s, idle %s\n%s",
			ev.Offset, ev.Attempt, ev.AttemptsExpected, ev.Predicted, ev.Latest, ev.NextDue, ev.GivesUp, ev.RTO, ev.Elapsed, ev.Idle,
			describe([]event.Event{*ev}))
	}
	return text
}
