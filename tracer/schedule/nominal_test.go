package schedule

import (
	"iter"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// nominalOffsets are those of the steps, then of the end.
func nominalOffsets(steps iter.Seq[Step], end End) []time.Duration {
	var all []time.Duration
	for step := range steps {
		all = append(all, step.Offset)
	}
	return append(all, end.Offset)
}

func TestScheduleKeepalive(t *testing.T) {
	const s = time.Second
	tests := []struct {
		name      string
		keepalive Keepalive
		want      []time.Duration // of the probes, then of the end
		rule      Rule
	}{
		{"defaults", Keepalive{}, seconds(7200, 7275, 7350, 7425, 7500, 7575, 7650, 7725, 7800, 7875), RuleCount},
		{"one probe", Keepalive{Idle: 2 * s, Interval: 3 * s, Count: 1}, seconds(2, 5), RuleCount},
		{"three", Keepalive{Idle: 2 * s, Interval: 3 * s, Count: 3}, seconds(2, 5, 8, 11), RuleCount},
		{"user timeout below the idle time", Keepalive{Idle: 2 * s, Interval: 3 * s, Count: 9, UserTimeout: s}, seconds(2, 5), RuleUserTimeout},
		{"user timeout of the idle time", Keepalive{Idle: 2 * s, Interval: 3 * s, Count: 9, UserTimeout: 2 * s}, seconds(2, 5), RuleUserTimeout},
		{"user timeout of two probes", Keepalive{Idle: 2 * s, Interval: 3 * s, Count: 9, UserTimeout: 5 * s}, seconds(2, 5), RuleUserTimeout},
		{"user timeout between probes", Keepalive{Idle: 2 * s, Interval: 3 * s, Count: 9, UserTimeout: 7 * s}, seconds(2, 5, 8), RuleUserTimeout},
		{"user timeout longer than the count", Keepalive{Idle: 2 * s, Interval: 3 * s, Count: 2, UserTimeout: 16 * s}, seconds(2, 5, 8, 11, 14, 17), RuleUserTimeout},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			end := tt.keepalive.End()
			if diff := cmp.Diff(tt.want, nominalOffsets(tt.keepalive.Probes(), end)); diff != "" {
				t.Errorf("offsets (-want +got):\n%s", diff)
			}
			if end.Rule != tt.rule || end.Errno != "ETIMEDOUT" || !end.Reset {
				t.Errorf("it ends by %+v, want %v, ETIMEDOUT and a reset", end, tt.rule)
			}
		})
	}
}

func TestScheduleKeepaliveWithTheLatenessOfItsTimers(t *testing.T) {
	keepalive := Keepalive{HZ: 250}
	want := []Step{
		{Attempt: 1, Offset: 7200 * time.Second, Latest: 7200*time.Second + 131072*ms},
		{Attempt: 2, Offset: 7275 * time.Second, Latest: 7275*time.Second + 133120*ms},
	}
	if diff := cmp.Diff(want, slices.Collect(keepalive.Probes())[:2]); diff != "" {
		t.Errorf("probes (-want +got):\n%s", diff)
	}
}

func TestForecastOfAnIdleConnection(t *testing.T) {
	keepalive := Keepalive{Idle: 10 * time.Second, Interval: 2 * time.Second, Count: 3, HZ: 250}
	want := Forecast{
		Due: 10 * time.Second, Latest: 10256 * ms,
		GivesUp: 16 * time.Second, GivesUpLatest: 16352 * ms, GivesUpEarliest: 16 * time.Second, Total: 3, Rule: RuleCount,
	}
	if diff := cmp.Diff(want, keepalive.After(0, 4*time.Second)); diff != "" {
		t.Errorf("idle for 4s (-want +got):\n%s", diff)
	}
	// Idle for longer, and without a probe: keepalive was off, or data in flight.
	if f := keepalive.After(0, 40*time.Second); f.Due != 40*time.Second || f.Latest < 50*time.Second {
		t.Errorf("idle for 40s: %+v, want a probe from now on until a full idle time from now", f)
	}
}

