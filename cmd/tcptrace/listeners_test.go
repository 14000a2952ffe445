package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/listeners"
	"tcptrace/tracer/sockets"
	"tcptrace/tracer/timeline"
)

// exampleListeners is one of each kind that reads differently.
func exampleListeners() []*listeners.Listener {
	limits := sockets.Limits{SoMaxConn: 4096, MaxSYNBacklog: 2048, SYNCookies: 1, HasSYNCookies: true}
	api := event.Owner{PID: 4211, Comm: "api", UID: 1000, Cgroup: "/system.slice/api.service"}
	make := func(local string, max int, set func(*listeners.Listener)) *listeners.Listener {
		at := netip.MustParseAddrPort(local)
		l := &listeners.Listener{
			Socket: sockets.Socket{
				ID: sockets.ID(at.Port()), Mono: 1234 * time.Second, NetNS: 4026531840, Inode: uint64(at.Port()), Cookie: 7,
				Local: at, State: event.StateListen, Owner: api, HasUID: true, UID: 1000,
				Listening: &sockets.Listening{Accept: event.Queue{Max: max}, Whole: true},
			},
			Limits: limits, HasSYNs: true,
		}
		set(l)
		return l
	}
	return []*listeners.Listener{
		make("0.0.0.0:22", 128, func(l *listeners.Listener) { l.Owner = event.Owner{PID: 700, Comm: "sshd"} }),
		make("[::]:443", 511, func(l *listeners.Listener) {
			l.Listening.Accept.Len, l.Listening.SYNs, l.Listening.Young = 300, 40, 38
			l.Waiting, l.HasWaiting = 40*time.Millisecond, true
			l.Others = []event.Owner{{PID: 4212, Comm: "api"}, {PID: 4213, Comm: "api"}}
			l.Listening.FastOpen = event.Queue{Len: 1, Max: 256}
		}),
		make("192.0.2.1:80", 8, func(l *listeners.Listener) {
			l.Listening.Accept.Len, l.Drops = 9, 12943
			l.Waiting, l.HasWaiting = 12100*time.Millisecond, true
			l.Owner.Comm = "evil\x1b[31m"
		}),
		make("192.0.2.1:81", 4096, func(l *listeners.Listener) {
			l.Listening.SYNs, l.Listening.Young, l.Drops = 5000, 4000, 3
			l.Recent = &listeners.Recent{Over: 10 * time.Second, Drops: 3, Accepted: 125, HasAccepted: true}
		}),
		make("127.0.0.1:82", 5, func(l *listeners.Listener) {
			l.Listening.Accept.Len, l.Waiting, l.HasWaiting = 1, time.Minute, true
			l.Listening.Deferred, l.Listening.ReusePort, l.Listening.Group = 3, true, 4
		}),
		make("[::]:83", 128, func(l *listeners.Listener) {
			l.Limits, l.Listening.IPv6Only = sockets.Limits{SoMaxConn: 128, MaxSYNBacklog: 64, HasSYNCookies: true}, true
		}),
		make("0.0.0.0:84", 10, func(l *listeners.Listener) {
			l.Owner, l.Device, l.HasSYNs, l.Drops = event.Owner{}, "eth0", false, 1
			l.Listening = &sockets.Listening{Accept: event.Queue{Max: 10}, Device: 2}
		}),
	}
}

func printListeners(t *testing.T, c listenersCommand) []byte {
	t.Helper()
	out := &sinkBuffer{}
	all := exampleListeners()
	shown := c.choose(all)
	m := meta{Version: "v0", Subject: aboutListeners, All: c.AllNetNS}
	writeListeners(newListenersPrinter(out, painter{}, &c.output, &c.detail, c.AllNetNS), m, shown, countListeners(all, len(shown)))
	return out.Bytes()
}

func TestListenersText(t *testing.T) {
	checkGolden(t, "listeners", printListeners(t, listenersCommand{}))
	checkGolden(t, "listeners-verbose", printListeners(t, listenersCommand{detail: detailFlags{Verbose: true}, AllNetNS: true}))
	checkGolden(t, "listeners-quiet", printListeners(t, listenersCommand{detail: detailFlags{Quiet: true}}))
	checkGolden(t, "listeners-problems", printListeners(t, listenersCommand{filter: filterFlags{Problems: true, Count: 2}}))
}

func TestListenersJSON(t *testing.T) {
	checkGolden(t, "listeners.json", printListeners(t, listenersCommand{output: outputFlags{Format: formatJSON}}))
}

func TestListenersAreReplayedAsTheyWereListed(t *testing.T) {
	for name, c := range map[string]listenersCommand{
		"listed": {}, "verbose": {detail: detailFlags{Verbose: true}, AllNetNS: true}, "quiet": {detail: detailFlags{Quiet: true}},
		"problems": {filter: filterFlags{Problems: true, Count: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			recorded := c
			recorded.output.Format = formatJSON
			checkReplay(t, printListeners(t, recorded), printListeners(t, c), exitOK, c.detail.args()...)
		})
	}
}

