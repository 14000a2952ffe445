package schedule

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// seconds are offsets, for tables.
func seconds(all ...float64) []time.Duration {
	var ds []time.Duration
	for _, s := range all {
		ds = append(ds, time.Duration(math.Round(s*1e9)))
	}
	return ds
}

func offsets(s SYN) []time.Duration {
	var all []time.Duration
	for step := range s.Retransmits() {
		all = append(all, step.Offset)
	}
	return all
}

func TestScheduleSYN(t *testing.T) {
	tests := []struct {
		name string
		syn  SYN
		want []time.Duration // of the retransmissions, then of the end
		rule Rule
	}{
		{"one retry", SYN{Retries: 1}, seconds(1, 3), RuleCount},
		{"two", SYN{Retries: 2}, seconds(1, 3, 7), RuleCount},
		{"three", SYN{Retries: 3}, seconds(1, 3, 7, 15), RuleCount},
		{"four", SYN{Retries: 4}, seconds(1, 3, 7, 15, 31), RuleCount},
		{"five", SYN{Retries: 5}, seconds(1, 3, 7, 15, 31, 63), RuleCount},
		{"six, the default", SYN{Retries: 6}, seconds(1, 3, 7, 15, 31, 63, 127), RuleCount},
		{"seven", SYN{Retries: 7}, seconds(1, 3, 7, 15, 31, 63, 127, 247), RuleCount},
		{"none", SYN{}, seconds(1), RuleCount},

		{"linear: one retry ends by the model", SYN{Retries: 1, LinearTimeouts: 4}, seconds(1, 2, 3), RuleTimeModel},
		{"linear: two end by the model", SYN{Retries: 2, LinearTimeouts: 4}, seconds(1, 2, 3, 4, 5, 7), RuleTimeModel},
		{"linear: three", SYN{Retries: 3, LinearTimeouts: 4}, seconds(1, 2, 3, 4, 5, 7, 11, 19), RuleCount},
		{"linear: four", SYN{Retries: 4, LinearTimeouts: 4}, seconds(1, 2, 3, 4, 5, 7, 11, 19, 35), RuleCount},
		{"linear: five", SYN{Retries: 5, LinearTimeouts: 4}, seconds(1, 2, 3, 4, 5, 7, 11, 19, 35, 67), RuleCount},
		{"linear: six, the default", SYN{Retries: 6, LinearTimeouts: 4}, seconds(1, 2, 3, 4, 5, 7, 11, 19, 35, 67, 131), RuleCount},
		{"linear: seven", SYN{Retries: 7, LinearTimeouts: 4}, seconds(1, 2, 3, 4, 5, 7, 11, 19, 35, 67, 131, 251), RuleCount},
		{"linear: none", SYN{LinearTimeouts: 4}, seconds(1, 2), RuleTimeModel},

		{"user timeout below the first wait", SYN{Retries: 6, LinearTimeouts: 4, UserTimeout: 300 * ms, HZ: 250}, seconds(1, 1.004), RuleUserTimeout},
		{"user timeout of two waits", SYN{Retries: 6, LinearTimeouts: 4, UserTimeout: 2000 * ms}, seconds(1, 2), RuleUserTimeout},
		{"user timeout between", SYN{Retries: 6, LinearTimeouts: 4, UserTimeout: 2500 * ms}, seconds(1, 2, 2.5), RuleUserTimeout},
		{"user timeout in the doubling part", SYN{Retries: 6, LinearTimeouts: 4, UserTimeout: 12000 * ms}, seconds(1, 2, 3, 4, 5, 7, 11, 12), RuleUserTimeout},
		{"user timeout without linear ones", SYN{Retries: 6, UserTimeout: 5000 * ms}, seconds(1, 3, 5), RuleUserTimeout},
		{"user timeout beyond the count", SYN{Retries: 6, LinearTimeouts: 4, UserTimeout: 300_000 * ms}, seconds(1, 2, 3, 4, 5, 7, 11, 19, 35, 67, 131), RuleCount},
		{"user timeout lifts the model", SYN{Retries: 1, LinearTimeouts: 4, UserTimeout: 300_000 * ms}, seconds(1, 2, 3, 4, 5, 7), RuleCount},

		{"RTO maximum of 1 s", SYN{Retries: 6, LinearTimeouts: 4, RTOMax: time.Second}, seconds(1, 2, 3, 4, 5, 6, 7), RuleTimeModel},
		{"RTO maximum of 2 s", SYN{Retries: 3, LinearTimeouts: 4, RTOMax: 2 * time.Second}, seconds(1, 2, 3, 4, 5, 7), RuleTimeModel},
		{"RTO maximum in whole ticks", SYN{Retries: 2, RTOMax: 1001 * ms, HZ: 250}, seconds(1, 2.004, 3.008), RuleCount},
		{"initial RTO of 3 s", SYN{Retries: 2, RTO: 3 * time.Second}, seconds(3, 9, 21), RuleCount},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			end := tt.syn.End()
			if diff := cmp.Diff(tt.want, append(offsets(tt.syn), end.Offset)); diff != "" {
				t.Errorf("offsets (-want +got):\n%s", diff)
			}
			if end.Rule != tt.rule {
				t.Errorf("it ends by %v, want %v", end.Rule, tt.rule)
			}
		})
	}
}

