package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/sockets"
	"tcptrace/tracer/timeline"
)

// socketsText writes sockets for people: one line says which, the lines below it what becomes of it.
type socketsText struct {
	out     flusher
	paint   painter
	quiet   bool
	verbose bool

	namespaces bool // there are several, so say which
}

func (t *socketsText) meta(meta) {}

func (t *socketsText) line(text string) { fmt.Fprintln(t.out, strings.TrimRight(text, " ")) }

func (t *socketsText) sockets(all []sockets.Judged, totals socketTotals) {
	t.namespaces = totals.Namespaces > 1
	widths := [2]int{}
	for i := range all {
		widths[0] = max(widths[0], len([]rune(ends(all[i].Local, all[i].Remote))))
		widths[1] = max(widths[1], len([]rune(escape(owner(all[i].Owner)))))
	}
	for i := range all {
		t.socket(&all[i], widths)
	}
}

func (t *socketsText) socket(j *sockets.Judged, widths [2]int) {
	tone, mark := plain, "  "
	if j.Trouble != "" {
		tone, mark = bad, "✗ "
	}
	t.line(mark + t.paint.paint(tone, pad(stateName(j), 12)) + "  " + pad(ends(j.Local, j.Remote), widths[0]) + "  " +
		pad(escape(owner(j.Owner)), widths[1]) + "  " + t.brief(j))
	if t.quiet {
		return
	}
	if j.Trouble != "" {
		t.below(bad, troubleWords(j))
	}
	t.below(plain, becomes(j))
	t.below(faint, rulingOptions(j))
	for _, w := range j.Warnings {
		t.below(warning, "! "+w.Sentence)
		t.below(plain, prefixed("→ ", w.Advice))
	}
	if t.verbose {
		for _, paragraph := range []string{bufferWords(j), progressWords(j), socketIdentity(j)} {
			t.below(faint, paragraph)
		}
	}
}

// below writes a paragraph under a socket.
func (t *socketsText) below(tone tone, text string) {
	for _, line := range t.paint.paragraph(tone, text) {
		t.line(line)
	}
}

// brief is what the first line has room for: the timer, the queues where there is anything in them, the namespace.
func (t *socketsText) brief(j *sockets.Judged) string {
	var parts []string
	if live := j.Timer; live.Armed() {
		part := live.Name + " " + timeline.FormatDuration(live.Left)
		if live.Retries > 0 {
			part += fmt.Sprintf(" (%d)", live.Retries)
		}
		parts = append(parts, part)
	}
	if t.quiet && j.Forecast.Ends && j.Forecast.Next.What != sockets.Release {
		parts = append(parts, "gives up in "+timeline.FormatDuration(j.Forecast.GivesUp))
	}
	if j.RecvQueue > 0 {
		parts = append(parts, fmt.Sprintf("recv-q %d", j.RecvQueue))
	}
	if j.SendQueue > 0 {
		parts = append(parts, fmt.Sprintf("send-q %d", j.SendQueue))
	}
	if t.namespaces && j.NetNS != 0 {
		parts = append(parts, fmt.Sprintf("netns %d", j.NetNS))
	}
	return strings.Join(parts, ", ")
}

// stateName is the state as people know it: a half-open request is what netstat and ss call SYN_RECV.
func stateName(j *sockets.Judged) string {
	switch {
	case j.State == event.StateNewSYNRecv:
		return event.StateSYNRecv.String()
	case j.Substate == event.StateFinWait2:
		return event.StateFinWait2.String()
	}
	return j.State.String()
}

// troubleWords says why it hangs, and since when.
func troubleWords(j *sockets.Judged) string {
	words := j.Trouble.Meaning()
	switch j.Trouble {
	case sockets.Retransmitting, sockets.Connecting:
		since := ""
		if j.Retransmitted {
			since = " in " + timeline.FormatDuration(j.Retransmitting)
		}
		return fmt.Sprintf("%s: sent again %s%s", words, times(j.Retransmits), since)
	case sockets.Probing:
		return fmt.Sprintf("%s: %d of them; the peer was last heard %s ago", words, j.Probes, timeline.FormatDuration(j.Idle()))
	case sockets.KeptHere:
		return fmt.Sprintf("%s; tried again %s, %d bytes wait", words, times(j.Probes), j.SendQueue)
	case sockets.WindowShut:
		if j.Probed {
			words += ", probed for " + timeline.FormatDuration(j.Probing)
		}
		return fmt.Sprintf("%s; %d bytes wait", words, j.SendQueue)
	case sockets.Unacknowledged:
		return fmt.Sprintf("%s for %s", words, timeline.FormatDuration(min(j.LastSent, j.LastACK)))
	case sockets.ClosedByPeer:
		return fmt.Sprintf("%s; the peer was last heard %s ago", words, timeline.FormatDuration(j.Idle()))
	case sockets.Unanswered:
		return fmt.Sprintf("%s: SYN-ACK sent again %s", words, times(j.Retransmits))
	}
	return words
}

