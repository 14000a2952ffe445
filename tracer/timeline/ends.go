package timeline

import "tcptrace/tracer/event"

// ends finds the two ends of a connection that are both on this host, by their initial sequence numbers: NAT changes
// addresses and ports and keeps those. The SYN's number is the key, the SYN-ACK's must agree where both know it.
type ends struct {
	clients map[uint32]*Connection // by ISN
	servers map[uint32]*Connection // by PeerISN
	refused map[uint32]*Connection // by PeerISN
}

func newEnds() ends {
	return ends{
		clients: make(map[uint32]*Connection), servers: make(map[uint32]*Connection), refused: make(map[uint32]*Connection),
	}
}

// joined is what a connection was entered as.
type joined struct {
	role         event.Role
	isn, peerISN uint32
	refused      bool
}

// join enters a connection with what is known of its numbers by now, and joins it to its other end.
func (e *ends) join(c *Connection) {
	as := joined{c.Role, c.ISN, c.PeerISN, c.OnlyRefused()}
	if as == c.joined {
		return // as it was by an earlier event: the other end's own joins them
	}
	c.joined = as
	switch {
	case c.Role == event.RoleClient && c.ISN != 0:
		e.clients[c.ISN] = c
		pair(c, e.servers[c.ISN])
		refuse(c, e.refused[c.ISN])
	case c.PeerISN == 0:
	case c.OnlyRefused():
		e.refused[c.PeerISN] = c
		refuse(e.clients[c.PeerISN], c)
		refuse(e.servers[c.PeerISN], c)
	case c.Role == event.RoleServer:
		e.servers[c.PeerISN] = c
		pair(e.clients[c.PeerISN], c)
		e.taken(c)
	}
}

// taken joins a connection to the refusals of its own SYN. They may have been told as of the same connection.
func (e *ends) taken(c *Connection) {
	if e.refused[c.PeerISN] != c {
		refuse(c, e.refused[c.PeerISN])
		return
	}
	delete(e.refused, c.PeerISN)
	if client := e.clients[c.PeerISN]; client != nil && client.Refused == c {
		client.Refused = nil
	}
}

// remove forgets a connection, unless another one has taken its number meanwhile.
func (e *ends) remove(c *Connection) {
	remove(e.clients, c.ISN, c)
	remove(e.servers, c.PeerISN, c)
	remove(e.refused, c.PeerISN, c)
}

func remove(from map[uint32]*Connection, number uint32, c *Connection) {
	if from[number] == c {
		delete(from, number)
	}
}

// refuse joins either end of a connection to what a listener made of its SYN.
func refuse(c, refused *Connection) {
	if c == nil || refused == nil {
		return
	}
	c.Refused = refused
	if refused.Peer == nil || c.Role == event.RoleClient {
		refused.Peer = c
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
	for _, before := range []*Connection{client.Peer, server.Peer} {
		if before != nil {
			before.repaired, client.repaired, server.repaired = true, true, true
		}
	}
	client.Peer, server.Peer = server, client
}

// disagree says that two sequence numbers are known and differ.
func disagree(a, b uint32) bool { return a != 0 && b != 0 && a != b }
