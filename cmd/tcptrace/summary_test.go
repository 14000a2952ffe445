package main

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
	"tcptrace/tracer/verdict"
)

func TestMedianOfFewIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Int64Range(0, 1e12), 1, maxKept).Draw(t, "values")
		var m median
		for _, v := range values {
			m.add(time.Duration(v))
		}
		slices.Sort(values)
		if want := time.Duration(values[(len(values)-1)/2]); m.value() != want {
			t.Fatalf("median %v; want %v", m.value(), want)
		}
	})
}

func TestMedianOfManyStaysSmallAndNear(t *testing.T) {
	const n = 1_000_000
	var m median
	for i := range n {
		m.add(time.Duration(i * 7919 % n)) // every number below n once, in no order: 7919 is a prime that n lacks
	}
	if len(m.kept) > maxKept {
		t.Errorf("%d are kept", len(m.kept))
	}
	if got := m.value(); got < n*45/100 || got > n*55/100 {
		t.Errorf("median %d of 0 to %d", got, n)
	}
}

func TestMedianOfNothingIsZero(t *testing.T) {
	var m median
	if m.value() != 0 {
		t.Errorf("median %v", m.value())
	}
}

func TestGroupsAreBounded(t *testing.T) {
	tally := newTally()
	c := &timeline.Connection{Role: event.RoleClient}
	for i := range maxGroups + 5 {
		tally.addVerdict(verdict.Verdict{Cause: verdict.Connected, Owner: event.Owner{PID: 1, Comm: fmt.Sprint(i)}}, told{connection: c, final: true})
	}
	sum := tally.summary(0, false)
	if len(sum.Groups) != maxGroups || sum.GroupsBeyond != 5 || sum.Causes[verdict.Connected] != maxGroups+5 {
		t.Errorf("%d groups, %d beyond, %d verdicts", len(sum.Groups), sum.GroupsBeyond, sum.Causes[verdict.Connected])
	}
}

func TestClientsOfAServerAreOneGroup(t *testing.T) {
	tally := newTally()
	for port := range uint16(100) {
		c := &timeline.Connection{Role: event.RoleServer, Events: []event.Event{{Time: began.Add(time.Duration(port) * time.Second)}}}
		v := verdict.Verdict{Cause: verdict.ClosedByPeer, Remote: netip.AddrPortFrom(client4.Addr(), 40000+port), Duration: time.Duration(port) * time.Second}
		tally.addVerdict(v, told{connection: c, final: true})
	}
	groups := tally.summary(0, false).Groups
	if len(groups) != 1 {
		t.Fatalf("%d groups", len(groups))
	}
	g := groups[0]
	if g.Count != 100 || g.Remote != "10.0.0.5" || !g.First.Equal(began) || !g.Last.Equal(began.Add(99*time.Second)) || g.Median != 49*time.Second {
		t.Errorf("the group is %+v", g)
	}
}

func TestRepeatedProbesAreSummedUp(t *testing.T) {
	tally := newTally()
	for run := 1; run <= 50; run++ {
		p := &event.Probe{Run: run, Remote: server4, Local: netip.AddrPortFrom(client4.Addr(), uint16(40000+run))}
		v := verdict.Verdict{Cause: verdict.Connected, Outcome: verdict.OutcomeConnected, SYNSent: 1, Remote: p.Remote, Local: p.Local}
		switch run {
		case 7:
			v.SYNSent = 2
		case 9:
			v.SYNSent, v.Outcome, v.Cause = 3, verdict.OutcomeFailed, verdict.NoAnswer
		}
		tally.addVerdict(v, told{probe: p, final: true})
	}
	sum := tally.summary(0, false)
	if want := []share{{"1", 48, 0}, {"2", 1, 0}, {"3", 0, 1}}; !slices.Equal(sum.BySYN, want) {
		t.Errorf("by SYN: %v; want %v", sum.BySYN, want)
	}
	if want := []share{{"192.0.2.10:443", 49, 1}}; !slices.Equal(sum.ByAddress, want) {
		t.Errorf("by address: %v; want %v", sum.ByAddress, want)
	}
	if want := []share{{"40007", 1, 0}, {"40009", 0, 1}}; !slices.Equal(sum.BySourcePort, want) {
		t.Errorf("by source port: %v; want %v", sum.BySourcePort, want)
	}
	if sum.ExitStatus != exitFailed {
		t.Errorf("exit status %d", sum.ExitStatus)
	}
}

func TestOneProbeNeedsNoTables(t *testing.T) {
	tally := newTally()
	tally.addVerdict(verdict.Verdict{Outcome: verdict.OutcomeConnected}, told{probe: &event.Probe{Run: 1, Remote: server4}, final: true})
	tally.addVerdict(verdict.Verdict{Outcome: verdict.OutcomeConnected}, told{probe: &event.Probe{Run: 1, Remote: server6}, final: true})
	if sum := tally.summary(0, false); sum.BySYN != nil || sum.ByAddress != nil || sum.BySourcePort != nil {
		t.Errorf("tables of one run: %+v", sum)
	}
}
