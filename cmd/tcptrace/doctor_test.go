package main

import (
	"bytes"
	"strings"
	"testing"

	"tcptrace/tracer"
	"tcptrace/tracer/event"
)

// exampleHooks is one of each kind that reads differently.
func exampleHooks() []tracer.Hook {
	return []tracer.Hook{
		{Kind: event.Connect, Mechanism: "fentry", Programs: []string{"connect_fentry"}},
		{
			Kind: event.Accept, Mechanism: "tracepoint", Programs: []string{"accept_enter", "accept_exit"},
			Partial: "who accepts is not known", Refused: []string{"fexit: operation not permitted", "kretprobe: \x1b[2J"},
		},
		{Kind: event.Drop, Missing: "packets that this host dropped are not seen", Refused: []string{"tp_btf: no such type"}},
	}
}

// diagnosed is what the doctor prints.
func diagnosed(hooks []tracer.Hook, format format) []byte {
	var out bytes.Buffer
	d := diagnosis{app: &app{stdout: newOutput(&out, func() {})}, format: format}
	d.finding(finding{"kernel", "6.18.0 amd64"})
	d.finding(finding{"timers", "250 ticks a second"})
	d.hooks(encodeHooks(hooks))
	d.app.stdout.Flush()
	return out.Bytes()
}

func TestDoctorAsPrinted(t *testing.T) {
	checkGolden(t, "doctor", diagnosed(exampleHooks(), formatText))
	checkGolden(t, "doctor.json", diagnosed(exampleHooks(), formatJSON))
}

func TestDoctorIsReplayedAsItWasPrinted(t *testing.T) {
	checkReplay(t, diagnosed(exampleHooks(), formatJSON), diagnosed(exampleHooks(), formatText), exitOK)
	blind := exampleHooks()[2:]
	text, stderr, status := replayText(t, diagnosed(blind, formatJSON))
	if text != string(diagnosed(blind, formatText)) || status != exitNoTrace || stderr != "" {
		t.Errorf("where nothing is seen: exit status %d, %q on stderr, and\n%s", status, stderr, text)
	}
}

func TestDoctorOfARecordingThatWasCutShort(t *testing.T) {
	out := checkCut(t, diagnosed(exampleHooks(), formatJSON), `{"type":"hook","kind":"accept"`)
	if !strings.HasPrefix(out, "kernel     6.18.0 amd64\n") || !strings.Contains(out, "\n1 of 1 kinds of events can be seen") {
		t.Errorf("it says\n%s", out)
	}
}