func TestForecastAfterAsManyProbesAsTheCountAllowsIsTheEnd(t *testing.T) {
	keepalive := Keepalive{Idle: 10 * time.Second, Interval: 2 * time.Second, Count: 3}
	for unanswered, last := range map[int]bool{2: false, 3: true, 7: true} { // the count can be lowered meanwhile
		f := keepalive.After(unanswered, 20*time.Second)
		if f.Last != last || f.Due != 22*time.Second || f.Total != max(unanswered, 3) {
			t.Errorf("after %d: %+v, want the last: %v", unanswered, f, last)
		}
	}
}

func TestScheduleData(t *testing.T) {
	doubling := seconds(0.2, 0.6, 1.4, 3, 6.2, 12.6, 25.4, 51, 102.2, 204.6, 324.6, 444.6, 564.6, 684.6, 804.6, 924.6)
	tests := []struct {
		name string
		data Data
		want []time.Duration // of the retransmissions, then of the end
		rule Rule
	}{
		{"no retries", Data{}, seconds(0.2, 0.6), RuleTimeModel},
		{"three", Data{Retries2: 3}, seconds(0.2, 0.6, 1.4, 3, 6.2), RuleTimeModel},
		{"fifteen, the default", Data{Retries2: 15}, append(slices.Clone(doubling), seconds(1044.6)...), RuleTimeModel},
		{"the model knows nothing of the RTO", Data{Retries2: 3, RTO: 2 * time.Second}, seconds(2, 6), RuleTimeModel},
		{"user timeout", Data{Retries2: 15, UserTimeout: 2 * time.Second}, seconds(0.2, 0.6, 1.4, 2.2), RuleUserTimeout},
		{"user timeout beyond the model", Data{Retries2: 0, UserTimeout: 5 * time.Second}, seconds(0.2, 0.6, 1.4, 3, 5.2), RuleUserTimeout},
		{"user timeout of one wait", Data{Retries2: 15, UserTimeout: 400 * ms}, seconds(0.2, 0.6), RuleUserTimeout},
		{"RTO maximum", Data{Retries2: 4, RTOMax: time.Second}, seconds(0.2, 0.6, 1.4, 2.4, 3.4, 4.4), RuleTimeModel},
		{"after a loss probe", Data{Retries2: 1, LossProbe: 100 * ms}, seconds(0.3, 0.7, 1.5), RuleTimeModel},
		{"a thin stream", Data{Retries2: 2, ThinLinear: true}, seconds(0.2, 0.4, 0.6, 0.8, 1, 1.2, 1.4, 1.8), RuleTimeModel},
		{"an orphan", Data{Retries2: 15, Orphan: true}, doubling[:10], RuleOrphan},
		{"an orphan with retries", Data{Retries2: 15, Orphan: true, OrphanRetries: 1}, seconds(0.2, 0.6, 1.4), RuleOrphan},
		{"an orphan with user timeout", Data{Retries2: 15, Orphan: true, OrphanRetries: 1, UserTimeout: time.Second}, seconds(0.2, 0.6, 1.2), RuleUserTimeout},
		{"an orphan at its longest wait", Data{Retries2: 15, Orphan: true, RTOMax: time.Second}, seconds(0.2, 0.6, 1.4, 2.4), RuleOrphan},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			end := tt.data.End()
			if diff := cmp.Diff(tt.want, nominalOffsets(tt.data.Retransmits(), end)); diff != "" {
				t.Errorf("offsets (-want +got):\n%s", diff)
			}
			if end.Rule != tt.rule || end.Reset || (end.Errno == "") != tt.data.Orphan {
				t.Errorf("it ends by %+v, want %v without a reset", end, tt.rule)
			}
		})
	}
}

// The models of tcp_retries2, as the documentation of the sysctl and others have them.
func TestDataLimitIsTheTimeModel(t *testing.T) {
	for rtoMax, want := range map[time.Duration]time.Duration{
		0:                924600 * ms,
		60 * time.Second: 522200 * ms,
		30 * time.Second: 291000 * ms,
		10 * time.Second: 112600 * ms,
		time.Second:      14400 * ms,
	} {
		d := Data{Retries2: 15, RTOMax: rtoMax}.withinLimits()
		if got, _ := d.limit(1, d.RTO); got != want {
			t.Errorf("with an RTO maximum of %v the limit is %v, want %v", rtoMax, got, want)
		}
	}
}

