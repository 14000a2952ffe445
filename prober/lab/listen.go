package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
)

// Listen serves a TCP address of the host until the network is closed: connections are accepted at once, what they send is
// read and forgotten, and each is closed when its peer closes it.
func (h *Host) Listen(addr netip.AddrPort) error {
	listener, err := h.listen(addr)
	if err != nil {
		return err
	}
	s := &sink{listener: listener}
	s.wg.Go(s.accept)
	return h.network.onClose(s.close)
}

// ListenOnly opens a listening socket whose connections nobody ever accepts, until the network is closed. The kernel still
// completes their handshakes, as many as the accept queue holds.
func (h *Host) ListenOnly(addr netip.AddrPort) error {
	listener, err := h.listen(addr)
	if err != nil {
		return err
	}
	return h.network.onClose(listener.Close)
}

// listen opens a plain TCP socket: package net would make it a Multipath TCP one, which the kernel treats differently.
func (h *Host) listen(addr netip.AddrPort) (*net.TCPListener, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	var listener net.Listener
	err := h.Do(func() (err error) {
		listener, err = config.Listen(context.Background(), "tcp", addr.String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", h.Name, err)
	}
	return listener.(*net.TCPListener), nil
}

// sink reads and forgets what its connections send.
type sink struct {
	listener *net.TCPListener
	wg       sync.WaitGroup

	mu     sync.Mutex
	closed bool
	conns  map[*net.TCPConn]struct{}
}

// accept returns when the listener is closed.
func (s *sink) accept() {
	for {
		conn, err := s.listener.AcceptTCP()
		if err != nil {
			return
		}
		if !s.add(conn) {
			conn.Close()
			return
		}
		s.wg.Go(func() { s.drain(conn) })
	}
}

func (s *sink) drain(conn *net.TCPConn) {
	// An error says that the connection is over, one way or another.
	_, _ = io.Copy(io.Discard, conn)
	s.remove(conn)
	conn.Close()
}

func (s *sink) add(conn *net.TCPConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.conns == nil {
		s.conns = make(map[*net.TCPConn]struct{})
	}
	s.conns[conn] = struct{}{}
	return true
}

func (s *sink) remove(conn *net.TCPConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

// close ends the listener and what it accepted, and waits for the goroutines. Connections are reset: one that is closed in
// good order may have to repeat its FIN, and keep its namespace alive, long after everybody else is gone.
func (s *sink) close() error {
	err := s.listener.Close()
	s.mu.Lock()
	s.closed = true
	for conn := range s.conns {
		_ = conn.SetLinger(0)
		conn.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return err
}
