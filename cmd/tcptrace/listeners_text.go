package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"tcptrace/tracer/event"
	"tcptrace/tracer/listeners"
	"tcptrace/tracer/sockets"
	"tcptrace/tracer/timeline"
)

// listenersText writes listeners for people: one line each, and below it what is wrong.
type listenersText struct {
	out        flusher
	paint      painter
	quiet      bool
	verbose    bool
	namespaces bool // there may be several, so say which
}

func (t *listenersText) meta(meta) {}

func (t *listenersText) line(text string) { fmt.Fprintln(t.out, strings.TrimRight(text, " ")) }

// The columns, which are as wide as what stands in them.
const (
	listenerColumn = iota
	ownerColumn
	acceptColumn
	synColumn
	droppedColumn
	listenerColumns
)

var listenerTitles = [listenerColumns]string{"listener", "process", "accept queue", "SYN queue", "dropped"}

func (t *listenersText) listeners(all []*listeners.Listener) {
	if len(all) == 0 {
		return
	}
	widths := listenerWidths(all)
	t.line("  " + t.paint.paint(faint, strings.TrimRight(padCells(listenerTitles, widths), " ")))
	for _, l := range all {
		t.listener(l, widths)
	}
}

func listenerWidths(all []*listeners.Listener) (widths [listenerColumns]int) {
	for i, title := range listenerTitles {
		widths[i] = len(title)
	}
	for _, l := range all {
		for i, cell := range listenerCells(l) {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	return widths
}

func padCells(cells [listenerColumns]string, widths [listenerColumns]int) string {
	var b strings.Builder
	for i, cell := range cells {
		b.WriteString(pad(cell, widths[i]) + "  ")
	}
	return b.String()
}

func listenerCells(l *listeners.Listener) [listenerColumns]string {
	return [listenerColumns]string{
		listenerColumn: escape(boundTo(l)),
		ownerColumn:    escape(holders(l)),
		acceptColumn:   slashed(l.Accept()),
		synColumn:      synCell(l),
		droppedColumn:  droppedCell(l),
	}
}

// boundTo is where it listens.
func boundTo(l *listeners.Listener) string {
	if l.Device == "" {
		return l.Local.String()
	}
	return l.Local.String() + " on " + l.Device
}

// holders are its owners: the first, and how many more.
func holders(l *listeners.Listener) string {
	first := owner(l.Owner)
	if n := len(l.Others); n > 0 {
		return fmt.Sprintf("%s and %d more", first, n)
	}
	return first
}

func slashed(q event.Queue) string { return fmt.Sprintf("%d/%d", q.Len, q.Max) }

func synCell(l *listeners.Listener) string {
	if !l.HasSYNs {
		return "?"
	}
	return slashed(l.SYN())
}

// droppedCell is what was dropped so far, and what of it while it was watched.
func droppedCell(l *listeners.Listener) string {
	if l.Drops == 0 {
		return "-"
	}
	cell := grouped(l.Drops)
	if l.Recent != nil && l.Recent.Drops > 0 {
		cell += " (+" + grouped(l.Recent.Drops) + ")"
	}
	return cell
}

func (t *listenersText) listener(l *listeners.Listener, widths [listenerColumns]int) {
	mark := "  "
	cells := listenerCells(l)
	if len(l.Warnings) > 0 {
		mark = markOf(l) + " "
	}
	row := padCells(cells, widths)
	if l.Full() {
		row = t.paint.paint(bad, row)
	}
	t.line(mark + row + strings.Join(t.remarks(l), ", "))
	if t.quiet {
		return
	}
	for _, w := range l.Warnings {
		t.below(warning, "! "+w.Sentence)
		t.below(plain, prefixed("→ ", w.Advice))
	}
	if t.verbose {
		for _, paragraph := range []string{boundWords(l), ownersWords(l), listenerIdentity(l)} {
			t.below(faint, paragraph)
		}
	}
}

// markOf is how bad the worst warning is: what is refused now, or what may be.
func markOf(l *listeners.Listener) string {
	switch l.Warnings[0].ID {
	case listeners.AcceptQueueFull, listeners.SYNQueueFull, listeners.Dropping:
		return "✗"
	}
	return "!"
}

// remarks is what else is unusual about it.
func (t *listenersText) remarks(l *listeners.Listener) []string {
	remarks := stated(acceptRateWords(l.Recent), waitingWords(l), prefixed("data within ", duration(l.DeferAccept())))
	if q := l.Listening.FastOpen; q.Max > 0 {
		remarks = append(remarks, "fast open "+slashed(q))
	}
	if l.Listening.Group > 1 {
		remarks = append(remarks, fmt.Sprintf("one of %d by SO_REUSEPORT", l.Listening.Group))
	}
	if l.Listening.IPv6Only && l.Local.Addr().IsUnspecified() {
		remarks = append(remarks, "IPv6 only")
	}
	if t.namespaces && l.NetNS != 0 {
		remarks = append(remarks, fmt.Sprintf("netns %d", l.NetNS))
	}
	return remarks
}

func acceptRateWords(r *listeners.Recent) string {
	if r == nil || !r.HasAccepted {
		return ""
	}
	words := "accepts " + rate(r.Rate()) + "/s"
	if r.Sharing > 1 {
		words += fmt.Sprintf(" with %d others", r.Sharing-1)
	}
	return words
}

// rate writes how often in a second.
func rate(a float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", a), ".0") }

func waitingWords(l *listeners.Listener) string {
	if !l.HasWaiting || l.Full() || l.Waiting < time.Millisecond {
		return ""
	}
	return "the first waits for " + timeline.FormatDuration(l.Waiting)
}

// boundWords says which setting bounds the queues.
func boundWords(l *listeners.Listener) string {
	return strings.Join(stated(backlogWords(l), synLimitWords(l)), "; ")
}

func backlogWords(l *listeners.Listener) string {
	somaxconn := fmt.Sprintf("somaxconn (%d)", l.Limits.SoMaxConn)
	words := fmt.Sprintf("backlog %d: ", l.Backlog())
	switch l.BoundBy() {
	case listeners.BoundListen:
		return words + "what listen() was asked for, less than " + somaxconn
	case listeners.BoundSoMaxConn:
		return words + somaxconn + ", listen() was asked for as much or more"
	case listeners.BoundEarlier:
		return words + "more than " + somaxconn + ", which was higher when listen() was called"
	}
	return strings.TrimSuffix(words, ": ")
}

func synLimitWords(l *listeners.Listener) string {
	if l.Limits.MaxSYNBacklog == 0 || !l.Limits.HasSYNCookies {
		return ""
	}
	limit := fmt.Sprintf("tcp_max_syn_backlog (%d)", l.Limits.MaxSYNBacklog)
	if l.Limits.SYNCookies != 0 {
		return limit + " bounds nothing as SYN cookies are on"
	}
	if l.SYN().Max < l.Backlog() {
		return "three quarters of " + limit + " bound the SYN queue"
	}
	return limit + " leaves the SYN queue as long as the backlog"
}

// ownersWords lists the owners where there are several.
func ownersWords(l *listeners.Listener) string {
	const most = 8
	var names []string
	for i, o := range l.Owners() {
		if i == most {
			names = append(names, fmt.Sprintf("and %d more", len(l.Others)+1-most))
			break
		}
		names = append(names, owner(o))
	}
	if len(names) < 2 {
		names = nil
	}
	return prefixed("held by ", strings.Join(names, ", "))
}

func listenerIdentity(l *listeners.Listener) string {
	return socketIdentity(&sockets.Judged{Socket: l.Socket})
}

// below writes a paragraph under a listener.
func (t *listenersText) below(tone tone, text string) {
	for _, line := range t.paint.paragraph(tone, text) {
		t.line(line)
	}
}

func (t *listenersText) summary(totals listenersTotals) {
	words := []string{countOf(totals.All, "listening socket")}
	if totals.Full > 0 {
		words = append(words, countOf(totals.Full, "full accept queue"))
	}
	if totals.Waiting > 0 {
		words = append(words, plural(totals.Waiting, "connection waits", "connections wait")+" to be accepted")
	}
	if totals.Drops > 0 {
		words = append(words, grouped(totals.Drops)+" dropped since they listen")
	}
	t.line(t.paint.paint(faint, strings.Join(words, "; ")))
	t.out.Flush()
}
