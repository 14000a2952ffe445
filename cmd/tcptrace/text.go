package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"tcptrace/tracer/event"
	"tcptrace/tracer/lint"
	"tcptrace/tracer/timeline"
	"tcptrace/tracer/verdict"
)

// textConfig is how people want to read a session.
type textConfig struct {
	Painter  painter
	Quiet    bool           // only verdicts
	Verbose  bool           // socket details at each event
	Replayed bool           // nobody can interrupt what is over
	Location *time.Location // nil: local time
}

// textRenderer writes a session for people, one event a line. The line of a connection that is the only one has no
// room for what the first line has said; with several, every line says which connection it is about.
type textRenderer struct {
	config  textConfig
	out     flusher
	meta    meta
	ifnames map[event.ConnID]string // where SYNs left
	labels  labelWriter
	change  *change // one that may not be the last of several
	row     []byte  // memory for the next
}

// A change of options waits for those that follow it at once: applications set one after the other.
type change struct {
	connection *timeline.Connection
	event      event.Event
	offset     time.Duration // as it was when the event came: the far end may become known meanwhile
}

// wordsWidth is that of the longest words in forms, and farEndMark what precedes those of a probe's far end.
const (
	wordsWidth = 17
	farEndMark = "peer: "
)

func newTextRenderer(out flusher, config textConfig) *textRenderer {
	if config.Location == nil {
		config.Location = time.Local
	}
	return &textRenderer{
		config:  config,
		out:     out,
		ifnames: make(map[event.ConnID]string),
		labels:  newLabelWriter(config.Location),
	}
}

// Meta says up front what the whole answer lacks.
func (t *textRenderer) Meta(m meta) {
	t.meta = m
	if m.Untraced != "" && !t.config.Quiet {
		t.line(t.painted(warning, escape("without the kernel's events: "+m.Untraced)))
	}
}

// Outlook says what is to be expected of an idle connection.
func (t *textRenderer) Outlook(o outlook) {
	if t.config.Quiet {
		return
	}
	for _, sentence := range o.sentences() {
		t.wrapped("  ", sentence)
	}
	for _, w := range o.warnings() {
		t.warning(w)
	}
}

// warning writes what is questionable about a setting, and what to do about it.
func (t *textRenderer) warning(w lint.Warning) {
	for i, line := range wrap(escape(w.Sentence), textWidth-len("  ! ")) {
		lead := "  ! "
		if i > 0 {
			lead = "    "
		}
		t.line(t.painted(warning, lead+line))
	}
	if w.Advice != "" {
		t.wrapped("    → ", w.Advice)
	}
}

// Answer writes nothing: the verdict that rests on it says so.
func (t *textRenderer) Answer(answer) {}

// Event writes one event of connection c.
func (t *textRenderer) Event(c *timeline.Connection, ev *event.Event) {
	if ev.IfName != "" && ev.Kind != event.Close {
		t.ifnames[ev.Conn] = ev.IfName
	}
	if t.config.Quiet || t.impliedByAnother(ev) {
		return
	}
	if t.change != nil && continues(&t.change.event, ev) {
		t.change = nil
	}
	t.tellChange()
	if ev.Kind == event.OptionsChanged && !t.config.Verbose {
		t.change = &change{c, *ev, t.offset(c, ev)}
		return
	}
	t.event(c, ev, t.offset(c, ev))
}

// tellChange writes the change that waits.
func (t *textRenderer) tellChange() {
	if waiting := t.change; waiting != nil {
		t.change = nil
		t.event(waiting.connection, &waiting.event, waiting.offset)
	}
}

func (t *textRenderer) event(c *timeline.Connection, ev *event.Event, offset time.Duration) {
	form := forms[ev.Kind]
	words, width := form.words, wordsWidth
	if isOptionsRead(ev) {
		words = "options"
	}
	if t.meta.Subject == aboutProbes && ev.Role == event.RoleServer {
		words = farEndMark + words
	}
	if t.meta.Subject == aboutProbes {
		width += len(farEndMark)
	}
	row := t.appendLabel(append(t.row[:0], "  "...), ev, offset)
	row = appendBlanks(append(row, t.painted(form.tone, words)...), width-utf8.RuneCountInString(words))
	for _, detail := range t.details(form, c, ev) {
		row = append(append(row, "  "...), detail...)
	}
	t.row = append(bytes.TrimRight(row, " "), '\n')
	t.out.Write(t.row)
	if t.config.Verbose {
		t.verbose(ev)
	}
	t.interim(c, ev)
	t.holding(ev)
	if ev.Kind == event.Close {
		delete(t.ifnames, ev.Conn)
	}
}

