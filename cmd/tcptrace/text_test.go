package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
	"tcptrace/tracer/verdict"
)

var (
	client4 = netip.MustParseAddrPort("10.0.0.5:51834")
	server4 = netip.MustParseAddrPort("192.0.2.10:443")
	client6 = netip.MustParseAddrPort("[2001:db8::5]:51834")
	server6 = netip.MustParseAddrPort("[2001:db8::10]:443")
	began   = time.Date(2026, 3, 1, 14, 5, 38, 0, time.UTC)
	uptime  = 1000 * time.Second
)

// at is an event of a client's connection, that long after its beginning.
func at(offset time.Duration, kind event.Kind, change func(*event.Event)) *event.Event {
	ev := &event.Event{
		Time: began.Add(offset), Mono: uptime + offset, Kind: kind, Conn: 1, Cookie: 77, NetNS: 4026531840,
		Local: client4, Remote: server4, Role: event.RoleClient,
		Owner: event.Owner{PID: 4211, Comm: "tcptrace", UID: 1000},
	}
	if change != nil {
		change(ev)
	}
	return ev
}

func defaultSysctls() *event.Sysctls {
	return &event.Sysctls{
		SYNRetries: 6, SYNLinearTimeouts: 4, HasSYNLinearTimeouts: true, SYNACKRetries: 5, Retries1: 3, Retries2: 15,
		RTOMax: 2 * time.Minute, KeepaliveIdle: 2 * time.Hour, KeepaliveInterval: 75 * time.Second, KeepaliveCount: 9,
		FinTimeout: time.Minute, SYNCookies: 1,
	}
}

// connectAt begins a connection that the kernel gives up when it should.
func connectAt() *event.Event {
	return at(0, event.Connect, func(ev *event.Event) {
		ev.State, ev.OldState, ev.RTO = event.StateSYNSent, event.StateClose, time.Second
		ev.Sysctls, ev.Options = defaultSysctls(), &event.Options{}
	})
}

// silence is a connection that nobody answers, its first n retries.
func silence(n int) []*event.Event {
	events := []*event.Event{connectAt(), at(20*time.Microsecond, event.SYNSent, func(ev *event.Event) { ev.IfName = "eth0" })}
	for i, sent := range []time.Duration{1021, 2045, 3069, 4093, 5117, 7141, 11333, 19541, 35669, 68449}[:n] {
		events = append(events, at(sent*time.Millisecond, event.SYNRetransmit, func(ev *event.Event) { ev.Attempt = i + 1 }))
	}
	return events
}

func rendered(config textConfig, m meta, events []*event.Event) string {
	out := new(sinkBuffer)
	config.Location = time.UTC
	text := newTextRenderer(out, config)
	text.Meta(m)
	tracker := timeline.New(timeline.Config{HZ: 250})
	for _, ev := range events {
		text.Event(tracker.Add(ev), ev)
	}
	return out.String()
}

