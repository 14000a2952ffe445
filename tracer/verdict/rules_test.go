package verdict

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tcptrace/tracer/event"
)

func TestEveryRuleHasAScenario(t *testing.T) {
	matched := make(map[int]bool)
	for _, sc := range loadScenarios(t) {
		sc.judge()
		for _, row := range sc.matched {
			matched[row] = true
		}
	}
	for row, r := range rules {
		if !matched[row] {
			t.Errorf("row %d, %s, is not matched by any scenario", row, r.cause)
		}
	}
}

func TestRulesNameKnownCauses(t *testing.T) {
	for _, r := range rules {
		if !r.cause.Known() {
			t.Errorf("%q is not a cause", r.cause)
		}
	}
	for _, a := range acts {
		if !a.cause.Known() {
			t.Errorf("%q is not a cause", a.cause)
		}
	}
	for _, c := range telling {
		if !c.Known() {
			t.Errorf("%q is not a cause", c)
		}
	}
}

func TestCausesAreDistinctAndExplained(t *testing.T) {
	seen := make(map[Cause]bool)
	for _, m := range Causes() {
		if seen[m.Cause] || m.Meaning == "" {
			t.Errorf("%q is listed twice or without a meaning", m.Cause)
		}
		seen[m.Cause] = true
	}
}

func TestNothingIsKnownOfNothing(t *testing.T) {
	if v := Of(nil, Facts{}); v.Confidence == Certain || v.Summary == "" || v.Cause == Connected {
		t.Errorf("a verdict about nothing: %+v", v)
	}
}

// Losing records may cost the right cause, but never without saying so.
func TestLostEventsNeverGiveAWrongCertainCause(t *testing.T) {
	scenarios := loadScenarios(t)
	scenarios = slices.DeleteFunc(scenarios, func(sc *scenario) bool { return len(sc.events) == 0 })
	rapid.Check(t, func(t *rapid.T) {
		original := rapid.SampledFrom(scenarios).Draw(t, "scenario")
		truth := original.judge()
		lossy := *original
		lossy.events = slices.Clone(original.events)
		for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(0, len(lossy.events)-1), 1, len(lossy.events), rapid.ID[int]).Draw(t, "lost") {
			lossy.events[i].lost = true
		}
		if got := lossy.judge(); got.Confidence == Certain && got.Cause != truth.Cause {
			t.Fatalf("%s: certain of %s, but it was %s\n%s", original.name, got.Cause, truth.Cause, got.Summary)
		}
	})
}

func TestOneLostEventNeverGivesAWrongCertainCause(t *testing.T) {
	for _, original := range loadScenarios(t) {
		truth := original.judge()
		for i := range original.events {
			lossy := *original
			lossy.events = slices.Clone(original.events)
			lossy.events[i].lost = true
			if got := lossy.judge(); got.Confidence == Certain && got.Cause != truth.Cause {
				t.Errorf("%s without event %d: certain of %s, but it was %s", original.name, i+1, got.Cause, truth.Cause)
			}
		}
	}
}

// A timer's packet can go unseen without being counted as lost, where a hook does not run: what the socket counted at its
// close gives that away.
func TestOneUnseenTimerEventNeverGivesAWrongCertainCause(t *testing.T) {
	timers := []event.Kind{event.Retransmit, event.KeepaliveProbe, event.KeepaliveAnswer, event.WindowProbe}
	for _, original := range loadScenarios(t) {
		truth := original.judge()
		for i := range original.events {
			if !slices.Contains(timers, original.events[i].ev.Kind) {
				continue
			}
			blind := *original
			blind.events = slices.Delete(slices.Clone(original.events), i, i+1)
			for j := range blind.events {
				blind.events[j].ev.Total = 0
			}
			blind.number()
			if got := blind.judge(); got.Confidence == Certain && got.Cause != truth.Cause {
				t.Errorf("%s without event %d: certain of %s, but it was %s", original.name, i+1, got.Cause, truth.Cause)
			}
		}
	}
}

