package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tcptrace/tracer/lint"
	"tcptrace/tracer/schedule"
	"tcptrace/tracer/timeline"
)

func newPredictCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "predict",
		Short: "The kernel's schedule, computed from its settings",
		Example: `  # SYNs, and when the kernel gives up
  tcptrace predict connect

  # an idle connection whose peer is gone
  tcptrace predict keepalive --keepalive-idle 60s --keepalive-interval 10s --keepalive-count 6

  # data that nobody acknowledges
  tcptrace predict data --user-timeout 30s`,
		Args: cobra.ArbitraryArgs, // so that RunE says what an unknown command might have been
		RunE: unknownCommandError,
	}
	cmd.AddCommand(
		newPredictConnectCommand(a),
		newPredictKeepaliveCommand(a),
		newPredictDataCommand(a),
		newPredictZeroWindowCommand(a),
		newPredictSYNACKCommand(a),
	)
	return cmd
}

// prediction is a schedule that is to be printed: what it begins with, what the kernel then does again and again, and
// how that ends.
type prediction struct {
	settings []string // what it is computed from
	begins   moment
	repeats  moment
	steps    iter.Seq[schedule.Step]
	end      *schedule.End // nil: it never ends, and steps do not either
	ends     moment        // how the end reads; zero: "gives up", by its errno
	notes    []string      // sentences: which clause ends it, and why
	warnings []lint.Warning
	unended  bool // a recording was cut short before it said how it ends
}

// moment is one thing of a schedule.
type moment struct {
	words string
	about string // what else is to be said of it
	what  string // what JSON calls it
}

// maxEndless is how many steps are printed of a schedule that never ends.
const maxEndless = 12

// shownSteps are those that are printed.
func (p *prediction) shownSteps() iter.Seq[schedule.Step] {
	if p.end != nil || p.unended {
		return p.steps
	}
	return func(yield func(schedule.Step) bool) {
		for step := range p.steps {
			if step.Attempt > maxEndless || !yield(step) {
				return
			}
		}
	}
}

// printPrediction shows p as the flags want it.
func (a *app) printPrediction(flags *outputFlags, p *prediction) error {
	if flags.Format == formatJSON {
		return p.printJSON(a.stdout)
	}
	p.printText(a.stdout, flags.painter(a.stdout))
	return nil
}

func (p *prediction) printText(out *output, paint painter) {
	fmt.Fprintln(out, paint.paint(faint, escape(strings.Join(p.settings, ", "))))
	width, total := p.measure()
	row := func(at time.Duration, words, which, until string) {
		line := fmt.Sprintf("  %*s  %-14s  %-9s  %s", width, formatOffset(at), escape(words), escape(which), until)
		fmt.Fprintln(out, strings.TrimRight(line, " "))
	}
	row(0, p.begins.words, p.begins.about, "")
	for step := range p.shownSteps() {
		row(step.Offset, p.repeats.words, fmt.Sprintf("%d%s", step.Attempt, total), "until "+formatOffset(step.Latest))
	}
	switch {
	case p.unended:
		return
	case p.end == nil:
		fmt.Fprintf(out, "  %*s  and so on, without an end\n", width, "")
	default:
		row(p.end.Offset, cmp.Or(p.ends.words, "gives up"), cmp.Or(p.ends.about, p.end.Errno, "silently"),
			"until "+formatOffset(p.end.Latest)+p.reset())
	}
	for i, note := range p.notes {
		printParagraph(out, "", note)
		if i == 0 && p.end != nil && p.end.Earliest < p.end.Offset {
			fmt.Fprintf(out, "Late timers can reach that limit sooner: from %s on.\n", formatOffset(p.end.Earliest))
		}
	}
	printWarnings(out, paint, p.warnings)
}

// measure gives the width of the column of times, and how the number of all steps reads after the number of one.
func (p *prediction) measure() (width int, total string) {
	const usual = 9 // the width of times below a quarter of an hour
	if p.end == nil {
		return usual, ""
	}
	last := 0
	for step := range p.steps {
		last = step.Attempt
	}
	return max(usual, len(formatOffset(p.end.Offset))), fmt.Sprintf(" of %d", last)
}

// reset is what the peer gets at the end: as a rule nothing.
func (p *prediction) reset() string {
	if p.end.Reset {
		return "   with a RST to the peer"
	}
	return ""
}

