package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Responder plays whatever is behind a tunnel: it is called with each TCP segment that leaves by it, one after the other,
// and says what is to come back, first things first. Nothing else that leaves by the tunnel is ever answered.
type Responder func(Segment) []Reply

// Reply is a packet that comes back. Those to one segment do so in their order.
type Reply struct {
	Packet Packet
	After  time.Duration // so long after the segment that it answers
}

// Packet is a [Segment] or an [ICMPError].
type Packet interface{ marshal() []byte }

// Tunnel gives the host its next interface with addresses, each with the length of the prefix that is behind it. There, no
// other host is, but respond, until the network is closed. Unlike those of a veth pair, a packet that comes back never does
// so within the system call that sent the segment.
func (h *Host) Tunnel(ctx context.Context, addrs []netip.Prefix, respond Responder) error {
	if _, err := h.tunnel(ctx, addrs, respond); err != nil {
		return fmt.Errorf("add a tunnel to %s: %w", h.Name, err)
	}
	return nil
}

func (h *Host) tunnel(ctx context.Context, addrs []netip.Prefix, respond Responder) (*tunnel, error) {
	t, err := h.startTunnel(respond)
	if err != nil {
		return nil, err
	}
	return t, h.addAddrs(ctx, t.name, addrs, linkLocalA)
}

// startTunnel gives the host its next interface, up but without addresses.
func (h *Host) startTunnel(respond Responder) (*tunnel, error) {
	name := h.nextInterface()
	file, err := h.openTUN(name)
	if err != nil {
		return nil, err
	}
	t := &tunnel{name: name, file: file, respond: respond, closing: make(chan struct{})}
	t.wg.Go(t.serve)
	if err := h.network.onClose(t.close); err != nil {
		return nil, err
	}
	// Its carrier is there from the beginning, so that it need not be awaited.
	return t, h.setUp(name)
}

// openTUN makes an interface that goes when the file is closed. What is read is what leaves by it.
func (h *Host) openTUN(name string) (*os.File, error) {
	ifreq, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	ifreq.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	const device = "/dev/net/tun"
	fd := -1
	// The interface is made where the file was opened.
	err = h.Do(func() (err error) {
		fd, err = unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", device, err)
	}
	// Only now can it be polled, and be given to the runtime's poller.
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifreq); err != nil {
		return nil, errors.Join(fmt.Errorf("make a TUN interface: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), device), nil
}

// tunnel is the far end of a TUN interface.
type tunnel struct {
	name    string
	file    *os.File
	respond Responder
	closing chan struct{}
	wg      sync.WaitGroup
}

// serve returns when the file is closed, or its interface has gone with its namespace.
func (t *tunnel) serve() {
	packet := make([]byte, 1<<16)
	for {
		n, err := t.file.Read(packet)
		if err != nil {
			return
		}
		arrived := time.Now()
		segment, ok := parseSegment(bytes.Clone(packet[:n]))
		if !ok {
			continue
		}
		if replies := t.respond(segment); len(replies) > 0 {
			t.wg.Go(func() { t.reply(arrived, replies) })
		}
	}
}

// inject has a packet come out of the tunnel that answers none.
func (t *tunnel) inject(p Packet) error {
	_, err := t.file.Write(p.marshal())
	return err
}

// reply sends packets, each when it is due. The kernel may refuse one, as any network may lose a packet.
func (t *tunnel) reply(arrived time.Time, replies []Reply) {
	for _, r := range replies {
		due := time.NewTimer(time.Until(arrived.Add(r.After)))
		select {
		case <-due.C:
			_, _ = t.file.Write(r.Packet.marshal())
		case <-t.closing:
			due.Stop()
			return
		}
	}
}

func (t *tunnel) close() error {
	close(t.closing)
	err := t.file.Close()
	t.wg.Wait()
	return err
}
