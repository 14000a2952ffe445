package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRecordingReplaysTheVerdictsOfALiveRun(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	p := newAcceptPair(t)
	const served, silent, refused, held = 80, 443, 81, 82
	_, err := p.server.Echo(acceptService4(held))
	acceptMust(t, err)
	hangUp(t, p.server, acceptService4(served))
	p.drop(t, silent, 0)
	netns := acceptNetNS(p.client)
	toSilent := []string{"connect", "--netns", netns, acceptService4(silent).String()}
	for _, test := range []struct {
		name string
		args []string
		// during, when there is one, is what happens while the command runs, which ends with an interrupt then.
		during func(*testing.T, *acceptProcess)
		says   string
	}{
		{"connected", []string{"connect", "--netns", netns, acceptService4(served).String()}, nil, "connected"},
		{"refused", []string{"connect", "--netns", netns, acceptService4(refused).String()}, nil, "refused"},
		{"no answer", append(toSilent, "--timeout", "1100ms"), nil, "no answer"},
		{"several", []string{"connect", "--netns", netns, acceptService4(served).String(), acceptService6(refused).String()}, nil, "refused"},
		{"without the kernel's events", append(toSilent, "--timeout", "10ms", "--btf", os.DevNull), nil, "the kernel's events could not be seen"},
		{"kept idle", []string{"keepalive", "--netns", netns, "--keepalive-idle", "1s", "--duration", "1500ms", acceptService4(held).String()}, nil, "still open"},
		{"kept idle, without the kernel's events", []string{"keepalive", "--netns", netns, "--duration", "200ms", "--btf", os.DevNull, acceptService4(held).String()},
			nil, "the kernel's events could not be seen"},
		{"interrupted", toSilent, func(t *testing.T, live *acceptProcess) {
			live.await(t, 1, "  nothing has come back so far")
		}, "no answer so far"},
		{"watch", []string{"watch", "--netns", netns, "-c", "2", "--", "sh", "-c",
			"$0 connect -q $1 >&2; $0 connect -q $2 >&2", acceptProgram(t, "tcptrace"), acceptService4(served).String(), acceptService4(refused).String()},
			nil, "refused"},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "recording")
			args := append([]string{test.args[0], "--record", file}, test.args[1:]...)
			live := acceptCommand{args: args, host: p.client}.start(t)
			if test.during != nil {
				test.during(t, live)
				live.signal(t, os.Interrupt)
			}
			got := live.wait(t)
			replayed := tcptraceRun(t, "replay", file)
			want := verdictBlocks(got.stdout)
			if diff := cmp.Diff(want, verdictBlocks(replayed.stdout)); diff != "" || !strings.Contains(want, test.says) {
				t.Errorf("(-live +replayed):\n%s\nlive:\n%s", diff, got.stdout)
			}
			if replayed.status != got.status || replayed.stderr != "" {
				t.Errorf("replay: exit status %d, %q on stderr; the run had %d", replayed.status, replayed.stderr, got.status)
			}
		})
	}
}

// verdictBlocks are the verdicts of a text: the lines that begin with a mark in the first column, and what belongs to them.
func verdictBlocks(text string) string {
	var blocks strings.Builder
	within := false
	for line := range strings.Lines(text) {
		mark := strings.HasPrefix(line, "✓") || strings.HasPrefix(line, "✗") || strings.HasPrefix(line, "…")
		detail := strings.HasPrefix(line, "  → ") || strings.HasPrefix(line, "  ? ") || strings.HasPrefix(line, "    ")
		if within = mark || within && detail; within {
			blocks.WriteString(line)
		}
	}
	return blocks.String()
}
