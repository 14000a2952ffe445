package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
)

// verbose writes what is known of the socket below its event.
func (t *textRenderer) verbose(ev *event.Event) {
	indent := strings.Repeat(" ", 13)
	for _, paragraph := range stated(
		strings.Join(stated(identity(ev), ranAt(ev.Context), timers(ev), handshakeTTL(ev)), "; "),
		prefixed("cgroup ", ev.Owner.Cgroup),
		packet(ev),
		prefixed("traffic: ", trafficOf(ev)),
		prefixed("socket: ", optionsOf(ev)),
		prefixed("namespace: ", sysctlsOf(ev)),
	) {
		t.wrapped(indent, paragraph)
	}
}

func identity(ev *event.Event) string {
	s := fmt.Sprintf("connection %s", ev.Conn)
	if ev.Cookie != 0 {
		s += fmt.Sprintf(", cookie %d", ev.Cookie)
	}
	if ev.NetNS != 0 {
		s += fmt.Sprintf(", netns %d", ev.NetNS)
	}
	if ev.Owner.Known() {
		s += fmt.Sprintf(", uid %d", ev.Owner.UID)
	}
	return s
}

// ranAt says where the hook ran. The zero context is unknown.
func ranAt(c event.Context) string {
	if c == (event.Context{}) {
		return ""
	}
	return fmt.Sprintf("on CPU %d in %s[%d]", c.CPU, c.Comm, c.PID)
}

func timers(ev *event.Event) string {
	rto := ""
	if ev.RTO != 0 {
		rto = fmt.Sprintf("rto %s, backoff %d", timeline.FormatDuration(ev.RTO), ev.Backoff)
	}
	return strings.Join(stated(rto,
		prefixed("the peer silent for ", duration(ev.Idle)),
		prefixed("of the kernel's time limit gone: ", duration(ev.Elapsed)),
	), ", ")
}

// handshakeTTL is with what the peer's part of a handshake came; the TTL of a RST, and of what was dropped, is told anyway.
func handshakeTTL(ev *event.Event) string {
	if ev.Kind != event.Established {
		return ""
	}
	return nth("the peer's TTL ", ev.TTL)
}

func packet(ev *event.Event) string {
	if ev.TCPSeq == 0 && ev.TCPAck == 0 {
		return ""
	}
	return fmt.Sprintf("seq %d, ack %d, %d bytes", ev.TCPSeq, ev.TCPAck, ev.Len)
}

// trafficOf is what a connection carried. All of it is a fact, nothing too.
func trafficOf(ev *event.Event) string {
	t := ev.Traffic
	if t == nil {
		return ""
	}
	return fmt.Sprintf("%d bytes sent, %d acknowledged, %d received; %s; %d unacknowledged, %d unsent, %d unread; the peer's window %d",
		t.BytesSent, t.BytesAcked, t.BytesReceived, counted(uint64(t.Retransmits), "retransmission"), t.Unacked, t.Unsent, t.Unread, t.SendWindow)
}

func optionsOf(ev *event.Event) string {
	if ev.Options == nil {
		return ""
	}
	return joinSettings(optionSettings(ev.Options))
}

func sysctlsOf(ev *event.Event) string {
	if ev.Sysctls == nil {
		return ""
	}
	return joinSettings(sysctlSettings(ev.Sysctls))
}

// Summary writes the totals, and how several connections differ.
func (t *textRenderer) Summary(s *summary) {
	if t.config.Quiet && s.Lost == 0 {
		return
	}
	if t.meta.Untraced == "" {
		t.line("  " + t.painted(faint, totals(s)))
	}
	if t.config.Quiet {
		return
	}
	if s.AnsweredProbes > 0 {
		t.line("  " + t.painted(faint, counted(s.AnsweredProbes, "answered keepalive probe")+" not shown (-v shows them)"))
	}
	if t.meta.Subject == aboutConnections {
		t.groups(s)
	}
	t.shares("SYNs", s.BySYN)
	if len(s.ByAddress) > 1 {
		t.shares("address", s.ByAddress)
	}
	t.shares("source port", s.BySourcePort)
}

func totals(s *summary) string {
	var events uint64
	for _, n := range s.Kinds {
		events += n
	}
	line := fmt.Sprintf("%s in %s, ", counted(events, "event"), timeline.FormatDuration(s.Duration))
	if s.Lost == 0 {
		return line + "none lost"
	}
	var byKind []string
	for _, kind := range slices.Sorted(maps.Keys(s.LostByKind)) {
		byKind = append(byKind, fmt.Sprintf("%s %d", kind, s.LostByKind[kind]))
	}
	return line + fmt.Sprintf("%d LOST (%s)", s.Lost, strings.Join(byKind, ", "))
}

// maxShown bounds the tables of a summary; the JSON has all.
const maxShown = 20

func (t *textRenderer) groups(s *summary) {
	if len(s.Groups) == 0 {
		return
	}
	t.line("")
	t.line(t.painted(faint, "   count  cause                        process           remote                     p50"))
	for _, g := range s.Groups[:min(len(s.Groups), maxShown)] {
		line := fmt.Sprintf("%8d  %s  %s  %s", g.Count, pad(string(g.Cause), 27), pad(escape(g.Comm), 16), pad(escape(g.Remote), 25))
		if g.Median > 0 {
			line += "  " + timeline.FormatDuration(g.Median)
		}
		t.line(strings.TrimRight(line, " "))
	}
	t.more(len(s.Groups), s.GroupsBeyond)
}

func (t *textRenderer) shares(by string, shares []share) {
	if len(shares) == 0 {
		return
	}
	t.line("")
	t.line(t.painted(faint, fmt.Sprintf("  %s  connected  failed", pad(by, 25))))
	for _, s := range shares[:min(len(shares), maxShown)] {
		t.line(fmt.Sprintf("  %s  %9d  %6d", pad(s.Key, 25), s.Connected, s.Failed))
	}
	t.more(len(shares), 0)
}

func (t *textRenderer) more(rows int, beyond uint64) {
	if hidden := uint64(max(0, rows-maxShown)) + beyond; hidden > 0 {
		t.line(fmt.Sprintf("  and %d more", hidden))
	}
}

func counted(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
