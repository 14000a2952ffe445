package main

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
	"tcptrace/tracer/verdict"
)

// story is a session with its two outputs.
type story struct {
	*session
	text, json *sinkBuffer
}

func newStory(m meta) *story {
	s := &story{text: new(sinkBuffer), json: new(sinkBuffer)}
	text := newTextRenderer(s.text, textConfig{Replayed: true, Location: time.UTC})
	s.session = newSession(m, nil, text, newJSONRenderer(s.json, true))
	return s
}

// replayed is what a replay of s prints, and its exit status.
func (s *story) replayed(t testing.TB) (string, int) {
	t.Helper()
	out := new(sinkBuffer)
	r := replay{
		lines: newRecordingReader(bytes.NewReader(s.json.Bytes())),
		out:   newTextRenderer(out, textConfig{Replayed: true, Location: time.UTC}),
	}
	status, err := r.run(context.Background())
	if err != nil {
		t.Fatalf("replay: %v\n%s", err, s.json)
	}
	return out.String(), status
}

func tracedMeta(about subject) meta {
	m := meta{Version: "v1", Kernel: "6.12.0", Hostname: "host", Command: "tcptrace connect 192.0.2.10:443", Started: began, HZ: 250, Subject: about}
	m.Hooks, m.Costs = make(map[event.Kind]string), make(map[event.Kind]string)
	for _, kind := range event.Kinds() {
		m.Hooks[kind] = "tracepoint"
	}
	delete(m.Hooks, event.Drop)
	m.Costs[event.Drop] = "what this host drops cannot be seen"
	return m
}

// probeOf is a probe that the kernel gave up after so long.
func probeOf(lifetime time.Duration) *event.Probe {
	return &event.Probe{
		Target: "192.0.2.10:443", Remote: server4, Local: client4, Cookie: 77, Run: 1,
		Started: began, StartedMono: uptime, Connect: lifetime, Lifetime: lifetime, Errno: event.ETIMEDOUT,
	}
}

// silentStory is a probe that nobody answers.
func silentStory() *story {
	m := tracedMeta(aboutProbes)
	m.Single = true
	s := newStory(m)
	events := append(silence(10), at(134*time.Second, event.Close, func(ev *event.Event) {
		ev.Errno, ev.OldState, ev.State = event.ETIMEDOUT, event.StateSYNSent, event.StateClose
	}))
	for i, ev := range events {
		ev.Nth = uint32(i + 1)
	}
	events[len(events)-1].Total = uint32(len(events))
	for _, ev := range events {
		s.handleEvent(ev)
		s.advance(ev.Mono + 10*time.Millisecond)
	}
	s.handleProbe(probeOf(134 * time.Second))
	s.advance(uptime + 134*time.Second + 100*time.Millisecond)
	s.finish(uptime+134*time.Second+101*time.Millisecond, false)
	return s
}

func TestSessionOfSilentPeer(t *testing.T) {
	s := silentStory()
	checkGolden(t, "session-silence", s.text.Bytes())
	checkGolden(t, "session-silence.json", s.json.Bytes())
	if !strings.Contains(s.json.String(), `"cause":"no_answer"`) || !strings.Contains(s.json.String(), `"exit_status":1`) {
		t.Errorf("the stream does not say what happened:\n%s", s.json)
	}
}

// What the peer still sends after the end may be dropped here long after the verdict.
func TestALateEventIsNoOtherVerdict(t *testing.T) {
	s := newStory(tracedMeta(aboutProbes))
	events := append(silence(1), at(3*time.Second, event.Close, func(ev *event.Event) {
		ev.Errno, ev.OldState, ev.State = event.ETIMEDOUT, event.StateSYNSent, event.StateClose
	}))
	for _, ev := range events {
		s.handleEvent(ev)
	}
	s.advance(uptime + 3*time.Second + 100*time.Millisecond)
	s.handleProbe(probeOf(3 * time.Second))
	s.advance(uptime + 4*time.Second)
	s.handleEvent(at(5*time.Second, event.Drop, func(ev *event.Event) { ev.Direction, ev.TCPFlags = "in", "SYN+ACK" }))
	s.advance(uptime + 6*time.Second)
	s.finish(uptime+7*time.Second, false)
	if n := strings.Count(s.json.String(), `"type":"verdict"`); n != 1 {
		t.Errorf("%d verdicts about one probe:\n%s", n, s.json)
	}
}