func times(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}

// firings say what a timer does.
var firings = map[sockets.What]string{
	sockets.SYNRetransmit:    "SYN again",
	sockets.SYNACKRetransmit: "SYN-ACK again",
	sockets.Retransmit:       "data again",
	sockets.LossProbe:        "a loss probe",
	sockets.ReorderTimeout:   "what is missing counts as lost",
	sockets.WindowProbe:      "a window probe",
	sockets.KeepaliveProbe:   "a keepalive probe",
	sockets.Release:          "released",
}

// becomes says what fires next, and when the kernel gives up.
func becomes(j *sockets.Judged) string {
	f := &j.Forecast
	return strings.Join(stated(nextWords(f), endWords(j)), "; ")
}

func nextWords(f *sockets.Forecast) string {
	words, ok := firings[f.Next.What]
	if !ok {
		return ""
	}
	words += " " + within(f.Next.In, f.Next.Latest)
	if f.Next.Attempt > 0 && f.Next.Of > 0 {
		words += fmt.Sprintf(", %d of %d", f.Next.Attempt, f.Next.Of)
	} else if f.Next.Attempt > 1 {
		words += fmt.Sprintf(", number %d", f.Next.Attempt)
	}
	return words
}

// within writes when something is due, and the latest where that is noticeably later.
func within(in, latest time.Duration) string {
	words := "in " + timeline.FormatDuration(in)
	if in < 0 {
		words = "now"
	}
	if latest-in > max(in/100, 100*time.Millisecond) {
		words += " (until " + timeline.FormatDuration(latest) + ")"
	}
	return words
}

func endWords(j *sockets.Judged) string {
	f := &j.Forecast
	switch {
	case f.Next.What == sockets.Release:
		return releaseRules[f.Rule]
	case f.Ends:
		words := "the kernel gives up " + giveUpTime(f) + " if nothing comes"
		words += prefixed(": ", ruleWords(j)) + prefixed(", ", f.Errno.String())
		if f.Reset {
			words += ", with a RST"
		}
		return words + answeredWords[f.Answered]
	case j.Options == nil:
		return ""
	case f.Answered == sockets.AnsweredNever:
		return "nothing ends it as long as the peer answers"
	case j.Mini():
		return ""
	}
	return "no timer would ever end it"
}

// giveUpTime is when the kernel gives up: a time, or two between which it is.
func giveUpTime(f *sockets.Forecast) string {
	if f.GivesUp-f.Earliest <= f.GivesUp/100 {
		return within(f.GivesUp, f.Latest)
	}
	return fmt.Sprintf("between %s and %s from now", timeline.FormatDuration(f.Earliest), timeline.FormatDuration(f.Latest))
}

var releaseRules = map[sockets.Rule]string{
	sockets.RuleTimeWait:   "TIME_WAIT lasts a minute",
	sockets.RuleFinTimeout: "the peer's FIN did not come (tcp_fin_timeout, TCP_LINGER2)",
}

var answeredWords = map[sockets.Answered]string{
	sockets.AnsweredNever: "; never as long as the peer answers",
	sockets.AnsweredSame:  ", even if the peer answers",
}

// ruleWords names what sets the limit.
func ruleWords(j *sockets.Judged) string {
	switch rule := string(j.Forecast.Rule); rule {
	case "user_timeout":
		return "TCP_USER_TIMEOUT"
	case "orphan":
		return "tcp_orphan_retries, as nobody holds it any more"
	case "time_model":
		if j.State == event.StateSYNSent {
			return "the time that the SYN retries would take without linear timeouts"
		}
		return "the time that tcp_retries2 stands for"
	case "count":
		return countWords(j)
	case string(sockets.RuleSilence):
		return "the peer silent for twice the RTO maximum"
	}
	return ""
}

func countWords(j *sockets.Judged) string {
	switch {
	case j.State == event.StateNewSYNRecv:
		return "tcp_synack_retries"
	case j.State == event.StateSYNSent:
		return "the SYN retries are used up"
	case j.Retransmit.Name == sockets.TimerPersist:
		return "tcp_retries2 probes unanswered"
	}
	return "all keepalive probes unanswered"
}

// rulingOptions are the options that decide, each by the name of what set it: the socket's own option, or the sysctl.
func rulingOptions(j *sockets.Judged) string {
	if j.Options == nil || j.Sysctls == nil || j.Mini() {
		return ""
	}
	o, s := j.Options, j.Sysctls
	parts := []string{"TCP_USER_TIMEOUT " + cmp.Or(duration(o.UserTimeout), "none")}
	if j.State == event.StateSYNSent {
		parts = append(parts, "SYN retries "+own(number(o.SYNRetries), "TCP_SYNCNT", fmt.Sprint(s.SYNRetries), "tcp_syn_retries"))
	}
	if o.KeepAlive {
		parts = append(parts, fmt.Sprintf("keepalive after %s, every %s, %s",
			own(duration(o.KeepaliveIdle), "TCP_KEEPIDLE", duration(s.KeepaliveIdle), "tcp_keepalive_time"),
			own(duration(o.KeepaliveInterval), "TCP_KEEPINTVL", duration(s.KeepaliveInterval), "tcp_keepalive_intvl"),
			own(times(o.KeepaliveCount), "TCP_KEEPCNT", times(s.KeepaliveCount), "tcp_keepalive_probes")))
	} else {
		parts = append(parts, "keepalive off")
	}
	if o.RTOMax != 0 && o.RTOMax != s.RTOMax {
		parts = append(parts, "longest RTO "+duration(o.RTOMax)+" (TCP_RTO_MAX_MS)")
	}
	return strings.Join(parts, "; ")
}