func TestForecastOfDataCountsFromTheFirstRetransmission(t *testing.T) {
	d := Data{Retries2: 15, UserTimeout: 2 * time.Second, RTO: 300 * ms, HZ: 250}
	tests := []struct {
		name           string
		sent           int
		at, first, rto time.Duration
		want           Forecast
	}{
		{"before any", 0, 0, 0, 0, Forecast{Due: 300 * ms, Latest: 332 * ms, GivesUp: 2300 * ms, GivesUpLatest: 2341 * ms, Total: 3, Rule: RuleUserTimeout}},
		{"after a loss probe", 0, 250 * ms, 0, 0, Forecast{Due: 550 * ms, Latest: 582 * ms, GivesUp: 2550 * ms, GivesUpLatest: 2591 * ms, Total: 3, Rule: RuleUserTimeout}},
		{"after the first", 1, 310 * ms, 310 * ms, 0, Forecast{Due: 910 * ms, Latest: 942 * ms, GivesUp: 2310 * ms, GivesUpLatest: 2319 * ms, Total: 3, Rule: RuleUserTimeout}},
		{"after the first, whose timer the kernel reported", 1, 310 * ms, 310 * ms, time.Second, Forecast{Due: 1310 * ms, Latest: 1342 * ms, GivesUp: 2310 * ms, GivesUpLatest: 2347 * ms, Total: 2, Rule: RuleUserTimeout}},
		{"after the last", 3, 2200 * ms, 310 * ms, 0, Forecast{Due: 2310 * ms, Latest: 2319 * ms, Last: true, GivesUp: 2310 * ms, GivesUpLatest: 2319 * ms, Total: 3, Rule: RuleUserTimeout}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.GivesUpEarliest = tt.want.GivesUp
			if diff := cmp.Diff(tt.want, d.After(tt.sent, tt.at, tt.first, tt.rto)); diff != "" {
				t.Errorf("forecast (-want +got):\n%s", diff)
			}
		})
	}
}

func TestScheduleZeroWindow(t *testing.T) {
	tests := []struct {
		name   string
		window ZeroWindow
		want   []time.Duration // of the probes, then of the end
		rule   Rule
	}{
		{"no retries", ZeroWindow{}, seconds(0.2), RuleCount},
		{"three", ZeroWindow{Retries2: 3}, seconds(0.2, 0.6, 1.4, 3), RuleCount},
		{"fifteen, the default", ZeroWindow{Retries2: 15},
			seconds(0.2, 0.6, 1.4, 3, 6.2, 12.6, 25.4, 51, 102.2, 204.6, 324.6, 444.6, 564.6, 684.6, 804.6, 924.6), RuleCount},
		{"an RTO below the least wait", ZeroWindow{Retries2: 1, RTO: 20 * ms}, seconds(0.2, 0.6), RuleCount},
		{"RTO maximum", ZeroWindow{Retries2: 4, RTOMax: time.Second}, seconds(0.2, 0.6, 1.4, 2.4, 3.4), RuleCount},
		{"user timeout", ZeroWindow{Retries2: 15, UserTimeout: 2 * time.Second}, seconds(0.2, 0.6, 1.4, 2.2), RuleUserTimeout},
		{"user timeout beyond the count", ZeroWindow{Retries2: 1, UserTimeout: time.Minute}, seconds(0.2, 0.6), RuleCount},
		{"user timeout of a peer that answers", ZeroWindow{Retries2: 15, UserTimeout: 2 * time.Second, Answered: true}, seconds(0.2, 0.6, 1.4, 2.2), RuleUserTimeout},
		{"a peer that answers late", ZeroWindow{Retries2: 15, UserTimeout: 2 * time.Second, Answered: true, RTT: 100 * ms}, seconds(0.2, 0.7, 1.6, 2.2), RuleUserTimeout},
		{"less than two ticks from the end", ZeroWindow{Retries2: 15, UserTimeout: 404 * ms, HZ: 250}, seconds(0.2, 0.6, 0.608), RuleUserTimeout},
		{"an orphan", ZeroWindow{Retries2: 15, Orphan: true}, seconds(0.2, 0.6, 1.4, 3, 6.2, 12.6, 25.4, 51, 102.2), RuleOrphan},
		{"an orphan at its longest wait", ZeroWindow{Retries2: 15, Orphan: true, Answered: true, RTOMax: time.Second}, seconds(0.2, 0.6, 1.4, 2.4), RuleOrphan},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			end, ends := tt.window.End()
			if diff := cmp.Diff(tt.want, nominalOffsets(tt.window.Probes(), end)); diff != "" {
				t.Errorf("offsets (-want +got):\n%s", diff)
			}
			if !ends || end.Rule != tt.rule || end.Reset || (end.Errno == "") != tt.window.Orphan {
				t.Errorf("it ends by %+v, want %v without a reset", end, tt.rule)
			}
		})
	}
}

