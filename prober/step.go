package prober

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/tracer/event"
)

// Step is one thing that a probe does on its established connection: [Exchange], [Write], [Hold], [Await], [Fill], [Set]
// or [Call].
type Step interface {
	validate() error
	// take says whether the next step may follow. Its error is that of [Connect].
	take(ctx context.Context, p *probe) (goOn bool, err error)
}

// Exchange sends and expects as [Options.Send] and [Options.Expect] do. The steps end with it if sending fails, or what
// is expected does not come. The result's Expected, ExpectMet and ExchangeErrno are those of the last exchange.
type Exchange struct {
	Send   []byte
	Expect []byte
}

// Write hands data to the kernel and does not wait until it is acknowledged. The steps end with it if the kernel refuses;
// the result's ExchangeErrno is then what an application would get.
type Write struct {
	Data []byte
}

// Hold keeps the connection as an application does that is blocked in recv: it reads whatever comes and sends nothing. It
// lasts For, or with 0 as long as the connection lives. When the peer closes its side, or the connection dies, the hold
// and the steps end.
type Hold struct {
	For time.Duration
}

// Await waits, without reading, until the connection is in a state into which the peer brings it: CLOSE_WAIT when the peer
// has closed its side, CLOSE when it is dead, which ends any wait. It leaves the socket's error to the next step.
type Await struct {
	State event.State
}

// Fill writes until the peer's receive window is shut: everything that was sent is acknowledged, and more waits to be
// sent. A peer that goes on reading may open it again at once, or never have it shut.
type Fill struct{}

// Set sets options of the live socket. Zero values are left alone. Any of the keepalive options also sets SO_KEEPALIVE.
type Set struct {
	UserTimeout       time.Duration
	KeepaliveIdle     time.Duration
	KeepaliveInterval time.Duration
	KeepaliveCount    int
}

// Call runs a function between two steps, to which it may do what it likes but the connection. An error of the function is
// an error of [Connect].
type Call func(context.Context) error

// perform takes the steps in order, until one says that no other may follow.
func (p *probe) perform(ctx context.Context) error {
	for _, step := range p.opts.Then {
		if goOn, err := step.take(ctx, p); err != nil || !goOn {
			return err
		}
	}
	return nil
}

// tryWrite notes what an application gets that goes on writing to a dead connection. Nothing is sent.
func (p *probe) tryWrite() {
	_, err := p.send([]byte{0})
	p.result.WriteErrno = errnoOf(err)
}

func (e Exchange) validate() error {
	if len(e.Send) == 0 && len(e.Expect) == 0 {
		return errors.New("an exchange must send or expect something")
	}
	return nil
}

func (e Exchange) take(ctx context.Context, p *probe) (goOn bool, err error) {
	err = p.exchange(ctx, e)
	return p.exchanged(), err
}

func (Write) validate() error { return nil }

func (w Write) take(ctx context.Context, p *probe) (goOn bool, err error) {
	sent, errno, err := p.sendAll(w.Data)
	p.result.BytesSent += sent
	p.result.ExchangeErrno = errno
	err = p.cutShort(ctx, err)
	return errno == 0 && p.result.GaveUp == "", err
}

func (h Hold) validate() error {
	if h.For < 0 {
		return fmt.Errorf("a connection cannot be held for a negative time, such as %v", h.For)
	}
	return nil
}

func (h Hold) take(ctx context.Context, p *probe) (goOn bool, err error) {
	started := time.Now()
	if h.For > 0 {
		if err := p.limit(ctx, started.Add(h.For)); err != nil {
			return false, err
		}
	}
	err = p.waitRead(p.heldEnded)
	p.result.HeldFor = time.Since(started)
	if err == nil {
		return false, nil
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false, fmt.Errorf("wait while the connection is held: %w", err)
	}
	if ctx.Err() != nil || p.timedOut() {
		p.giveUp(ctx)
		return false, nil
	}
	return true, p.limit(ctx, time.Time{})
}

// heldEnded reads what has come and says whether the connection's end, or the peer's, was in it.
func (p *probe) heldEnded() bool {
	var buf [4 << 10]byte
	for {
		n, err := again(func() (int, error) { return unix.Read(p.fd, buf[:]) })
		switch {
		case errors.Is(err, unix.EAGAIN):
			p.drainErrors() // acknowledgments that an exchange asked for
			return false
		case err != nil:
			p.result.HoldErrno = errnoOf(err)
			return true
		case n == 0:
			p.result.PeerClosed = true
			// After the peer's FIN a read tells no error any more (SOCK_DONE in tcp_recvmsg_locked).
			if p.state() == event.StateClose {
				p.result.HoldErrno = p.takeError()
			}
			return true
		}
		p.result.BytesReceived += int64(n)
	}
}

func (a Await) validate() error {
	if a.State != event.StateCloseWait && a.State != event.StateClose {
		return fmt.Errorf("the peer does not bring a connection into %v: only CLOSE_WAIT and CLOSE can be awaited", a.State)
	}
	return nil
}

func (a Await) take(ctx context.Context, p *probe) (goOn bool, err error) {
	err = p.waitRead(func() bool {
		state := p.state()
		return state == a.State || state == event.StateClose
	})
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return false, fmt.Errorf("wait for %v: %w", a.State, err)
	}
	err = p.cutShort(ctx, err)
	return p.result.GaveUp == "", err
}

func (s Set) validate() error { return s.options().Validate() }

func (s Set) take(_ context.Context, p *probe) (goOn bool, err error) {
	if err := s.options().apply(p.socket); err != nil {
		return false, err
	}
	return true, nil
}

func (s Set) options() *Options {
	return &Options{
		UserTimeout:       s.UserTimeout,
		KeepaliveIdle:     s.KeepaliveIdle,
		KeepaliveInterval: s.KeepaliveInterval,
		KeepaliveCount:    s.KeepaliveCount,
	}
}

func (c Call) validate() error {
	if c == nil {
		return errors.New("there is no function to call")
	}
	return nil
}

func (c Call) take(ctx context.Context, _ *probe) (goOn bool, err error) {
	if err := c(ctx); err != nil {
		return false, err
	}
	return true, nil
}

// validSteps says what is wrong with the first wrong step.
func (o *Options) validSteps() error {
	var first error
	for _, step := range o.Then {
		if step == nil {
			return errors.New("a step is missing")
		}
		first = cmp.Or(first, step.validate())
	}
	return first
}