// Every row was measured on a kernel 6.18 with HZ=250: packets by their capture time, the end by polling.
func TestScheduleSYNHoldsWhatWasMeasured(t *testing.T) {
	tests := []struct {
		name     string
		syn      SYN
		measured []time.Duration // retransmissions, then the end
	}{
		{"1 retry", SYN{Retries: 1}, seconds(1.0050, 3.0210)},
		{"2 retries", SYN{Retries: 2}, seconds(1.0227, 3.0386, 7.1349)},
		{"3 retries", SYN{Retries: 3}, seconds(1.0075, 3.0234, 7.1194, 15.3115)},
		{"5 retries", SYN{Retries: 5}, seconds(1.0250, 3.0409, 7.1049, 15.2969, 31.4250, 64.1930)},
		{"5 s user timeout", SYN{Retries: 6, UserTimeout: 5000 * ms}, seconds(1.0108, 3.0268, 5.0109)},
		{"linear, 1", SYN{Retries: 1, LinearTimeouts: 4}, seconds(1.0090, 2.0330, 3.0571)},
		{"linear, 2", SYN{Retries: 2, LinearTimeouts: 4}, seconds(1.0268, 2.0508, 3.0750, 4.0989, 5.1229, 7.1391)},
		{"linear, 2, again", SYN{Retries: 2, LinearTimeouts: 4}, seconds(1.03, 2.05, 3.07, 4.10, 5.12, 7.14)},
		{"linear, 3", SYN{Retries: 3, LinearTimeouts: 4}, seconds(1.0129, 2.0369, 3.0610, 4.0850, 5.1090, 7.1251, 11.2210, 19.4131)},
		{"linear, 4", SYN{Retries: 4, LinearTimeouts: 4}, seconds(1.0309, 2.0549, 3.0789, 4.1028, 5.1268, 7.1429, 11.2068, 19.3989, 35.5270)},
		{"linear, default", SYN{Retries: 6, LinearTimeouts: 4}, seconds(1.0188, 2.0428, 3.0669, 4.0909, 5.1149, 7.1309, 11.3229, 19.5149, 35.6429, 69.4349, 134.9709)},
		{"linear, 300 ms user timeout", SYN{Retries: 6, LinearTimeouts: 4, UserTimeout: 300 * ms}, seconds(1.0169, 1.0248)},
		{"linear, 1.5 s user timeout", SYN{Retries: 6, LinearTimeouts: 4, UserTimeout: 1500 * ms}, seconds(1.0029, 1.5150)},
		{"linear, 2.5 s user timeout", SYN{Retries: 6, LinearTimeouts: 4, UserTimeout: 2500 * ms}, seconds(1.0289, 2.0529, 2.5331)},
		{"linear, 3 s user timeout", SYN{Retries: 6, LinearTimeouts: 4, UserTimeout: 3000 * ms}, seconds(1.0147, 2.0387, 3.0309)},
		{"linear, 12 s user timeout", SYN{Retries: 6, LinearTimeouts: 4, UserTimeout: 12000 * ms}, seconds(1.0007, 2.0247, 3.0488, 4.0727, 5.0968, 7.1129, 11.3368, 12.0089)},
		{"1 s RTO maximum", SYN{Retries: 6, LinearTimeouts: 4, RTOMax: time.Second}, seconds(1.0047, 2.0287, 3.0528, 4.0769, 5.1008, 6.1249, 7.1489)},
		{"2 s RTO maximum", SYN{Retries: 3, LinearTimeouts: 4, RTOMax: 2 * time.Second}, seconds(1.0228, 2.0469, 3.0709, 4.0948, 5.1188, 7.1350)},
	}
	for _, tt := range tests {
		for _, hz := range []int{250, 0} {
			tt.syn.HZ = hz
			steps, end := slices.Collect(tt.syn.Retransmits()), tt.syn.End()
			sent, ended := tt.measured[:len(tt.measured)-1], tt.measured[len(tt.measured)-1]
			if len(steps) != len(sent) {
				t.Errorf("%s: %d retransmissions, measured %d", tt.name, len(steps), len(sent))
				continue
			}
			for i, step := range steps {
				if sent[i] < step.Offset || sent[i] > step.Latest {
					t.Errorf("%s, HZ=%d: retransmission %d was at %v, want from %v to %v", tt.name, hz, i+1, sent[i], step.Offset, step.Latest)
				}
			}
			if ended < end.Offset || ended > end.Latest {
				t.Errorf("%s, HZ=%d: it ended at %v, want from %v to %v", tt.name, hz, ended, end.Offset, end.Latest)
			}
		}
	}
}