// What a connection lived through before its last act does not change its verdict, though the story no longer holds all
// of it.
func TestALongLifeDoesNotChangeTheVerdict(t *testing.T) {
	for _, original := range loadScenarios(t) {
		i := slices.IndexFunc(original.events, func(l line) bool { return l.ev.Kind == event.Established && l.conn == original.judged })
		if i < 0 || i+1 == len(original.events) {
			continue
		}
		truth := original.judge()
		long := *original
		long.events = slices.Insert(slices.Clone(original.events), i+1, lifetime(original.events[i], 500)...)
		long.number()
		got := long.judge()
		if got.Cause != truth.Cause || got.Confidence != truth.Confidence || got.EndedBy != truth.EndedBy {
			t.Errorf("%s: %s (%s, ended by %q), in a long life %s (%s, ended by %q)", original.name, truth.Cause, truth.Confidence,
				truth.EndedBy, got.Cause, got.Confidence, got.EndedBy)
		}
		if got.IdleBeforeEnd != truth.IdleBeforeEnd {
			t.Errorf("%s: idle for %v, in a long life for %v", original.name, truth.IdleBeforeEnd, got.IdleBeforeEnd)
		}
	}
}

// lifetime is n troubles that all passed: probes and data, answered at last.
func lifetime(after line, n int) []line {
	var lines []line
	add := func(ev event.Event) {
		l := after
		ev.Conn, ev.Role, ev.Local, ev.Remote, ev.State = l.ev.Conn, l.ev.Role, l.ev.Local, l.ev.Remote, event.StateEstablished
		ev.Mono = after.ev.Mono + time.Duration(len(lines)+1)*time.Microsecond
		l.ev = ev
		lines = append(lines, l)
	}
	for range n {
		add(event.Event{Kind: event.KeepaliveProbe, Attempt: 1})
		add(event.Event{Kind: event.KeepaliveProbe, Attempt: 2})
		add(event.Event{Kind: event.KeepaliveAnswer})
		add(event.Event{Kind: event.Retransmit, Trigger: "rto", Attempt: 1, RTO: 400 * time.Millisecond})
		add(event.Event{Kind: event.Retransmit, Trigger: "fast"})
		add(event.Event{Kind: event.KeepaliveAnswer})
	}
	return lines
}

// Whatever events come in whatever order, there is a verdict, and it keeps its promises.
func TestAnyStoryHasAVerdict(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sc := &scenario{facts: Facts{Traced: true}, conns: map[string]*end{"a": {id: 1}}, probes: map[string]*event.Probe{}, judged: "a"}
		role := rapid.SampledFrom([]event.Role{event.RoleUnknown, event.RoleClient, event.RoleServer, event.RoleListener}).Draw(t, "role")
		for range rapid.IntRange(0, 8).Draw(t, "events") {
			ev := event.Event{Conn: 1, Role: role}
			ev.Kind = rapid.SampledFrom(event.Kinds()).Draw(t, "kind")
			ev.State = event.State(rapid.IntRange(0, 13).Draw(t, "state"))
			ev.OldState = event.State(rapid.IntRange(0, 13).Draw(t, "old"))
			ev.Attempt = rapid.IntRange(0, 1000).Draw(t, "attempt")
			ev.Errno = rapid.SampledFrom([]event.Errno{0, event.ETIMEDOUT, event.ECONNREFUSED, event.EHOSTUNREACH, event.EPERM, event.ECONNRESET, 999}).Draw(t, "errno")
			if rapid.Bool().Draw(t, "icmp") {
				ev.ICMP = &event.ICMP{Type: rapid.IntRange(0, 12).Draw(t, "type")}
			}
			sc.events = append(sc.events, line{conn: "a", ev: ev})
		}
		if rapid.Bool().Draw(t, "probed") {
			sc.probes["a"] = &event.Probe{
				Connected:     rapid.Bool().Draw(t, "connected"),
				GaveUp:        rapid.SampledFrom([]string{"", "timeout", "interrupted"}).Draw(t, "gave up"),
				ExchangeErrno: rapid.SampledFrom([]event.Errno{0, event.EPIPE, event.ECONNRESET}).Draw(t, "exchange"),
			}
		}
		sc.number()
		v := sc.judge()
		if !v.Cause.Known() || v.Summary == "" || v.Outcome == "" || v.Confidence == "" {
			t.Fatalf("an incomplete verdict: %+v", v)
		}
		if v.Confidence == Certain && len(v.Doubts) > 0 {
			t.Fatalf("certain, with doubts: %+v", v)
		}
	})
}
