package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
)

// Wire is a link with a program in its middle. It can lose, hold and change what crosses it where no host's kernel sees
// that, as the network between distant hosts can.
type Wire struct {
	wg sync.WaitGroup

	mu    sync.Mutex // held while relay runs
	relay Relay
}

// Relay is called with each TCP segment, of either direction, one after the other, and lets it pass or does not. Until it
// returns the wire stands still.
type Relay func(Crossing)

// Crossing is a TCP segment in the middle of a wire. It may pass at once, later, or never.
type Crossing struct {
	Segment
	From *Host // the end that sent it

	to *os.File
}

// Pass delivers the segment to the other end as it arrived. The kernel there may refuse it, as any network may lose a
// packet.
func (c Crossing) Pass() { _, _ = c.to.Write(c.packet) }

// Wire joins two hosts as [Network.Connect] does, by a wire on which everything passes.
func (n *Network) Wire(ctx context.Context, a, b End) (*Wire, error) {
	w, err := n.wire(ctx, a, b)
	if err != nil {
		return nil, fmt.Errorf("wire %s to %s: %w", a.Host.Name, b.Host.Name, err)
	}
	return w, nil
}

func (n *Network) wire(ctx context.Context, a, b End) (*Wire, error) {
	nameA, nameB := a.Host.nextInterface(), b.Host.nextInterface()
	fileA, err := a.Host.openTUN(nameA)
	if err != nil {
		return nil, err
	}
	fileB, err := b.Host.openTUN(nameB)
	if err != nil {
		return nil, errors.Join(err, fileA.Close())
	}
	w := &Wire{relay: Crossing.Pass}
	w.wg.Go(func() { w.carry(a.Host, fileA, fileB) })
	w.wg.Go(func() { w.carry(b.Host, fileB, fileA) })
	err = n.onClose(func() error {
		err := errors.Join(fileA.Close(), fileB.Close())
		w.wg.Wait()
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := a.Host.attach(ctx, nameA, a.Addrs, linkLocalA); err != nil {
		return nil, err
	}
	return w, b.Host.attach(ctx, nameB, b.Addrs, linkLocalB)
}

// Relay has relay decide from now on. What is not TCP always passes.
func (w *Wire) Relay(relay Relay) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.relay = relay
}

// attach makes a TUN interface usable. Its carrier is there from the beginning.
func (h *Host) attach(ctx context.Context, name string, addrs []netip.Prefix, linkLocal netip.Prefix) error {
	if err := h.setUp(name); err != nil {
		return err
	}
	return h.addAddrs(ctx, name, addrs, linkLocal)
}

// carry returns when a file is closed, or its interface has gone with its namespace.
func (w *Wire) carry(from *Host, in, out *os.File) {
	packet := make([]byte, 1<<16)
	for {
		n, err := in.Read(packet)
		if err != nil {
			return
		}
		segment, ok := parseSegment(bytes.Clone(packet[:n]))
		if !ok {
			_, _ = out.Write(packet[:n])
			continue
		}
		w.mu.Lock()
		w.relay(Crossing{Segment: segment, From: from, to: out})
		w.mu.Unlock()
	}
}