// everyKind has one event of each kind, with all that its line can tell.
func everyKind(local, remote netip.AddrPort) []*event.Event {
	queue := &event.Queue{Len: 129, Max: 128}
	changes := map[event.Kind]func(*event.Event){
		event.SYNSent:          func(ev *event.Event) { ev.IfName = "eth0" },
		event.SYNReceived:      func(ev *event.Event) { ev.Queue = &event.Queue{Len: 1, Max: 128} },
		event.SYNRetransmit:    func(ev *event.Event) { ev.Attempt, ev.Errno = 1, event.EHOSTUNREACH },
		event.SYNACKRetransmit: func(ev *event.Event) { ev.Attempt, ev.AttemptsExpected = 2, 5 },
		event.Accept:           func(ev *event.Event) { ev.Waited, ev.Queue = 3*time.Millisecond, &event.Queue{Len: 4, Max: 128} },
		event.StateChange:      func(ev *event.Event) { ev.OldState, ev.State = event.StateEstablished, event.StateFinWait1 },
		event.OptionsChanged:   func(ev *event.Event) { ev.Options = &event.Options{UserTimeout: 5 * time.Second, KeepAlive: true} },
		event.Retransmit:       func(ev *event.Event) { ev.Attempt, ev.Trigger, ev.Len = 1, "rto", 1448 },
		event.KeepaliveProbe:   func(ev *event.Event) { ev.Attempt, ev.AttemptsExpected = 3, 9 },
		event.WindowProbe:      func(ev *event.Event) { ev.Attempt, ev.AttemptsExpected = 1, 15 },
		event.ResetSent:        func(ev *event.Event) { ev.Reason = "ABORT_ON_CLOSE" },
		event.ResetReceived:    func(ev *event.Event) { ev.Errno = event.ECONNREFUSED },
		event.ICMPError: func(ev *event.Event) {
			ev.ICMP = &event.ICMP{Type: 3, Code: 1, Name: "host unreachable", From: netip.MustParseAddr("192.0.2.1")}
			ev.Errno = event.EHOSTUNREACH
		},
		event.AcceptQueueFull: func(ev *event.Event) { ev.Stage, ev.Queue = "syn", queue },
		event.SYNQueueFull:    func(ev *event.Event) { ev.Action, ev.Queue, ev.Count = "cookie", queue, 1000 },
		event.Drop:            func(ev *event.Event) { ev.Reason, ev.Location, ev.IfName = "NETFILTER_DROP", "nf_hook_slow", "eth0" },
		event.Error:           func(ev *event.Event) { ev.Errno, ev.Location = event.ENETUNREACH, "tcp_v4_connect" },
		event.Close:           func(ev *event.Event) { ev.Errno, ev.ClosedBy = event.ETIMEDOUT, "kernel" },
	}
	events := []*event.Event{connectAt()}
	for i, kind := range event.Kinds()[1:] {
		events = append(events, at(time.Duration(i+1)*time.Millisecond, kind, changes[kind]))
	}
	for _, ev := range events {
		ev.Local, ev.Remote = local, remote
	}
	return events
}

func TestEveryKindHasWords(t *testing.T) {
	for _, kind := range event.Kinds() {
		if forms[kind].words == "" {
			t.Errorf("%s has no form", kind)
		}
	}
	for kind, form := range forms {
		if len(form.words) > wordsWidth {
			t.Errorf("the words for %s do not fit into their column", kind)
		}
	}
	if len(forms) != len(event.Kinds()) {
		t.Errorf("%d forms for %d kinds", len(forms), len(event.Kinds()))
	}
}

func TestTextOfEveryKind(t *testing.T) {
	watch, single := meta{Subject: aboutConnections}, meta{Subject: aboutProbes, Single: true}
	tests := []struct {
		name   string
		config textConfig
		meta   meta
		events []*event.Event
	}{
		{"kinds-watch", textConfig{}, watch, everyKind(client4, server4)},
		{"kinds-watch-ipv6", textConfig{}, watch, everyKind(client6, server6)},
		{"kinds-connect", textConfig{}, single, everyKind(client4, server4)},
		{"kinds-connect-several", textConfig{}, meta{Subject: aboutProbes}, everyKind(client6, server6)},
		{"kinds-color", textConfig{Painter: painter{colour: true}}, single, everyKind(client4, server4)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			checkGolden(t, test.name, []byte(rendered(test.config, test.meta, test.events)))
		})
	}
}

func TestTextOfSilence(t *testing.T) {
	single := meta{Subject: aboutProbes, Single: true}
	closed := at(134*time.Second, event.Close, func(ev *event.Event) { ev.Errno = event.ETIMEDOUT })
	late := silence(3)
	late[4].Mono += 500 * time.Millisecond
	verbose := silence(1)
	verbose[0].Context = event.Context{PID: 18, Comm: "ksoftirqd/1", CPU: 1}
	verbose[0].Owner.Cgroup = "/system.slice/ssh.service"
	verbose[0].TCPSeq = 123456
	hurried := single
	hurried.Timeout = 2500 * time.Millisecond
	tests := []struct {
		name   string
		config textConfig
		meta   meta
		events []*event.Event
	}{
		{"silence", textConfig{}, single, append(silence(10), closed)},
		{"silence-replayed", textConfig{Replayed: true}, single, silence(2)},
		{"silence-timeout", textConfig{}, hurried, silence(2)},
		{"silence-late", textConfig{}, single, late},
		{"silence-verbose", textConfig{Verbose: true}, single, verbose},
		{"silence-watch", textConfig{}, meta{Subject: aboutConnections}, silence(2)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			checkGolden(t, test.name, []byte(rendered(test.config, test.meta, test.events)))
		})
	}
}

