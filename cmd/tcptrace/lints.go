package main

import (
	"cmp"
	"slices"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/lint"
	"tcptrace/tracer/timeline"
	"tcptrace/tracer/verdict"
)

// longIdle is how long a connection must have been idle before that can be worth a warning.
const longIdle = time.Minute

// warningsAbout judges the settings of an established connection as it is, or was at its end. Nearly every connection has
// settings that might do harm some day: they are only told of one that was in trouble, or where they did. There are none
// where the settings are not known.
func warningsAbout(c *timeline.Connection, v verdict.Verdict, hz int) []lint.Warning {
	trouble, last := isProblem(v), lastTimer(c)
	if c.Options == nil || c.Sysctls == nil || !trouble && last == nil && v.IdleBeforeEnd < longIdle {
		return nil
	}
	settings := settingsToJudge(c, hz)
	if settings.State == event.StateUnknown {
		return nil
	}
	present := settings
	present.Idle = v.IdleBeforeEnd
	if last != nil {
		present.InFlight, present.Shut = last.Kind == event.Retransmit, last.Kind == event.WindowProbe && !last.KeptHere
	}
	all := lint.Check(present)
	if trouble || !sameWarnings(all, lint.Check(settings)) {
		return all
	}
	return nil
}

func sameWarnings(a, b []lint.Warning) bool {
	return slices.EqualFunc(a, b, func(a, b lint.Warning) bool { return a.ID == b.ID })
}

// settingsToJudge are those of a connection, whatever it went through.
func settingsToJudge(c *timeline.Connection, hz int) lint.Settings {
	return lint.Settings{
		State:             stateToJudge(c),
		Local:             c.Peer != nil || c.Remote.Addr().IsLoopback() || c.Remote.Addr() == c.Local.Addr(),
		KeepAlive:         c.Options.KeepAlive,
		KeepaliveIdle:     cmp.Or(c.Options.KeepaliveIdle, c.Sysctls.KeepaliveIdle),
		KeepaliveInterval: cmp.Or(c.Options.KeepaliveInterval, c.Sysctls.KeepaliveInterval),
		KeepaliveCount:    cmp.Or(c.Options.KeepaliveCount, c.Sysctls.KeepaliveCount),
		UserTimeout:       c.Options.UserTimeout,
		Retries2:          c.Sysctls.Retries2,
		RTOMax:            cmp.Or(c.Options.RTOMax, c.Sysctls.RTOMax),
		HZ:                hz,
	}
}

// stateToJudge is the state of a connection, and ESTABLISHED of one that was established and has closed; unknown where it
// never was.
func stateToJudge(c *timeline.Connection) event.State {
	for i := len(c.Events) - 1; i >= 0; i-- {
		if ev := &c.Events[i]; ev.Kind == event.Close {
			if inHandshake(ev.OldState) {
				return event.StateUnknown
			}
			return event.StateEstablished
		}
	}
	if inHandshake(c.State) {
		return event.StateUnknown
	}
	return c.State
}

func inHandshake(s event.State) bool {
	switch s {
	case event.StateUnknown, event.StateSYNSent, event.StateSYNRecv, event.StateNewSYNRecv, event.StateListen:
		return true
	}
	return false
}

// lastTimer is the last event of a timer that nothing of the peer's followed, nil if there is none.
func lastTimer(c *timeline.Connection) *event.Event {
	for i := len(c.Events) - 1; i >= 0; i-- {
		switch ev := &c.Events[i]; ev.Kind {
		case event.Retransmit, event.WindowProbe, event.KeepaliveProbe:
			return ev
		case event.Close, event.ResetSent, event.ICMPError, event.Drop:
		default:
			return nil
		}
	}
	return nil
}
