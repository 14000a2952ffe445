package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestResetOfAMiddleboxIsDoubtedByItsTTL(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	const doubt = "the reset came with a time to live of 64, the SYN-ACK with 63"
	got := labWithReset(t, "reset-by-middlebox")
	v := got.verdict
	if v.Cause != "reset_by_peer" || v.Confidence != "likely" || !strings.Contains(strings.Join(v.Doubts, "\n"), doubt) {
		t.Errorf("%s, %s, doubts %q; want %q", v.Cause, v.Confidence, v.Doubts, doubt)
	}
	if got.ttls != "established 63, reset_received 64" {
		t.Errorf("the client sees %s", got.ttls)
	}
}

func TestRefusalTellsHowFarItHasCome(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	const far = "(its TTL is 254: 1 router away, if it began with 255)"
	got := labWithReset(t, "refused-by-middlebox")
	if v := got.verdict; v.Cause != "refused" || v.Confidence != "certain" || !strings.HasSuffix(v.Summary, far) {
		t.Errorf("%s, %s: %s; want it to end with %s", v.Cause, v.Confidence, v.Summary, far)
	}
	if got.ttls != "reset_received 254" {
		t.Errorf("the client sees %s", got.ttls)
	}
}

// A resetLab is how a client's connection went in one.
type resetLab struct {
	verdict acceptLine
	ttls    string // of its events that have one, but for what was dropped
}

// labWithReset runs a lab, and once more where the reset is not seen: there are kernels that hide what a softirq does on top of
// certain tasks (see hidden).
func labWithReset(t *testing.T, name string) resetLab {
	t.Helper()
	for again := false; ; again = true {
		lines := acceptCommand{args: []string{"lab", name, "-o", "json"}}.run(t).lines(t)
		v := clientsVerdict(t, lines)
		if again || len(lines.events(v.Conn, "reset_received")) > 0 {
			return resetLab{v, ttlsOf(lines.events(v.Conn, "established", "reset_received"))}
		}
		t.Log("no reset was seen: once more")
	}
}

func clientsVerdict(t *testing.T, lines acceptLines) acceptLine {
	t.Helper()
	for _, v := range lines.of(typeVerdict) {
		if events := lines.events(v.Conn); len(events) > 0 && events[0].Role == "client" {
			return v
		}
	}
	t.Fatalf("there is no verdict on a client: %+v", lines)
	return acceptLine{}
}

func ttlsOf(events acceptLines) string {
	var all []string
	for _, ev := range events {
		all = append(all, fmt.Sprintf("%s %d", ev.Kind, ev.TTL))
	}
	return strings.Join(all, ", ")
}
