package main

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"slices"
	"time"

	"tcptrace/prober/scan"
)

// comparison is an earlier scan, by target.
type comparison struct {
	started time.Time
	results map[netip.AddrPort]earlierResult
}

type earlierResult struct {
	connected bool
	connect   time.Duration
}

// changes is what differs between an earlier scan and a later one, of the targets that have a result in both.
type changes struct {
	Since                   time.Time // when the earlier one was started
	Compared                int
	Gained, Lost            []netip.AddrPort // connected only now; only then
	MedianBefore, MedianNow time.Duration    // of those that connected both times; 0: none did
}

// readComparison reads the JSON of a scan. Of several rounds the last one of each target counts.
func readComparison(name string) (*comparison, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, usageErrorf("--compare %q: %w", name, withoutPath(err))
	}
	defer file.Close()
	c := &comparison{results: make(map[netip.AddrPort]earlierResult)}
	lines := newRecordingReader(file)
	for {
		line, err := lines.next()
		switch {
		case err == io.EOF, errors.Is(err, errCutShort):
			if len(c.results) == 0 {
				return nil, usageErrorf("--compare %q: it has no results of a scan", name)
			}
			return c, nil
		case err != nil:
			return nil, usageErrorf("--compare %q: %w", name, withoutPath(err))
		}
		switch line := line.(type) {
		case meta:
			c.started = line.Started
		case *targetLine:
			if line.result.Outcome != 0 {
				c.results[line.target.Addr] = earlierResult{line.result.Outcome == scan.Connected, line.result.Connect}
			}
		}
	}
}

// compareWith makes a round the one that later ones are compared with.
func compareWith(r *scanRound) *comparison {
	c := &comparison{started: r.Started, results: make(map[netip.AddrPort]earlierResult, len(r.targets))}
	for i := range r.targets {
		if result := &r.results[i]; result.Outcome != 0 {
			c.results[r.targets[i].Addr] = earlierResult{result.Outcome == scan.Connected, result.Connect}
		}
	}
	return c
}

// changes compares. A local error says nothing about a target, now or then.
func (c *comparison) changes(targets []scan.Target, results []scan.Result) *changes {
	ch := &changes{Since: c.started}
	var before, now []time.Duration
	for i := range targets {
		then, known := c.results[targets[i].Addr]
		r := &results[i]
		if !known || r.Outcome == 0 || r.Outcome == scan.LocalError {
			continue
		}
		ch.Compared++
		switch connected := r.Outcome == scan.Connected; {
		case connected && then.connected:
			before, now = append(before, then.connect), append(now, r.Connect)
		case connected:
			ch.Gained = append(ch.Gained, targets[i].Addr)
		case then.connected:
			ch.Lost = append(ch.Lost, targets[i].Addr)
		}
	}
	slices.Sort(before)
	slices.Sort(now)
	ch.MedianBefore, ch.MedianNow = quantile(before, 0.5), quantile(now, 0.5)
	return ch
}
