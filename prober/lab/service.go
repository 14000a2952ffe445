package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Service is a TCP server on a [Host]. It accepts every connection at once, and ends when its network is closed.
type Service struct {
	listener *net.TCPListener
	handle   func(*net.TCPConn) // returns when its connection is closed under it
	wg       sync.WaitGroup

	mu     sync.Mutex
	closed bool
	conns  map[*net.TCPConn]struct{}
}

// Echo serves a TCP address of the host: what connections send is sent back, and each is closed when its peer closes it.
func (h *Host) Echo(addr netip.AddrPort) (*Service, error) { return h.serve(addr, 0, echo) }

// Stall serves a TCP address of the host as an application that hangs: connections are accepted and never read, so that
// their receive window shuts. Their receive buffer is small.
func (h *Host) Stall(addr netip.AddrPort) (*Service, error) {
	const receiveBuffer = 16 << 10 // a few segments: soon full
	return h.serve(addr, receiveBuffer, stall)
}

// HangUp serves a TCP address of the host by closing each connection as soon as it is accepted.
func (h *Host) HangUp(addr netip.AddrPort) (*Service, error) {
	return h.serve(addr, 0, func(*net.TCPConn) {})
}

// discard reads and forgets. An error says that the connection is over, one way or another.
func discard(conn *net.TCPConn) { _, _ = io.Copy(io.Discard, conn) }

// echo reads and writes. Without the wrappers package net would splice, through pipes that it keeps.
func echo(conn *net.TCPConn) { _, _ = io.Copy(struct{ io.Writer }{conn}, struct{ io.Reader }{conn}) }

// stall waits for the connection to be closed on this side.
func stall(conn *net.TCPConn) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(uintptr) bool { return false })
}

// serve has handle deal with the connections that come for an address. They are closed when it returns. receiveBuffer is
// their SO_RCVBUF in bytes; with 0 the kernel sees to it.
func (h *Host) serve(addr netip.AddrPort, receiveBuffer int, handle func(*net.TCPConn)) (*Service, error) {
	listener, err := h.listen(addr, receiveBuffer)
	if err != nil {
		return nil, err
	}
	s := &Service{listener: listener, handle: handle}
	s.wg.Go(s.accept)
	if err := h.network.onClose(s.close); err != nil {
		return nil, err
	}
	return s, nil
}

// listen opens a plain TCP socket. Package net would make it a Multipath TCP one, which the kernel treats differently, and
// would have keepalive on for what it accepts.
func (h *Host) listen(addr netip.AddrPort, receiveBuffer int) (*net.TCPListener, error) {
	config := net.ListenConfig{KeepAlive: -1}
	config.SetMultipathTCP(false)
	if receiveBuffer != 0 {
		// Before listen(), as the window scale of every connection depends on it.
		config.Control = func(_, _ string, raw syscall.RawConn) error { return setReceiveBuffer(raw, receiveBuffer) }
	}
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

func setReceiveBuffer(raw syscall.RawConn, size int) error {
	return control(raw, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size) })
}

// control runs fn with the socket's file descriptor.
func control(raw syscall.RawConn, fn func(fd int) error) error {
	var err error
	if controlErr := raw.Control(func(fd uintptr) { err = fn(int(fd)) }); controlErr != nil {
		return controlErr
	}
	return err
}

// settlePause is how often a service is asked whether it has settled: the kernel does not tell by itself.
const settlePause = time.Millisecond

// Settle waits until the service has a connection, and all that was sent on its connections is acknowledged: now the next
// packet from the other side is one that no earlier packet has caused.
func (s *Service) Settle(ctx context.Context) error {
	if err := poll(ctx, s.settled); err != nil {
		return fmt.Errorf("wait for a service to settle: %w", err)
	}
	return nil
}

// await waits until the service has so many connections.
func (s *Service) await(ctx context.Context, conns int) error {
	err := poll(ctx, func() (bool, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.conns) == conns, nil
	})
	if err != nil {
		return fmt.Errorf("wait for a service to have %d connections: %w", conns, err)
	}
	return nil
}

// poll asks until ready is true, or fails.
func poll(ctx context.Context, ready func() (bool, error)) error {
	tick := time.NewTicker(settlePause)
	defer tick.Stop()
	for {
		if ok, err := ready(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Service) settled() (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		unacknowledged, err := sendQueue(conn)
		if err != nil || unacknowledged > 0 {
			return false, err
		}
	}
	return len(s.conns) > 0, nil
}

// sendQueue is how many bytes were written and not yet acknowledged (SIOCOUTQ).
func sendQueue(conn *net.TCPConn) (bytes int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	err = control(raw, func(fd int) (err error) {
		bytes, err = unix.IoctlGetInt(fd, unix.SIOCOUTQ)
		return err
	})
	return bytes, err
}

// accept returns when the listener is closed.
func (s *Service) accept() {
	for {
		conn, err := s.listener.AcceptTCP()
		if err != nil {
			return
		}
		if !s.add(conn) {
			conn.Close()
			return
		}
		s.wg.Go(func() {
			s.handle(conn)
			s.remove(conn)
			conn.Close()
		})
	}
}

func (s *Service) add(conn *net.TCPConn) bool {
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

// addr is where the service listens.
func (s *Service) addr() netip.AddrPort { return s.listener.Addr().(*net.TCPAddr).AddrPort() }

// closeWrite closes the service's side of its connections.
func (s *Service) closeWrite() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		_ = conn.CloseWrite() // of one that is dead there is nothing to close
	}
}

func (s *Service) remove(conn *net.TCPConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

// close ends the listener and what it accepted, and waits for the goroutines. Connections are reset: one that is closed in
// good order may have to repeat its FIN, and keep its namespace alive, long after everybody else is gone.
func (s *Service) close() error {
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