// impliedByAnother says that the line of another event tells this one too: a probe's SYN leaves by a device right when
// it is sent, and where it leaves is told once, when that matters; and what comes of options is foretold.
func (t *textRenderer) impliedByAnother(ev *event.Event) bool {
	return !t.config.Verbose && (ev.Kind == event.SYNSent && t.meta.Subject == aboutProbes || isOptionsRead(ev))
}

// offset is when ev happened; of a probe's far end in the probe's time, so that the two read as one story.
func (t *textRenderer) offset(c *timeline.Connection, ev *event.Event) time.Duration {
	if t.meta.Subject == aboutProbes && c.FarEnd() {
		return ev.Mono - c.Peer.Started()
	}
	return ev.Offset
}

// appendLabel says when, and which connection a line is about where that is not clear.
func (t *textRenderer) appendLabel(row []byte, ev *event.Event, since time.Duration) []byte {
	several := t.meta.Subject == aboutConnections || t.meta.Subject == aboutListeners
	if several {
		start := len(row)
		row = append(t.config.Painter.repaint(t.labels.appendClock(row, ev.Time), start, faint), "  "...)
	}
	start := len(row)
	row = append(t.config.Painter.repaint(appendOffsetColumn(row, since), start, faint), "  "...)
	switch {
	case several:
		row = append(t.labels.appendConnection(row, ev), "  "...)
	case !t.meta.Single:
		row = append(t.labels.appendColumn(row, tupleLabel, tuple(ev)), "  "...)
	}
	return row
}

func (t *textRenderer) details(form form, c *timeline.Connection, ev *event.Event) []string {
	var details []string
	if form.past != nil {
		details = form.past(c, ev)
	}
	if form.details != nil {
		details = append(details, form.details(ev)...)
	}
	if t.meta.Subject == aboutProbes && (ev.Kind == event.KeepaliveProbe || ev.Kind == event.WindowProbe) {
		details = append(details, fmt.Sprintf("seq %d, %s", ev.TCPSeq, counted(uint64(ev.Len), "byte")))
	}
	if ev.Kind == event.Connect && t.meta.Subject == aboutProbes {
		var who []string
		if t.meta.Single {
			who = append(who, pad(escape(tuple(ev)), t.labels.widths[tupleLabel]))
		}
		details = append(append(who, owner(ev.Owner)), details...)
	}
	if ev.Count > 1 {
		details = append(details, fmt.Sprintf("stands for %d", ev.Count))
	}
	for i, d := range details {
		details[i] = escape(d)
	}
	return details
}

// interim tells a person who waits for a single connection what the first lost SYN means.
func (t *textRenderer) interim(c *timeline.Connection, ev *event.Event) {
	if t.meta.Subject != aboutProbes || ev.Kind != event.SYNRetransmit || ev.Attempt != 1 || ev.Role == event.RoleServer {
		return
	}
	line := "nothing has come back so far"
	if name := t.ifnames[ev.Conn]; name != "" {
		line += "; the SYNs leave by " + name
	}
	line += ". Still trying"
	if until := t.until(ev); until != 0 {
		line += " until " + ev.Time.Add(until-ev.Offset).In(t.config.Location).Format(time.TimeOnly)
	}
	if !t.config.Replayed {
		line += " (^C for the verdict so far)"
	}
	t.line("  " + t.painted(faint, escape(line)))
}

// holding tells a person that nothing more is done, and that this is on purpose.
func (t *textRenderer) holding(ev *event.Event) {
	if t.meta.Held && !t.config.Replayed && ev.Kind == event.Established && ev.Role == event.RoleClient {
		t.line("  " + t.painted(faint, "from here on it is kept idle (^C for the verdict so far)"))
	}
}

// until is the offset at which the probe ends if nothing answers, by the kernel or by its own timeout; 0 if unknown.
func (t *textRenderer) until(ev *event.Event) time.Duration {
	if t.meta.Timeout != 0 && (ev.GivesUp == 0 || t.meta.Timeout < ev.GivesUp) {
		return t.meta.Timeout
	}
	return ev.GivesUp
}

