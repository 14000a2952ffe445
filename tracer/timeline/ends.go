package timeline

import "tcptrace/tracer/event"

// ends finds the two ends of a connection that are both on this host, by their initial sequence numbers: NAT changes
// addresses and ports and keeps those. The SYN's number is the key, the SYN-ACK's must agree where both know it.
type ends struct {
	clients map[uint32]*Connection // by ISN
	servers map[uint32]*Connection // by PeerISN
}

func newEnds() ends {
	return ends{clients: make(map[uint32]*Connection), servers: make(map[uint32]*Connection)}
}

// join enters a connection with what is known of its numbers by now, and joins it to its other end.
func (e *ends) join(c *Connection) {
	switch c.Role {
	case event.RoleClient:
		if c.ISN == 0 {
			return
		}
		e.clients[c.ISN] = c
		pair(c, e.servers[c.ISN])
	case event.RoleServer:
		if c.PeerISN == 0 {
			return
		}
		e.servers[c.PeerISN] = c
		pair(e.clients[c.PeerISN], c)
	}
}

// remove forgets a connection, unless another one has taken its number meanwhile.
func (e *ends) remove(c *Connection) {
	if e.clients[c.ISN] == c {
		delete(e.clients, c.ISN)
	}
	if e.servers[c.PeerISN] == c {
		delete(e.servers, c.PeerISN)
	}
}

// pair joins the two ends. A socket is a better other end than the resets that were sent without one.
func pair(client, server *Connection) {
	if client == nil || server == nil || client.Peer == server || disagree(client.PeerISN, server.ISN) {
		return
	}
	if client.Peer != nil && !client.Peer.Socketless() {
		return
	}
	client.Peer, server.Peer = server, client
}

// disagree says that two sequence numbers are known and differ.
func disagree(a, b uint32) bool { return a != 0 && b != 0 && a != b }
