package main

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"tcptrace/prober/scan"
	"tcptrace/tracer/timeline"
)

// scanText writes a scan for people.
type scanText struct {
	out     flusher
	painter painter
	quiet   bool
	verbose bool
	meta    meta
	// location is where the times of day are; nil is here.
	location *time.Location
}

// scanPrinter is the sink that prints a scan as these flags say.
func (a *app) scanPrinter(output *outputFlags, detail *detailFlags) scanSink {
	if output.Format == formatJSON {
		return newScanJSON(a.stdout)
	}
	return &scanText{out: a.stdout, painter: output.painter(a.stdout), quiet: detail.Quiet, verbose: detail.Verbose}
}

func (t *scanText) Meta(m meta, _ int) { t.meta = m }

func (t *scanText) Lost(lost) {} // the summary counts them

func (t *scanText) Flush() { t.out.Flush() }

// outcomeForms says how outcomes read.
var outcomeForms = map[scan.Outcome]struct {
	words string
	tone  tone
}{
	scan.Connected:   {"connected", good},
	scan.Refused:     {"refused", bad},
	scan.Unreachable: {"unreachable", bad},
	scan.TimedOut:    {"no answer", bad},
	scan.Reset:       {"reset at once", bad},
	scan.LocalError:  {"local error", warning},
}

func (t *scanText) Target(l *targetLine) {
	if !t.verbose {
		return
	}
	form := outcomeForms[l.result.Outcome]
	line := fmt.Sprintf("%-50s %s %10s", escape(l.target.String()), t.painter.paint(form.tone, pad(form.words, 22)),
		timeline.FormatDuration(l.result.Connect))
	for _, detail := range targetDetails(l) {
		line += "  " + detail
	}
	fmt.Fprintln(t.out, strings.TrimRight(line, " "))
}

func targetDetails(l *targetLine) []string {
	r := &l.result
	var details []string
	if r.SYNs > 1 {
		details = append(details, countOf(int(r.SYNs), "SYN"))
	}
	if r.Attempts > 1 {
		details = append(details, countOf(int(r.Attempts), "source port"))
	}
	if r.ICMP != nil {
		details = append(details, fmt.Sprintf("ICMP %s from %v", r.ICMP.Name, r.ICMP.From))
	}
	return append(stated(append(details, r.Errno.String())...), stated(escape(l.target.Label))...)
}

// Round tells what a round comes to, what matters most first.
func (t *scanText) Round(r *scanRound) {
	if r.Several {
		fmt.Fprintf(t.out, "%s\n", t.painter.paint(strong, t.roundTitle(r)))
	}
	fmt.Fprintln(t.out, t.headline(r.scanStats))
	if t.quiet {
		return
	}
	t.localErrors(r.scanStats)
	if r.Outcomes[scan.Connected] > 0 {
		t.byTimeout(r.scanStats)
		t.latency(r.scanStats)
		t.bySYN(r.scanStats)
	}
	t.byFamily(r.scanStats)
	t.reasons(r.scanStats)
	t.slowest(r)
	t.changes(r.Changes)
	t.refreshed(r.scanStats)
	t.clocks(r.scanStats)
}

func (t *scanText) roundTitle(r *scanRound) string {
	title := fmt.Sprintf("scan %d at %s", r.Round, t.local(r.Started).Format(time.TimeOnly))
	if r.Refresh != 0 {
		title += ", refreshed every " + timeline.FormatDuration(r.Refresh)
	}
	return title
}

func (t *scanText) local(at time.Time) time.Time {
	if t.location == nil {
		return at.Local()
	}
	return at.In(t.location)
}

// headline is the whole round in a line.
func (t *scanText) headline(s *scanStats) string {
	parts := []string{t.painter.paint(good, fmt.Sprintf("%s connected (%s)", grouped(s.Outcomes[scan.Connected]), percent(s.Outcomes[scan.Connected], s.Targets)))}
	for _, o := range scan.Outcomes()[1:] {
		if n := s.Outcomes[o]; n > 0 {
			parts = append(parts, t.painter.paint(outcomeForms[o].tone, grouped(n)+" "+outcomeForms[o].words))
		}
	}
	if s.Unfinished > 0 {
		parts = append(parts, grouped(s.Unfinished)+" still unanswered when it ended")
	}
	if s.Untried > 0 {
		parts = append(parts, grouped(s.Untried)+" not tried")
	}
	return fmt.Sprintf("%s in %s: %s", countOf(s.Targets, "target"), timeline.FormatDuration(s.Took), strings.Join(parts, ", "))
}

func (t *scanText) localErrors(s *scanStats) {
	if n := s.Outcomes[scan.LocalError]; n > 0 {
		t.paragraph(warning, "! ", countOf(n, "target")+" could not be tried, for reasons on this host (below): that says nothing about them.")
	}
}

