package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
)

// form is how one kind of event reads: in words, and by which details.
type form struct {
	words   string
	tone    tone
	details func(*event.Event) []string
	// past is what only the events before it can tell; it stands before the details.
	past func(*timeline.Connection, *event.Event) []string
}

// forms has a row for every kind.
var forms = map[event.Kind]form{
	event.Connect:          {words: "SYN", tone: strong, details: connectDetails},
	event.SYNSent:          {words: "SYN leaves", details: packetDetails},
	event.SYNReceived:      {words: "SYN received", details: queueDetails},
	event.SYNRetransmit:    {words: "SYN again", tone: warning, details: synRetransmitDetails},
	event.SYNACKRetransmit: {words: "SYN-ACK again", tone: warning, details: synackRetransmitDetails},
	event.SYNACKDuplicate:  {words: "SYN-ACK repeated", tone: warning, details: fixed("when it left, the server had not had our final ACK")},
	event.Established:      {words: "established", tone: good, details: timerDetails},
	event.Accept:           {words: "accepted", tone: good, details: acceptDetails},
	event.StateChange:      {words: "state", details: stateDetails},
	event.OptionsChanged:   {words: "options changed", past: changedOptions},
	event.Retransmit:       {words: "data again", tone: warning, details: retransmitDetails},
	event.KeepaliveProbe:   {words: "keepalive probe", details: keepaliveDetails},
	event.KeepaliveAnswer:  {words: "keepalive answer", tone: good, details: timerDetails, past: answerDelay},
	event.WindowProbe:      {words: "window probe", tone: warning, details: windowProbeDetails},
	event.ResetSent:        {words: "RST sent", tone: bad, details: resetSentDetails},
	event.ResetReceived:    {words: "RST received", tone: bad, details: resetReceivedDetails},
	event.ICMPError:        {words: "ICMP error", tone: bad, details: icmpDetails},
	event.AcceptQueueFull:  {words: "accept queue full", tone: bad, details: acceptQueueDetails},
	event.SYNQueueFull:     {words: "SYN queue full", tone: bad, details: synQueueDetails},
	event.SYNACKTimeout:    {words: "half-open expired", tone: bad, details: fixed("the final ACK never came")},
	event.Drop:             {words: "dropped here", tone: bad, details: reasonDetails},
	event.Error:            {words: "error", tone: bad, details: errorDetails},
	event.Close:            {words: "closed", details: closeDetails},
}

func fixed(words string) func(*event.Event) []string {
	return func(*event.Event) []string { return []string{words} }
}

func connectDetails(ev *event.Event) []string {
	if ev.GivesUp == 0 {
		return nil
	}
	return []string{"the kernel gives up at " + timeline.FormatDuration(ev.GivesUp)}
}

func packetDetails(ev *event.Event) []string {
	return stated(prefixed("by ", ev.IfName), nth("retry ", ev.Attempt))
}

func queueDetails(ev *event.Event) []string {
	if ev.Queue == nil {
		return nil
	}
	return []string{fmt.Sprintf("queue %d of %d", ev.Queue.Len, ev.Queue.Max)}
}

// attemptDetails is what all retries have in common, in columns of fixed width.
func attemptDetails(ev *event.Event) []string {
	attempt := nth("", ev.Attempt)
	if attempt != "" && ev.AttemptsExpected != 0 {
		attempt += fmt.Sprintf(" of %d", ev.AttemptsExpected)
	}
	return []string{pad(attempt, 9), pad(due(ev), 31)}
}

func synRetransmitDetails(ev *event.Event) []string {
	details := attemptDetails(ev)
	if ev.Errno != 0 {
		return append(details, stated(notSent(ev), nextDue(ev))...)
	}
	return append(details, stated(next(ev))...)
}

// synackRetransmitDetails leave out the rule, which is that the timer ran out.
func synackRetransmitDetails(ev *event.Event) []string {
	details := attemptDetails(ev)
	if ev.Trigger == "syn" {
		details = append(details, "its SYN came again")
	}
	return details
}

func notSent(ev *event.Event) string { return prefixed("could not be sent: ", ev.Errno.String()) }

