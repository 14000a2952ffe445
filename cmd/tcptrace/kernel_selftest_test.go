package main

import (
	"io"
	"testing"

	"tcptrace/prober/lab"
)

// What was wrong once may be right when there is less to do, and then counts as such; what stays wrong does not.
func TestSelftestTriesAgainWhatWasWrong(t *testing.T) {
	acceptKernel(t)
	var c selftestCommand
	a := &app{stderr: io.Discard}
	var labs []lab.Lab
	for _, name := range []string{"old-connection-in-the-way-time-wait", "refused", "no-route"} {
		l, err := lab.Find(name)
		acceptMust(t, err)
		if name != "refused" {
			l.Expect = "no_answer"
		}
		labs = append(labs, l)
	}
	trials, err := c.try(t.Context(), a, labs, 1)
	acceptMust(t, err)
	trials[0].lab.Expect = "old_connection_in_the_way" // as if the machine had recovered; it takes events to tell this
	acceptMust(t, c.tryAgain(t.Context(), a, trials))
	for i, want := range []struct {
		result trialResult
		try    int
	}{{trialOK, 2}, {trialOK, 1}, {trialWrong, 2}} {
		if got := trials[i]; got.lab.Name != labs[i].Name || got.result() != want.result || got.try != want.try {
			t.Errorf("%s: result %d on try %d, want %d on %d", got.lab.Name, got.result(), got.try, want.result, want.try)
		}
	}
}