func TestTextOfFarEndIsInTheProbesTime(t *testing.T) {
	connect := connectAt()
	connect.ISN = 99
	received := at(1500*time.Millisecond, event.SYNReceived, func(ev *event.Event) {
		ev.Conn, ev.Role, ev.PeerISN, ev.Local, ev.Remote = 2, event.RoleServer, 99, server4, client4
	})
	text := rendered(textConfig{}, meta{Subject: aboutProbes, Single: true}, []*event.Event{connect, received})
	line := strings.Split(text, "\n")[1]
	if !strings.Contains(line, "+1.500s  peer: SYN received") {
		t.Errorf("the far end's line is %q", line)
	}
}

func TestTextOfVerdicts(t *testing.T) {
	failed := verdict.Verdict{
		Conn: 1, Target: "example.com:443", Cause: verdict.NoAnswer, Outcome: verdict.OutcomeFailed, Confidence: verdict.Likely,
		Errno: event.ETIMEDOUT, Local: client4, Remote: server4, Owner: event.Owner{PID: 4211, Comm: "curl"},
		Summary: "no answer: 11 SYNs in 2m14s, nothing came back; the kernel gave up with ETIMEDOUT",
		Contributing: []verdict.Contribution{
			{Cause: verdict.DroppedByLocalInput, Summary: "one answer was dropped here, at +3.012s"},
			{Cause: verdict.AcceptQueueFull},
		},
		Advice: []string{"something beyond this host discards them silently: a firewall, no such host, or a full accept queue there; " +
			"look at the peer's own counters (ss -ltn there shows a Recv-Q above Send-Q)"},
		Doubts: []string{"3 events were lost"},
	}
	name := failed
	name.Conn, name.Summary = 0, "none of the 2 addresses of example.com:443 connected"
	unnamed := name
	unnamed.Summary = "no address connected"
	forms := []struct {
		verdict verdict.Verdict
		about   told
	}{
		{failed, told{}},
		{verdict.Verdict{Outcome: verdict.OutcomeConnected, Confidence: verdict.Certain, Summary: "connected in 12ms", Remote: server6, Local: client6}, told{}},
		{verdict.Verdict{Outcome: verdict.OutcomeClosed, Confidence: verdict.Certain, Summary: "closed by the peer after 3.2s", Remote: server4, Local: client4}, told{}},
		{verdict.Verdict{Outcome: verdict.OutcomeOpen, Confidence: verdict.Possible, Summary: "still open after 10s", Remote: server4, Local: client4}, told{}},
		{verdict.Verdict{Summary: "nothing is known"}, told{}},
		{name, told{ofName: true}},
		{unnamed, told{ofName: true}},
	}
	out := new(sinkBuffer)
	for _, m := range []meta{{Subject: aboutProbes, Single: true}, {Subject: aboutProbes}, {Subject: aboutConnections}} {
		fmt.Fprintf(out, "-- about %s, single %t --\n", m.Subject, m.Single)
		text := newTextRenderer(out, textConfig{})
		text.Meta(m)
		for _, form := range forms {
			text.Verdict(form.verdict, form.about)
		}
	}
	checkGolden(t, "verdicts", out.Bytes())
}

func TestTextOfLossAndTotals(t *testing.T) {
	sum := &summary{
		Kinds: map[event.Kind]uint64{event.Connect: 60, event.SYNRetransmit: 12}, Lost: 3,
		LostByKind: map[event.Kind]uint64{event.SYNRetransmit: 2, event.Drop: 1}, Duration: 61 * time.Second,
		Groups: []group{
			{Cause: verdict.Connected, Comm: "curl", Remote: "192.0.2.10:443", Count: 58, Median: 12 * time.Millisecond},
			{Cause: verdict.NoAnswer, Comm: "evil\x1b[2J", Remote: "[2001:db8::10]:443", Count: 2, Median: 134 * time.Second},
		},
		GroupsBeyond: 7,
		BySYN:        []share{{"1", 58, 0}, {"2", 1, 1}},
		ByAddress:    []share{{"192.0.2.10:443", 58, 0}, {"[2001:db8::10]:443", 1, 1}},
		BySourcePort: []share{{"40001", 0, 1}},
	}
	out := new(sinkBuffer)
	for _, m := range []meta{{Subject: aboutConnections}, {Subject: aboutProbes, Untraced: "CAP_BPF is missing: run it as root"}} {
		for _, quiet := range []bool{false, true} {
			fmt.Fprintf(out, "-- about %s, quiet %t --\n", m.Subject, quiet)
			text := newTextRenderer(out, textConfig{Quiet: quiet})
			text.Meta(m)
			text.Lost(lost{Kind: event.SYNRetransmit, CPU: 1, Count: 2})
			text.Lost(lost{CPU: -1, Count: 1})
			text.Summary(sum)
			text.Summary(&summary{Duration: time.Second})
		}
	}
	checkGolden(t, "totals", out.Bytes())
}

