package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"time"

	"tcptrace/prober"
	"tcptrace/prober/scan"
	"tcptrace/tracer/host"
	"tcptrace/tracer/schedule"
	"tcptrace/tracer/timeline"
)

// plot draws the last round into the file of --plot.
func (s *scanSession) plot() (err error) {
	file, err := os.Create(s.command.plot)
	if err != nil {
		return usageErrorf("--plot %q: %w", s.command.plot, withoutPath(err))
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	marks := synTimes(s.command.options.NetNS, s.command.options.SYNRetries, s.round.Refresh, s.round.Timeout)
	if err := drawScan(file, s.round, marks); err != nil {
		return noTraceErrorf("--plot %q: %w", s.command.plot, withoutPath(err))
	}
	return nil
}

// synTimes are when SYNs are sent to a target that does not answer, up to the timeout: the kernel's schedule, begun anew
// by each refresh.
func synTimes(ns *prober.NetNS, synRetries int, refresh, timeout time.Duration) []time.Duration {
	var syn schedule.SYN
	// What cannot be read stays 0: the schedule of a kernel that does not have it.
	_ = ns.Do(func() error {
		syn.Retries, _ = host.TCPSysctl("tcp_syn_retries")
		syn.LinearTimeouts, _ = host.TCPSysctl("tcp_syn_linear_timeouts")
		return nil
	})
	if synRetries != 0 {
		syn.Retries = synRetries
	}
	attempt := []time.Duration{0}
	for step := range syn.Retransmits() {
		attempt = append(attempt, step.Offset)
	}
	if refresh == 0 {
		refresh = timeout
	}
	var times []time.Duration
	for began := time.Duration(0); began < timeout; began += refresh {
		for _, offset := range attempt {
			if offset < refresh && began+offset < timeout {
				times = append(times, began+offset)
			}
		}
	}
	return times
}

// The plot's measures, in the units of SVG.
const (
	plotWidth   = 960
	panelHeight = 300
	plotMargin  = 70
	plotHeight  = 2*panelHeight + 3*plotMargin
)

// axis maps times to places by their logarithm.
type axis struct {
	from, to       time.Duration
	start, measure float64
}

func (a axis) place(d time.Duration) float64 {
	d = min(max(d, a.from), a.to)
	return a.start + a.measure*math.Log(float64(d)/float64(a.from))/math.Log(float64(a.to)/float64(a.from))
}

// ticks are 1, 10, 100 of the units within the axis.
func (a axis) ticks() []time.Duration {
	var ticks []time.Duration
	for d := time.Duration(100); d <= a.to; d *= 10 {
		if d >= a.from {
			ticks = append(ticks, d)
		}
	}
	return ticks
}

// drawScan writes an SVG with two panels: each target's time to connect, and how many had connected by when. The marks,
// times at which SYNs are sent, are lines through both.
//
// It is written by hand: a drawing library brings fonts of its own, some megabytes that every command would pay for, and
// draws letters as curves, where SVG has text.
func drawScan(out io.Writer, r *scanRound, marks []time.Duration) error {
	w := bufio.NewWriter(out)
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(w, `<rect width="%d" height="%d" fill="white"/>`+"\n", plotWidth, plotHeight)
	connects := sortedConnects(r)
	from := 10 * time.Microsecond
	if len(connects) > 0 {
		from = max(time.Microsecond, connects[0]/2)
	}
	to := max(r.Timeout, 2*from)
	drawLatencies(w, r, marks, axis{from, to, plotMargin + panelHeight, -panelHeight})
	drawSuccess(w, r, marks, connects, axis{from, to, plotMargin, plotWidth - 2*plotMargin})
	fmt.Fprintln(w, "</svg>")
	return w.Flush()
}

func sortedConnects(r *scanRound) []time.Duration {
	var connects []time.Duration
	for i := range r.results {
		if r.results[i].Outcome == scan.Connected {
			connects = append(connects, r.results[i].Connect)
		}
	}
	slices.Sort(connects)
	return connects
}

// drawLatencies is the upper panel: targets from left to right, the time to connect upwards.
func drawLatencies(w io.Writer, r *scanRound, marks []time.Duration, y axis) {
	title := fmt.Sprintf("time to connect of %s, of %s; dashed: when a SYN is sent", countOf(r.Outcomes[scan.Connected], "target"), grouped(r.Targets))
	drawText(w, plotMargin, plotMargin-15, "start", title)
	drawFrame(w, plotMargin)
	for _, tick := range y.ticks() {
		drawText(w, plotMargin-8, y.place(tick)+4, "end", timeline.FormatDuration(tick))
		drawLine(w, plotMargin, y.place(tick), plotWidth-plotMargin, y.place(tick), `stroke="#e4e4e4"`)
	}
	for _, mark := range marks[min(1, len(marks)):] {
		drawLine(w, plotMargin, y.place(mark), plotWidth-plotMargin, y.place(mark), markStyle)
	}
	// Points that fall on the same place are drawn once.
	drawn := make(map[[2]int]bool)
	fmt.Fprint(w, `<path stroke="#1f5fa8" stroke-width="1.6" stroke-linecap="round" d="`)
	for i := range r.results {
		if r.results[i].Outcome != scan.Connected {
			continue
		}
		x := plotMargin + float64(i)*(plotWidth-2*plotMargin)/float64(max(1, len(r.results)))
		at := [2]int{int(math.Round(x)), int(math.Round(y.place(r.results[i].Connect)))}
		if !drawn[at] {
			drawn[at] = true
			fmt.Fprintf(w, "M%d %dh0", at[0], at[1])
		}
	}
	fmt.Fprintln(w, `"/>`)
	drawText(w, plotWidth/2, plotMargin+panelHeight+20, "middle", "targets, in the order of the list")
}

// drawSuccess is the lower panel: time from left to right, how many have connected upwards.
func drawSuccess(w io.Writer, r *scanRound, marks []time.Duration, connects []time.Duration, x axis) {
	const top = 2*plotMargin + panelHeight
	drawText(w, plotMargin, top-15, "start", "connected by then, of all targets")
	drawFrame(w, top)
	height := func(n int) float64 {
		return top + panelHeight - panelHeight*float64(n)/float64(max(1, r.Targets))
	}
	for _, share := range []int{0, 25, 50, 75, 100} {
		y := height(r.Targets * share / 100)
		drawText(w, plotMargin-8, y+4, "end", fmt.Sprintf("%d%%", share))
		drawLine(w, plotMargin, y, plotWidth-plotMargin, y, `stroke="#e4e4e4"`)
	}
	for _, tick := range x.ticks() {
		drawText(w, x.place(tick), top+panelHeight+20, "middle", timeline.FormatDuration(tick))
	}
	for _, mark := range marks[min(1, len(marks)):] {
		drawLine(w, x.place(mark), top, x.place(mark), top+panelHeight, markStyle)
	}
	fmt.Fprintf(w, `<path fill="none" stroke="#1f5fa8" stroke-width="2" d="M%d %.1f`, plotMargin, height(0))
	last := -1
	for n, connect := range connects {
		if at := int(x.place(connect)); at != last {
			fmt.Fprintf(w, "H%dV%.1f", at, height(n+1))
			last = at
		}
	}
	fmt.Fprintf(w, "V%.1fH%d", height(len(connects)), plotWidth-plotMargin)
	fmt.Fprintln(w, `"/>`)
}

const markStyle = `stroke="#c0392b" stroke-dasharray="4 4" stroke-opacity="0.6"`

func drawFrame(w io.Writer, top int) {
	fmt.Fprintf(w, `<rect x="%d" y="%d" width="%d" height="%d" fill="none" stroke="#888"/>`+"\n", plotMargin, top, plotWidth-2*plotMargin, panelHeight)
}

func drawLine(w io.Writer, x1, y1, x2, y2 float64, style string) {
	fmt.Fprintf(w, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" %s/>`+"\n", x1, y1, x2, y2, style)
}

// drawText writes text, which has no characters that XML wants escaped.
func drawText(w io.Writer, x, y float64, anchor, text string) {
	fmt.Fprintf(w, `<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", x, y, anchor, text)
}
