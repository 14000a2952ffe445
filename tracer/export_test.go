package tracer

import (
	"errors"

	"tcptrace/tracer/event"
)

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
	clients, err := t.connectionsOf(bpfRoleROLE_CLIENT)
	if err != nil {
		return err
	}
	for socket, c := range clients {
		if event.State(c.State) == event.StateEstablished {
			c.State = uint8(event.StateSYNSent)
		} else {
			c.Flags |= uint8(bpfConnectionFlagsCONNECTING)
		}
		if err := t.shared.Maps[bpfMapConnections].Put(socket, &c); err != nil {
			return err
		}
	}
	return nil
}

// UnseeChildren has the kernel side forget that requests have become servers' connections.
func (t *Tracer) UnseeChildren() error {
	children, err := t.connectionsOf(bpfRoleROLE_SERVER)
	if err != nil {
		return err
	}
	for socket, c := range children {
		c.EstablishedNs = 0
		pair := uint64(c.PeerIsn)<<32 | uint64(c.Isn)
		err := errors.Join(t.shared.Maps[bpfMapRequests].Put(pair, &c), t.shared.Maps[bpfMapConnections].Delete(socket))
		if err != nil {
			return err
		}
	}
	return nil
}

// connectionsOf are the connections that are followed in a role, by socket.
func (t *Tracer) connectionsOf(role bpfRole) (map[uint64]bpfConnection, error) {
	found := make(map[uint64]bpfConnection)
	var socket uint64
	var c bpfConnection
	all := t.shared.Maps[bpfMapConnections].Iterate()
	for all.Next(&socket, &c) {
		if bpfRole(c.Role) == role {
			found[socket] = c
		}
	}
	return found, all.Err()
}
