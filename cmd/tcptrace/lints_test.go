package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/schedule"
	"tcptrace/tracer/verdict"
)

// lived is a connection that was established with those options and ended so.
func lived(options event.Options, lifetime time.Duration, end func(*event.Event), between ...*event.Event) []*event.Event {
	events := []*event.Event{at(0, event.Established, func(ev *event.Event) {
		ev.Options, ev.Sysctls, ev.State = &options, defaultSysctls(), event.StateEstablished
	})}
	events = append(events, between...)
	return append(events, at(lifetime, event.Close, func(ev *event.Event) {
		ev.OldState, ev.State = event.StateLastACK, event.StateClose
		end(ev)
	}))
}

func TestWarningsAreToldWhereSettingsDidHarm(t *testing.T) {
	orderly := func(ev *event.Event) { ev.ClosedBy, ev.Idle = "peer", time.Second }
	timedOut := func(ev *event.Event) {
		ev.ClosedBy, ev.Errno, ev.OldState, ev.Retransmits = "kernel", event.ETIMEDOUT, event.StateEstablished, 3
	}
	again := at(20*time.Minute, event.Retransmit, func(ev *event.Event) { ev.Trigger, ev.Attempt, ev.Len = "rto", 1, 100 })
	tests := []struct {
		name   string
		events []*event.Event
		ids    []string
		known  int // of these, the verdict's advice says it already
	}{
		{"in order, whatever might have been", lived(event.Options{KeepAlive: true}, time.Minute, orderly), nil, 0},
		{"in order, idle for long without keepalive", lived(event.Options{}, time.Hour, func(ev *event.Event) { ev.ClosedBy, ev.Idle = "peer", 50*time.Minute }),
			[]string{"keepalive_off"}, 0},
		{"data that nobody acknowledged", lived(event.Options{}, 36*time.Minute, timedOut, again), []string{"retransmission_hangs"}, 1},
		{"never established", []*event.Event{connectAt(), at(134*time.Second, event.Close, func(ev *event.Event) {
			ev.OldState, ev.State, ev.Errno = event.StateSYNSent, event.StateClose, event.ETIMEDOUT
		})}, nil, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var told warningSink
			s := newSession(tracedMeta(aboutConnections), nil, newFiltered(&told, &filterFlags{Problems: true}, false, true))
			text, json := new(sinkBuffer), new(sinkBuffer)
			s.sinks = append(s.sinks, newTextRenderer(text, textConfig{}), newJSONRenderer(json, false))
			for _, ev := range test.events {
				s.handleEvent(ev)
			}
			s.finish(uptime+3*time.Hour, false)
			if !slices.Equal(told.ids, test.ids) {
				t.Errorf("%v; want %v\n%s", told.ids, test.ids, text)
			}
			if lines := strings.Count(text.String(), "\n  ! "); lines != len(test.ids)-test.known {
				t.Errorf("the text tells %d:\n%s", lines, text)
			}
			for _, id := range test.ids {
				if !strings.Contains(json.String(), fmt.Sprintf(`"warnings":[{"id":%q`, id)) {
					t.Errorf("the JSON has no %s:\n%s", id, json)
				}
			}
		})
	}
}

// warningSink keeps which warnings it was told.
type warningSink struct {
	silent
	ids []string
}

func (w *warningSink) Verdict(_ verdict.Verdict, about told) {
	for _, warning := range about.warnings {
		w.ids = append(w.ids, warning.ID)
	}
}

// Nothing on the way to this host itself can forget a connection.
func TestKeepaliveToThisHostIsNotComparedWithIdleLimits(t *testing.T) {
	for local, want := range map[bool]int{false: 1, true: 0} {
		o := outlook{keepaliveSettings{Keepalive: schedule.Keepalive{Idle: time.Hour, Interval: time.Second, Count: 3}, Local: local}}
		found := 0
		for _, w := range o.warnings() {
			if w.ID == "keepalive_later_than_idle_limits" {
				found++
			}
		}
		if found != want {
			t.Errorf("local %t: %+v", local, o.warnings())
		}
	}
	for host, want := range map[string]bool{"127.0.0.1": true, "::1": true, "192.0.2.10": false, "localhost": false} {
		if got := (&target{host: host}).isLocal(); got != want {
			t.Errorf("%s is local: %t, want %t", host, got, want)
		}
	}
}
