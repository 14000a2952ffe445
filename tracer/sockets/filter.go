package sockets

import (
	"net/netip"
	"slices"
	"strings"

	"tcptrace/tracer/event"
)

// Filter says which sockets to show. Different fields are combined with and, the values of one field with or; the zero
// value shows all. PIDs, Comms, UIDs, Cgroup and Container are about the owner.
type Filter struct {
	PIDs       []int
	Comms      []string
	UIDs       []uint32
	Cgroup     string // path; everything below counts
	Container  string // the beginning of an id
	NetNS      []uint32
	Port       uint16 // on either side
	LocalPort  uint16
	RemotePort uint16
	Network    netip.Prefix // of either address
	Family     int          // 4, 6, or 0 for both
	States     []event.State
}

// Passes says whether to show a socket.
func (f *Filter) Passes(s *Socket) bool {
	return f.ownerPasses(s) && f.endsPass(s) &&
		(len(f.NetNS) == 0 || slices.Contains(f.NetNS, s.NetNS)) &&
		(len(f.States) == 0 || slices.Contains(f.States, s.State))
}

func (f *Filter) ownerPasses(s *Socket) bool {
	if !s.Owner.Known() {
		// Whom a socket belongs to that nobody holds is still known to the kernel; the rest of its owner is not.
		onlyUID := len(f.PIDs) == 0 && len(f.Comms) == 0 && f.Cgroup == "" && f.Container == ""
		uidPasses := len(f.UIDs) == 0 || s.HasUID && !s.Held && slices.Contains(f.UIDs, s.UID)
		return onlyUID && uidPasses
	}
	o := &s.Owner
	return (len(f.PIDs) == 0 || slices.Contains(f.PIDs, o.PID)) &&
		(len(f.Comms) == 0 || slices.Contains(f.Comms, o.Comm)) &&
		(len(f.UIDs) == 0 || slices.Contains(f.UIDs, o.UID)) &&
		(f.Cgroup == "" || under(o.Cgroup, f.Cgroup)) &&
		strings.HasPrefix(o.Container, f.Container)
}

// under says whether a cgroup is the one at root, or below it.
func under(cgroup, root string) bool {
	root = strings.TrimSuffix(root, "/")
	return cgroup == root || strings.HasPrefix(cgroup, root+"/")
}

func (f *Filter) endsPass(s *Socket) bool {
	local, remote := s.Local, s.Remote
	switch {
	case f.Port != 0 && local.Port() != f.Port && remote.Port() != f.Port,
		f.LocalPort != 0 && local.Port() != f.LocalPort,
		f.RemotePort != 0 && remote.Port() != f.RemotePort,
		f.Network.IsValid() && !f.Network.Contains(local.Addr()) && !f.Network.Contains(remote.Addr()):
		return false
	}
	switch f.Family {
	case 4:
		return local.Addr().Is4()
	case 6:
		return local.Addr().Is6()
	}
	return true
}
