package main

import (
	"cmp"
	"fmt"
	"net/netip"
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
}

// forms has a row for every kind.
var forms = map[event.Kind]form{
	event.Connect:          {"SYN", strong, connectDetails},
	event.SYNSent:          {"SYN leaves", plain, packetDetails},
	event.SYNReceived:      {"SYN received", plain, queueDetails},
	event.SYNRetransmit:    {"SYN again", warning, synRetransmitDetails},
	event.SYNACKRetransmit: {"SYN-ACK again", warning, attemptDetails},
	event.SYNACKDuplicate:  {"SYN-ACK repeated", warning, fixed("the server did not take our final ACK")},
	event.Established:      {"established", good, nil},
	event.Accept:           {"accepted", good, acceptDetails},
	event.StateChange:      {"state", plain, stateDetails},
	event.OptionsChanged:   {"options changed", plain, optionDetails},
	event.Retransmit:       {"data again", warning, retransmitDetails},
	event.KeepaliveProbe:   {"keepalive probe", plain, keepaliveDetails},
	event.KeepaliveAnswer:  {"keepalive answer", good, nil},
	event.WindowProbe:      {"window probe", warning, attemptDetails},
	event.ResetSent:        {"RST sent", bad, reasonDetails},
	event.ResetReceived:    {"RST received", bad, reasonDetails},
	event.ICMPError:        {"ICMP error", bad, icmpDetails},
	event.AcceptQueueFull:  {"accept queue full", bad, acceptQueueDetails},
	event.SYNQueueFull:     {"SYN queue full", bad, synQueueDetails},
	event.SYNACKTimeout:    {"half-open expired", bad, fixed("the final ACK never came")},
	event.Drop:             {"dropped here", bad, reasonDetails},
	event.Error:            {"error", bad, errorDetails},
	event.Close:            {"closed", plain, closeDetails},
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
	switch {
	case ev.Errno != 0:
		details = append(details, "could not be sent: "+ev.Errno.String())
	case ev.AttemptsExpected != 0 && ev.Attempt == ev.AttemptsExpected && ev.GivesUp != 0:
		return append(details, "the kernel gives up at "+formatOffset(ev.GivesUp))
	}
	if ev.NextDue != 0 {
		details = append(details, "next due "+formatOffset(ev.NextDue))
	}
	return details
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

func optionDetails(ev *event.Event) []string {
	if ev.Options == nil {
		return nil
	}
	return []string{joinSettings(optionSettings(ev.Options))}
}

// triggers says in words what made the kernel send data again.
var triggers = map[string]string{
	"rto":  "its timer ran out",
	"fast": "later data was acknowledged",
	"tlp":  "to provoke an acknowledgement",
}

func retransmitDetails(ev *event.Event) []string {
	details := append(attemptDetails(ev), cmp.Or(triggers[ev.Trigger], ev.Trigger))
	if ev.Len != 0 {
		details = append(details, fmt.Sprintf("%d bytes", ev.Len))
	}
	return stated(append(details, ev.Errno.String())...)
}

func keepaliveDetails(ev *event.Event) []string {
	details := attemptDetails(ev)
	if ev.Attempt > 1 {
		details = append(details, fmt.Sprintf("%d unanswered", ev.Attempt-1))
	}
	return details
}

func reasonDetails(ev *event.Event) []string {
	return stated(ev.Reason, prefixed("in ", ev.Location), prefixed("by ", ev.IfName))
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
	return stated(append([]string{cmp.Or(refusedStages[ev.Stage], ev.Stage)}, queueDetails(ev)...)...)
}

var synQueueActions = map[string]string{"cookie": "answered by a SYN cookie", "drop": "dropped the SYN"}

func synQueueDetails(ev *event.Event) []string {
	return stated(append([]string{cmp.Or(synQueueActions[ev.Action], ev.Action)}, queueDetails(ev)...)...)
}

func errorDetails(ev *event.Event) []string {
	return stated(ev.Errno.String(), prefixed("in ", ev.Location))
}

func closeDetails(ev *event.Event) []string {
	return stated(prefixed("by ", closers[ev.ClosedBy]), ev.Errno.String())
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
	s := fmt.Sprintf("%s[%d]", cmp.Or(o.Comm, "?"), o.PID)
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
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
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
}

func optionSettings(o *event.Options) []setting {
	return set(
		setting{"TCP_SYNCNT", number(o.SYNRetries)},
		setting{"TCP_USER_TIMEOUT", duration(o.UserTimeout)},
		setting{"SO_KEEPALIVE", yes(o.KeepAlive)},
		setting{"TCP_KEEPIDLE", duration(o.KeepaliveIdle)},
		setting{"TCP_KEEPINTVL", duration(o.KeepaliveInterval)},
		setting{"TCP_KEEPCNT", number(o.KeepaliveCount)},
		setting{"TCP_RTO_MAX_MS", duration(o.RTOMax)},
		setting{"backlog", number(o.Backlog)},
	)
}

func sysctlSettings(s *event.Sysctls) []setting {
	return set(
		setting{"tcp_syn_retries", number(s.SYNRetries)},
		setting{"tcp_syn_linear_timeouts", number(s.SYNLinearTimeouts)},
		setting{"tcp_synack_retries", number(s.SYNACKRetries)},
		setting{"tcp_retries1", number(s.Retries1)},
		setting{"tcp_retries2", number(s.Retries2)},
		setting{"tcp_orphan_retries", number(s.OrphanRetries)},
		setting{"tcp_rto_max_ms", duration(s.RTOMax)},
		setting{"tcp_keepalive_time", duration(s.KeepaliveIdle)},
		setting{"tcp_keepalive_intvl", duration(s.KeepaliveInterval)},
		setting{"tcp_keepalive_probes", number(s.KeepaliveCount)},
		setting{"tcp_fin_timeout", duration(s.FinTimeout)},
		setting{"tcp_abort_on_overflow", yes(s.AbortOnOverflow)},
		setting{"tcp_syncookies", number(s.SYNCookies)},
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