// next says what the timer does next: as a rule it sends again, and in the end it gives up.
func next(ev *event.Event) string {
	if ev.GivesUp != 0 && (ev.GivesUp == ev.NextDue || ev.AttemptsExpected != 0 && ev.Attempt == ev.AttemptsExpected) {
		return "the kernel gives up at " + formatOffset(ev.GivesUp)
	}
	return nextDue(ev)
}

func nextDue(ev *event.Event) string {
	if ev.NextDue == 0 {
		return ""
	}
	return "next due " + formatOffset(ev.NextDue)
}

// timerDetails are about the keepalive timer of a connection on which all is well.
func timerDetails(ev *event.Event) []string {
	if ev.NextDue == 0 {
		return nil
	}
	s := "keepalive probe due " + formatOffset(ev.NextDue)
	if ev.GivesUp != 0 {
		s += "; without answers the kernel gives up at " + formatOffset(ev.GivesUp)
	}
	return []string{s}
}

// due says when the event should have been, and "late" only beyond what the timer wheel explains.
func due(ev *event.Event) string {
	if ev.Predicted == 0 {
		return ""
	}
	s := "due " + formatOffset(ev.Predicted)
	if ev.Latest != 0 {
		s += " (until " + formatOffset(ev.Latest) + ")"
	}
	if ev.Late > 0 {
		s += ", late by " + timeline.FormatDuration(ev.Late)
	}
	return s
}

func acceptDetails(ev *event.Event) []string {
	if ev.Waited == 0 {
		return queueDetails(ev)
	}
	return append([]string{"after " + timeline.FormatDuration(ev.Waited) + " in the queue"}, queueDetails(ev)...)
}

func stateDetails(ev *event.Event) []string {
	return []string{cmp.Or(ev.OldState.String(), "?") + " → " + cmp.Or(ev.State.String(), "?")}
}

// changedOptions says what became of which option, or what all of them are where nothing is known of before.
func changedOptions(c *timeline.Connection, ev *event.Event) []string {
	if ev.Options == nil {
		return nil
	}
	first := ev // of those that were set one after the other
	before := earlier(c, ev, func(e *event.Event) bool {
		if continues(e, first) {
			first = e
			return false
		}
		return e.Options != nil
	})
	if before == nil {
		return []string{joinSettings(optionSettings(ev.Options))}
	}
	var changes []string
	old, now := allOptions(before.Options), allOptions(ev.Options)
	for i := range now {
		if now[i] != old[i] {
			changes = append(changes, fmt.Sprintf("%s %s → %s", now[i].name, old[i], now[i]))
		}
	}
	return []string{strings.Join(changes, ", ")}
}

// isOptionsRead says that no option was changed: it was read with a timer, as nobody had been told of it.
func isOptionsRead(ev *event.Event) bool {
	return ev.Kind == event.OptionsChanged && ev.Trigger == "timer"
}

// changeWindow is how soon after each other options are set that are meant to be set together.
const changeWindow = 5 * time.Millisecond

// continues says whether ev is one more change of options right after e.
func continues(e, ev *event.Event) bool {
	return e.Kind == event.OptionsChanged && ev.Kind == event.OptionsChanged && e.Conn == ev.Conn && ev.Mono-e.Mono <= changeWindow
}

// answerDelay says how long the peer took to answer.
func answerDelay(c *timeline.Connection, ev *event.Event) []string {
	probe := earlier(c, ev, func(e *event.Event) bool { return e.Kind == event.KeepaliveProbe })
	if probe == nil {
		return nil
	}
	return []string{"after " + timeline.FormatDuration(ev.Mono-probe.Mono)}
}

// earlier is the latest event before ev that is wanted, nil if there is none.
func earlier(c *timeline.Connection, ev *event.Event, wanted func(*event.Event) bool) *event.Event {
	if c == nil {
		return nil
	}
	for i := len(c.Events) - 1; i >= 0; i-- {
		if e := &c.Events[i]; e.N < ev.N && wanted(e) {
			return e
		}
	}
	return nil
}

// triggers says in words what made the kernel send data again.
var triggers = map[string]string{
	"rto":  "its timer ran out",
	"fast": "later data was acknowledged",
	"tlp":  "to provoke an acknowledgement",
}