func TestListenersOfARecordingThatWasCutShortAreCounted(t *testing.T) {
	recorded := printListeners(t, listenersCommand{output: outputFlags{Format: formatJSON}})
	if out := checkCut(t, recorded, `{"type":"summary"`); !strings.Contains(out, "7 listening sockets; 1 full accept queue;") {
		t.Errorf("they are not counted:\n%s", out)
	}
	if out := checkCut(t, recorded, `{"type":"listener"`); out != "0 listening sockets\n" {
		t.Errorf("of none it says %q", out)
	}
}

// exampleFollowed is what happens at two listeners: one that hangs while it is flooded, and one that accepts.
func exampleFollowed(f *follower) {
	all := exampleListeners()
	f.ledger.Open(all)
	began := time.Date(2026, 11, 20, 21, 4, 7, 0, time.UTC)
	id := event.ConnID(0)
	var ev event.Event // the memory of all, as in a feed
	happens := func(at time.Duration, kind event.Kind, local, remote string, set func(*event.Event)) {
		id++
		ev = event.Event{
			Kind: kind, Time: began.Add(at), Mono: time.Hour + at, Conn: id, NetNS: 4026531840, Role: event.RoleListener,
			Local: netip.MustParseAddrPort(local), Remote: netip.MustParseAddrPort(remote),
			Owner: event.Owner{PID: 4211, Comm: "api", UID: 1000},
		}
		set(&ev)
		f.handleEvent(&ev)
		f.advance(ev.Mono)
	}
	full := func(stage string, count int) func(*event.Event) {
		return func(ev *event.Event) {
			ev.Stage, ev.Count, ev.Queue = stage, count, &event.Queue{Len: 9, Max: 8}
		}
	}
	const ms = time.Millisecond
	happens(10*ms, event.AcceptQueueFull, "192.0.2.1:80", "198.51.100.7:40000", full("syn", 0))
	happens(20*ms, event.AcceptQueueFull, "192.0.2.1:80", "198.51.100.7:40001", full("ack", 0))
	for i := range 5 {
		happens(time.Duration(30+i)*ms, event.AcceptQueueFull, "192.0.2.1:80", "198.51.100.8:40002", full("syn", 100))
	}
	happens(900*ms, event.SYNQueueFull, "192.0.2.1:81", "198.51.100.9:40003", func(ev *event.Event) {
		ev.Action, ev.Ambiguous, ev.Queue = "cookie", true, &event.Queue{Len: 4097, Max: 4096}
	})
	happens(1200*ms, event.SYNReceived, "192.0.2.9:443", "198.51.100.9:40004", func(ev *event.Event) { ev.Role = event.RoleServer })
	happens(1250*ms, event.Accept, "192.0.2.9:443", "198.51.100.9:40005", func(ev *event.Event) {
		ev.Role, ev.Waited, ev.Owner.PID = event.RoleServer, 1200*time.Microsecond, 4212
	})
	happens(2200*ms, event.SYNACKRetransmit, "192.0.2.9:443", "198.51.100.9:40006", func(ev *event.Event) {
		ev.Role, ev.Attempt = event.RoleServer, 1
	})
	happens(2300*ms, event.Connect, "192.0.2.9:50000", "198.51.100.9:443", func(ev *event.Event) { ev.Role = event.RoleClient })
	f.handleLost(lost{Kind: event.Accept, CPU: 1, Count: 2})
	api := event.Owner{PID: 4211, Comm: "api", UID: 1000}
	f.ledger.Settle(4026531840, netip.MustParseAddrPort("192.0.2.1:80"), api, 8, listeners.Refused{SYNs: 12900, FinalACKs: 43, UntoldOverflows: 12441})
	f.ledger.Settle(4026531840, netip.MustParseAddrPort("192.0.2.1:81"), api, 4096, listeners.Refused{Cookies: 1})
	f.ledger.Settle(4026531840, netip.AddrPort{}, event.Owner{}, 0, listeners.Refused{SYNs: 2, UntoldOverflows: 2})
	f.totals.Refused = listeners.Refused{SYNs: 12902, FinalACKs: 43, Cookies: 1, UntoldOverflows: 12443}
}

func printFollowed(t *testing.T, c listenersCommand) []byte {
	t.Helper()
	out := &sinkBuffer{}
	m := meta{Version: "v0", Subject: aboutListeners, HZ: 250, Follow: true}
	var shown followSink = &followJSON{newJSONRenderer(out, false)}
	if c.output.Format == formatText {
		shown = &followText{
			textRenderer: newTextRenderer(out, textConfig{Location: time.UTC, Quiet: c.detail.Quiet, Verbose: c.detail.Verbose}),
			lines:        listenersText{out: out},
		}
	}
	f := c.newFollower(m, []followSink{&thinned{followSink: shown, shows: c.showsKind, most: c.mostEvents()}})
	f.began = time.Hour
	exampleFollowed(f)
	f.finish(nil, time.Hour+10*time.Second, true)
	return out.Bytes()
}