// byTimeout is the table of who would have connected with which timeout.
func (t *scanText) byTimeout(s *scanStats) {
	fmt.Fprintf(t.out, "\n  %10s  %10s\n", "timeout", "connected")
	for _, share := range s.ByTimeout {
		fmt.Fprintf(t.out, "  %10s  %10s  %7s\n", timeline.FormatDuration(share.Timeout), grouped(share.Connected), percent(share.Connected, s.Targets))
	}
}

func (t *scanText) latency(s *scanStats) {
	l := s.Latency
	fmt.Fprintf(t.out, "\n  time to connect: min %s, p50 %s, p75 %s, p90 %s, p95 %s, p99 %s, max %s; mean %s ± %s\n",
		timeline.FormatDuration(l.Min), timeline.FormatDuration(l.P50), timeline.FormatDuration(l.P75), timeline.FormatDuration(l.P90),
		timeline.FormatDuration(l.P95), timeline.FormatDuration(l.P99), timeline.FormatDuration(l.Max),
		timeline.FormatDuration(l.Mean), timeline.FormatDuration(l.Deviation))
}

// mostSYNs is how many rows the table by SYN has; what took more is one row.
const mostSYNs = 8

func (t *scanText) bySYN(s *scanStats) {
	var parts []string
	beyond := 0
	for _, share := range s.BySYN {
		switch {
		case share.SYNs > mostSYNs:
			beyond += share.Connected
		case share.SYNs == 1:
			parts = append(parts, grouped(share.Connected)+" by the first SYN")
		default:
			parts = append(parts, fmt.Sprintf("%s after %s", grouped(share.Connected), plural(share.SYNs-1, "retry", "retries")))
		}
	}
	if beyond > 0 {
		parts = append(parts, fmt.Sprintf("%s after more", grouped(beyond)))
	}
	if len(parts) > 0 {
		t.paragraph(plain, "", "answered: "+strings.Join(parts, ", "))
	}
}

func (t *scanText) byFamily(s *scanStats) {
	if len(s.ByFamily) > 1 {
		for _, f := range s.ByFamily {
			line := fmt.Sprintf("%s: %s of %s connected (%s)", f.Family, grouped(f.Connected), grouped(f.Targets), percent(f.Connected, f.Targets))
			if f.Connected > 0 {
				line += ", p50 " + timeline.FormatDuration(f.Median)
			}
			t.paragraph(plain, "", line)
		}
	}
	if s.Labels > 0 {
		fmt.Fprintf(t.out, "  labels: %s of %s have an address that connected (%s)\n", grouped(s.LabelsSome), grouped(s.Labels), percent(s.LabelsSome, s.Labels))
	}
}

// reasonWords says why, for what the outcome alone does not say.
var reasonWords = map[scan.Outcome]string{
	scan.Refused:     "answered by a RST",
	scan.Unreachable: "nobody on the last link has the address",
	scan.TimedOut:    "nothing came back",
	scan.Reset:       "it was connected before",
	scan.LocalError:  "this host stood in the way",
}

func (t *scanText) reasons(s *scanStats) {
	for _, r := range s.Reasons {
		why := reasonWords[r.Outcome]
		if r.ICMP != "" {
			why = "ICMP " + r.ICMP
		}
		if r.Errno != 0 && r.ICMP == "" {
			why += " (" + r.Errno.String() + ")"
		}
		fmt.Fprintf(t.out, "  %s: %s\n", t.painter.paint(outcomeForms[r.Outcome].tone, grouped(r.Count)+" "+outcomeForms[r.Outcome].words), why)
	}
}

func (t *scanText) slowest(r *scanRound) {
	var parts []string
	for _, i := range r.Slowest {
		parts = append(parts, fmt.Sprintf("%s %s", escape(r.targets[i].String()), timeline.FormatDuration(r.results[i].Connect)))
	}
	if len(parts) > 0 {
		t.paragraph(plain, "", "slowest: "+strings.Join(parts, ", "))
	}
}

// changesShown is how many targets of a kind are named.
const changesShown = 10

func (t *scanText) changes(c *changes) {
	if c == nil {
		return
	}
	text := fmt.Sprintf("since %s, of %s: %s", t.local(c.Since).Format(time.DateTime), countOf(c.Compared, "target"),
		fmt.Sprintf("%s connected that did not, %s no more", grouped(len(c.Gained)), grouped(len(c.Lost))))
	if c.MedianBefore != 0 {
		text += fmt.Sprintf("; p50 of the others %s, was %s (%+.0f%%)", timeline.FormatDuration(c.MedianNow),
			timeline.FormatDuration(c.MedianBefore), 100*(float64(c.MedianNow)/float64(c.MedianBefore)-1))
	}
	t.paragraph(plain, "", text)
	for _, list := range []struct {
		sign  string
		tone  tone
		addrs []netip.AddrPort
	}{{"+", good, c.Gained}, {"-", bad, c.Lost}} {
		for _, addr := range list.addrs[:min(len(list.addrs), changesShown)] {
			fmt.Fprintf(t.out, "    %s\n", t.painter.paint(list.tone, list.sign+" "+addr.String()))
		}
		if more := len(list.addrs) - changesShown; more > 0 {
			fmt.Fprintf(t.out, "    %s and %s more\n", list.sign, grouped(more))
		}
	}
}

