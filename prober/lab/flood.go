package lab

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Flood is SYNs that nobody means, and whose answers nobody awaits.
type Flood struct {
	From netip.Addr // of IPv4, and the host's own, or one that it may pretend to be
	To   netip.AddrPort
	Rate int // a second
	SYNs int // in all
}

// Flood sends the SYNs by a raw socket, each from another port than those just before it, and from one thread: where the peer
// is a namespace of the same machine, that thread also pays for what the peer's kernel does. It returns when all are sent, or
// ctx ends, with how many were. A machine that is too slow for the rate is not made to catch up.
func (h *Host) Flood(ctx context.Context, flood Flood) (sent int, err error) {
	err = h.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return fmt.Errorf("open a raw socket: %w", err)
		}
		defer unix.Close(fd)
		sent, err = flood.send(ctx, fd)
		return err
	})
	if err != nil {
		return sent, fmt.Errorf("flood %s: %w", flood.To, err)
	}
	return sent, nil
}

// floodTick is how often what is due is sent, at once.
const floodTick = time.Millisecond

func (f *Flood) send(ctx context.Context, fd int) (sent int, err error) {
	to := &unix.SockaddrInet4{Addr: f.To.Addr().As4()}
	tick := time.NewTicker(floodTick)
	defer tick.Stop()
	for last := time.Now(); sent < f.SYNs; {
		select {
		case <-ctx.Done():
			return sent, nil
		case <-tick.C:
		}
		now := time.Now()
		due := int(float64(f.Rate) * min(now.Sub(last), 10*floodTick).Seconds())
		last = now
		for range min(due, f.SYNs-sent) {
			if err := unix.Sendto(fd, f.syn(sent), 0, to); err != nil {
				return sent, err
			}
			sent++
		}
	}
	return sent, nil
}

// syn is the n-th. Ports are those from 1024 on.
func (f *Flood) syn(n int) []byte {
	const first, ports = 1024, 1<<16 - 1024
	s := Segment{
		Source: netip.AddrPortFrom(f.From, uint16(first+n%ports)), Destination: f.To,
		Seq:   uint32(n+1) * 2654435761,                                // spread over all numbers
		Flags: FlagSYN, Window: 0xffff, Options: []byte{2, 4, 5, 0xb4}, // MSS 1460
	}
	return s.marshal()
}
