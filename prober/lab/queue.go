package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Queue is a listening socket whose application hangs: nobody accepts its connections but [Queue.Accept]. Its accept
// queue holds one connection more than its backlog (sk_acceptq_is_full, include/net/sock.h).
type Queue struct {
	listener *net.TCPListener

	mu       sync.Mutex
	accepted []*net.TCPConn
}

// ListenQueue opens a listening socket with that backlog, until the network is closed.
func (h *Host) ListenQueue(addr netip.AddrPort, backlog int) (*Queue, error) {
	listener, err := h.listen(addr, 0)
	if err != nil {
		return nil, err
	}
	// Package net has asked for as much as the system allows. Asking again is changing it.
	if err := setBacklog(listener, backlog); err != nil {
		return nil, errors.Join(fmt.Errorf("set the backlog on %s: %w", h.Name, err), listener.Close())
	}
	q := &Queue{listener: listener}
	if err := h.network.onClose(q.close); err != nil {
		return nil, err
	}
	return q, nil
}

func setBacklog(listener *net.TCPListener, backlog int) error {
	raw, err := listener.SyscallConn()
	if err != nil {
		return err
	}
	return control(raw, func(fd int) error { return unix.Listen(fd, backlog) })
}

// Accept takes the connection that has waited longest, and keeps it open. It waits only briefly for one.
func (q *Queue) Accept() error {
	const patience = 5 * time.Second
	if err := q.listener.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	conn, err := q.listener.AcceptTCP()
	if err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.accepted = append(q.accepted, conn)
	return nil
}

// close resets what was accepted; the kernel does so with what was not.
func (q *Queue) close() error {
	err := q.listener.Close()
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, conn := range q.accepted {
		_ = abort(conn)
	}
	return err
}
