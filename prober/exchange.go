package prober

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/tracer/event"
)

// exchange sends and awaits what it is asked to, on the established connection. An error means that the Go runtime could
// not wait; what went wrong on the connection is in the result.
func (p *probe) exchange(ctx context.Context, e Exchange) error {
	p.result.ExchangeErrno, p.result.Expected, p.result.ExpectMet = 0, string(e.Expect), false
	if len(e.Expect) == 0 {
		return p.cutShort(ctx, p.deliver(e.Send))
	}
	if err := p.cutShort(ctx, p.converse(e)); err != nil {
		return err
	}
	return p.limit(ctx, time.Time{}) // conversing has ended the sender by a deadline
}

// exchanged says whether the last exchange was all that it should be.
func (p *probe) exchanged() bool {
	return p.result.ExchangeErrno == 0 && p.result.GaveUp == "" && (p.result.Expected == "" || p.result.ExpectMet)
}

// cutShort turns the passing of the deadline into a result.
func (p *probe) cutShort(ctx context.Context, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		p.giveUp(ctx)
		return nil
	}
	return err
}

// deliver sends, and waits until the peer's kernel has acknowledged everything or the connection has died.
func (p *probe) deliver(data []byte) error {
	if err := p.reportAcks(); err != nil {
		return err
	}
	sent, errno, err := p.sendAll(data)
	p.result.BytesSent += sent
	p.result.ExchangeErrno = errno
	if err != nil || errno != 0 {
		return err
	}
	err = p.waitWrite(p.delivered)
	if err != nil {
		return fmt.Errorf("wait for acknowledgments: %w", err)
	}
	return nil
}

// reportAcks makes the kernel wake the poller when the last byte of a write is acknowledged. It does so by a
// timestamp in the error queue, of which only the arrival matters.
func (p *probe) reportAcks() error {
	return p.set(setting{name: "SO_TIMESTAMPING", level: unix.SOL_SOCKET, opt: unix.SO_TIMESTAMPING,
		value: unix.SOF_TIMESTAMPING_TX_ACK | unix.SOF_TIMESTAMPING_SOFTWARE | unix.SOF_TIMESTAMPING_OPT_TSONLY})
}

// delivered says whether nothing sent is unacknowledged (SIOCOUTQ), or never will be.
func (p *probe) delivered() bool {
	p.drainErrors()
	if p.state() == event.StateClose {
		p.result.ExchangeErrno = p.takeError()
		return true
	}
	unacknowledged, err := unix.IoctlGetInt(p.fd, unix.SIOCOUTQ)
	if err != nil {
		p.result.ExchangeErrno = errnoOf(err)
		return true
	}
	return unacknowledged == 0
}

// converse sends while it reads, as a peer may answer before it has read all and would block otherwise. It ends as
// soon as what was expected is there, or can no longer come.
func (p *probe) converse(e Exchange) error {
	type outcome struct {
		sent  int64
		errno event.Errno
		err   error
	}
	sender := make(chan outcome, 1)
	go func() {
		sent, errno, err := p.sendAll(e.Send)
		sender <- outcome{sent, errno, err}
	}()
	errno, readErr := p.receive(e.Expect)

	// A sender that still waits is no longer needed.
	if err := p.file.SetWriteDeadline(time.Unix(1, 0)); err != nil {
		return fmt.Errorf("stop sending: %w", err)
	}
	out := <-sender
	p.result.BytesSent += out.sent
	if errors.Is(out.err, os.ErrDeadlineExceeded) {
		out.err = nil
	}
	p.result.ExchangeErrno = errno
	if errno == 0 && !p.result.ExpectMet {
		p.result.ExchangeErrno = out.errno
	}
	return errors.Join(readErr, out.err)
}

// sendAll sends data, waiting for room. errno is what ended it early.
func (p *probe) sendAll(data []byte) (sent int64, errno event.Errno, err error) {
	err = p.waitWrite(func() bool {
		for len(data) > 0 {
			n, err := p.send(data)
			if errors.Is(err, unix.EAGAIN) {
				return false
			}
			if err != nil {
				errno = errnoOf(err)
				return true
			}
			sent, data = sent+int64(n), data[n:]
		}
		return true
	})
	if err != nil {
		err = fmt.Errorf("wait to send: %w", err)
	}
	return sent, errno, err
}

// send sends what there is room for.
func (p *probe) send(data []byte) (int, error) {
	return again(func() (int, error) { return unix.SendmsgN(p.fd, data, nil, nil, unix.MSG_NOSIGNAL) })
}

// receive reads until the expected bytes have come, the peer closes, or the connection fails with errno.
func (p *probe) receive(expect []byte) (errno event.Errno, err error) {
	search := finder{want: expect}
	buf := make([]byte, 16<<10) // a few segments
	err = p.waitRead(func() bool {
		for {
			n, err := again(func() (int, error) { return unix.Read(p.fd, buf) })
			if errors.Is(err, unix.EAGAIN) {
				return false
			}
			if err != nil {
				errno = errnoOf(err)
				return true
			}
			if n == 0 {
				p.result.PeerClosed = true
				return true
			}
			p.result.BytesReceived += int64(n)
			if search.found(buf[:n]) {
				p.result.ExpectMet = true
				return true
			}
		}
	})
	if err != nil {
		err = fmt.Errorf("wait to receive: %w", err)
	}
	return errno, err
}

// finder looks for bytes in a stream that comes in pieces, in memory that does not grow with the stream.
type finder struct {
	want []byte
	tail []byte // the end of the stream so far, too short to hold want
}

// found adds a piece and says whether want is complete with it.
func (f *finder) found(piece []byte) bool {
	window := append(f.tail, piece...)
	if bytes.Contains(window, f.want) {
		return true
	}
	keep := min(len(window), len(f.want)-1)
	f.tail = append(f.tail[:0], window[len(window)-keep:]...)
	return false
}
