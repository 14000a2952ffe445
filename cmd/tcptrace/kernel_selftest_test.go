package main

import (
	"testing"

	"tcptrace/prober/lab"
	"tcptrace/tracer"
)

// openForLabs starts the trace that selftest has, and says what it is.
func openForLabs(t *testing.T) (*tracer.Tracer, meta) {
	t.Helper()
	acceptKernel(t)
	tr, err := openTracer(&kernelFlags{}, probeTrace(false))
	acceptMust(t, err)
	t.Cleanup(func() { tr.Close() })
	m := (&app{}).describeRun()
	describeTrace(&m, tr)
	return tr, m
}

// What was wrong once may be right when there is less to do, and then counts as such; what stays wrong does not.
func TestSelftestTriesAgainWhatWasWrong(t *testing.T) {
	tr, m := openForLabs(t)
	var labs []lab.Lab
	for _, name := range []string{"connected", "refused", "no-route"} {
		l, err := lab.Find(name)
		acceptMust(t, err)
		if name != "refused" {
			l.Expect = "no_answer"
		}
		labs = append(labs, l)
	}
	trials, err := runTrials(t.Context(), tr, m, labs, 1)
	acceptMust(t, err)
	trials[0].lab.Expect = "connected" // as if the machine had recovered
	acceptMust(t, tryAgain(t.Context(), tr, m, trials))
	for i, want := range []struct {
		result trialResult
		try    int
	}{{trialOK, 2}, {trialOK, 1}, {trialWrong, 2}} {
		if got := trials[i]; got.lab.Name != labs[i].Name || got.result() != want.result || got.try != want.try {
			t.Errorf("%s: result %d on try %d, want %d on %d", got.lab.Name, got.result(), got.try, want.result, want.try)
		}
	}
}
