package main

import "tcptrace/tracer/listeners"

// listenersReplay prints what a recording says of listeners, once it has said it all: the columns are as wide as what stands
// in them.
type listenersReplay struct {
	meta   meta
	out    listenersPrinter
	listed []*listeners.Listener
	totals *listenersTotals
}

// handle takes a line.
func (r *listenersReplay) handle(line any, number int) error {
	switch line := line.(type) {
	case meta:
		return errAnother(number)
	case *listeners.Listener:
		r.listed = append(r.listed, line)
	case *listenersSummaryLine:
		totals := line.totals()
		r.totals = &totals
	}
	return nil
}

// finish prints them, of a recording that was cut short those that it tells of, and gives the exit status.
func (r *listenersReplay) finish() int {
	if r.totals == nil {
		totals := countListeners(r.listed, len(r.listed))
		r.totals = &totals
	}
	writeListeners(r.out, r.meta, r.listed, *r.totals)
	return exitOK
}
