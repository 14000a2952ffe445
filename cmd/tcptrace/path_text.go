package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"tcptrace/prober/path"
	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
)

// pathSinks print paths as these flags say, and keep them in rec unless that is nil. On a terminal hops fill in.
func (a *app) pathSinks(m meta, output *outputFlags, detail *detailFlags, rec *recording) []pathSink {
	printer := a.pathPrinter(m, output, detail)
	if text, ok := printer.(*pathText); ok && !detail.Quiet {
		if size, ok := a.stdout.terminalSize(); ok {
			printer = &pathLive{pathText: text, out: a.stdout, size: size}
		}
	}
	if rec == nil {
		return []pathSink{printer}
	}
	return []pathSink{printer, &pathJSON{newJSONRenderer(rec.out, false)}}
}

// pathPrinter prints paths that are known.
func (a *app) pathPrinter(m meta, output *outputFlags, detail *detailFlags) pathSink {
	if output.Format == formatJSON {
		return &pathJSON{newJSONRenderer(a.stdout, false)}
	}
	text := newTextRenderer(a.stdout, textConfig{Painter: output.painter(a.stdout), Quiet: detail.Quiet})
	text.meta = m
	return &pathText{text}
}

// pathText writes journeys for people: a line per hop, then the verdict.
type pathText struct{ *textRenderer }

func (p *pathText) Journey(j *journey) {
	if p.config.Quiet {
		return
	}
	for _, line := range p.block(j) {
		p.line(line)
	}
	if words := conditions(j); words != "" {
		p.line("  " + p.painted(faint, escape(words)))
	}
}

// Summary writes only what was lost: the verdicts have said the rest.
func (p *pathText) Summary(s *summary) {
	if s.Lost > 0 {
		p.line("  " + p.painted(warning, counted(s.Lost, "event")+" of the kernel lost: round trips may be those of this process"))
	}
}

// block is a journey as lines, which are escaped and fit to be printed.
func (p *pathText) block(j *journey) []string {
	lines := []string{p.painted(strong, escape(title(j)))}
	rows := rowsOf(j)
	var widths [2]int
	for _, row := range rows {
		widths[0] = max(widths[0], utf8.RuneCountInString(row.who))
		widths[1] = max(widths[1], utf8.RuneCountInString(row.times))
	}
	for _, row := range rows {
		cells := []string{pad(row.who, widths[0]), pad(row.times, widths[1]), p.painted(row.tone, row.notes)}
		if row.other != "" {
			cells = append(cells, p.painted(faint, row.other))
		}
		line := fmt.Sprintf("  %s  %s", p.painted(faint, fmt.Sprintf("%5s", row.hops)), strings.Join(slices.DeleteFunc(cells, isEmpty), "  "))
		lines = append(lines, strings.TrimRight(line, " "))
	}
	return lines
}

func isEmpty(s string) bool { return s == "" }

func title(j *journey) string {
	s := "path to " + j.remote.String()
	if j.target != j.remote.String() {
		s += " (" + j.target + ")"
	}
	if j.compare != 0 {
		s += fmt.Sprintf(", and to port %d beside it", j.compare)
	}
	return s
}

// row is the line of a hop, or of several silent ones, its text escaped.
type row struct {
	hops, who, times, notes, other string
	tone                           tone // of notes
}

// rowsOf gives the lines of a journey. Silent hops at the end are one line: there may be many.
func rowsOf(j *journey) []row {
	var rows []row
	last := lastToShow(j)
	hops, others := hopsByTTL(j.route), hopsByTTL(j.other)
	for ttl := firstTTL(j); ttl <= last; ttl++ {
		rows = append(rows, rowOf(j, ttl, hops[ttl], others[ttl]))
	}
	if end := lastTTL(j); end > last {
		rows = append(rows, silentRow(last+1, end))
	}
	return rows
}

func hopsByTTL(r *path.Route) map[int]*path.Hop {
	hops := make(map[int]*path.Hop)
	if r != nil {
		for i := range r.Hops {
			hops[r.Hops[i].TTL] = &r.Hops[i]
		}
	}
	return hops
}

func (j *journey) routes() []*path.Route {
	if j.other == nil {
		return []*path.Route{j.route}
	}
	return []*path.Route{j.route, j.other}
}

func firstTTL(j *journey) int {
	first := path.MaxHops
	for _, r := range j.routes() {
		if len(r.Hops) > 0 {
			first = min(first, r.Hops[0].TTL)
		}
	}
	return first
}

func lastTTL(j *journey) int {
	last := 0
	for _, r := range j.routes() {
		if n := len(r.Hops); n > 0 {
			last = max(last, r.Hops[n-1].TTL)
		}
	}
	return last
}

