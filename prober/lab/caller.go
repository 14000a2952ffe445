package lab

import (
	"context"
	"net/netip"
	"sync"
)

// caller makes connections from a host in the background, and keeps each until its peer closes, or the network is.
type caller struct {
	host *Host
	ctx  context.Context // ends with the network
	wg   sync.WaitGroup
}

func newCaller(h *Host) (*caller, error) {
	ctx, cancel := context.WithCancel(context.Background())
	c := &caller{host: h, ctx: ctx}
	return c, h.network.onClose(func() error {
		cancel()
		c.wg.Wait()
		return nil
	})
}

// call connects from one end to the other, and returns before it has. A connect that fails is no connection.
func (c *caller) call(from, to netip.AddrPort) {
	c.wg.Go(func() {
		conn, err := c.host.dialFrom(c.ctx, from, to)
		if err != nil {
			return
		}
		stop := context.AfterFunc(c.ctx, func() { _ = abort(conn) })
		defer stop()
		discard(conn)
		conn.Close()
	})
}
