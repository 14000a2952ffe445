package main

import (
	"tcptrace/prober/scan"
)

// scanReplay hands a sink what the recording of a scan says. What rounds come to is computed anew from their targets.
type scanReplay struct {
	meta    meta
	out     scanSink
	said    bool // the meta, which waits for the number of targets
	targets []scan.Target
	results []scan.Result
	rounds  []*scanStats
	end     *scanSummaryLine
	failed  bool
}

func newScanReplay(m meta, out scanSink) *scanReplay { return &scanReplay{meta: m, out: out} }

// handle takes a line.
func (r *scanReplay) handle(line any, number int) error {
	if !r.said {
		r.said = true
		r.out.Meta(r.meta, 0)
	}
	switch line := line.(type) {
	case meta:
		return errAnother(number)
	case *targetLine:
		line.result.Target = int32(len(r.targets))
		r.targets, r.results = append(r.targets, line.target), append(r.results, line.result)
		r.failed = r.failed || line.result.Outcome != scan.Connected
		r.out.Target(line)
	case lost:
		r.out.Lost(line)
	case *scanSummaryLine:
		if line.Type == typeSummary {
			r.end = line
		}
		if line.Type == typeRound || len(line.Rounds) == 0 {
			r.tell(&line.roundLine)
		}
	}
	return nil
}

// tell ends a round; line is what it came to as far as its targets do not say it.
func (r *scanReplay) tell(line *roundLine) {
	stats := newScanStats(r.targets, r.results, fromMilliseconds(line.TimeoutMS))
	stats.Round, stats.Refresh, stats.Took = line.Round, fromMilliseconds(line.RefreshMS), fromMilliseconds(line.DurationMS)
	stats.Targets = max(line.Targets, len(r.targets))
	stats.Unfinished, stats.Untried, stats.Connects, stats.LostEvents = line.Unfinished, line.Untried, line.Connects, line.Lost
	if line.LateAnswers != nil {
		stats.LateAnswers = *line.LateAnswers
	}
	r.rounds = append(r.rounds, stats)
	r.out.Round(&scanRound{
		scanStats: stats, Several: line.Type == typeRound, Started: r.meta.Started, targets: r.targets, results: r.results,
	})
	r.targets, r.results = nil, nil
}

// finish ends the replay, of a recording that may have been cut short, and gives the exit status.
func (r *scanReplay) finish() int {
	if len(r.targets) > 0 {
		r.tell(&roundLine{TimeoutMS: milliseconds(r.meta.Timeout), Targets: len(r.targets)})
	}
	sum := &scanSummary{Rounds: r.rounds, Interrupted: r.end == nil}
	switch {
	case r.end != nil:
		sum.Interrupted, sum.ExitStatus = r.end.Interrupted, r.end.ExitStatus
	case r.failed:
		sum.ExitStatus = exitFailed
	}
	r.out.Summary(sum)
	r.out.Flush()
	return sum.ExitStatus
}