func TestReplayReadsAsLive(t *testing.T) {
	s := silentStory()
	text, status := s.replayed(t)
	if diff := cmp.Diff(s.text.String(), text); diff != "" {
		t.Errorf("the replay reads differently (-live +replay):\n%s", diff)
	}
	if status != exitFailed {
		t.Errorf("exit status %d; want %d", status, exitFailed)
	}
}

func TestReplayReadsAsLiveWhateverHappens(t *testing.T) {
	kinds := append(event.Kinds(), event.Close, event.Close, event.SYNRetransmit, event.SYNRetransmit)
	rapid.Check(t, func(t *rapid.T) {
		about := rapid.SampledFrom([]subject{aboutConnections, aboutProbes}).Draw(t, "subject")
		s := newStory(tracedMeta(about))
		s.ask = func(verdict.Question) *verdict.Host { return drawHost(t) }
		now := uptime
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			now += time.Duration(rapid.IntRange(0, 200).Draw(t, "wait")) * time.Millisecond
			conn := rapid.IntRange(1, 4).Draw(t, "conn")
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				s.handleLost(lost{Kind: event.SYNRetransmit, CPU: conn, Count: 1})
			case 1:
				s.handleProbe(&event.Probe{Target: "t", Remote: server4, Cookie: uint64(conn), StartedMono: uptime, Lifetime: now - uptime,
					Synchronous: conn%2 == 0, Errno: rapid.SampledFrom(askedAbout).Draw(t, "errno")})
			case 2, 3, 4:
				s.advance(now)
			default:
				ev := at(now-uptime, rapid.SampledFrom(kinds).Draw(t, "kind"), nil)
				ev.Conn, ev.Cookie = event.ConnID(conn), uint64(conn)
				ev.Role = event.RoleClient + event.Role(conn%2)
				ev.ISN, ev.PeerISN = uint32(100+conn), uint32(100+conn^1)
				if ev.Kind == event.Error {
					ev.Errno = rapid.SampledFrom(askedAbout).Draw(t, "errno")
				}
				ev.Nth = uint32(rapid.IntRange(0, 9).Draw(t, "nth"))
				if ev.Kind == event.Connect {
					ev.Sysctls = defaultSysctls()
				}
				s.handleEvent(ev)
			}
		}
		s.finish(now, rapid.Bool().Draw(t, "interrupted"))
		text, _ := s.replayed(&fatal{T: t})
		if diff := cmp.Diff(s.text.String(), text); diff != "" {
			t.Fatalf("the replay reads differently (-live +replay):\n%s\n%s", diff, s.json)
		}
	})
}

// askedAbout are errnos that make a session ask the host, and one that does not.
var askedAbout = []event.Errno{event.EACCES, event.ENETUNREACH, event.EADDRNOTAVAIL, event.ETIMEDOUT}

// drawHost is what a host may say; nil: it was asked too often.
func drawHost(t *rapid.T) *verdict.Host {
	switch rapid.IntRange(0, 4).Draw(t, "host") {
	case 0:
		return nil
	case 1:
		return &verdict.Host{Route: &verdict.Route{Errno: event.EACCES}}
	case 2:
		return &verdict.Host{Route: &verdict.Route{Device: "eth0", Gateway: server4.Addr()}}
	case 3:
		return &verdict.Host{Ports: &verdict.Ports{First: 1, Last: 2, InUse: rapid.IntRange(1, 2).Draw(t, "ports"), TimeWait: 1}}
	}
	return &verdict.Host{Conntrack: &verdict.Conntrack{Count: 7, Max: 8}, Somaxconn: 128}
}

func TestAVerdictRestsOnWhatTheHostSays(t *testing.T) {
	s := newStory(tracedMeta(aboutConnections))
	s.ask = func(q verdict.Question) *verdict.Host {
		if !q.Route || q.NetNS != 4026531840 || q.Remote != server4 {
			t.Errorf("asked %+v", q)
		}
		return &verdict.Host{Route: &verdict.Route{Errno: event.EINVAL}}
	}
	for nth, kind := range []event.Kind{event.Error, event.Close} {
		s.handleEvent(at(0, kind, func(ev *event.Event) {
			ev.Errno, ev.NetNS, ev.Nth = event.EINVAL, 4026531840, uint32(nth+1)
			if kind == event.Close {
				ev.State, ev.Total = event.StateClose, ev.Nth
			}
		}))
	}
	s.advance(uptime + time.Second)
	s.finish(uptime+time.Second, false)
	if !strings.Contains(s.text.String(), "a blackhole route") || !strings.Contains(s.json.String(), `"confidence":"certain"`) {
		t.Errorf("the verdict does without:\n%s\n%s", s.text, s.json)
	}
	if text, _ := s.replayed(t); text != s.text.String() {
		t.Errorf("the replay does without:\n%s", text)
	}
}

