package main

import (
	"encoding/json"
	"net/netip"

	"tcptrace/tracer/event"
	"tcptrace/tracer/sockets"
)

// socketsJSON writes sockets as one JSON object a line.
type socketsJSON struct{ *jsonRenderer }

func (j *socketsJSON) meta(m meta) { j.Meta(m) }

func (j *socketsJSON) sockets(all []sockets.Judged, _ socketTotals) {
	for i := range all {
		j.write(all[i].AppendLine(j.line[:0], typeSocket))
	}
}

// stateLine is a group of sockets as it is written.
type stateLine struct {
	Type       string         `json:"type"`
	State      event.State    `json:"state"`
	NetNS      uint32         `json:"netns,omitempty"`
	Owner      *event.Owner   `json:"owner,omitempty"`
	Count      int            `json:"count"`
	Hanging    int            `json:"hanging,omitempty"`
	Orphans    int            `json:"orphans,omitempty"`
	Silent     int            `json:"idle_without_keepalive,omitempty"`
	LongestMS  float64        `json:"longest_idle_ms,omitempty"`
	Towards    netip.AddrPort `json:"towards,omitzero"`
	TowardsN   int            `json:"towards_count,omitempty"`
	Ports      int            `json:"local_ports,omitempty"`
	MaxTW      int            `json:"tcp_max_tw_buckets,omitempty"`
	SYNBacklog int            `json:"tcp_max_syn_backlog,omitempty"`
	Meaning    string         `json:"meaning,omitempty"`
}

func (j *socketsJSON) groups(groups []socketGroup, _ socketTotals) {
	for i := range groups {
		g := &groups[i]
		line := stateLine{
			Type: typeState, State: g.State, NetNS: g.NetNS, Count: g.Count, Hanging: g.Hanging,
			Orphans: g.Orphans, Silent: g.Silent, LongestMS: milliseconds(g.Longest),
			Ports: g.limits.Ports, MaxTW: g.limits.MaxTimeWait, SYNBacklog: g.limits.MaxSYNBacklog, Meaning: g.meaning,
		}
		if g.Owner.Known() {
			line.Owner = &g.Owner
		}
		if g.Towards.IsValid() {
			line.Towards, line.TowardsN = g.Towards, g.TowardsCount
		}
		j.encode(line)
	}
}

// group is what a replay knows of the group: all that its line says.
func (l *stateLine) group() socketGroup {
	g := socketGroup{
		Group: sockets.Group{
			State: l.State, NetNS: l.NetNS, Count: l.Count, Hanging: l.Hanging, Orphans: l.Orphans, Silent: l.Silent,
			Longest: fromMilliseconds(l.LongestMS), Towards: l.Towards, TowardsCount: l.TowardsN,
		},
		limits:  sockets.Limits{Ports: l.Ports, MaxTimeWait: l.MaxTW, MaxSYNBacklog: l.SYNBacklog},
		meaning: l.Meaning,
	}
	if l.Owner != nil {
		g.Owner = *l.Owner
	}
	return g
}

// socketsSummaryLine is the last line of a list of sockets.
type socketsSummaryLine struct {
	Type       string                  `json:"type"`
	Sockets    int                     `json:"sockets"`
	Shown      int                     `json:"shown"`
	Hanging    int                     `json:"hanging"`
	Namespaces int                     `json:"namespaces,omitempty"`
	States     map[string]int          `json:"states"`
	Troubles   map[sockets.Trouble]int `json:"troubles"`
}

func (j *socketsJSON) summary(t socketTotals) {
	j.encode(socketsSummaryLine{typeSummary, t.All, t.Shown, t.hanging(), t.Namespaces, t.States, t.Trouble})
	j.Flush()
}

func (l *socketsSummaryLine) totals() socketTotals {
	return socketTotals{All: l.Sockets, Shown: l.Shown, Namespaces: l.Namespaces, States: l.States, Trouble: l.Troubles}
}

// isSocketsSummary tells the summary of a list of sockets from that of a trace.
func isSocketsSummary(text []byte) bool {
	var line struct{ Sockets json.RawMessage }
	return json.Unmarshal(text, &line) == nil && line.Sockets != nil
}