// own writes a value with the name of the option that set it, or else the sysctl's.
func own(value, option, otherwise, sysctl string) string {
	if value == "" || value == times(0) {
		return otherwise + " (" + sysctl + ")"
	}
	return value + " (" + option + ")"
}

func bufferWords(j *sockets.Judged) string {
	return strings.Join(stated(oneBuffer("receive", "SO_RCVBUF", j.Receive), oneBuffer("send", "SO_SNDBUF", j.Send)), "; ")
}

func oneBuffer(direction, option string, b *sockets.Buffer) string {
	if b == nil {
		return ""
	}
	words := fmt.Sprintf("%s buffer %d, used %d", direction, b.Size, b.Used)
	switch {
	case b.Asked != 0:
		return words + fmt.Sprintf(" (%s asked for %d, the kernel doubles it; it does not grow)", option, b.Asked)
	case b.Tuned:
		return words + fmt.Sprintf(" (began with %d, grows up to %d)", b.Default, b.Max)
	}
	return words
}

// progressWords are how far a connection has come: one that was made.
func progressWords(j *sockets.Judged) string {
	if j.Traffic == nil || j.Mini() || j.State == event.StateSYNSent {
		return ""
	}
	tr := j.Traffic
	return fmt.Sprintf("rto %s, rtt %s, %d segments in flight, %d sent again so far; %d bytes acknowledged, %d received; "+
		"last sent %s ago, received %s ago, acknowledged %s ago",
		timeline.FormatDuration(j.RTO), timeline.FormatDuration(j.RTT), j.InFlight, tr.Retransmits, tr.BytesAcked, tr.BytesReceived,
		timeline.FormatDuration(j.LastSent), timeline.FormatDuration(j.LastReceived), timeline.FormatDuration(j.LastACK))
}

func socketIdentity(j *sockets.Judged) string {
	var parts []string
	for _, id := range []struct {
		name  string
		value uint64
	}{{"netns", uint64(j.NetNS)}, {"inode", j.Inode}, {"cookie", j.Cookie}} {
		if id.value != 0 {
			parts = append(parts, fmt.Sprintf("%s %d", id.name, id.value))
		}
	}
	if j.HasUID {
		parts = append(parts, fmt.Sprintf("uid %d", j.UID))
	}
	parts = append(parts, stated(prefixed("cgroup ", j.Owner.Cgroup), prefixed("container ", j.Owner.Container))...)
	return strings.Join(parts, ", ")
}

func (t *socketsText) groups(groups []socketGroup, totals socketTotals) {
	t.namespaces = totals.Namespaces > 1
	t.line(t.paint.paint(faint, "   count  state         process               what it means"))
	for i := range groups {
		g := &groups[i]
		state := g.State
		if state == event.StateNewSYNRecv {
			state = event.StateSYNRecv
		}
		meaning := g.meaning
		if t.namespaces {
			meaning = strings.Join(stated(meaning, fmt.Sprintf("netns %d", g.NetNS)), "; ")
		}
		lead := fmt.Sprintf("%8d  %s  %s  ", g.Count, pad(state.String(), 12), pad(escape(owner(g.Owner)), 20))
		for _, line := range wrap(escape(meaning), textWidth-46) {
			t.line(lead + line)
			lead = strings.Repeat(" ", 46)
		}
	}
}

func (t *socketsText) summary(totals socketTotals) {
	words := counted(uint64(totals.All), "TCP socket")
	if len(totals.States) > 0 {
		words += ": " + strings.ReplaceAll(tallied(totals.States), event.StateNewSYNRecv.String(), event.StateSYNRecv.String())
	}
	if n := totals.hanging(); n > 0 {
		troubles := make(map[string]int, len(totals.Trouble))
		for trouble, count := range totals.Trouble {
			troubles[string(trouble)] = count
		}
		words += fmt.Sprintf("; %d hung: %s", n, tallied(troubles))
	}
	t.line(t.paint.paint(faint, words))
	t.out.Flush()
}

// tallied writes counts, the largest first.
func tallied(counts map[string]int) string {
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(-cmp.Compare(counts[a], counts[b]), strings.Compare(a, b))
	})
	for i, name := range names {
		names[i] = fmt.Sprintf("%d %s", counts[name], name)
	}
	return strings.Join(names, ", ")
}
