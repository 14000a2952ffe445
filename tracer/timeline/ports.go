package timeline

import (
	"net/netip"
	"time"

	"tcptrace/tracer/event"
)

// anew is how soon a client connects again whose SYN met an old connection: the reset that it sends for the answer
// comes first, and tcp_rcv_synsent_state_process arms the SYN timer to TCP_TIMEOUT_MIN, two ticks.
const anew = 100 * time.Millisecond

// ports finds the connections of a server that had the same two ends, one after the other.
type ports struct {
	latest map[portsKey]*Connection
}

type portsKey struct {
	netns         uint32
	local, remote netip.AddrPort
}

func newPorts() ports { return ports{latest: make(map[portsKey]*Connection)} }

// follow enters a server's connection, also one that is older than the trace, as soon as its two ends are known, and
// joins it to one that it follows.
func (p *ports) follow(c *Connection, ev *event.Event) {
	server := c.Role == event.RoleServer || c.Role == event.RoleUnknown && c.PreExisting
	if !server || c.ID == 0 || c.ports.local.IsValid() || completeness(c.Local) < 3 || completeness(c.Remote) < 3 {
		return
	}
	c.ports = portsKey{c.NetNS, c.Local, c.Remote}
	before := p.latest[c.ports]
	p.latest[c.ports] = c
	if before == nil || ev.Kind != event.SYNReceived {
		return
	}
	if reset := before.resetReceived(); reset != 0 && ev.Mono-reset <= anew {
		c.Before, before.After = before, c
	}
}

func (p *ports) remove(c *Connection) {
	if p.latest[c.ports] == c {
		delete(p.latest, c.ports)
	}
}

// resetReceived is the time of the first reset from the peer, on CLOCK_MONOTONIC; 0 when none came.
func (c *Connection) resetReceived() time.Duration {
	for i := range c.Events {
		if c.Events[i].Kind == event.ResetReceived {
			return c.Events[i].Mono
		}
	}
	return 0
}
