package prober

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// fillPause is how often a peer's window is looked at. The kernel tells nobody when it shuts.
const fillPause = 5 * time.Millisecond

func (Fill) validate() error { return nil }

func (Fill) take(ctx context.Context, p *probe) (goOn bool, err error) {
	chunk := make([]byte, 16<<10)
	for {
		if errno := p.pour(chunk); errno != nil {
			p.result.ExchangeErrno = errnoOf(errno)
			return false, nil
		}
		if p.shut() {
			return true, p.limit(ctx, time.Time{})
		}
		if err := p.limit(ctx, time.Now().Add(fillPause)); err != nil {
			return false, err
		}
		// Room to write is no news while the pause lasts: what is already written should come to rest.
		err := p.waitWrite(func() bool { return false })
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return false, fmt.Errorf("wait for the peer's window to shut: %w", err)
		}
		if ctx.Err() != nil || p.timedOut() {
			p.giveUp(ctx)
			return false, nil
		}
	}
}

// pour writes until the send buffer is full.
func (p *probe) pour(chunk []byte) error {
	for {
		n, err := p.send(chunk)
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		if err != nil {
			return err
		}
		p.result.BytesSent += int64(n)
	}
}

// shut says that the peer's window is 0, nothing is in flight, and something waits to be sent.
func (p *probe) shut() bool {
	info := p.info()
	return info != nil && info.Snd_wnd == 0 && info.Unacked == 0 && info.Notsent_bytes > 0
}
