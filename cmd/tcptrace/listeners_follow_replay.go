package main

import (
	"time"

	"tcptrace/tracer/event"
)

// followReplay prints what a recording says of listeners' clients. What became of those of each listener waits for the last
// line, which says in how long.
type followReplay struct {
	meta     meta
	out      followSink
	said     bool // the meta
	accounts []*accountLine
	totals   *followTotals // nil: so far nothing was said of them
}

// replayedFollow thins out for people what a recording has, which is all of it, as the run itself did.
func (a *app) replayedFollow(paint painter, output *outputFlags, detail *detailFlags) followSink {
	shown := newFollowPrinter(a.stdout, paint, output, detail)
	if output.Format == formatJSON {
		return shown
	}
	c := listenersCommand{output: *output, detail: *detail}
	return &thinned{followSink: shown, shows: c.showsKind, most: c.mostEvents()}
}

// handle takes a line.
func (r *followReplay) handle(line any, number int) error {
	r.begin()
	switch line := line.(type) {
	case meta:
		return errAnother(number)
	case *event.Event:
		r.out.Event(nil, line) // nothing that listeners' clients go through is told by what preceded it
		r.out.Flush()
	case hiddenEvents:
		r.out.more(line)
	case lost:
		r.out.Lost(line)
	case *accountLine:
		r.accounts = append(r.accounts, line)
	case followTotals:
		r.totals = &line
	}
	return nil
}

func (r *followReplay) begin() {
	if !r.said {
		r.said = true
		r.out.Meta(r.meta)
		r.out.Flush()
	}
}

// finish prints what became of clients, and gives the exit status. Of a recording that was cut short nobody knows what it
// came to.
func (r *followReplay) finish() int {
	r.begin()
	var over time.Duration
	if r.totals != nil {
		over = r.totals.Over
	}
	for _, a := range r.accounts {
		r.out.account(a, over)
	}
	if r.totals != nil {
		r.out.end(*r.totals)
	} else {
		r.out.passed(forever)
	}
	r.out.Flush()
	return exitOK
}

// forever is later than any event.
const forever = time.Duration(1<<63 - 1)