func TestZeroWindowOfAPeerThatAnswersNeverEnds(t *testing.T) {
	for name, window := range map[string]ZeroWindow{
		"a connection": {Retries2: 15, Answered: true},
		"an orphan whose wait never is the longest":  {Retries2: 3, Answered: true, Orphan: true},
		"an orphan with more retries than doublings": {Retries2: 15, Answered: true, Orphan: true, OrphanRetries: 16},
	} {
		if end, ends := window.End(); ends {
			t.Errorf("%s ends at %+v, want never", name, end)
		}
		f := window.After(40, 0, time.Hour, 200*ms)
		if f.GivesUp != 0 || f.Total != 0 || f.Rule != 0 || f.Due <= time.Hour || f.Due > time.Hour+rtoMax {
			t.Errorf("%s: the forecast after an hour is %+v, want one more probe and no end", name, f)
		}
	}
}

// The peer answered for long, and then fell silent.
func TestForecastOfAZeroWindowCountsTheUnanswered(t *testing.T) {
	window := ZeroWindow{Retries2: 5, HZ: 250}
	want := Forecast{Due: 106400 * ms, Latest: 106656 * ms, GivesUp: 112800 * ms, GivesUpLatest: 113312 * ms, GivesUpEarliest: 112800 * ms, Total: 31, Rule: RuleCount}
	if diff := cmp.Diff(want, window.After(30, 4, 100*time.Second, 200*ms)); diff != "" {
		t.Errorf("forecast (-want +got):\n%s", diff)
	}
}

func TestScheduleSYNACK(t *testing.T) {
	tests := []struct {
		name   string
		synack SYNACK
		want   []time.Duration // of the retransmissions, then of the end
	}{
		{"none", SYNACK{}, seconds(1)},
		{"five, the default", SYNACK{Retries: 5}, seconds(1, 3, 7, 15, 31, 63)},
		{"RTO maximum", SYNACK{Retries: 3, RTOMax: 2 * time.Second}, seconds(1, 3, 5, 7)},
		{"deferred without an ACK", SYNACK{Retries: 2, Deferred: 30 * time.Second}, seconds(1, 3, 7)},
		{"deferred by a second", SYNACK{Retries: 2, Deferred: time.Second, Acked: true}, seconds(1, 3, 7)},
		{"deferred by three", SYNACK{Retries: 1, Deferred: 3 * time.Second, Acked: true}, seconds(3, 7)},
		{"deferred beyond the retries", SYNACK{Retries: 2, Deferred: 30 * time.Second, Acked: true}, seconds(31, 63)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			end := tt.synack.End()
			if diff := cmp.Diff(tt.want, nominalOffsets(tt.synack.Retransmits(), end)); diff != "" {
				t.Errorf("offsets (-want +got):\n%s", diff)
			}
			if end.Rule != RuleCount || end.Reset || end.Errno != "" {
				t.Errorf("it ends by %+v, want the count, in silence", end)
			}
		})
	}
}

func TestCrowdedListenerAgesItsRequests(t *testing.T) {
	for _, tt := range []struct{ qlen, young, backlog, want int }{
		{4, 0, 1, 5}, // at most eight are no crowd
		{5, 0, 1, 2},
		{5, 3, 1, 5},    // most are young
		{64, 0, 128, 5}, // half of the backlog is no crowd
		{65, 65, 128, 5},
		{65, 33, 128, 5},
		{65, 32, 128, 4}, // less than half of them
		{65, 16, 128, 3},
		{65, 8, 128, 2},
		{65, 1, 128, 2},
		{-1, -1, -1, 5},
		{math.MaxInt, math.MaxInt, math.MaxInt, 5},
		{math.MaxInt, -5, 0, 2},
	} {
		if got := (SYNACK{Retries: 5}).Aged(tt.qlen, tt.young, tt.backlog).Retries; got != tt.want {
			t.Errorf("%d requests, %d young, backlog %d: %d retries, want %d", tt.qlen, tt.young, tt.backlog, got, tt.want)
		}
	}
	if got := (SYNACK{Retries: 1}).Aged(100, 0, 1).Retries; got != 1 {
		t.Errorf("%d retries of 1, want as many", got)
	}
}

