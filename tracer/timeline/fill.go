package timeline

import (
	"cmp"
	"net/netip"

	"tcptrace/tracer/event"
)

// learn takes into the connection what the event knows of it.
func (c *Connection) learn(ev *event.Event) {
	c.Cookie = cmp.Or(c.Cookie, ev.Cookie)
	c.NetNS = cmp.Or(c.NetNS, ev.NetNS)
	c.Role = laterRole(c.Role, ev.Role)
	c.State = cmp.Or(ev.State, c.State)
	c.ISN = cmp.Or(c.ISN, ev.ISN)
	c.PeerISN = cmp.Or(c.PeerISN, ev.PeerISN)
	c.Options = cmp.Or(ev.Options, c.Options)
	c.Sysctls = cmp.Or(ev.Sysctls, c.Sysctls)
	if c.Local != ev.Local {
		c.Local = moreComplete(c.Local, ev.Local)
	}
	if c.Remote != ev.Remote {
		c.Remote = moreComplete(c.Remote, ev.Remote)
	}
	if c.Owner != ev.Owner {
		c.Owner = newerOwner(c.Owner, ev.Owner)
	}
	c.PreExisting = c.PreExisting || ev.PreExisting
}

// tell gives the event what the connection knows and the hook did not: a softirq hook sees no owner, and the
// kernel has cleared the ports when a socket reaches CLOSE.
func (c *Connection) tell(ev *event.Event) {
	ev.Cookie = cmp.Or(ev.Cookie, c.Cookie)
	ev.NetNS = cmp.Or(ev.NetNS, c.NetNS)
	ev.Role = cmp.Or(ev.Role, c.Role)
	ev.ISN = cmp.Or(ev.ISN, c.ISN)
	ev.PeerISN = cmp.Or(ev.PeerISN, c.PeerISN)
	if ev.Local != c.Local {
		ev.Local = moreComplete(ev.Local, c.Local)
	}
	if ev.Remote != c.Remote {
		ev.Remote = moreComplete(ev.Remote, c.Remote)
	}
	ev.PreExisting = c.PreExisting
	if !ev.Owner.Known() {
		ev.Owner = c.Owner
	}
}

// laterRole follows what a listener refused, and then took.
func laterRole(have, reported event.Role) event.Role {
	if have == event.RoleListener && reported == event.RoleServer {
		return reported
	}
	return cmp.Or(have, reported)
}

// moreComplete is have, unless other knows more: an address without its port, or the unspecified address that a
// child has from its listener for a moment, is not an end of a connection.
func moreComplete(have, other netip.AddrPort) netip.AddrPort {
	if completeness(other) > completeness(have) {
		return other
	}
	return have
}

func completeness(ap netip.AddrPort) int {
	known := 0
	if ap.IsValid() && !ap.Addr().IsUnspecified() {
		known += 2
	}
	if ap.Port() != 0 {
		known++
	}
	return known
}

// newerOwner follows a socket to its latest known owner: a server's passes from its listener's owner to who accepts
// it, never back. A report that knows less of the same process does not blank what is known.
func newerOwner(have, reported event.Owner) event.Owner {
	switch {
	case !reported.Known():
		return have
	case have.Known() && have.Via == "" && reported.Via != "":
		return have
	case have.PID != reported.PID:
		return reported
	}
	reported.Comm = cmp.Or(reported.Comm, have.Comm)
	reported.Cgroup = cmp.Or(reported.Cgroup, have.Cgroup)
	reported.Container = cmp.Or(reported.Container, have.Container)
	reported.CgroupID = cmp.Or(reported.CgroupID, have.CgroupID)
	return reported
}
