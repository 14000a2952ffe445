package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
	"tcptrace/tracer/verdict"
)

// lifeOfTimers is that of an established connection whose every timer has something to do.
func lifeOfTimers() []*event.Event {
	settings := func(o event.Options) func(*event.Event) {
		return func(ev *event.Event) { ev.Options, ev.Sysctls = &o, defaultSysctls() }
	}
	probe := func(attempt int, errno event.Errno) func(*event.Event) {
		return func(ev *event.Event) {
			ev.Attempt, ev.TCPSeq, ev.TCPAck, ev.Errno, ev.Idle = attempt, 1000, 2000, errno, 2*time.Second
		}
	}
	again := func(trigger string, attempt int, errno event.Errno) func(*event.Event) {
		return func(ev *event.Event) {
			ev.Trigger, ev.Attempt, ev.Len, ev.Errno, ev.RTO = trigger, attempt, 1448, errno, 400*time.Millisecond
		}
	}
	return []*event.Event{
		at(0, event.Established, settings(event.Options{KeepAlive: true, KeepaliveIdle: 2 * time.Second, KeepaliveInterval: 3 * time.Second, KeepaliveCount: 3})),
		at(2012*time.Millisecond, event.KeepaliveProbe, probe(1, 0)),
		at(2013*time.Millisecond, event.KeepaliveAnswer, nil),
		at(2500*time.Millisecond, event.OptionsChanged, settings(event.Options{KeepAlive: true, KeepaliveIdle: 2 * time.Second, KeepaliveInterval: time.Second, UserTimeout: 8 * time.Second})),
		at(5*time.Second, event.KeepaliveProbe, probe(1, event.ENETUNREACH)),
		at(6*time.Second, event.KeepaliveProbe, probe(2, 0)),
		at(6001*time.Millisecond, event.KeepaliveAnswer, nil),
		at(7*time.Second, event.Retransmit, again("tlp", 0, 0)),
		at(7200*time.Millisecond, event.Retransmit, again("rto", 1, 0)),
		at(7600*time.Millisecond, event.Retransmit, again("rto", 2, event.EHOSTUNREACH)),
		at(7700*time.Millisecond, event.Retransmit, again("fast", 0, 0)),
		at(8*time.Second, event.WindowProbe, probe(1, 0)),
		at(9*time.Second, event.WindowProbe, probe(2, 0)),
		at(10*time.Second, event.Close, func(ev *event.Event) {
			ev.Errno, ev.ClosedBy, ev.OldState, ev.State = event.ETIMEDOUT, "kernel", event.StateEstablished, event.StateClose
			ev.Traffic = &event.Traffic{BytesSent: 4344, BytesAcked: 1448, BytesReceived: 12, Retransmits: 4, Unacked: 1448, Unsent: 100, Unread: 1}
		}),
	}
}

func TestTextOfTimers(t *testing.T) {
	tests := []struct {
		name   string
		config textConfig
		meta   meta
	}{
		{"timers-watch", textConfig{}, meta{Subject: aboutConnections}},
		{"timers-probe", textConfig{}, meta{Subject: aboutProbes, Single: true}},
		{"timers-verbose", textConfig{Verbose: true}, meta{Subject: aboutProbes, Single: true}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			checkGolden(t, test.name, []byte(rendered(test.config, test.meta, lifeOfTimers())))
		})
	}
}

func TestOptionsOfWhichNothingIsKnownBeforeAreAllTold(t *testing.T) {
	text := rendered(textConfig{}, meta{Subject: aboutConnections}, []*event.Event{at(0, event.OptionsChanged, func(ev *event.Event) {
		ev.Options = &event.Options{KeepAlive: true, UserTimeout: 8 * time.Second}
	}), at(time.Second, event.Close, nil)})
	if !strings.Contains(text, "options changed    TCP_USER_TIMEOUT 8s, SO_KEEPALIVE 1\n") {
		t.Errorf("%s", text)
	}
}

