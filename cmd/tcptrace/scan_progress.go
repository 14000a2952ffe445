package main

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/term"

	"tcptrace/prober/scan"
	"tcptrace/tracer/timeline"
)

// progressLine is one line at the bottom of a terminal that says how far a scan has come. Where there is no terminal it
// says nothing.
type progressLine struct {
	app   *app
	on    bool
	shown bool // used by the feed's goroutine only
}

// scanProgressEvery is how often the line is written.
const scanProgressEvery = 200 * time.Millisecond

func newProgressLine(a *app, quiet bool) *progressLine {
	file, ok := a.stderr.(*os.File)
	return &progressLine{app: a, on: ok && !quiet && term.IsTerminal(int(file.Fd()))}
}

// follow keeps the line up to date until stop is called.
func (p *progressLine) follow(sc *scan.Scan, targets int, timeout time.Duration, f *feed) (stop func()) {
	if !p.on {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	began := time.Now()
	go func() {
		defer close(ended)
		tick := time.NewTicker(scanProgressEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				text := progressText(sc.Progress(), targets, time.Since(began), timeout)
				f.do(func() { p.show(text) })
			}
		}
	}()
	var stopped atomic.Bool
	return func() {
		if !stopped.Swap(true) {
			close(done)
			<-ended
			f.do(p.clear)
		}
	}
}

func (p *progressLine) show(text string) {
	fmt.Fprintf(p.app.stderr, "\r\x1b[K%s", text)
	p.shown = true
}

// clear takes the line away, so that something else can be printed.
func (p *progressLine) clear() {
	if p.shown {
		fmt.Fprint(p.app.stderr, "\r\x1b[K")
		p.shown = false
	}
}

// progressText says how far a scan has come. The end is when the last target's timeout is, if they go on beginning as
// they have so far.
func progressText(at scan.Progress, targets int, elapsed, timeout time.Duration) string {
	text := fmt.Sprintf("%s of %s tried, %s ended, %s pending", grouped(at.Began), grouped(targets), grouped(at.Ended), grouped(at.Began-at.Ended))
	if at.Began == 0 {
		return text
	}
	end := timeout // of the last target, which began long ago
	if at.Began < targets {
		end += time.Duration(float64(elapsed) * float64(targets) / float64(at.Began))
	}
	left := max(0, end-elapsed).Round(100 * time.Millisecond)
	return text + ", over in about " + timeline.FormatDuration(left)
}