// lastToShow is the last hop with a line of its own: the last that answers, or says that this host sent nothing.
func lastToShow(j *journey) int {
	last := 0
	for _, r := range j.routes() {
		for _, h := range r.Hops {
			if h.Heard() > 0 || slices.ContainsFunc(h.Answers, func(a path.Answer) bool { return a.Kind == path.Unsent }) {
				last = max(last, h.TTL)
			}
		}
	}
	return last
}

func silentRow(from, to int) row {
	hops := fmt.Sprint(from)
	if from < to {
		hops = fmt.Sprintf("%d–%d", from, to)
	}
	return row{hops: hops, who: "*", notes: "nobody answers"}
}

func rowOf(j *journey, ttl int, h, other *path.Hop) row {
	r := row{hops: fmt.Sprint(ttl), who: "*"}
	if h != nil {
		r.who = cmp.Or(who(j, h.Addrs()), "*")
		r.times = roundTrips(h)
		r.notes, r.tone = notes(h)
	}
	if j.other != nil {
		r.other = escape(fmt.Sprintf("port %d: %s", j.compare, compared(j, h, other)))
	}
	return r
}

// who names those who answered, the most frequent first.
func who(j *journey, addrs []netip.Addr) string {
	var all []string
	for _, addr := range addrs {
		s := addr.String()
		if name := j.names[addr]; name != "" {
			s += " (" + name + ")"
		}
		all = append(all, escape(s))
	}
	return strings.Join(all, ", ")
}

// roundTrips are those of a hop in the order of the queries, with a star for each SYN that nobody answered, and a question
// mark where it is not known which was answered.
func roundTrips(h *path.Hop) string {
	var cells []string
	for _, a := range slices.SortedFunc(slices.Values(h.Answers), func(a, b path.Answer) int { return a.Query - b.Query }) {
		cell := "*"
		switch {
		case a.Kind == path.Unsent:
			continue
		case a.RTT > 0:
			cell = timeline.FormatDuration(a.RTT)
		case a.Answered():
			cell = "?"
		}
		cells = append(cells, fmt.Sprintf("%7s", cell))
	}
	return strings.Join(cells, " ")
}

// notes say what is particular about a hop.
func notes(h *path.Hop) (string, tone) {
	var all []string
	shade := plain
	for _, a := range h.Answers {
		words, t := answerWords(&a)
		if words != "" && !slices.Contains(all, words) {
			all, shade = append(all, words), t
		}
	}
	if lost := len(h.Answers) - h.Heard(); lost > 0 && h.Heard() > 0 {
		all = append(all, fmt.Sprintf("%d of %d lost", lost, len(h.Answers)))
	}
	if slices.ContainsFunc(h.Answers, func(a path.Answer) bool { return a.Answered() && a.Retries > 0 }) {
		all = append(all, "? after the kernel's own retry")
	}
	return escape(strings.Join(all, ", ")), shade
}

func answerWords(a *path.Answer) (string, tone) {
	switch a.Kind {
	case path.Accepted:
		return "SYN-ACK", good
	case path.Refused:
		return "RST", bad
	case path.Rejected:
		return icmpWords(a.ICMP), bad
	case path.Unsent:
		return "not sent: " + a.Errno.String(), bad
	}
	return "", plain
}

func icmpWords(icmp *event.ICMP) string {
	return fmt.Sprintf("%s (type %d, code %d)", icmp.Name, icmp.Type, icmp.Code)
}

// compared says how the other port's hop differs.
func compared(j *journey, h, other *path.Hop) string {
	switch {
	case other == nil:
		return "-"
	case other.Heard() == 0:
		return "*"
	}
	words := []string{"the same"}
	if h == nil || h.Addr() != other.Addr() {
		words[0] = who(j, other.Addrs())
	}
	if note, _ := notes(other); note != "" {
		words = append(words, note)
	}
	return strings.Join(words, ", ")
}

// conditions say by which clock round trips are, and from which ports the SYNs left.
func conditions(j *journey) string {
	var clocks []string
	for _, h := range j.route.Hops {
		for _, a := range h.Answers {
			if words := clockWords[a.Clock]; words != "" && !slices.Contains(clocks, words) {
				clocks = append(clocks, words)
			}
		}
	}
	var parts []string
	if len(clocks) > 0 {
		parts = append(parts, "round trips by "+strings.Join(clocks, " and "))
	}
	switch ports := j.route.Ports(); {
	case len(ports) == 1:
		parts = append(parts, fmt.Sprintf("every SYN from port %d", ports[0]))
	case len(ports) > 1:
		parts = append(parts, "a port for each SYN, so paths of equal cost may mix (--sequential: one port)")
	}
	return strings.Join(parts, "; ")
}

var clockWords = map[path.Clock]string{
	path.ClockKernel:  "the kernel's clock",
	path.ClockTCPInfo: "TCP_INFO",
	path.ClockUser:    "this process's clock",
}
