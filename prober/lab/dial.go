package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
)

// occupy makes a connection from the host, on which nothing happens until the network is closed.
func (h *Host) occupy(ctx context.Context, remote netip.AddrPort) error {
	conn, err := h.dial(ctx, remote)
	if err != nil {
		return err
	}
	return h.network.onClose(func() error { return abort(conn) })
}

// timeWait leaves a TIME_WAIT of a connection from the host. remote must close when its peer does.
func (h *Host) timeWait(ctx context.Context, remote netip.AddrPort) error {
	conn, err := h.dial(ctx, remote)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	// With the peer's FIN the kernel makes a TIME_WAIT of it.
	_, err = io.Copy(io.Discard, conn)
	return err
}

// dial makes a plain TCP connection, without keepalive.
func (h *Host) dial(ctx context.Context, remote netip.AddrPort) (*net.TCPConn, error) {
	return h.dialFrom(ctx, netip.AddrPort{}, remote)
}

// dialFrom is dial from an address of the host, and from a port of it; the zero value leaves both to the kernel.
func (h *Host) dialFrom(ctx context.Context, local, remote netip.AddrPort) (conn *net.TCPConn, err error) {
	dialer := net.Dialer{KeepAlive: -1}
	dialer.SetMultipathTCP(false)
	if local.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(local)
	}
	err = h.Do(func() error {
		c, err := dialer.DialContext(ctx, "tcp", remote.String())
		if err == nil {
			conn = c.(*net.TCPConn)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect from %s: %w", h.Name, err)
	}
	return conn, nil
}

// abort closes a connection with a reset, so that it does not keep its namespace.
func abort(conn *net.TCPConn) error {
	_ = conn.SetLinger(0)
	return conn.Close()
}