func retransmitDetails(ev *event.Event) []string {
	var details []string
	if ev.Attempt != 0 {
		details = attemptDetails(ev)
	}
	return append(details, stated(cmp.Or(triggers[ev.Trigger], ev.Trigger), resent(ev), notSent(ev), next(ev))...)
}

// resent is what a retransmission carries. Of what is acknowledged, only a FIN has no data.
func resent(ev *event.Event) string { return cmp.Or(bytesOf(ev.Len), "a FIN") }

func keepaliveDetails(ev *event.Event) []string {
	return append(attemptDetails(ev), stated(unanswered(ev), notSent(ev), next(ev))...)
}

// unanswered counts the probes before this one.
func unanswered(ev *event.Event) string {
	if ev.Attempt <= 1 {
		return ""
	}
	return fmt.Sprintf("%d unanswered", ev.Attempt-1)
}

func windowProbeDetails(ev *event.Event) []string {
	return append(attemptDetails(ev), stated(unanswered(ev), bytesOf(ev.Len), notSent(ev), kept(ev), next(ev))...)
}

// kept says that this host is at fault, where no errno does.
func kept(ev *event.Event) string {
	if !ev.KeptHere || ev.Errno != 0 {
		return ""
	}
	return "the window has room: not sent from here"
}

// bytesOf counts what a packet carries; nothing is not worth a word.
func bytesOf(n int) string {
	if n == 0 {
		return ""
	}
	return counted(uint64(n), "byte")
}

func reasonDetails(ev *event.Event) []string {
	return stated(ev.Reason, prefixed("in ", ev.Location), prefixed("by ", ev.IfName), nth("TTL ", ev.TTL))
}

func resetReceivedDetails(ev *event.Event) []string {
	return stated(ev.Reason, nth("TTL ", ev.TTL))
}

func resetSentDetails(ev *event.Event) []string {
	return stated(ev.Reason, prefixed("answers ", ev.TCPFlags))
}

func icmpDetails(ev *event.Event) []string {
	if ev.ICMP == nil {
		return stated(ev.Errno.String())
	}
	what := fmt.Sprintf("%s (type %d, code %d)", cmp.Or(ev.ICMP.Name, "unnamed"), ev.ICMP.Type, ev.ICMP.Code)
	from := ""
	if ev.ICMP.From.IsValid() {
		from = "from " + ev.ICMP.From.String()
	}
	return stated(what, from, ev.Errno.String())
}

var refusedStages = map[string]string{"syn": "refused a SYN", "ack": "refused the final ACK"}

func acceptQueueDetails(ev *event.Event) []string {
	return stated(append([]string{cmp.Or(refusedStages[ev.Stage], ev.Stage), whoseQueue(ev)}, queueDetails(ev)...)...)
}

var synQueueActions = map[string]string{"cookie": "answered by a SYN cookie", "drop": "dropped the SYN"}

func synQueueDetails(ev *event.Event) []string {
	return stated(append([]string{cmp.Or(synQueueActions[ev.Action], ev.Action), whoseQueue(ev)}, queueDetails(ev)...)...)
}

// whoseQueue says that it is not certain which listener's.
func whoseQueue(ev *event.Event) string {
	if !ev.Ambiguous {
		return ""
	}
	return "by this or another listener of the port"
}

func errorDetails(ev *event.Event) []string {
	return stated(ev.Errno.String(), prefixed("in ", ev.Location))
}

func closeDetails(ev *event.Event) []string {
	return stated(prefixed("by ", closers[ev.ClosedBy]), ev.Errno.String(), leftBehind(ev.Traffic))
}

// leftBehind says what a connection took with it: data that did not get where it was to go.
func leftBehind(t *event.Traffic) string {
	if t == nil {
		return ""
	}
	var left []string
	for _, part := range []struct {
		bytes int
		what  string
	}{{t.Unacked, " unacknowledged"}, {t.Unsent, " unsent"}, {t.Unread, " unread"}} {
		if part.bytes > 0 {
			left = append(left, bytesOf(part.bytes)+part.what)
		}
	}
	return strings.Join(left, ", ")
}

var closers = map[string]string{"local": "this side", "peer": "the peer", "kernel": "the kernel"}

