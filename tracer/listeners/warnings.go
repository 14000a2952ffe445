package listeners

import (
	"fmt"
	"strings"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/sockets"
	"tcptrace/tracer/timeline"
)

// Warning is one thing that is wrong with a listener.
type Warning = sockets.Warning

// The ids of warnings, the worst first. They never change their meaning.
const (
	AcceptQueueFull    = "accept_queue_full"
	SYNQueueFull       = "syn_queue_full"
	Dropping           = "dropping"          // while it was watched
	AcceptQueueFilling = "accept_queue_half" // more than half full
	SYNQueueFilling    = "syn_queue_near"    // more than three quarters full
	Waiting            = "waiting"           // for longer than a second, in a queue that is not half full
	CappedLow          = "backlog_capped"    // by a somaxconn that is lower than the kernel's default
	Reserved           = "syn_backlog_low"   // tcp_max_syn_backlog bounds the SYN queue
	Dropped            = "dropped"           // at some time since it listens
)

// rules has a row for each, in that order. One that does not hold says nothing.
var rules = []struct {
	id   string
	says func(*Listener) (sentence, advice string)
}{
	{AcceptQueueFull, (*Listener).acceptQueueFull},
	{SYNQueueFull, (*Listener).synQueueFull},
	{Dropping, (*Listener).dropping},
	{AcceptQueueFilling, (*Listener).acceptQueueFilling},
	{SYNQueueFilling, (*Listener).synQueueFilling},
	{Waiting, (*Listener).waitingLong},
	{CappedLow, (*Listener).cappedLow},
	{Reserved, (*Listener).synBacklogLow},
	{Dropped, (*Listener).dropped},
}

// Judge sets what is wrong with the listener.
func (l *Listener) Judge() {
	l.Warnings = nil
	for _, rule := range rules {
		if sentence, advice := rule.says(l); sentence != "" {
			l.Warnings = append(l.Warnings, Warning{ID: rule.id, Sentence: sentence, Advice: advice})
		}
	}
}

// rank orders listeners by their worst warning; those without any come last.
func (l *Listener) rank() int {
	if len(l.Warnings) == 0 {
		return len(rules)
	}
	for i, rule := range rules {
		if rule.id == l.Warnings[0].ID {
			return i
		}
	}
	return len(rules)
}

func queue(q event.Queue) string { return fmt.Sprintf("%d of %d", q.Len, q.Max) }

func (l *Listener) acceptQueueFull() (sentence, advice string) {
	if !l.Full() {
		return "", ""
	}
	becomes := "SYNs and final ACKs are dropped until somebody accepts"
	if l.Limits.Resets {
		becomes = "SYNs are dropped, and final ACKs answered by a RST (tcp_abort_on_overflow), until somebody accepts"
	}
	return fmt.Sprintf("the accept queue is full: %s%s; %s", queue(l.Accept()), l.sinceWhen(), becomes), l.acceptAdvice()
}

// sinceWhen is how long the first has waited.
func (l *Listener) sinceWhen() string {
	if !l.HasWaiting {
		return ""
	}
	return ", the first waits for " + timeline.FormatDuration(l.Waiting)
}

// patience is how long a connection may wait to be accepted before that is the application's fault rather than the backlog's.
const patience = time.Second

// acceptAdvice tells a slow application from a small backlog, by how long the first has waited.
func (l *Listener) acceptAdvice() string {
	switch {
	case l.HasWaiting && l.Waiting >= patience:
		return "see why " + l.who() + " does not accept: a longer queue would only fill up later"
	case l.BoundBy() == BoundSoMaxConn:
		return fmt.Sprintf("raise net.core.somaxconn (%d) and what listen() is asked for, and listen again; or accept faster", l.Limits.SoMaxConn)
	}
	return fmt.Sprintf("have %s ask listen() for more than %d, or accept faster", l.who(), l.Backlog())
}

func (l *Listener) who() string {
	if l.Owner.Comm == "" {
		return "the application"
	}
	return l.Owner.Comm
}