func TestFollowText(t *testing.T) {
	text := outputFlags{Format: formatText}
	checkGolden(t, "listeners-follow", printFollowed(t, listenersCommand{output: text}))
	checkGolden(t, "listeners-follow-thinned", printFollowed(t, listenersCommand{output: text, filter: filterFlags{MaxEvents: 3, Problems: true}}))
	checkGolden(t, "listeners-follow-quiet", printFollowed(t, listenersCommand{output: text, detail: detailFlags{Quiet: true}}))
	checkGolden(t, "listeners-follow-verbose", printFollowed(t, listenersCommand{output: text, detail: detailFlags{Verbose: true}}))
}

func TestFollowJSON(t *testing.T) {
	checkGolden(t, "listeners-follow.json", printFollowed(t, listenersCommand{output: outputFlags{Format: formatJSON}, filter: filterFlags{MaxEvents: 3}}))
}

// recordFollowed is what --record keeps: all of it.
func recordFollowed() []byte {
	out := &sinkBuffer{}
	f := new(listenersCommand).newFollower(meta{Version: "v0", Subject: aboutListeners, HZ: 250, Follow: true}, []followSink{&followJSON{newJSONRenderer(out, false)}})
	f.began = time.Hour
	exampleFollowed(f)
	f.finish(nil, time.Hour+10*time.Second, true)
	return out.Bytes()
}

func TestWhatListenersWentThroughIsReplayedAsItWasTold(t *testing.T) {
	local := time.Local
	time.Local = time.UTC
	defer func() { time.Local = local }()
	recording := recordFollowed()
	for name, detail := range map[string]detailFlags{"told": {}, "verbose": {Verbose: true}, "quiet": {Quiet: true}} {
		t.Run(name, func(t *testing.T) {
			live := printFollowed(t, listenersCommand{output: outputFlags{Format: formatText}, detail: detail})
			checkReplay(t, recording, live, exitOK, detail.args()...)
		})
	}
	thinned := printFollowed(t, listenersCommand{output: outputFlags{Format: formatJSON}, filter: filterFlags{MaxEvents: 3}})
	live := printFollowed(t, listenersCommand{output: outputFlags{Format: formatText}, filter: filterFlags{MaxEvents: 3}})
	checkReplay(t, thinned, live, exitOK)
}

func TestWhatListenersWentThroughUntilTheRecordingWasCutShort(t *testing.T) {
	recording := recordFollowed()
	if out := checkCut(t, recording, `{"type":"summary"`); !strings.Contains(out, "\n      1 connection accepted\n") || strings.Contains(out, "in 10s") {
		t.Errorf("without the end it says\n%s", out)
	}
	if out := checkCut(t, recording, `{"type":"lost"`); strings.Count(out, "\n") != 10 || strings.Contains(out, "✗") {
		t.Errorf("without the accounts it says\n%s", out)
	}
}

// However few are shown, what is shown and what is said to be hidden is everything.
func TestThinnedEventsAddUp(t *testing.T) {
	for _, most := range []int{0, 1, 3, 100} {
		sum := &followSum{}
		f := (&listenersCommand{}).newFollower(meta{}, []followSink{&thinned{followSink: sum, shows: func(event.Kind) bool { return true }, most: most}})
		exampleFollowed(f)
		f.advance(time.Hour + 10*time.Second)
		if rest := f.totals.Events - sum.events; most > 0 && sum.hidden != rest {
			t.Errorf("with %d a second, %d of %d hidden events are told in time", most, sum.hidden, rest)
		}
		f.finish(nil, 2*time.Hour, false)
		if sum.events+sum.hidden != f.totals.Events || sum.events+sum.hidden != 506 {
			t.Errorf("with %d a second, %d are shown and %d hidden; want %d", most, sum.events, sum.hidden, f.totals.Events)
		}
	}
}

// followSum counts what it is told.
type followSum struct{ events, hidden uint64 }

func (s *followSum) Meta(meta)                           {}
func (s *followSum) Lost(lost)                           {}
func (s *followSum) more(h hiddenEvents)                 { s.hidden += h.Count }
func (s *followSum) passed(time.Duration)                {}
func (s *followSum) account(*accountLine, time.Duration) {}
func (s *followSum) end(followTotals)                    {}
func (s *followSum) Flush()                              {}

func (s *followSum) Event(_ *timeline.Connection, ev *event.Event) {
	s.events += uint64(max(1, ev.Count))
}
