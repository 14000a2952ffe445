package verdict

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
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

// Whatever else happens on a host at the same time, a connection's verdict is about that connection.
func TestOtherConnectionsDoNotChangeAVerdict(t *testing.T) {
	scenarios := loadScenarios(t)
	for _, original := range scenarios {
		noisy := original.clone()
		for i, other := range scenarios {
			noisy.add(other, i+1, time.Duration(i%7)*time.Millisecond)
		}
		expectSame(t, original, noisy)
	}
}

func TestOtherConnectionsAtAnyTimeDoNotChangeAVerdict(t *testing.T) {
	scenarios := loadScenarios(t)
	rapid.Check(t, func(t *rapid.T) {
		original := rapid.SampledFrom(scenarios).Draw(t, "scenario")
		noisy := original.clone()
		for i := range rapid.IntRange(1, 4).Draw(t, "others") {
			other := rapid.SampledFrom(scenarios).Draw(t, "other")
			noisy.add(other, i+1, time.Duration(rapid.Int64Range(int64(-5*time.Second), int64(5*time.Second)).Draw(t, "ns")))
		}
		expectSame(t, original, noisy)
	})
}

func expectSame(t interface{ Errorf(string, ...any) }, original, noisy *scenario) {
	if diff := cmp.Diff(withoutNumbers(original.judge()), withoutNumbers(noisy.judge()), comparable); diff != "" {
		t.Errorf("%s among others (-alone +among others):\n%s", original.name, diff)
	}
}

var comparable = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}), cmpopts.EquateEmpty()}

// withOtherPort leaves the ports of services as they are.
func withOtherPort(ap netip.AddrPort, n int) netip.AddrPort {
	if ap.Port() < 1024 {
		return ap
	}
	return netip.AddrPortFrom(ap.Addr(), ap.Port()+uint16(10*n))
}

// withoutNumbers leaves out the numbers of events, which count all that the trace has seen.
func withoutNumbers(v Verdict) Verdict {
	v.Evidence = nil
	v.Contributing = slices.Clone(v.Contributing)
	for i := range v.Contributing {
		v.Contributing[i].Evidence = nil
	}
	return v
}

func (sc *scenario) clone() *scenario {
	same := *sc
	same.events = slices.Clone(sc.events)
	return &same
}

// add mixes the n-th other story into this one by time. It has ids, ports, sequence numbers and processes of its own.
func (sc *scenario) add(other *scenario, n int, shift time.Duration) {
	for _, l := range other.events {
		if l.lost {
			continue // what a trace loses is a doubt about all of it
		}
		if l.ev.Remote.Addr().Is6() {
			l.ev.NetNS = uint32(n) // whether IPv6 is silent is told of a namespace
		}
		l.conn = fmt.Sprintf("%s%d", l.conn, n)
		l.ev.Conn += event.ConnID(1000 * n)
		l.ev.Mono += shift
		l.ev.Local, l.ev.Remote = withOtherPort(l.ev.Local, n), withOtherPort(l.ev.Remote, n)
		for _, number := range []*uint32{&l.ev.ISN, &l.ev.PeerISN} {
			if *number != 0 {
				*number += uint32(100_000 * n)
			}
		}
		if l.ev.Owner.Known() {
			l.ev.Owner.PID += 10_000 * n
		}
		sc.events = append(sc.events, l)
	}
	slices.SortStableFunc(sc.events, func(a, b line) int { return int(a.ev.Mono - b.ev.Mono) })
}
