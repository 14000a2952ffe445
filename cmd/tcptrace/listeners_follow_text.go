package main

import (
	"fmt"
	"strings"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
)

// followText writes what happens to listeners' clients for people: one event a line, and in the end a paragraph a listener.
type followText struct {
	*textRenderer
	lines listenersText
}

// topClients is how many are named.
const topClients = 5

func (t *followText) more(h hiddenEvents) {
	clock := h.Time.In(t.config.Location).Format(time.TimeOnly)
	t.line("  " + t.painted(faint, pad(clock, len("15:04:05.000000"))+"  "+
		fmt.Sprintf("%s more: %s, %s", grouped(int(h.Count)), forms[h.Kind].words, addrPort(h.Local))))
}

func (t *followText) passed(time.Duration) {}

func (t *followText) account(a *accountLine, over time.Duration) {
	tone := good
	if all := a.Refused.refused().Total(); all > a.Refused.Cookies {
		tone = bad
	} else if all+a.Expired > 0 {
		tone = warning
	}
	mark := map[bool]string{true: "✓ ", false: "✗ "}[tone == good]
	t.line(t.painted(tone, mark+escape(accountName(a))))
	for _, paragraph := range []string{refusedWords(a), clientWords(a), acceptedWords(a, over), waitsWords(a.Waited), unfinishedWords(a)} {
		t.lines.below(plain, paragraph)
	}
	t.lines.below(plain, prefixed("→ ", a.Diagnosis))
}

// accountName says which listener it is, or that nobody knows.
func accountName(a *accountLine) string {
	if !a.Local.IsValid() {
		return fmt.Sprintf("listeners of which nobody knows which, netns %d", a.NetNS)
	}
	var holder event.Owner
	if a.Owner != nil {
		holder = *a.Owner
	}
	name := a.Local.String() + "  " + owner(holder)
	if a.Sockets > 1 {
		name += fmt.Sprintf(", %d listeners together", a.Sockets)
	}
	return name
}

func refusedWords(a *accountLine) string {
	r := a.Refused.refused()
	if r.Total() == 0 {
		return ""
	}
	words := strings.Join(stated(
		because("dropped as the accept queue was full", countedPart(r.SYNs, "SYN"), countedPart(r.FinalACKs, "final ACK")),
		because("dropped as the SYN queue was full", countedPart(r.SYNDrops, "SYN")),
		because("answered by a cookie as the SYN queue was full", countedPart(r.Cookies, "SYN")),
	), "; ")
	if a.Backlog != nil && *a.Backlog > 0 {
		words += fmt.Sprintf(" (backlog %d)", *a.Backlog)
	}
	if untold := r.Untold(); untold > 0 {
		words += fmt.Sprintf("; %s of these counted, but in no event", grouped(int(untold)))
	}
	if a.Ambiguous > 0 {
		words += fmt.Sprintf("; %s may be another listener's of the port", grouped(int(a.Ambiguous)))
	}
	return words
}

// because says what became of several things; it is empty if there were none.
func because(became string, things ...string) string {
	all := strings.Join(stated(things...), " and ")
	if all == "" {
		return ""
	}
	return all + " " + became
}

// countedPart is empty for none.
func countedPart(n uint64, thing string) string {
	if n == 0 {
		return ""
	}
	return countOf(int(n), thing)
}

func clientWords(a *accountLine) string {
	if len(a.Clients) == 0 {
		return ""
	}
	names := make([]string, len(a.Clients))
	for i, c := range a.Clients {
		names[i] = fmt.Sprintf("%s (%s)", c.Addr, grouped(int(c.Count)))
	}
	words := "refused, of those told one by one: " + strings.Join(names, ", ")
	if more := a.Different - len(a.Clients); more > 0 {
		words += fmt.Sprintf(", and %s", plural(more, "other client", "other clients"))
	}
	return words
}

func acceptedWords(a *accountLine, over time.Duration) string {
	if a.Accepted == 0 {
		return ""
	}
	words := because("accepted", countedPart(a.Accepted, "connection"))
	if over > 0 {
		words += ", " + rate(float64(a.Accepted)/over.Seconds()) + "/s"
	}
	return words
}

// waitsWords is for how long connections waited to be accepted.
func waitsWords(w *waitedLine) string {
	if w == nil {
		return ""
	}
	words := func(ms float64) string { return timeline.FormatDuration(fromMilliseconds(ms)) }
	var parts []string
	for _, b := range w.Buckets {
		bound := "longer"
		if b.WithinMS != nil {
			bound = "≤ " + words(*b.WithinMS)
		}
		parts = append(parts, fmt.Sprintf("%s: %s", bound, grouped(int(b.Count))))
	}
	return fmt.Sprintf("waited to be accepted: half within %s, 99 %% within %s, the longest %s (%s)",
		words(w.HalfMS), words(w.MostMS), words(w.LongestMS), strings.Join(parts, ", "))
}

func unfinishedWords(a *accountLine) string {
	return strings.Join(stated(
		because("sent again", countedPart(a.Retransmits, "SYN-ACK")),
		because("expired", countedPart(a.Expired, "half-open connection")),
	), "; ")
}

func (t *followText) end(totals followTotals) {
	words := stated(
		countOf(int(totals.Refused.Overflows()), "overflow"),
		because("dropped by SYN queues", countedPart(totals.Refused.SYNDrops, "SYN")),
		because("sent", countedPart(totals.Refused.Cookies, "SYN cookie")),
		because("accepted", countedPart(totals.Kinds[event.Accept], "connection")),
	)
	lost := "no event lost"
	if totals.Lost > 0 {
		lost = countOf(int(totals.Lost), "event") + " lost"
	}
	t.line("  " + t.painted(faint, strings.Join(words, ", ")+" in "+timeline.FormatDuration(totals.Over)+", "+lost))
}
