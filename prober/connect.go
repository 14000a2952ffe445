package prober

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/tracer/event"
)

// Why a probe gave up ([event.Probe.GaveUp]).
const (
	gaveUpTimeout     = "timeout"
	gaveUpInterrupted = "interrupted"
	gaveUpSuperseded  = "superseded"
)

// ErrSuperseded is the cause with which to cancel the ctx of a [Connect] when another one of the same purpose has won: the
// loser of a race gives up for that reason.
var ErrSuperseded = errors.New("superseded by another connect")

// Connect makes one TCP connection and tells how it went. A connection that fails is a result; an error means that
// there was not even a try: an option that the kernel refuses, no file descriptor, a source that is not ours, or a ctx
// that was done before; or that a [Set] or a [Call] among the steps failed.
//
// target is only passed on. An IPv4-mapped remote is reached by IPv4. onSocket, unless nil, is called with the socket's
// cookie before connect(), when no packet has left yet. Connect ends when the kernel decides, or with
// [event.Probe.GaveUp] by opts.Timeout or ctx, and has closed its socket then. With something to do on the
// connection, GaveUp can come on top of Connected: then that was cut short.
//
// Resolve and Run of the result are left to the caller.
func Connect(ctx context.Context, target string, remote netip.AddrPort, opts Options, onSocket func(cookie uint64)) (*event.Probe, error) {
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	if err := ready(ctx, remote, &opts); err != nil {
		return nil, err
	}
	s, err := newSocket(remote.Addr(), opts.NetNS)
	if err != nil {
		return nil, err
	}
	defer s.close()
	sockaddr, err := prepare(s, remote, &opts)
	if err != nil {
		return nil, err
	}
	cookie, err := s.cookie()
	if err != nil {
		return nil, err
	}
	if onSocket != nil {
		onSocket(cookie)
	}
	p := &probe{
		socket: s,
		opts:   &opts,
		result: event.Probe{
			Target:  target,
			Remote:  remote,
			Cookie:  cookie,
			Timeout: opts.Timeout,
			Options: opts.report(s),
		},
	}
	if err := p.run(ctx, sockaddr); err != nil {
		return nil, err
	}
	return &p.result, nil
}

