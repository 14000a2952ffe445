package main

import (
	"tcptrace/tracer/sockets"
)

// socketsReplay prints what a recording says of sockets, once it has said it all: how to write them depends on how many
// network namespaces there were.
type socketsReplay struct {
	meta   meta
	out    socketsPrinter
	listed []sockets.Judged
	groups []socketGroup
	states bool // they were counted by state instead of being listed
	totals *socketTotals
}

// handle takes a line.
func (r *socketsReplay) handle(line any, number int) error {
	switch line := line.(type) {
	case meta:
		return errAnother(number)
	case *sockets.Judged:
		r.listed = append(r.listed, *line)
	case *stateLine:
		r.states, r.groups = true, append(r.groups, line.group())
	case *socketsSummaryLine:
		totals := line.totals()
		r.totals = &totals
	}
	return nil
}

// finish prints them, of a recording that was cut short those that it tells of, and gives the exit status.
func (r *socketsReplay) finish() int {
	if r.totals == nil {
		r.totals = r.counted()
	}
	r.out.meta(r.meta)
	if r.states {
		r.out.groups(r.groups, *r.totals)
	} else {
		r.out.sockets(r.listed, *r.totals)
	}
	r.out.summary(*r.totals)
	return exitOK
}

// counted is what the lines come to.
func (r *socketsReplay) counted() *socketTotals {
	t := &socketTotals{All: len(r.listed), Shown: len(r.listed), States: make(map[string]int), Trouble: make(map[sockets.Trouble]int)}
	namespaces := make(map[uint32]bool)
	for i := range r.listed {
		j := &r.listed[i]
		namespaces[j.NetNS] = true
		t.States[j.State.String()]++
		if j.Trouble != "" {
			t.Trouble[j.Trouble]++
		}
	}
	for i := range r.groups {
		g := &r.groups[i]
		namespaces[g.NetNS] = true
		t.All += g.Count
		t.States[g.State.String()] += g.Count
	}
	t.Namespaces = len(namespaces)
	return t
}