// Those that were not changed, but read with a timer, are for who asks for all.
func TestOptionsThatWereReadAreToldWhereAllIs(t *testing.T) {
	events := func() []*event.Event {
		return []*event.Event{
			at(0, event.OptionsChanged, func(ev *event.Event) { ev.Options, ev.Trigger = &event.Options{UserTimeout: 8 * time.Second}, "timer" }),
			at(0, event.Retransmit, func(ev *event.Event) { ev.Trigger, ev.Attempt = "rto", 1 }),
			at(time.Second, event.Close, nil),
		}
	}
	for verbose, want := range map[bool]bool{false: false, true: true} {
		text := rendered(textConfig{Verbose: verbose}, meta{Subject: aboutConnections}, events())
		if got := strings.Contains(text, "options            TCP_USER_TIMEOUT 8s\n"); got != want || strings.Contains(text, "changed") {
			t.Errorf("verbose %t:\n%s", verbose, text)
		}
	}
}

// kindSink keeps what reaches it, by kind, and the summary.
type kindSink struct {
	silent
	kinds   []event.Kind
	summary *summary
}

func (k *kindSink) Event(_ *timeline.Connection, ev *event.Event) { k.kinds = append(k.kinds, ev.Kind) }
func (k *kindSink) Verdict(verdict.Verdict, told)                 { k.kinds = append(k.kinds, event.KindUnknown) }
func (k *kindSink) Summary(s *summary)                            { k.summary = s }

func TestHealthyKeepaliveIsNotShown(t *testing.T) {
	const probe, answer, state, closed, judged = event.KeepaliveProbe, event.KeepaliveAnswer, event.StateChange, event.Close, event.KindUnknown
	type step struct {
		kind    event.Kind
		attempt int
	}
	tests := []struct {
		name     string
		steps    []step
		shown    []event.Kind
		answered uint64
	}{
		{"answered", []step{{probe, 1}, {answer, 0}, {probe, 1}, {answer, 0}}, nil, 2},
		{"answered unseen", []step{{probe, 1}, {probe, 1}, {answer, 0}}, nil, 2},
		{"one lost", []step{{probe, 1}, {probe, 2}, {answer, 0}}, []event.Kind{probe, probe, answer}, 0},
		{"dead", []step{{probe, 1}, {probe, 2}, {closed, 0}}, []event.Kind{probe, probe, closed}, 0},
		{"answered by an end", []step{{probe, 1}, {closed, 0}}, []event.Kind{probe, closed}, 0},
		{"the trace ends first", []step{{state, 0}, {probe, 1}}, []event.Kind{state, probe, judged}, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out kindSink
			s := newSession(tracedMeta(aboutConnections), nil, newFiltered(&out, &filterFlags{}, false, true))
			for i, step := range test.steps {
				s.handleEvent(at(time.Duration(i)*time.Second, step.kind, func(ev *event.Event) { ev.Attempt = step.attempt }))
				s.advance(uptime + time.Duration(i)*time.Second + 500*time.Millisecond)
			}
			s.finish(uptime+time.Minute, true)
			shown := out.kinds
			if !slices.Contains(test.shown, judged) {
				shown = slices.DeleteFunc(shown, func(k event.Kind) bool { return k == judged })
			}
			if diff := cmp.Diff(test.shown, shown, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("shown (-want +got):\n%s", diff)
			}
			if out.summary.AnsweredProbes != test.answered {
				t.Errorf("%d answered probes; want %d", out.summary.AnsweredProbes, test.answered)
			}
		})
	}
}

func TestKeepaliveIsShownToWhoAsksForIt(t *testing.T) {
	tests := []struct {
		name  string
		about subject
		flags filterFlags
		terse bool
	}{
		{"verbose, or JSON", aboutConnections, filterFlags{}, false},
		{"by its kind", aboutConnections, filterFlags{Kinds: []event.Kind{event.KeepaliveProbe, event.KeepaliveAnswer}}, true},
		{"of a probe", aboutProbes, filterFlags{}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out kindSink
			s := newSession(tracedMeta(test.about), nil, newFiltered(&out, &test.flags, false, test.terse))
			for i, kind := range []event.Kind{event.KeepaliveProbe, event.KeepaliveAnswer} {
				s.handleEvent(at(time.Duration(i)*time.Second, kind, nil))
			}
			s.advance(uptime + time.Minute)
			if len(out.kinds) != 2 {
				t.Errorf("shown: %v", out.kinds)
			}
		})
	}
}