// These were measured in other runs on the same kernel, and only the end was kept.
func TestScheduleSYNHoldsTheMeasuredEnds(t *testing.T) {
	syn := SYN{Retries: 6, LinearTimeouts: 4, HZ: 250}
	for userTimeout, ended := range map[time.Duration]time.Duration{
		0:                      133980 * time.Millisecond,
		300 * time.Millisecond: 1030 * time.Millisecond,
		12 * time.Second:       12030 * time.Millisecond,
	} {
		syn.UserTimeout = userTimeout
		if end := syn.End(); ended < end.Offset || ended > end.Latest {
			t.Errorf("with a user timeout of %v it ended at %v, want from %v to %v", userTimeout, ended, end.Offset, end.Latest)
		}
	}
}

// Late timers reach a time limit with fewer retransmissions than exact ones. Both were measured (kernel 6.18,
// HZ=250). The forecast knows better, as far as the real time of the last transmission decides it.
func TestScheduleSYNWithFewerRetransmissionsBecauseOfLateTimers(t *testing.T) {
	tests := []struct {
		name     string
		syn      SYN
		decided  bool
		nominal  int
		measured int
		last     time.Duration // the last retransmission
		ended    time.Duration
	}{
		{"time model", SYN{Retries: 50, LinearTimeouts: 4, RTOMax: time.Second, HZ: 250}, true, 50, 49,
			50178900 * time.Microsecond, 51203 * time.Millisecond},
		{"user timeout", SYN{Retries: 6, LinearTimeouts: 4, UserTimeout: 2010 * time.Millisecond, HZ: 250}, false, 2, 1,
			1007100 * time.Microsecond, 2031100 * time.Microsecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := len(offsets(tt.syn)); got != tt.nominal {
				t.Errorf("%d retransmissions, want %d", got, tt.nominal)
			}
			if end := tt.syn.End(); tt.ended < end.Earliest || tt.ended > end.Latest {
				t.Errorf("it ended at %v, want from %v to %v", tt.ended, end.Earliest, end.Latest)
			}
			f := tt.syn.After(tt.measured, tt.last, 0)
			if f.Last != tt.decided || tt.ended < f.Due || tt.ended > f.Latest {
				t.Errorf("the forecast from the last retransmission is %+v, it ended at %v", f, tt.ended)
			}
		})
	}
}

func TestForecastOverruledByTheKernelsRTO(t *testing.T) {
	syn := SYN{Retries: 2, HZ: 250}
	got := syn.After(1, 1010*time.Millisecond, 4*time.Second)
	want := Forecast{
		Due:     5010 * time.Millisecond,
		Latest:  5266 * time.Millisecond,
		GivesUp: 13010 * time.Millisecond, GivesUpEarliest: 13010 * time.Millisecond,
		GivesUpLatest: 13522 * time.Millisecond,
		Total:         2,
		Rule:          RuleCount,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("forecast (-want +got):\n%s", diff)
	}
}

func TestForecastKeepsTheKernelsRTOWithinItsMaximum(t *testing.T) {
	syn := SYN{Retries: 6, RTOMax: 2 * time.Second}
	if got := syn.After(1, time.Second, time.Minute); got.Due != 3*time.Second {
		t.Errorf("the next fire is due at %v, want 3s", got.Due)
	}
}

func TestScheduleSYNSendsNothingBeyondTheUserTimeout(t *testing.T) {
	syn := SYN{Retries: 6, UserTimeout: 3010 * time.Millisecond, HZ: 250}
	want := []Step{
		{Attempt: 1, Offset: time.Second, Latest: 1032 * time.Millisecond},
		{Attempt: 2, Offset: 3 * time.Second, Latest: 3010 * time.Millisecond}, // the wheel alone would allow 3.064 s
	}
	if diff := cmp.Diff(want, slices.Collect(syn.Retransmits())); diff != "" {
		t.Errorf("retransmissions (-want +got):\n%s", diff)
	}
}

func TestForecastSaysWhenTheNextFireIsTheLast(t *testing.T) {
	syn := SYN{Retries: 1, LinearTimeouts: 4, HZ: 250}
	if f := syn.After(1, 1020*time.Millisecond, 0); f.Last {
		t.Errorf("after the first retransmission: %+v, want one more", f)
	}
	f := syn.After(2, 2050*time.Millisecond, 0)
	if !f.Last || f.Due != f.GivesUp || f.Latest != f.GivesUpLatest || f.Total != 2 {
		t.Errorf("after the second retransmission: %+v, want the end", f)
	}
}