// Probe writes nothing: the verdict tells it.
func (t *textRenderer) Probe(*event.Probe) {}

// Resolution says which addresses a name stands for.
func (t *textRenderer) Resolution(r *event.Resolution) {
	if t.config.Quiet || len(r.Addresses) < 2 {
		return
	}
	t.line("  " + escape(fmt.Sprintf("%s has %d addresses: %s", r.Name, len(r.Addresses), strings.Join(names(r.Addresses), ", "))))
}

// Lost says at once that the story has holes.
func (t *textRenderer) Lost(l lost) {
	what := counted(l.Count, "event")
	if l.Kind != event.KindUnknown {
		what = counted(l.Count, l.Kind.String()+" event")
	}
	if l.CPU >= 0 {
		what += fmt.Sprintf(" on CPU %d", l.CPU)
	}
	t.line(t.painted(warning, "  ! lost "+what+": what follows from their absence is in doubt"))
}

// Settled writes nothing.
func (t *textRenderer) Settled(time.Duration) {}

// Stop writes nothing.
func (t *textRenderer) Stop(stop) {}

// Verdict writes the answer: what happened, the story before it, what to do, and what was not seen.
func (t *textRenderer) Verdict(v verdict.Verdict, about told) {
	mark := outcomeMarks[v.Outcome]
	headline := mark.sign + " " + t.heading(v, about) + v.Summary
	if v.Confidence != "" && v.Confidence != verdict.Certain {
		headline += " (" + string(v.Confidence) + ")"
	}
	t.line(t.painted(mark.tone, escape(headline)))
	for _, earlier := range v.Contributing {
		t.wrapped("  ", contribution(earlier))
	}
	for _, advice := range v.Advice {
		t.wrapped("  → ", advice)
	}
	for _, w := range about.warnings {
		if !advised(v, w) {
			t.warning(w)
		}
	}
	for _, doubt := range v.Doubts {
		t.wrapped("  ? ", doubt)
	}
}

// advised says that a verdict's advice tells of a warning itself.
func advised(v verdict.Verdict, w lint.Warning) bool {
	return slices.ContainsFunc(v.Advice, func(advice string) bool { return strings.HasPrefix(advice, w.Sentence) })
}

// mark is how an outcome looks before it is read.
type mark struct {
	sign string
	tone tone
}

var outcomeMarks = map[verdict.Outcome]mark{
	verdict.OutcomeConnected: {"✓", good},
	verdict.OutcomeClosed:    {"✓", good},
	verdict.OutcomeFailed:    {"✗", bad},
	verdict.OutcomeOpen:      {"…", plain},
	"":                       {"?", plain},
}

// heading says what a verdict is about, when that is not clear.
func (t *textRenderer) heading(v verdict.Verdict, about told) string {
	switch {
	case about.ofName && strings.Contains(v.Summary, v.Target):
		return ""
	case about.ofName:
		return v.Target + ": "
	case t.meta.Single:
		return ""
	case t.meta.Subject == aboutProbes, t.meta.Subject == aboutPaths:
		return addrPort(v.Remote) + ": "
	case v.Owner.Known():
		return owner(v.Owner) + " " + ends(v.Local, v.Remote) + ": "
	}
	return ends(v.Local, v.Remote) + ": "
}

func contribution(c verdict.Contribution) string {
	if c.Summary != "" {
		return c.Summary
	}
	return "before that: " + strings.ReplaceAll(string(c.Cause), "_", " ")
}

// wrapped writes a paragraph after lead, its lines aligned.
func (t *textRenderer) wrapped(lead, text string) {
	indent := strings.Repeat(" ", utf8.RuneCountInString(lead))
	for i, line := range wrap(escape(text), textWidth-len(indent)) {
		if i > 0 {
			lead = indent
		}
		t.line(lead + line)
	}
}

func (t *textRenderer) painted(tone tone, s string) string { return t.config.Painter.paint(tone, s) }

// Flush shows what has been written so far.
func (t *textRenderer) Flush() {
	t.tellChange()
	t.out.Flush()
}

func (t *textRenderer) line(s string) {
	t.tellChange()
	fmt.Fprintln(t.out, s)
}
