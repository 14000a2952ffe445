package main

import (
	"errors"
	"fmt"
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