func TestRuleNames(t *testing.T) {
	for rule, want := range map[Rule]string{0: "", RuleCount: "count", RuleTimeModel: "time_model", RuleUserTimeout: "user_timeout", 9: "rule(9)"} {
		if got := rule.String(); got != want {
			t.Errorf("rule %d is called %q, want %q", uint8(rule), got, want)
		}
	}
}

// drawSYN draws settings that the kernel takes.
func drawSYN(t *rapid.T) SYN {
	s := SYN{
		Retries:        rapid.OneOf(rapid.IntRange(1, 8), rapid.IntRange(1, 127)).Draw(t, "retries"),
		LinearTimeouts: rapid.OneOf(rapid.SampledFrom([]int{0, 4}), rapid.IntRange(0, 127)).Draw(t, "linear"),
		HZ:             rapid.SampledFrom([]int{0, 100, 250, 300, 1000}).Draw(t, "hz"),
		// Whole ticks of every usual HZ.
		RTOMax: 100 * time.Millisecond * time.Duration(rapid.IntRange(10, 1200).Draw(t, "rto max")),
	}
	if rapid.Bool().Draw(t, "has user timeout") {
		s.UserTimeout = time.Duration(rapid.OneOf(rapid.IntRange(1, 5000), rapid.IntRange(1, 2_000_000)).Draw(t, "user timeout")) * time.Millisecond
	}
	if rapid.Bool().Draw(t, "has initial rto") {
		s.RTO = time.Duration(rapid.IntRange(1, 5).Draw(t, "rto")) * time.Second
	}
	return s
}

func TestScheduleSYNIsOrdered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSYN(t)
		var last Step
		for step := range s.Retransmits() {
			if step.Attempt != last.Attempt+1 || step.Offset <= last.Offset || step.Latest < step.Offset {
				t.Fatalf("%+v follows %+v", step, last)
			}
			if wait := step.Offset - last.Offset; wait > s.RTOMax {
				t.Fatalf("a wait of %v, above the maximum %v", wait, s.RTOMax)
			}
			last = step
		}
		end := s.End()
		if end.Offset <= last.Offset || end.Latest < end.Offset || end.Latest <= last.Latest || end.Earliest > end.Offset || end.Rule == 0 {
			t.Fatalf("the end %+v follows %+v", end, last)
		}
	})
}

func TestUserTimeoutNeverOutlastsTheCount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		with := drawSYN(t)
		without := with
		without.UserTimeout = 24 * 24 * time.Hour // too long to matter, but it lifts the time model
		if with.End().Offset > without.End().Offset {
			t.Fatalf("it ends at %v, without user timeout at %v", with.End(), without.End())
		}
		if a, b := len(offsets(with)), len(offsets(without)); a > b {
			t.Fatalf("%d retransmissions, without user timeout %d", a, b)
		}
	})
}

func TestForecastsAlongNominalTimesGiveTheSchedule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSYN(t)
		steps, end := slices.Collect(s.Retransmits()), s.End()
		var at time.Duration
		for sent := 0; ; sent++ {
			f := s.After(sent, at, 0)
			if f.Total != len(steps) || f.GivesUp != end.Offset || f.GivesUpLatest > end.Latest || f.GivesUpLatest < f.GivesUp {
				t.Fatalf("after %d at %v: %+v, want the end %+v", sent, at, f, end)
			}
			if f.Last {
				if sent != len(steps) || f.Due != end.Offset {
					t.Fatalf("after %d at %v: %+v, want %d retransmissions and the end %+v", sent, at, f, len(steps), end)
				}
				return
			}
			if step := steps[sent]; f.Due != step.Offset || sent == 0 && min(f.Latest, step.Latest) != step.Latest {
				t.Fatalf("after %d at %v: %+v, want %+v", sent, at, f, step)
			}
			at = f.Due
		}
	})
}

func TestScheduleSYNTakesAnySettings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := rapid.Custom(func(t *rapid.T) time.Duration { return time.Duration(rapid.Int64().Draw(t, "d")) })
		s := SYN{
			Retries:        rapid.Int().Draw(t, "retries"),
			LinearTimeouts: rapid.Int().Draw(t, "linear"),
			UserTimeout:    d.Draw(t, "user timeout"),
			RTO:            d.Draw(t, "rto"),
			RTOMax:         d.Draw(t, "rto max"),
			HZ:             rapid.IntRange(-1, 10000).Draw(t, "hz"),
		}
		end := s.End()
		if n := len(offsets(s)); n > 2*maxSYNCount || end.Offset <= 0 || end.Latest < end.Offset {
			t.Fatalf("%d retransmissions and the end %+v", n, end)
		}
	})
}
