package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tcptrace/tracer/host/counters"
	"tcptrace/tracer/timeline"
)

// countersText writes counters for people, by topic.
type countersText struct {
	out            flusher
	paint          painter
	quiet, verbose bool
	all            bool
}

func (t *countersText) meta(meta) {}

func (t *countersText) Flush() { t.out.Flush() }

func (t *countersText) line(text string) { fmt.Fprintln(t.out, strings.TrimRight(text, " ")) }

func (t *countersText) now(r *countersReading) {
	if r.walk != nil {
		t.path(r.walk)
		return
	}
	t.list(r.shown)
	for _, g := range r.gone {
		t.line(fmt.Sprintf("  %s  is gone since Linux %s", t.paint.paint(strong, escape(g.String())), escape(g.Since)))
		t.below(plain, g.Means)
	}
	t.ratios(r)
	if r.zero > 0 {
		t.line(countOf(r.zero, "other counter") + " " + isOrAre(r.zero) + " 0 (--all)")
	}
}

func isOrAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// list writes counters with their values, and what they mean.
func (t *countersText) list(shown []countedValue) {
	names, values := widthsOf(shown)
	var topic counters.Topic
	for i := range shown {
		v := &shown[i]
		if v.Topic != topic {
			topic = v.Topic
			t.line(t.paint.paint(strong, escape(string(topic))))
		}
		value := grouped(int(v.Value))
		line := "  " + pad(escape(v.String()), names) + "  " + padLeft(value, values)
		if t.quiet {
			t.line(line + "  " + escape(v.Means))
			continue
		}
		t.line(line)
		t.explain(v)
	}
}

// explain says all that is known of a counter.
func (t *countersText) explain(v *countedValue) {
	means := v.Means
	if t.verbose && v.By != "" {
		means += " (" + v.By + ")"
	}
	t.below(plain, means)
	if v.Worry != "" {
		t.below(plain, "worry "+v.Worry)
	}
	t.below(faint, namesElsewhere(v))
	if v.Misleading != "" {
		t.below(warning, "! netstat's words mislead: "+v.Misleading)
	}
}

// namesElsewhere is what the counter is called by other programs.
func namesElsewhere(v *countedValue) string {
	exporter := v.NodeExporter()
	if !v.ExportedByDefault() {
		exporter += " (not by default)"
	}
	sentence := v.Sentence(fmt.Sprint(v.Value))
	if sentence == "" {
		return exporter
	}
	return fmt.Sprintf("netstat -s %q, %s", sentence, exporter)
}

// below writes a paragraph under a counter.
func (t *countersText) below(tone tone, text string) {
	for _, line := range t.paint.paragraph(tone, text) {
		t.line(line)
	}
}

func widthsOf(shown []countedValue) (names, values int) {
	for i := range shown {
		names = max(names, len([]rune(escape(shown[i].String()))))
		values = max(values, len(grouped(int(shown[i].Value))))
	}
	return names, values
}

func padLeft(s string, width int) string { return fmt.Sprintf("%*s", width, s) }

func (t *countersText) ratios(r *countersReading) {
	computed := slices.DeleteFunc(slices.Clone(r.ratios), func(c computedRatio) bool { return c.Part == 0 && !t.all })
	if len(computed) == 0 {
		return
	}
	width := 0
	for i := range computed {
		width = max(width, len([]rune(escape(computed[i].Name))))
	}
	if !t.quiet {
		t.line(t.paint.paint(strong, "ratios"))
	}
	for i := range computed {
		c := &computed[i]
		t.line(fmt.Sprintf("  %s  %s  %s of %s",
			pad(escape(c.Name), width), formatShare(c.share()), grouped(int(c.Part)), grouped(int(c.Whole))))
		if !t.quiet && r.over == 0 {
			t.below(plain, c.Means)
			t.below(faint, c.Formula)
		}
	}
}

// formatShare writes a share with two digits behind the point, so that 0.05% can be told from nothing.
func formatShare(share float64) string { return fmt.Sprintf("%6.2f%%", 100*share) }

func (t *countersText) begin(interval time.Duration) {
	t.line(t.paint.paint(faint, "what changes every "+timeline.FormatDuration(interval)+" (^C ends, and says what came together)"))
}

func (t *countersText) change(r *countersReading) {
	t.line(t.paint.paint(strong, r.at.Format(time.TimeOnly)) + t.paint.paint(faint, "  "+formatOffset(r.elapsed)))
	t.comparison(r)
}

// comparison writes what changed over a time.
func (t *countersText) comparison(r *countersReading) {
	if r.walk != nil {
		t.pathChanges(r.walk, r.over)
		return
	}
	t.changes(r)
	t.ratios(r)
}

// changes writes a line for each counter that changed.
func (t *countersText) changes(r *countersReading) {
	if len(r.shown) == 0 {
		t.line("  nothing changed")
		return
	}
	names, values := widthsOf(r.shown)
	for i := range r.shown {
		v := &r.shown[i]
		rate := ""
		if perSecond, ok := r.rate(v); ok {
			rate = formatRate(perSecond)
		}
		change := fmt.Sprintf("%+d", v.Change)
		line := fmt.Sprintf("  %s  %9s  %10s  %s",
			pad(escape(v.String()), names), change, rate, padLeft(grouped(int(v.Value)), values))
		if v.Worry != "" && v.Change > 0 {
			line = t.paint.paint(warning, line)
		}
		t.line(line)
	}
}

// formatRate writes how much there is in a second, with three digits that matter below a thousand.
func formatRate(perSecond float64) string {
	if perSecond >= 1000 || perSecond <= -1000 {
		return grouped(int(perSecond)) + "/s"
	}
	return fmt.Sprintf("%.3g/s", perSecond)
}

func (t *countersText) end(total countersTotal) {
	r := total.reading
	if r.over == 0 {
		return
	}
	if !total.told {
		t.line(fmt.Sprintf("in %s, %s:", timeline.FormatDuration(r.over), countOf(total.intervals, "interval")))
		t.comparison(r)
	}
	if r.walk == nil {
		t.meanings(r.shown)
	}
}

// meanings explains, at the end, the counters that changed and are a reason to worry.
func (t *countersText) meanings(shown []countedValue) {
	if t.quiet {
		return
	}
	for i := range shown {
		v := &shown[i]
		if v.Worry == "" || v.Change <= 0 {
			continue
		}
		t.line("→ " + t.paint.paint(strong, escape(v.String())) + ":")
		t.below(plain, v.Means)
		t.below(plain, "worry "+v.Worry)
	}
}
