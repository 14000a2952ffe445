package timeline

import (
	"net/netip"
	"time"

	"tcptrace/tracer/event"
)

// Sibling is a connect of the same owner to the same port of another address, which was under way at the same time
// and was answered.
type Sibling struct {
	Remote netip.AddrPort
	Won    time.Duration // when its handshake was complete, as an offset of the connection that it is a sibling of
	// Silent counts the connects of the loser's address family in its network namespace, where the trace has seen no
	// answer to any of them; 0: there was an answer.
	Silent int
}

// How connects of one owner belong together: who races several addresses drops the others as soon as one answers, or
// tries the next one as soon as it has dropped the last.
const (
	dropsLosers = 50 * time.Millisecond
	triesNext   = 10 * time.Millisecond
)

// races are the connects of each owner to each port, so that one that lost can be told from one that failed.
type races struct {
	races    map[raceKey]*race
	families map[familyKey]*familyRecord
}

type raceKey struct {
	pid   int
	netns uint32
	port  uint16
}

// race holds the latest winners; with more than that at a time nobody can tell who raced whom.
type race struct {
	key     raceKey
	running int // connections that the tracker holds
	winners [8]winner
	won     int
}

type winner struct {
	remote           netip.AddrPort
	started, settled time.Duration // CLOCK_MONOTONIC of its connect and of the end of its handshake
}

type familyKey struct {
	netns uint32
	v6    bool
}

// familyRecord is how an address family fares in a network namespace.
type familyRecord struct {
	answered bool
	connects int
}

func newRaces() races {
	return races{races: make(map[raceKey]*race), families: make(map[familyKey]*familyRecord)}
}

// follow takes an event of a client: its connect enters a race, the end of its handshake wins it.
func (r *races) follow(c *Connection, ev *event.Event) {
	switch {
	case c.Role != event.RoleClient || c.PreExisting:
	case ev.Kind == event.Connect:
		r.enter(c)
	case ev.Kind == event.Established:
		r.win(c, ev.Mono)
	}
}

func (r *races) enter(c *Connection) {
	if family := r.family(c); family != nil {
		family.connects++
	}
	key := raceKey{c.Owner.PID, c.NetNS, c.Remote.Port()}
	if !c.Owner.Known() || key.port == 0 || c.ID == 0 || c.race != nil {
		return
	}
	if r.races[key] == nil {
		r.races[key] = &race{key: key}
	}
	c.race = r.races[key]
	c.race.running++
}

func (r *races) win(c *Connection, now time.Duration) {
	if family := r.family(c); family != nil {
		family.answered = true
	}
	if c.race != nil {
		c.race.winners[c.race.won%len(c.race.winners)] = winner{c.Remote, c.started, now}
		c.race.won++
	}
}

// leave forgets a connection, and its race with the last one.
func (r *races) leave(c *Connection) {
	if c.race == nil {
		return
	}
	c.race.running--
	if c.race.running == 0 {
		delete(r.races, c.race.key)
	}
	c.race = nil
}

// family is the record of a connection's address family. The way to this host itself says nothing about it.
func (r *races) family(c *Connection) *familyRecord {
	addr := c.Remote.Addr().Unmap()
	if !addr.IsValid() || addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr == c.Local.Addr().Unmap() {
		return nil
	}
	key := familyKey{c.NetNS, addr.Is6()}
	if r.families[key] == nil {
		r.families[key] = &familyRecord{}
	}
	return r.families[key]
}

// sibling is the one connect that won the race that c, closed before its handshake was complete, can have lost; nil
// when there is none, or more than one.
func (r *races) sibling(c *Connection) *Sibling {
	if c.race == nil {
		return nil
	}
	closing := c.closing()
	var found *Sibling
	for _, w := range c.race.winners[:min(c.race.won, len(c.race.winners))] {
		if w.remote.Addr() == c.Remote.Addr() || !w.supersedes(c.started, closing) {
			continue
		}
		if found != nil {
			return nil
		}
		found = &Sibling{Remote: w.remote, Won: w.settled - c.started}
	}
	if family := r.family(c); found != nil && family != nil && !family.answered {
		found.Silent = family.connects
	}
	return found
}

// supersedes says whether a winner explains that a connect was begun and closed at these times.
func (w winner) supersedes(began, closed time.Duration) bool {
	if w.started > closed {
		return w.started-closed <= triesNext
	}
	return w.settled >= began && w.settled <= closed && closed-w.settled <= dropsLosers
}