func (l *Listener) synQueueFull() (sentence, advice string) {
	q := l.SYN()
	if !l.HasSYNs || q.Len <= q.Max {
		return "", ""
	}
	becomes := "SYNs are dropped"
	if l.Limits.SYNCookies != 0 {
		becomes = "SYNs are answered by cookies, which lose TCP options"
	}
	return "the SYN queue is full: " + queue(q) + l.repeated() + "; " + becomes,
		"a SYN flood, or clients whose final ACKs get lost; tcptrace listeners --follow says whose"
}

// repeated is how many SYN-ACKs had no answer so far.
func (l *Listener) repeated() string {
	old := l.Listening.SYNs - l.Listening.Young
	if !l.Listening.Whole || old <= 0 {
		return ""
	}
	return fmt.Sprintf(", of which %s had to be answered again", grouped(old))
}

func (l *Listener) dropping() (sentence, advice string) {
	if l.Recent == nil || l.Recent.Drops <= 0 {
		return "", ""
	}
	return fmt.Sprintf("%s dropped in the last %s", countOf(l.Recent.Drops, "SYN or final ACK was", "SYNs and final ACKs were"),
		timeline.FormatDuration(l.Recent.Over)), "tcptrace listeners --follow says whose, and why"
}

func (l *Listener) acceptQueueFilling() (sentence, advice string) {
	q := l.Accept()
	if l.Full() || 2*q.Len <= q.Max {
		return "", ""
	}
	return fmt.Sprintf("the accept queue is more than half full: %s%s", queue(q), l.sinceWhen()), l.acceptAdvice()
}

func (l *Listener) synQueueFilling() (sentence, advice string) {
	q := l.SYN()
	if !l.HasSYNs || q.Len > q.Max || 4*q.Len <= 3*q.Max {
		return "", ""
	}
	return "the SYN queue is nearly full: " + queue(q), ""
}

func (l *Listener) waitingLong() (sentence, advice string) {
	q := l.Accept()
	if !l.HasWaiting || l.Waiting < patience || 2*q.Len > q.Max {
		return "", ""
	}
	return fmt.Sprintf("%s to be accepted, the first for %s", countOf(q.Len, "connection waits", "connections wait"),
		timeline.FormatDuration(l.Waiting)), "see what " + l.who() + " does instead of accepting"
}

// usualSoMaxConn is the default since Linux 5.4.
const usualSoMaxConn = 4096

func (l *Listener) cappedLow() (sentence, advice string) {
	if l.BoundBy() != BoundSoMaxConn || l.Limits.SoMaxConn >= usualSoMaxConn {
		return "", ""
	}
	return fmt.Sprintf("somaxconn bounds the backlog to %d: listen() was asked for that, or for more", l.Limits.SoMaxConn),
		fmt.Sprintf("raise net.core.somaxconn (the kernel's default is %d) and listen again", usualSoMaxConn)
}

func (l *Listener) synBacklogLow() (sentence, advice string) {
	if !l.reserved() {
		return "", ""
	}
	return fmt.Sprintf("SYN cookies are off, and the last quarter of tcp_max_syn_backlog (%d) is kept for known clients: %d half-open "+
			"connections are the most, though the backlog is %d", l.Limits.MaxSYNBacklog, l.SYN().Max, l.Backlog()),
		"set net.ipv4.tcp_syncookies to 1, or raise net.ipv4.tcp_max_syn_backlog"
}

func (l *Listener) dropped() (sentence, advice string) {
	if l.Drops == 0 || l.Recent != nil && l.Recent.Drops > 0 {
		return "", ""
	}
	return fmt.Sprintf("%s dropped since it listens", countOf(l.Drops, "SYN or final ACK was", "SYNs and final ACKs were")),
		"tcptrace listeners --interval 10s says whether it goes on"
}

func countOf(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return grouped(n) + " " + many
}

// grouped writes a number with its thousands apart.
func grouped(n int) string {
	digits := fmt.Sprint(n)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}
