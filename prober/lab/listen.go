package lab

import "net/netip"

// Listen serves a TCP address of the host until the network is closed: connections are accepted at once, what they send is
// read and forgotten, and each is closed when its peer closes it.
func (h *Host) Listen(addr netip.AddrPort) error {
	_, err := h.Discard(addr)
	return err
}

// Discard is [Host.Listen] for those who want to know of its connections.
func (h *Host) Discard(addr netip.AddrPort) (*Service, error) { return h.serve(addr, 0, discard) }

// ListenOnly opens a listening socket whose connections nobody ever accepts, until the network is closed. The kernel still
// completes their handshakes, as many as the accept queue holds.
func (h *Host) ListenOnly(addr netip.AddrPort) error {
	listener, err := h.listen(addr, 0)
	if err != nil {
		return err
	}
	return h.network.onClose(listener.Close)
}
