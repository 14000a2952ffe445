package main

import (
	"tcptrace/tracer/sockets"
)

// socketsJSON writes sockets as one JSON object a line.
type socketsJSON struct{ *jsonRenderer }

func (j *socketsJSON) meta(m meta) { j.Meta(m) }

func (j *socketsJSON) sockets(all []sockets.Judged) {
	for i := range all {
		j.write(all[i].AppendLine(j.line[:0], typeSocket))
	}
}

// stateLine is a group of sockets as it is written.
type stateLine struct {
	Type       string  `json:"type"`
	State      string  `json:"state"`
	NetNS      uint32  `json:"netns,omitempty"`
	Owner      any     `json:"owner,omitempty"`
	Count      int     `json:"count"`
	Hanging    int     `json:"hanging,omitempty"`
	Orphans    int     `json:"orphans,omitempty"`
	Silent     int     `json:"idle_without_keepalive,omitempty"`
	LongestMS  float64 `json:"longest_idle_ms,omitempty"`
	Towards    string  `json:"towards,omitempty"`
	TowardsN   int     `json:"towards_count,omitempty"`
	Ports      int     `json:"local_ports,omitempty"`
	MaxTW      int     `json:"tcp_max_tw_buckets,omitempty"`
	SYNBacklog int     `json:"tcp_max_syn_backlog,omitempty"`
	Meaning    string  `json:"meaning,omitempty"`
}

func (j *socketsJSON) groups(groups []sockets.Group, limits map[uint32]sockets.Limits) {
	for i := range groups {
		g := &groups[i]
		l := limits[g.NetNS]
		line := stateLine{
			Type: typeState, State: g.State.String(), NetNS: g.NetNS, Count: g.Count, Hanging: g.Hanging,
			Orphans: g.Orphans, Silent: g.Silent, LongestMS: milliseconds(g.Longest),
			Ports: l.Ports, MaxTW: l.MaxTimeWait, SYNBacklog: l.MaxSYNBacklog, Meaning: g.Meaning(l),
		}
		if g.Owner.Known() {
			line.Owner = g.Owner
		}
		if g.Towards.IsValid() {
			line.Towards, line.TowardsN = g.Towards.String(), g.TowardsCount
		}
		j.encode(line)
	}
}

// socketsSummaryLine is the last line of a list of sockets.
type socketsSummaryLine struct {
	Type     string                  `json:"type"`
	Sockets  int                     `json:"sockets"`
	Shown    int                     `json:"shown"`
	Hanging  int                     `json:"hanging"`
	States   map[string]int          `json:"states"`
	Troubles map[sockets.Trouble]int `json:"troubles"`
}

func (j *socketsJSON) summary(all []*sockets.Socket, shown int) {
	t := countSockets(all)
	j.encode(socketsSummaryLine{typeSummary, t.All, shown, t.hanging(), t.States, t.Trouble})
	j.Flush()
}