func TestScheduleFinWait2(t *testing.T) {
	for _, tt := range []struct {
		name string
		wait FinWait2
		want time.Duration
	}{
		{"default", FinWait2{}, time.Minute},
		{"sysctl", FinWait2{FinTimeout: 10 * time.Second}, 10 * time.Second},
		{"option", FinWait2{FinTimeout: 10 * time.Second, Linger2: 5 * time.Second}, 5 * time.Second},
		{"longer than the sysctl for a long RTO", FinWait2{FinTimeout: time.Second, RTO: 2 * time.Second}, 7 * time.Second},
		{"two minutes", FinWait2{FinTimeout: 2 * time.Minute}, 2 * time.Minute},
		{"a minute and a half", FinWait2{FinTimeout: 90 * time.Second}, time.Minute},
		{"not at all", FinWait2{Linger2: -1}, 0},
	} {
		if end := tt.wait.End(); end.Offset != tt.want || end.Reset != (tt.want == 0) {
			t.Errorf("%s: it ends at %+v, want %v", tt.name, end, tt.want)
		}
	}
}

func TestSchedulesTakeAnySettings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		duration := rapid.Custom(func(t *rapid.T) time.Duration { return time.Duration(rapid.Int64().Draw(t, "d")) })
		number, flag := rapid.OneOf(rapid.IntRange(0, 300), rapid.Int()), rapid.Bool()
		hz := rapid.IntRange(-1, 10000).Draw(t, "hz")
		d := func(name string) time.Duration { return duration.Draw(t, name) }
		n := func(name string) int { return number.Draw(t, name) }
		is := func(name string) bool { return flag.Draw(t, name) }

		data := Data{
			Retries2: n("retries2"), UserTimeout: d("user timeout"), RTO: d("rto"), RTOMax: d("rto max"), LossProbe: d("loss probe"),
			Orphan: is("orphan"), OrphanRetries: n("orphan retries"), ThinLinear: is("thin"), HZ: hz,
		}
		window := ZeroWindow{
			Retries2: data.Retries2, UserTimeout: data.UserTimeout, RTO: data.RTO, RTOMax: data.RTOMax, Answered: is("answered"),
			RTT: d("rtt"), Orphan: data.Orphan, OrphanRetries: data.OrphanRetries, HZ: hz,
		}
		keepalive := Keepalive{Idle: d("idle"), Interval: d("interval"), Count: n("count"), UserTimeout: data.UserTimeout, HZ: hz}
		synack := SYNACK{Retries: data.Retries2, RTO: data.RTO, RTOMax: data.RTOMax, Deferred: d("deferred"), Acked: is("acked"), HZ: hz}
		fin := FinWait2{Linger2: d("linger2"), FinTimeout: d("fin timeout"), RTO: data.RTO, HZ: hz}

		ends := []End{data.End(), keepalive.End(), synack.End()}
		if end, ok := window.End(); ok {
			ends = append(ends, end)
		}
		for _, end := range ends {
			if end.Offset <= 0 || end.Latest < end.Offset || end.Earliest > end.Offset || end.Earliest <= 0 || end.Rule == 0 {
				t.Fatalf("the end is %+v", end)
			}
		}
		if end := fin.End(); end.Latest < end.Offset || end.Offset < 0 {
			t.Fatalf("the end of FIN_WAIT2 is %+v", end)
		}
		sent, unanswered, at, first := n("sent"), n("unanswered"), d("at"), d("first")
		for _, f := range []Forecast{
			data.After(sent, at, first, d("reported rto")), window.After(sent, unanswered, at, first),
			keepalive.After(unanswered, at), synack.After(sent, at),
		} {
			if f.Due <= 0 || f.Latest < f.Due || f.GivesUp != 0 && (f.GivesUp < f.Due || f.GivesUpLatest < f.GivesUp || f.GivesUpEarliest > f.GivesUp) || f.Last && f.GivesUp != f.Due {
				t.Fatalf("the forecast is %+v", f)
			}
		}
	})
}