func (t *scanText) refreshed(s *scanStats) {
	if s.Refresh == 0 {
		return
	}
	text := fmt.Sprintf("refreshed every %s: %s for %s", timeline.FormatDuration(s.Refresh), countOf(s.Connects, "connect"), countOf(s.Targets, "target"))
	if s.LateAnswers >= 0 {
		text += fmt.Sprintf("; at most %s to an attempt that had been given up (RSTs of this host, other than its closes)", plural(s.LateAnswers, "answer came", "answers came"))
	}
	t.paragraph(plain, "", text)
}

// clocks says what the times were measured by, and how good that is.
func (t *scanText) clocks(s *scanStats) {
	if t.meta.Untraced != "" {
		t.paragraph(faint, "? ", "the kernel's events could not be seen: "+t.meta.Untraced)
	}
	if s.LostEvents > 0 {
		t.paragraph(warning, "! ", fmt.Sprintf("%s of the kernel were lost: some times are less exact", plural(int(s.LostEvents), "event", "events")))
	}
	for _, clock := range []struct {
		clock scan.Clock
		words string
	}{
		{scan.KernelClock, "the kernel's own events, from the first SYN to the answer"},
		{scan.InfoClock, "the kernel's measurement of the handshake (tcpi_rtt)"},
		{scan.UserClock, "when this program noticed the answer"},
	} {
		if n := s.Clocks[clock.clock]; n > 0 {
			t.paragraph(faint, "", fmt.Sprintf("times of %s by %s", grouped(n), clock.words))
		}
	}
	if s.Noticed.Count > 0 {
		t.paragraph(faint, "", fmt.Sprintf("this program noticed answers later than the kernel: p50 %s, p99 %s, at most %s",
			timeline.FormatDuration(s.Noticed.P50), timeline.FormatDuration(s.Noticed.P99), timeline.FormatDuration(s.Noticed.Max)))
	}
}

func (t *scanText) Summary(s *scanSummary) {
	if len(s.Rounds) > 1 && !t.quiet {
		t.byRound(s.Rounds)
	}
	if s.Plotted != "" {
		fmt.Fprintf(t.out, "  drawn in %s\n", escape(s.Plotted))
	}
	if s.Interrupted {
		fmt.Fprintln(t.out, "  interrupted: this is what there was by then")
	}
}

// roundsShown is how many rounds the last table has, the latest.
const roundsShown = 20

func (t *scanText) byRound(rounds []*scanStats) {
	fmt.Fprintf(t.out, "\n  %6s  %10s  %10s  %7s  %10s  %10s\n", "scan", "refresh", "connected", "", "connects", "p50")
	for _, r := range rounds[max(0, len(rounds)-roundsShown):] {
		refresh := "none"
		if r.Refresh != 0 {
			refresh = timeline.FormatDuration(r.Refresh)
		}
		median := ""
		if r.Latency.Count > 0 {
			median = timeline.FormatDuration(r.Latency.P50)
		}
		line := fmt.Sprintf("  %6d  %10s  %10s  %7s  %10s  %10s", r.Round, refresh, grouped(r.Outcomes[scan.Connected]),
			percent(r.Outcomes[scan.Connected], r.Targets), grouped(r.Connects), median)
		fmt.Fprintln(t.out, strings.TrimRight(line, " "))
	}
}

// paragraph writes text that may need several lines, with a mark before the first.
func (t *scanText) paragraph(tone tone, mark, text string) {
	for i, line := range wrap(text, textWidth-4) {
		indent := "  " + mark
		if i > 0 {
			indent = "    "
		}
		fmt.Fprintf(t.out, "%s\n", t.painter.paint(tone, indent+line))
	}
}

// grouped writes a number with commas between thousands.
func grouped(n int) string {
	if n < 0 {
		return "-" + grouped(-n)
	}
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// countOf is so many of a thing whose plural has an s.
func countOf(n int, thing string) string { return plural(n, thing, thing+"s") }

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return grouped(n) + " " + many
}

// percent is a share of a whole; of nothing it is empty.
func percent(part, whole int) string {
	if whole == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f%%", 100*float64(part)/float64(whole))
}