// fatal lets a helper of testing end a property's check.
type fatal struct {
	testing.TB
	T *rapid.T
}

func (f *fatal) Helper()                           { f.T.Helper() }
func (f *fatal) Fatalf(format string, args ...any) { f.T.Fatalf(format, args...) }

func TestNameIsJudgedAfterItsLastAddress(t *testing.T) {
	m := tracedMeta(aboutProbes)
	m.Hooks, m.Costs, m.Untraced = nil, nil, "this needs CAP_BPF: run it as root"
	s := newStory(m)
	s.handleResolution(&event.Resolution{Target: "dual:443", Name: "dual", Addresses: []netip.Addr{server6.Addr(), server4.Addr()}}, uptime)
	s.handleProbe(&event.Probe{Target: "dual:443", Remote: server6, Local: client6, Run: 1, Started: began, StartedMono: uptime, Lifetime: 2 * time.Second, GaveUp: "timeout", Timeout: 2 * time.Second})
	if s.verdicts() != 1 {
		t.Fatalf("%d verdicts after the first of two addresses", s.verdicts())
	}
	s.handleProbe(&event.Probe{Target: "dual:443", Remote: server4, Local: client4, Run: 1, Started: began, StartedMono: uptime, Connected: true, Connect: time.Millisecond, Lifetime: time.Millisecond})
	if s.verdicts() != 3 {
		t.Fatalf("%d verdicts after both addresses; want one each and one for the name", s.verdicts())
	}
	if sum := s.finish(uptime+3*time.Second, false); sum.ExitStatus != exitOK {
		t.Errorf("exit status %d though the name connected", sum.ExitStatus)
	}
	checkGolden(t, "session-name", s.text.Bytes())
	if text, status := s.replayed(t); text != s.text.String() || status != exitOK {
		t.Errorf("the replay (status %d) reads differently:\n%s", status, text)
	}
}

func TestUnresolvedNameFails(t *testing.T) {
	s := newStory(tracedMeta(aboutProbes))
	s.handleResolution(&event.Resolution{Target: "nowhere:443", Name: "nowhere", Took: time.Millisecond, Err: "no such host"}, uptime)
	sum := s.finish(uptime+time.Second, false)
	if sum.ExitStatus != exitFailed || sum.Causes[verdict.NameNotResolved] != 1 {
		t.Errorf("exit status %d, causes %v", sum.ExitStatus, sum.Causes)
	}
	if text, _ := s.replayed(t); text != s.text.String() {
		t.Errorf("the replay reads differently:\n%s", text)
	}
}

func TestProbeWithoutKernelViewIsJudgedAfterGrace(t *testing.T) {
	s := newStory(tracedMeta(aboutProbes))
	s.handleProbe(probeOf(time.Second))
	s.advance(uptime + time.Second + probeGrace - 1)
	if !s.waits() || s.verdicts() != 0 {
		t.Fatalf("judged before its grace was over")
	}
	s.advance(uptime + time.Second + probeGrace)
	if s.waits() || s.verdicts() != 1 {
		t.Errorf("%d verdicts after the grace", s.verdicts())
	}
}

func TestFarEndHasNoVerdictOfItsOwn(t *testing.T) {
	s := newStory(tracedMeta(aboutConnections))
	for i, role := range []event.Role{event.RoleClient, event.RoleServer} {
		for _, kind := range []event.Kind{event.Established, event.Close} {
			s.handleEvent(at(time.Duration(kind)*time.Millisecond, kind, func(ev *event.Event) {
				ev.Conn, ev.Cookie, ev.Role = event.ConnID(i+1), 0, role
				ev.ISN, ev.PeerISN = [2]uint32{5, 6}[i], [2]uint32{6, 5}[i]
			}))
		}
	}
	s.advance(uptime + time.Second)
	s.finish(uptime+time.Second, false)
	if s.verdicts() != 1 {
		t.Errorf("%d verdicts about one connection with both ends here:\n%s", s.verdicts(), s.text)
	}
	if open := s.tracker.OpenConnections(); len(open) != 0 {
		t.Errorf("%d connections are still open", len(open))
	}
}