// printWarnings writes what is questionable about settings, each with what to do about it.
func printWarnings(out *output, paint painter, warnings []lint.Warning) {
	for _, w := range warnings {
		for i, line := range wrap(escape(w.Sentence), textWidth-len("! ")) {
			lead := "! "
			if i > 0 {
				lead = "  "
			}
			fmt.Fprintln(out, paint.paint(warning, lead+line))
		}
		if w.Advice != "" {
			printParagraph(out, "  → ", w.Advice)
		}
	}
}

// printParagraph writes text after lead, its lines aligned.
func printParagraph(out *output, lead, text string) {
	for i, line := range wrap(escape(text), textWidth-len([]rune(lead))) {
		if i > 0 {
			lead = pad("", len([]rune(lead)))
		}
		fmt.Fprintln(out, lead+line)
	}
}

// The types of a schedule's lines.
const (
	typeStep = "step"
	typeEnd  = "end"
)

// stepLine and endLine are the lines of a schedule in JSON. The beginning has the settings, and the end the notes.
type stepLine struct {
	Type     string   `json:"type"`
	Attempt  int      `json:"attempt"` // 0 is the beginning
	OffsetMS float64  `json:"offset_ms"`
	LatestMS float64  `json:"latest_ms"`
	What     string   `json:"what"`
	Words    string   `json:"words,omitempty"`
	About    string   `json:"about,omitempty"`
	Settings []string `json:"settings,omitempty"`
}

// endLine has no times, no errno and no rule where there is no end.
type endLine struct {
	Type       string        `json:"type"`
	OffsetMS   *float64      `json:"offset_ms,omitempty"`
	LatestMS   *float64      `json:"latest_ms,omitempty"`
	EarliestMS *float64      `json:"earliest_ms,omitempty"`
	Errno      string        `json:"errno,omitempty"`
	Rule       string        `json:"rule,omitempty"`
	Reset      bool          `json:"reset,omitempty"` // the peer is sent one
	Never      bool          `json:"never,omitempty"`
	Words      string        `json:"words,omitempty"`
	About      string        `json:"about,omitempty"`
	Notes      []string      `json:"notes,omitempty"`
	Warnings   []warningLine `json:"warnings,omitempty"`
}

type warningLine struct {
	ID       string `json:"id"`
	Sentence string `json:"sentence"`
	Advice   string `json:"advice,omitempty"`
}

func (p *prediction) printJSON(out *output) error {
	lines := json.NewEncoder(harmlessJSON{out})
	lines.SetEscapeHTML(false)
	begin := stepLine{Type: typeStep, What: p.begins.what, Words: p.begins.words, About: p.begins.about, Settings: p.settings}
	if err := lines.Encode(begin); err != nil {
		return err
	}
	for step := range p.shownSteps() {
		line := stepLine{
			Type: typeStep, Attempt: step.Attempt, OffsetMS: milliseconds(step.Offset), LatestMS: milliseconds(step.Latest),
			What: p.repeats.what, Words: p.repeats.words,
		}
		if err := lines.Encode(line); err != nil {
			return err
		}
	}
	if p.unended {
		return nil
	}
	return lines.Encode(p.endLine())
}

// harmlessJSON escapes whole lines of JSON.
type harmlessJSON struct{ out *output }

func (h harmlessJSON) Write(line []byte) (int, error) {
	end := len(line) - 1
	h.out.Write(append(escapeJSON(line[:end:end]), '\n'))
	return len(line), nil
}

func (p *prediction) endLine() endLine {
	line := endLine{
		Type: typeEnd, Never: p.end == nil, Words: p.ends.words, About: p.ends.about, Notes: p.notes, Warnings: encodeWarnings(p.warnings),
	}
	if p.end != nil {
		offset, latest, earliest := milliseconds(p.end.Offset), milliseconds(p.end.Latest), milliseconds(p.end.Earliest)
		line.OffsetMS, line.LatestMS, line.EarliestMS = &offset, &latest, &earliest
		line.Errno, line.Rule, line.Reset = p.end.Errno, p.end.Rule.String(), p.end.Reset
	}
	return line
}

func encodeWarnings(warnings []lint.Warning) []warningLine {
	var lines []warningLine
	for _, w := range warnings {
		lines = append(lines, warningLine(w))
	}
	return lines
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// formatOffset writes a time from the beginning of a connection, as +1.021s.
func formatOffset(d time.Duration) string { return string(timeline.AppendOffset(nil, d)) }

// orNone is a time that may not be set.
func orNone(d time.Duration) string {
	if d == 0 {
		return "none"
	}
	return timeline.FormatDuration(d)
}