// ready says why there is no point in making a socket.
func ready(ctx context.Context, remote netip.AddrPort, opts *Options) error {
	if !remote.IsValid() || remote.Port() == 0 {
		return fmt.Errorf("%v is not an address and port to connect to", remote)
	}
	if err := opts.Validate(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// prepare does all that comes before connect().
func prepare(s *socket, remote netip.AddrPort, opts *Options) (unix.Sockaddr, error) {
	if err := s.queueErrors(true); err != nil {
		return nil, err
	}
	if err := s.limitHops(opts.HopLimit); err != nil {
		return nil, err
	}
	if err := opts.apply(s); err != nil {
		return nil, err
	}
	if err := s.bind(opts.Source, opts.SourcePort); err != nil {
		return nil, err
	}
	return s.sockaddr(remote)
}

// probe is one connection on its way from connect() to close().
type probe struct {
	*socket
	opts   *Options
	result event.Probe
	// queued is the last error from the error queue. Its errno stands in for SO_ERROR, which an ICMP error loses when
	// its record is taken.
	queued queuedError
}

// run connects, exchanges what is to be exchanged, and closes. An error means that the Go runtime could not wait.
func (p *probe) run(ctx context.Context, sockaddr unix.Sockaddr) error {
	pending := p.start(sockaddr)
	p.result.Local = p.local(p.result.Remote.Addr())
	if err := p.limit(ctx, time.Time{}); err != nil {
		return fmt.Errorf("set the timeout: %w", err)
	}
	// It has no error unless the file is closed.
	stop := context.AfterFunc(ctx, func() { _ = p.file.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	if pending {
		if err := p.await(ctx); err != nil {
			return err
		}
	}
	p.result.Connect = time.Since(p.result.Started)
	if p.result.Connected {
		if err := p.use(ctx); err != nil {
			return err
		}
	}
	p.finish()
	return nil
}

// use does on the established connection what the options ask for.
func (p *probe) use(ctx context.Context) error {
	if !p.opts.exchanges() && len(p.opts.Then) == 0 {
		return nil
	}
	if err := p.queueErrors(false); err != nil {
		return err
	}
	if p.opts.exchanges() {
		// With Fast Open a part was sent by the SYN.
		if err := p.exchange(ctx, Exchange{p.opts.Send[p.result.BytesSent:], p.opts.Expect}); err != nil {
			return err
		}
	}
	if len(p.opts.Then) == 0 {
		return nil
	}
	if p.exchanged() {
		if err := p.perform(ctx); err != nil {
			return err
		}
	}
	if p.state() == event.StateClose {
		p.tryWrite()
	}
	return nil
}

// limit replaces the deadline of all waiting by at, or by that of the whole probe where that comes first or at is zero.
func (p *probe) limit(ctx context.Context, at time.Time) error {
	if p.opts.Timeout > 0 {
		end := p.result.Started.Add(p.opts.Timeout)
		if at.IsZero() || end.Before(at) {
			at = end
		}
	}
	// Once ctx has ended there is to be no more waiting. Its own call may have come just before this one.
	if err := p.file.SetDeadline(at); err != nil || ctx.Err() == nil {
		return err
	}
	return p.file.SetDeadline(time.Unix(1, 0))
}

// start calls connect() and says whether the outcome is still to come.
func (p *probe) start(sockaddr unix.Sockaddr) (pending bool) {
	p.result.Started, p.result.StartedMono = time.Now(), monotonic()
	err := unix.Connect(p.fd, sockaddr)
	if err == nil && p.opts.FastOpen && p.state() == event.StateSYNSent {
		err = p.sendSYN()
	}
	switch {
	case err == nil, errors.Is(err, unix.EINPROGRESS), errors.Is(err, unix.EINTR):
		return !p.settled()
	}
	p.result.Errno, p.result.Synchronous = errnoOf(err), true
	p.takeQueued()
	return false
}

// sendSYN sends the SYN that connect() put off: with TCP_FASTOPEN_CONNECT and a cookie it waits for data to carry
// (tcp_fastopen_defer_connect). Sending nothing sends it bare.
func (p *probe) sendSYN() error {
	n, err := p.send(p.opts.Send)
	p.result.BytesSent = int64(n)
	if errors.Is(err, unix.EAGAIN) {
		return unix.EINPROGRESS
	}
	return err
}

// await waits for the kernel to decide.
func (p *probe) await(ctx context.Context) error {
	err := p.waitWrite(p.settled)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// What the kernel decided by now counts, even if the poller was late to tell.
		if !p.settled() {
			p.giveUp(ctx)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("wait for connect: %w", err)
	}
	return nil
}

// settled says whether the handshake has ended, and then notes how.
//
// The TCP state decides, not poll(): an ICMP error that arrives while connect() still holds the socket is queued, so
// poll() reports an error, but the kernel only remembers it (sk_err_soft) and goes on sending SYNs (tcp_v4_err,
// tcp_v6_err). Reading SO_ERROR then would take that memory away. A connection can be established and dead by the time
// it is looked at: it was connected all the same.
func (p *probe) settled() bool {
	switch p.state() {
	case event.StateSYNSent, event.StateSYNRecv:
		p.takeQueued()
		return p.turnedBack()
	case event.StateClose:
		if p.answered() {
			p.connected() // and over before anybody looked
			return true
		}
		p.result.Errno = p.takeError()
		p.takeQueued()
		if p.result.Errno == 0 {
			p.result.Errno = p.queued.errno
		}
		if p.result.Errno == 0 {
			p.result.Errno = event.ECONNABORTED // as __inet_stream_connect has it
		}
	default:
		p.connected()
	}
	return true
}

// connected notes that the handshake completed. What has ended the connection since then, if anything has, stays the
// socket's error, for whoever uses the connection next.
func (p *probe) connected() {
	p.result.Connected = true
	p.takeQueued()
}

// answered says whether the peer has acknowledged the SYN, which the kernel counts as a byte. It counts it as it
// establishes the connection (tcp_rcv_synsent_state_process), and a RST in answer to a SYN it does not count, so that this
// tells a connection that was refused from one that was established and then reset.
func (p *probe) answered() bool {
	info := p.info()
	return info != nil && info.Bytes_acked > 0
}

// turnedBack says whether an ICMP error answered a probe that is only after such answers, and then takes it for the
// outcome.
func (p *probe) turnedBack() bool {
	if p.opts.HopLimit == 0 || p.queued.icmp == nil {
		return false
	}
	p.result.Errno = p.queued.errno
	return true
}

// takeQueued empties the error queue and keeps the last ICMP error, which is the one that ended the connect if any did.
func (p *probe) takeQueued() {
	e, found := p.drainErrors()
	if !found {
		return
	}
	p.queued = e
	if e.icmp != nil {
		p.result.ICMP = e.icmp
	}
}

// giveUp notes why the deadline passed.
func (p *probe) giveUp(ctx context.Context) {
	p.result.GaveUp = gaveUpTimeout
	switch {
	case ctx.Err() == nil || p.timedOut():
	case errors.Is(context.Cause(ctx), ErrSuperseded):
		p.result.GaveUp = gaveUpSuperseded
	default:
		p.result.GaveUp = gaveUpInterrupted
	}
}

func (p *probe) timedOut() bool {
	return p.opts.Timeout > 0 && time.Since(p.result.Started) >= p.opts.Timeout
}

// finish notes what the kernel knows of the connection at its end, and closes it.
func (p *probe) finish() {
	if local := p.local(p.result.Remote.Addr()); local.IsValid() && local.Port() != 0 {
		p.result.Local = local
	}
	if info := p.info(); info != nil {
		p.result.HasInfo = true
		p.result.RTT = time.Duration(info.Rtt) * time.Microsecond
		p.result.TotalRetrans = int(info.Total_retrans)
		p.result.Retransmits = int(info.Retransmits)
		p.result.State = event.State(info.State)
		p.result.BytesAcked = ackedBytes(info)
	}
	p.result.Lifetime = time.Since(p.result.Started)
	p.close()
}

// ackedBytes is tcpi_bytes_acked without the SYN, which the kernel counts as a byte.
func ackedBytes(info *unix.TCPInfo) int64 {
	if info.Bytes_acked == 0 {
		return 0
	}
	return int64(info.Bytes_acked) - 1
}

// monotonic is CLOCK_MONOTONIC, the clock of the kernel's events. It cannot fail with a clock that exists.
func monotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
