package prober

import "net/netip"

// PortHold is a source port that stays this process's between connections that are made from it one after the other: the
// kernel gives it to nobody who does not ask for it by number.
type PortHold struct {
	socket *socket
	port   uint16
}

// HoldPort takes a free port for connections to remote with these options, of which Source and NetNS count. Connections
// then name it as their SourcePort. The caller closes the hold.
func HoldPort(remote netip.Addr, opts *Options) (*PortHold, error) {
	s, err := newSocket(remote.Unmap(), opts.NetNS)
	if err != nil {
		return nil, err
	}
	port, err := s.takePort(opts.Source)
	if err != nil {
		s.close()
		return nil, err
	}
	return &PortHold{socket: s, port: port}, nil
}

// Port is the port that is held.
func (h *PortHold) Port() uint16 { return h.port }

// Close gives the port up. A nil hold has nothing to close.
func (h *PortHold) Close() {
	if h != nil {
		h.socket.close()
	}
}
