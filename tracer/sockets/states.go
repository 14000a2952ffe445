package sockets

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
)

// Limits are the settings of a network namespace that bound how many sockets of some states there can be. Zero is unknown.
type Limits struct {
	Ports         int // how many local ports connects choose from (ip_local_port_range)
	MaxTimeWait   int // tcp_max_tw_buckets
	MaxSYNBacklog int // tcp_max_syn_backlog
	SYNCookies    int // tcp_syncookies; see HasSYNCookies
	HasSYNCookies bool
	MaxOrphans    int  // tcp_max_orphans
	SoMaxConn     int  // net.core.somaxconn
	Resets        bool // tcp_abort_on_overflow
}

// Group is the sockets of one state and owner in one network namespace.
type Group struct {
	State   event.State
	NetNS   uint32
	Owner   event.Owner // the zero Owner: nobody's, or nobody is known
	Count   int
	Orphans int
	Hanging int           // of them, with some trouble
	Silent  int           // established, without keepalive, and idle for an hour
	Longest time.Duration // since the peer's last segment, of the quietest
	// Towards is the remote end that most of them have, of a listener's connections the local one, and how many.
	Towards      netip.AddrPort
	TowardsCount int
	ends         map[netip.AddrPort]int
}

// groupKey tells groups apart.
type groupKey struct {
	state event.State
	netns uint32
	pid   int
	comm  string
}

// Groups counts sockets by state and owner, the largest group first.
func Groups(all []*Socket) []Group {
	byKey := make(map[groupKey]*Group)
	for _, s := range all {
		key := groupKey{s.State, s.NetNS, s.Owner.PID, s.Owner.Comm}
		g := byKey[key]
		if g == nil {
			g = &Group{State: s.State, NetNS: s.NetNS, Owner: s.Owner, ends: make(map[netip.AddrPort]int)}
			byKey[key] = g
		}
		g.add(s)
	}
	groups := make([]Group, 0, len(byKey))
	for _, g := range byKey {
		g.choose()
		groups = append(groups, *g)
	}
	slices.SortFunc(groups, func(a, b Group) int {
		return cmp.Or(-cmp.Compare(a.Count, b.Count), cmp.Compare(a.State, b.State),
			cmp.Compare(a.NetNS, b.NetNS), cmp.Compare(a.Owner.PID, b.Owner.PID))
	})
	return groups
}

// maxEnds bounds how many different ends a group counts: a flood has as many as it likes.
const maxEnds = 1 << 16

// silence is how long a connection without keepalive is idle before it may be one that nobody has any more.
const silence = time.Hour

func (g *Group) add(s *Socket) {
	g.Count++
	if s.Orphan {
		g.Orphans++
	}
	if s.Trouble() != "" {
		g.Hanging++
	}
	if !s.Mini() {
		g.Longest = max(g.Longest, s.Idle())
		if s.State == event.StateEstablished && !s.Keepalive.Armed() && s.Idle() > silence {
			g.Silent++
		}
	}
	end := s.Remote
	if s.State == event.StateNewSYNRecv {
		end = s.Local
	}
	if _, known := g.ends[end]; known || len(g.ends) < maxEnds {
		g.ends[end]++
	}
}

func (g *Group) choose() {
	for end, n := range g.ends {
		if n > g.TowardsCount || n == g.TowardsCount && end.Compare(g.Towards) < 0 {
			g.Towards, g.TowardsCount = end, n
		}
	}
	g.ends = nil
}

// Meaning says in one sentence what that many sockets of that state mean.
func (g *Group) Meaning(l Limits) string {
	if meaning, ok := meanings[g.State]; ok {
		return meaning(g, l)
	}
	return ""
}

// meanings are those of the states, in numbers.
var meanings = map[event.State]func(*Group, Limits) string{
	event.StateEstablished: func(g *Group, _ Limits) string {
		return clauses(
			counted(g.Hanging, "hangs", "hang"),
			counted(g.Silent, "is without keepalive and idle for over an hour", "are without keepalive and idle for over an hour"))
	},
	event.StateSYNSent: func(g *Group, _ Limits) string {
		return clauses("connecting", counted(g.Hanging, "SYN was sent again", "SYNs were sent again"), g.mostly())
	},
	event.StateNewSYNRecv: func(g *Group, l Limits) string {
		return clauses("half-open", g.mostly(), share(g.TowardsCount, l.MaxSYNBacklog, "tcp_max_syn_backlog"),
			counted(g.Hanging, "SYN-ACK was repeated", "SYN-ACKs were repeated"), cookies(l))
	},
	event.StateFinWait1: closingMeaning,
	event.StateClosing:  closingMeaning,
	event.StateLastACK:  closingMeaning,
	event.StateFinWait2: func(g *Group, _ Limits) string {
		return clauses("this end has closed, the peer has not", g.orphans())
	},
	event.StateTimeWait: func(g *Group, l Limits) string {
		return clauses("closed less than a minute ago", g.mostly(), share(g.TowardsCount, l.Ports, "the local ports"),
			share(g.Count, l.MaxTimeWait, "tcp_max_tw_buckets"))
	},
	event.StateCloseWait: func(g *Group, _ Limits) string {
		who := "this end's application"
		if g.Owner.Comm != "" {
			who = g.Owner.Comm
		}
		return clauses("the peer has closed, "+who+" has not: a leak if they grow",
			"the oldest is idle for "+timeline.FormatDuration(g.Longest))
	},
}

func closingMeaning(g *Group, _ Limits) string {
	return clauses("this end has closed, the peer does not acknowledge it", g.orphans())
}

func (g *Group) orphans() string {
	return counted(g.Orphans, "is nobody's any more", "are nobody's any more")
}

// mostly says which end most of them have.
func (g *Group) mostly() string {
	if !g.Towards.IsValid() {
		return ""
	}
	preposition := "to"
	if g.State == event.StateNewSYNRecv {
		preposition = "at"
	}
	return fmt.Sprintf("%d %s %s", g.TowardsCount, preposition, g.Towards)
}

func cookies(l Limits) string {
	if l.SYNCookies == 0 {
		return ""
	}
	return "SYN cookies take over when the queue is full"
}

// share is what part of a limit n is. An unknown limit says nothing.
func share(n, limit int, of string) string {
	if limit <= 0 {
		return ""
	}
	return fmt.Sprintf("%s of %s (%d)", percent(n, limit), of, limit)
}

func percent(n, limit int) string {
	p := 100 * float64(n) / float64(limit)
	if n > 0 && p < 1 {
		return "less than 1 %"
	}
	return fmt.Sprintf("%.0f %%", p)
}

func counted(n int, one, many string) string {
	switch n {
	case 0:
		return ""
	case 1:
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// clauses joins what is said.
func clauses(all ...string) string {
	return strings.Join(slices.DeleteFunc(all, func(s string) bool { return s == "" }), "; ")
}