// stated leaves out what is empty.
func stated(parts ...string) []string {
	var all []string
	for _, part := range parts {
		if part != "" {
			all = append(all, part)
		}
	}
	return all
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

func nth(prefix string, n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%s%d", prefix, n)
}

// owner is a process as people write it, with a mark as long as it is only the listener's. An unknown one is "-".
func owner(o event.Owner) string {
	if !o.Known() {
		return "-"
	}
	s := cmp.Or(o.Comm, "?") + "[" + strconv.Itoa(o.PID) + "]"
	if o.Via != "" {
		s += " (" + o.Via + ")"
	}
	return s
}

func tuple(ev *event.Event) string { return ends(ev.Local, ev.Remote) }

// ends writes the two ends of a connection; what is unknown of them is "?".
func ends(local, remote netip.AddrPort) string { return addrPort(local) + " → " + addrPort(remote) }

func addrPort(ap netip.AddrPort) string {
	if !ap.Addr().IsValid() {
		return "?"
	}
	return ap.String()
}

// pad fills s with spaces to width, counted in runes.
func pad(s string, width int) string {
	missing := width - utf8.RuneCountInString(s)
	if missing <= 0 {
		return s
	}
	return s + strings.Repeat(" ", missing)
}

// textWidth is where paragraphs are broken.
const textWidth = 110

// wrap breaks text at spaces into lines of at most width runes, words longer than that excepted.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// setting is one thing that rules a socket's life, by the name that users know.
type setting struct {
	name  string
	value string
	unset string // how it reads without a value; empty: that it is left to the sysctls
}

// String is the value, or that there is none.
func (s setting) String() string { return cmp.Or(s.value, s.unset, "not set") }

func optionSettings(o *event.Options) []setting { return set(allOptions(o)...) }

func allOptions(o *event.Options) []setting {
	return []setting{
		{name: "TCP_SYNCNT", value: number(o.SYNRetries)},
		{name: "TCP_USER_TIMEOUT", value: duration(o.UserTimeout)},
		{name: "SO_KEEPALIVE", value: yes(o.KeepAlive), unset: "0"},
		{name: "TCP_KEEPIDLE", value: duration(o.KeepaliveIdle)},
		{name: "TCP_KEEPINTVL", value: duration(o.KeepaliveInterval)},
		{name: "TCP_KEEPCNT", value: number(o.KeepaliveCount)},
		{name: "TCP_RTO_MAX_MS", value: duration(o.RTOMax)},
		{name: "backlog", value: number(o.Backlog)},
	}
}

func sysctlSettings(s *event.Sysctls) []setting {
	return set(
		setting{name: "tcp_syn_retries", value: number(s.SYNRetries)},
		setting{name: "tcp_syn_linear_timeouts", value: number(s.SYNLinearTimeouts)},
		setting{name: "tcp_synack_retries", value: number(s.SYNACKRetries)},
		setting{name: "tcp_retries1", value: number(s.Retries1)},
		setting{name: "tcp_retries2", value: number(s.Retries2)},
		setting{name: "tcp_orphan_retries", value: number(s.OrphanRetries)},
		setting{name: "tcp_rto_max_ms", value: duration(s.RTOMax)},
		setting{name: "tcp_keepalive_time", value: duration(s.KeepaliveIdle)},
		setting{name: "tcp_keepalive_intvl", value: duration(s.KeepaliveInterval)},
		setting{name: "tcp_keepalive_probes", value: number(s.KeepaliveCount)},
		setting{name: "tcp_fin_timeout", value: duration(s.FinTimeout)},
		setting{name: "tcp_abort_on_overflow", value: yes(s.AbortOnOverflow)},
		setting{name: "tcp_syncookies", value: number(s.SYNCookies)},
	)
}

// set leaves out what is not set.
func set(all ...setting) []setting {
	kept := all[:0]
	for _, s := range all {
		if s.value != "" {
			kept = append(kept, s)
		}
	}
	return kept
}

func number(n int) string { return nth("", n) }

func yes(b bool) string {
	if b {
		return "1"
	}
	return ""
}

func duration(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return timeline.FormatDuration(d)
}

func joinSettings(settings []setting) string {
	parts := make([]string, len(settings))
	for i, s := range settings {
		parts[i] = s.name + " " + s.value
	}
	return strings.Join(parts, ", ")
}
