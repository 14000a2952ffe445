package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tcptrace/prober/lab"
)

// scanLines are the lines of a scan.
type scanLines struct {
	targets []map[string]any
	rounds  []roundLine
	summary scanSummaryLine
}

func parseScan(t *testing.T, stream string) scanLines {
	t.Helper()
	var lines scanLines
	for text := range strings.Lines(stream) {
		var kind struct{ Type string }
		acceptMust(t, json.Unmarshal([]byte(text), &kind))
		switch kind.Type {
		case typeTarget:
			var target map[string]any
			acceptMust(t, json.Unmarshal([]byte(text), &target))
			lines.targets = append(lines.targets, target)
		case typeRound:
			var round roundLine
			acceptMust(t, json.Unmarshal([]byte(text), &round))
			lines.rounds = append(lines.rounds, round)
		case typeSummary:
			acceptMust(t, json.Unmarshal([]byte(text), &lines.summary))
		}
	}
	if lines.summary.Type == "" {
		t.Fatalf("there is no summary: ...%s", stream[max(0, len(stream)-1000):])
	}
	return lines
}

func TestScanCountsSuccessesByTimeout(t *testing.T) {
	acceptKernel(t)
	for _, trace := range []string{"--require-trace", "--no-trace"} {
		t.Run(trace, func(t *testing.T) {
			got := tcptraceRun(t, "lab", "scan", "--targets", "2000", "--timeout", "3s", "-o", "json", trace)
			if got.status != exitFailed || got.stderr != "" {
				t.Errorf("exit status %d, %q; want 1 and silence", got.status, got.stderr)
			}
			lines := parseScan(t, got.stdout)
			sum := lines.summary
			if len(lines.targets) != 2000 || sum.Targets != 2000 || sum.Unfinished != 0 || sum.Untried != 0 {
				t.Errorf("%d targets, %+v; want all 2000", len(lines.targets), sum)
			}
			// 1100 answer at once, 200 within 2 s, spread over the logarithm: a third by 100 ms, half by 200 ms. A machine with
			// more to do lets them answer later, never sooner.
			for _, want := range []struct {
				ms          float64
				least, most int
			}{{100, 1100, 1180}, {200, 1110, 1210}, {1000, 1200, 1280}, {3000, 1300, 1300}} {
				if got := connectedWithin(sum, want.ms); got < want.least || got > want.most {
					t.Errorf("%d connected within %v ms; want %d to %d", got, want.ms, want.least, want.most)
				}
			}
			if sum.Outcomes["connected"] != 1300 || sum.Outcomes["refused"] != 160 || sum.Outcomes["timeout"]+sum.Outcomes["unreachable"] != 540 {
				t.Errorf("outcomes %v; want 1300 connected, 160 refused, 500 timeout, 40 unreachable", sum.Outcomes)
			}
			// What a retry was needed for has no exact time without a trace, and some answers may be missed with one.
			clock := "tcp_info"
			if trace == "--require-trace" {
				clock = "kernel"
			}
			if n := sum.Clocks[clock]; n < 1170 {
				t.Errorf("%d of 1300 times are by the clock %s: %v", n, clock, sum.Clocks)
			}
		})
	}
}

func connectedWithin(sum scanSummaryLine, ms float64) int {
	for _, share := range sum.ByTimeout {
		if share.TimeoutMS == ms {
			return share.Connected
		}
	}
	return -1
}

func TestScanCountsSuccessesByRefreshInterval(t *testing.T) {
	acceptKernel(t)
	got := tcptraceRun(t, "lab", "scan", "--targets", "1000", "--loss", "60", "--timeout", "900ms", "--refresh", "none,300ms,150ms", "-o", "json", "--no-trace")
	lines := parseScan(t, got.stdout)
	if len(lines.rounds) != 3 || len(lines.summary.Rounds) != 3 || len(lines.targets) != 3000 {
		t.Fatalf("%d rounds, %d of them in the summary, %d results; want 3, 3 and 3000", len(lines.rounds), len(lines.summary.Rounds), len(lines.targets))
	}
	// Of some 600 that answer each SYN they get, a share of 0.4 gets the first, 0.78 one of three, 0.95 one of six.
	for n, want := range []struct {
		refresh     float64
		least, most int
	}{{0, 180, 350}, {300, 350, 560}, {150, 450, 650}} {
		round := lines.summary.Rounds[n]
		if round.RefreshMS != want.refresh || round.Connected < want.least || round.Connected > want.most {
			t.Errorf("%+v; want %d to %d connected, refreshed every %v ms", round, want.least, want.most, want.refresh)
		}
		if n > 0 && (round.Connects <= lines.summary.Rounds[n-1].Connects || lines.rounds[n].LateAnswers == nil) {
			t.Errorf("%+v; want more connects than in %+v, and late answers counted", round, lines.summary.Rounds[n-1])
		}
	}
}