func TestFiltersThinOutWhatIsPrintedOnly(t *testing.T) {
	tests := []struct {
		name                    string
		flags                   filterFlags
		quiet                   bool
		events, verdicts, shown int
	}{
		{"all", filterFlags{}, false, 5, 2, 2},
		{"kind", filterFlags{Kinds: []event.Kind{event.SYNRetransmit}}, false, 1, 2, 2},
		{"cause", filterFlags{Causes: []verdict.Cause{verdict.NoAnswer}}, false, 3, 1, 1},
		{"problems", filterFlags{Problems: true}, false, 3, 1, 1},
		{"quiet", filterFlags{}, true, 0, 2, 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			printed, kept := new(sinkBuffer), new(sinkBuffer)
			s := newSession(tracedMeta(aboutConnections), test.flags.shows,
				newFiltered(newJSONRenderer(printed, false), &test.flags, test.quiet, false), newJSONRenderer(kept, false))
			for _, ev := range []*event.Event{
				connectAt(),
				at(1021*time.Millisecond, event.SYNRetransmit, func(ev *event.Event) { ev.Attempt = 1 }),
				at(2*time.Second, event.Close, func(ev *event.Event) {
					ev.OldState, ev.State, ev.Errno, ev.Nth, ev.Total = event.StateSYNSent, event.StateClose, event.ETIMEDOUT, 0, 0
				}),
				at(0, event.Established, func(ev *event.Event) { ev.Conn, ev.State, ev.OldState = 2, event.StateEstablished, event.StateSYNSent }),
				at(3*time.Second, event.Close, func(ev *event.Event) {
					ev.Conn, ev.OldState, ev.State, ev.ClosedBy = 2, event.StateLastACK, event.StateClose, "peer"
				}),
			} {
				s.handleEvent(ev)
			}
			s.advance(uptime + 5*time.Second)
			s.finish(uptime+5*time.Second, false)
			count := func(b *sinkBuffer, typ string) int { return strings.Count(b.String(), fmt.Sprintf(`{"type":%q`, typ)) }
			if count(kept, typeEvent) != 5 || count(kept, typeVerdict) != 2 {
				t.Errorf("what is kept is not complete:\n%s", kept)
			}
			if count(printed, typeEvent) != test.events || count(printed, typeVerdict) != test.verdicts || s.verdicts() != test.shown {
				t.Errorf("printed %d events and %d verdicts, counted %d:\n%s", count(printed, typeEvent), count(printed, typeVerdict), s.verdicts(), printed)
			}
		})
	}
}

func TestRecordingHoldsTheStream(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.json")
	if err := os.WriteFile(path, bytes.Repeat([]byte("old "), 10000), 0o600); err != nil {
		t.Fatal(err)
	}
	rec, err := createRecording(path)
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(tracedMeta(aboutProbes), nil, rec.sink(false))
	s.finish(uptime, false)
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(kept), "\n"), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], `{"type":"meta"`) || !strings.HasPrefix(lines[2], `{"type":"summary"`) {
		t.Errorf("the recording is\n%s", kept)
	}
}

func TestRecordingRefusesWhatCannotBeOne(t *testing.T) {
	_, err := createRecording(t.TempDir())
	if err == nil || report(new(sinkBuffer), err) != exitUsage {
		t.Errorf("a directory as a recording: %v", err)
	}
	_, err = createRecording(filepath.Join(t.TempDir(), "no", "such"))
	if err == nil || report(new(sinkBuffer), err) != exitUsage {
		t.Errorf("a path that does not exist: %v", err)
	}
}

func TestRecordingSaysWhenTheDiskIsFull(t *testing.T) {
	rec, err := createRecording("/dev/full")
	if err != nil {
		t.Fatal(err)
	}
	newSession(tracedMeta(aboutProbes), nil, rec.sink(false)).finish(uptime, false)
	if err := rec.Close(); err == nil || report(new(sinkBuffer), err) != exitNoTrace || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("a recording on a full disk: %v", err)
	}
}

func TestSessionIsLeftAloneForAsLongAsNothingCanRipen(t *testing.T) {
	s := newStory(tracedMeta(aboutConnections))
	expect := func(when string, want time.Duration) {
		t.Helper()
		if got := s.patience(); got != want {
			t.Errorf("%s it is left alone for %v, want %v", when, got, want)
		}
	}
	expect("with no connection", restTick)
	s.handleEvent(at(0, event.Connect, nil))
	expect("with an event that may be overtaken", idleTick)
	s.advance(uptime + time.Second)
	expect("with an open connection", lookEvery)
	s.handleEvent(at(2*time.Second, event.Close, nil))
	s.advance(uptime + 2*time.Second + timeline.DefaultSettle/2)
	expect("with one whose story is about to be told", idleTick)
	s.advance(uptime + 3*time.Second)
	expect("with none any more", restTick)
}
