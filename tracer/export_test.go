package tracer

import "tcptrace/tracer/event"

// SecondCopiesPassedBy is how often the kernel ran neither copy of a program at an event, or not the second when the first had
// done the work: it tells no difference.
func (t *Tracer) SecondCopiesPassedBy() (all uint64) {
	for _, l := range t.attacher.links {
		if l.copy == 0 {
			continue
		}
		if stats, err := l.program.Stats(); err == nil {
			all += stats.RecursionMisses
		}
	}
	return all
}

// UnseenChanges is how many changes of state the kernel side knows it has not seen.
func (t *Tracer) UnseenChanges() (uint64, error) { return unseenChanges(t.shared.Maps[bpfMapLost]) }

// Unsee has the kernel side forget what it saw last of each client that is followed: the change to ESTABLISHED, or that connect()
// returned.
func (t *Tracer) Unsee() error {
	connections := t.shared.Maps[bpfMapConnections]
	var socket uint64
	var c bpfConnection
	seen := make(map[uint64]bpfConnection)
	all := connections.Iterate()
	for all.Next(&socket, &c) {
		seen[socket] = c
	}
	for socket, c := range seen {
		if bpfRole(c.Role) != bpfRoleROLE_CLIENT {
			continue
		}
		if event.State(c.State) == event.StateEstablished {
			c.State = uint8(event.StateSYNSent)
		} else {
			c.Flags |= uint8(bpfConnectionFlagsCONNECTING)
		}
		if err := connections.Put(socket, &c); err != nil {
			return err
		}
	}
	return all.Err()
}
