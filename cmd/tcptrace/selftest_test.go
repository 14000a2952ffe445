package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"tcptrace/prober/lab"
	"tcptrace/tracer/verdict"
)

func TestJudgeWantsTheExpectedCauseAndNoStranger(t *testing.T) {
	tests := []struct {
		causes []verdict.Cause
		want   bool
	}{
		{nil, false},
		{[]verdict.Cause{verdict.Superseded}, true},
		{[]verdict.Cause{verdict.Superseded, verdict.Superseded}, true},
		{[]verdict.Cause{verdict.Connected, verdict.Superseded}, true},
		{[]verdict.Cause{verdict.Connected}, false},
		{[]verdict.Cause{verdict.Superseded, verdict.NoAnswer}, false},
	}
	for _, tt := range tests {
		j := judge{expect: "superseded", beside: []string{"connected"}, causes: tt.causes}
		if got := j.ok(); got != tt.want {
			t.Errorf("%v: %t, want %t", tt.causes, got, tt.want)
		}
	}
}

func TestJudgeTakesWhatABlindTraceSaysOnlyWithDoubts(t *testing.T) {
	l := lab.Lab{Expect: "md5_or_ao_mismatch", Blindly: "no_answer"}
	tests := []struct {
		reasons  bool
		degraded bool
		cause    verdict.Cause
		want     bool
	}{
		{true, true, verdict.MD5OrAOMismatch, true},
		{true, true, verdict.NoAnswer, false},
		{false, true, verdict.NoAnswer, true},
		{false, false, verdict.NoAnswer, false},
		{false, true, verdict.Refused, false},
	}
	for _, tt := range tests {
		j := judgeOf(l, tt.reasons)
		j.degraded, j.causes = tt.degraded, []verdict.Cause{tt.cause}
		if got := j.ok(); got != tt.want {
			t.Errorf("%s, reasons %t, with doubts %t: %t, want %t", tt.cause, tt.reasons, tt.degraded, got, tt.want)
		}
	}
}

// exampleLabs is what came of labs of each result.
func exampleLabs(wrong bool) []labLine {
	right, failed := true, false
	labs := []labLine{
		{Name: "no-answer", Expected: "no_answer", Cause: "no_answer", OK: &right, Seconds: 1.25},
		{Name: "refused", Expected: "refused", Cause: "refused", OK: &right, Degraded: true, Seconds: 0.5, Try: 2},
		{Name: "conntrack-full", Expected: "conntrack_full", NotRun: "there is no conntrack \x1b[2J"},
	}
	if wrong {
		labs = append(labs,
			labLine{Name: "connected", Expected: "connected", Cause: "no_answer", OK: &failed, Seconds: 2,
				Said: []string{"no answer: 2 SYNs went unanswered; of what this host drops nothing is seen"}},
			labLine{Name: "name", Expected: "name_not_resolved", OK: &failed, Seconds: 3, Error: "build: no memory"})
	}
	for i := range labs {
		labs[i].Type, labs[i].Of = typeLab, len(labs)
	}
	labs[0].Hooks = []hookLine{{Type: typeHook, Kind: "retransmit", Mechanism: "fentry", Partial: "loss probes are not seen"}}
	return labs
}

// labsPrinted is the table of them.
func labsPrinted(wrong bool, format format) []byte {
	var out bytes.Buffer
	table := trialTable{app: &app{stdout: newOutput(&out, func() {})}, format: format}
	for _, l := range exampleLabs(wrong) {
		table.add(&l)
	}
	if !wrong {
		table.end()
	}
	table.app.stdout.Flush()
	return out.Bytes()
}

func TestSelftestAsPrinted(t *testing.T) {
	checkGolden(t, "selftest", labsPrinted(true, formatText))
	checkGolden(t, "selftest.json", labsPrinted(true, formatJSON))
}

func TestSelftestIsReplayedAsItWasPrinted(t *testing.T) {
	checkReplay(t, labsPrinted(false, formatJSON), labsPrinted(false, formatText), exitOK)
	checkReplay(t, labsPrinted(true, formatJSON), labsPrinted(true, formatText), exitFailed)
}

func TestSelftestOfARecordingThatWasCutShortIsNotSaidToBeWell(t *testing.T) {
	out := checkCut(t, labsPrinted(false, formatJSON), `{"type":"lab","name":"conntrack-full"`)
	if strings.Count(out, "\n") != 3 || strings.Contains(out, "as expected") {
		t.Errorf("it says\n%s", out)
	}
}

func TestTrialThatCannotBeRunIsNeitherRightNorWrong(t *testing.T) {
	missing := fmt.Errorf("build: %w", &lab.NotHereError{Why: "no such thing"})
	tests := map[trialResult]trial{
		trialNotRun: {err: missing},
		trialWrong:  {err: errors.New("build: no memory"), judge: judge{expect: "connected", causes: []verdict.Cause{verdict.Connected}}},
		trialOK:     {judge: judge{expect: "connected", causes: []verdict.Cause{verdict.Connected}}},
	}
	for want, trial := range tests {
		if got := trial.result(); got != want {
			t.Errorf("%v: %d, want %d", trial.err, got, want)
		}
	}
	notRun := tests[trialNotRun]
	if line := notRun.line(); line.OK != nil || line.Cause != "" || line.NotRun != "no such thing" {
		t.Errorf("%+v; want it not run, and why", line)
	}
}