func TestColourSaysNothingThatWordsDoNot(t *testing.T) {
	m := meta{Subject: aboutProbes, Single: true}
	coloured := rendered(textConfig{Painter: painter{colour: true}}, m, everyKind(client4, server4))
	if !strings.Contains(coloured, "\x1b[") {
		t.Fatal("there is no colour")
	}
	if stripped := stripColour(coloured); stripped != rendered(textConfig{}, m, everyKind(client4, server4)) {
		t.Errorf("without colour it reads differently:\n%s", stripped)
	}
}

func stripColour(s string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "\x1b[")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		_, s, _ = strings.Cut(after, "m")
	}
}

func TestOutsideTextIsHarmlessInEveryLine(t *testing.T) {
	const hostile = "\x1b]0;owned\a\u202egnp.\xff\u009b2J"
	events := everyKind(client4, server4)
	for _, ev := range events {
		ev.Owner.Comm, ev.Owner.Cgroup, ev.Reason, ev.Location, ev.IfName, ev.Trigger = hostile, hostile, hostile, hostile, hostile, hostile
		ev.Stage, ev.Action = hostile, hostile
		ev.Context = event.Context{PID: 1, Comm: hostile, CPU: 1}
	}
	for _, m := range []meta{{Subject: aboutProbes, Single: true, Untraced: hostile}, {Subject: aboutConnections}} {
		text := rendered(textConfig{Verbose: true}, m, events)
		if strings.ContainsAny(text, "\x1b\a\u202e\u009b") || !strings.Contains(text, `\x1b]0;owned`) {
			t.Errorf("hostile text reached the terminal:\n%q", text)
		}
	}
	out := new(sinkBuffer)
	text := newTextRenderer(out, textConfig{})
	text.Meta(meta{Subject: aboutConnections})
	text.Verdict(verdict.Verdict{
		Summary: hostile, Target: hostile, Advice: []string{hostile}, Doubts: []string{hostile}, Owner: event.Owner{PID: 1, Comm: hostile},
		Contributing: []verdict.Contribution{{Summary: hostile}}, Confidence: hostile,
	}, told{})
	text.Resolution(&event.Resolution{Name: hostile, Addresses: []netip.Addr{client4.Addr(), server4.Addr()}})
	if strings.ContainsAny(out.String(), "\x1b\a\u202e\u009b") {
		t.Errorf("hostile text of a verdict reached the terminal:\n%q", out)
	}
}

// Applications, and Go's own library above all, set options one after the other that belong together.
func TestOptionsSetTogetherAreOneLine(t *testing.T) {
	set := func(offset time.Duration, options event.Options) *event.Event {
		return at(offset, event.OptionsChanged, func(ev *event.Event) { ev.Options = &options })
	}
	events := []*event.Event{
		connectAt(),
		set(time.Millisecond, event.Options{KeepAlive: true}),
		set(2*time.Millisecond, event.Options{KeepAlive: true, KeepaliveCount: 3}),
		set(time.Second, event.Options{KeepAlive: true, KeepaliveCount: 3, UserTimeout: time.Second}),
		at(2*time.Second, event.Close, nil),
	}
	var lines []string
	for line := range strings.Lines(rendered(textConfig{}, meta{Subject: aboutProbes}, events)) {
		if _, changes, ok := strings.Cut(line, "options changed"); ok {
			lines = append(lines, strings.TrimSpace(changes))
		}
	}
	want := []string{"SO_KEEPALIVE 0 → 1, TCP_KEEPCNT not set → 3", "TCP_USER_TIMEOUT not set → 1s"}
	if !slices.Equal(lines, want) {
		t.Errorf("it says %q; want %q", lines, want)
	}
}