func TestAnInterruptedScanTellsAllThatHasEnded(t *testing.T) {
	acceptKernel(t)
	for n := range 12 {
		trace, after := "--no-trace", time.Duration(n/4)*rand.N(300*time.Millisecond)
		if n%2 == 1 {
			trace = "--require-trace"
		}
		t.Run(fmt.Sprintf("%v%s", after, trace), func(t *testing.T) {
			p := acceptCommand{args: []string{"lab", "scan", "--targets", "5000", "--timeout", "60s", "-o", "json", trace}}.start(t)
			p.awaitTrace(t)
			time.Sleep(after) // any moment will do
			p.signal(t, os.Interrupt)
			sent := time.Now()
			got := p.wait(t)
			if took := time.Since(sent); took > promptly {
				t.Errorf("it ended %v after the signal", took)
			}
			lines := parseScan(t, got.stdout)
			finished := 0
			for _, n := range lines.summary.Outcomes {
				finished += n
			}
			if !lines.summary.Interrupted || finished != len(lines.targets) || finished+lines.summary.Unfinished+lines.summary.Untried != 5000 {
				t.Errorf("%d results and %d of them in the summary %+v", len(lines.targets), finished, lines.summary)
			}
		})
	}
}

func TestScanGoesOnBesideALineThatIsWrong(t *testing.T) {
	acceptKernel(t)
	p := newAcceptPair(t)
	acceptMust(t, p.server.Listen(acceptService4(80)))
	acceptMust(t, p.server.Listen(acceptService6(80)))
	list := filepath.Join(acceptPublicDir(t), "list.txt")
	text := fmt.Sprintf("%v both\nnonsense\n%v both\n%v closed\n", acceptService4(80), acceptService6(80), acceptService4(81))
	acceptMust(t, os.WriteFile(list, []byte(text), 0o644))

	got := acceptCommand{args: []string{"scan", "-f", list, "-o", "json"}, uid: acceptNobody, host: p.client}.run(t)
	if got.status != exitUsage || !strings.Contains(got.stderr, "line 2: ") {
		t.Errorf("exit status %d, %q; want 2 and the line named", got.status, got.stderr)
	}
	sum := parseScan(t, got.stdout).summary
	if sum.Outcomes["connected"] != 2 || sum.Outcomes["refused"] != 1 || sum.Labels != 2 || sum.LabelsSome != 1 {
		t.Errorf("%+v; want two connected of one label, and one refused", sum)
	}
}

func TestScanRepeatsAndTellsWhatChanges(t *testing.T) {
	acceptKernel(t)
	p := newAcceptPair(t)
	acceptMust(t, p.server.Listen(acceptService4(80)))
	service := acceptService4(80).String()
	scanning := acceptCommand{args: []string{"scan", service, "--timeout", "500ms", "--interval", "1s", "--count", "3", "--no-trace", "-o", "json"}, host: p.client}.start(t)
	scanning.await(t, 1, `{"type":"round",`)
	_, err := p.server.DropInput(lab.Drop{Port: 80})
	acceptMust(t, err)
	got := scanning.wait(t)
	lines := parseScan(t, got.stdout)
	if len(lines.rounds) != 3 || lines.rounds[0].Outcomes["connected"] != 1 || lines.rounds[2].Outcomes["timeout"] != 1 {
		t.Fatalf("%+v; want three rounds, connected at first and not any more", lines.rounds)
	}
	lost := 0
	for _, round := range lines.rounds[1:] {
		lost += len(round.Changes.Lost)
	}
	if lost != 1 {
		t.Errorf("%d rounds tell that the target is lost; want one", lost)
	}
}
