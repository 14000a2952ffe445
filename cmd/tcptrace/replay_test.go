package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// replayText is what the command prints of a recording.
func replayText(t *testing.T, recording []byte, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, err strings.Builder
	status = run(t.Context(), append([]string{"replay", "-"}, args...), bytes.NewReader(recording), &out, &err)
	return out.String(), err.String(), status
}

// checkReplay compares the replay of a recording, with these flags, to what the run that made it printed, and its replay as
// JSON to the recording. It breaks lines of the recording, and looks for their numbers.
func checkReplay(t *testing.T, recording, live []byte, status int, args ...string) {
	t.Helper()
	got, stderr, exited := replayText(t, recording, args...)
	if diff := cmp.Diff(string(live), got); diff != "" {
		t.Errorf("(-live +replayed):\n%s", diff)
	}
	if exited != status || stderr != "" {
		t.Errorf("exit status %d, %q on stderr; want %d and nothing", exited, stderr, status)
	}
	again, _, _ := replayText(t, recording, "-o", "json")
	if diff := cmp.Diff(string(recording), again); diff != "" {
		t.Errorf("as JSON (-recorded +replayed):\n%s", diff)
	}
	checkBroken(t, recording)
}

// checkBroken breaks the second line of a recording and its last.
func checkBroken(t *testing.T, recording []byte) {
	t.Helper()
	lines := bytes.SplitAfter(bytes.TrimSuffix(recording, []byte("\n")), []byte("\n"))
	for _, number := range []int{2, len(lines)} {
		broken := bytes.Join(lines[:number-1], nil)
		_, stderr, status := replayText(t, append(broken, "{\"type\":\"summary\",}\n"...))
		if want := fmt.Sprintf(`tcptrace: replay "-": line %d: it is not JSON: `, number); status != exitUsage || !strings.HasPrefix(stderr, want) {
			t.Errorf("line %d broken: exit status %d, %q; want %q", number, status, stderr, want)
		}
	}
}

// checkCut cuts a recording short within a line, and gives what is printed of it.
func checkCut(t *testing.T, recording []byte, within string, args ...string) string {
	t.Helper()
	at := bytes.Index(recording, []byte(within))
	if at < 0 {
		t.Fatalf("the recording has no %s:\n%s", within, recording)
	}
	out, stderr, status := replayText(t, recording[:at+len(within)], args...)
	if want := "tcptrace: \"-\" ends within a line: this is what there is of it\n"; status != exitOK || stderr != want {
		t.Errorf("cut short within %s: exit status %d, %q", within, status, stderr)
	}
	return out
}

// args are the flags as they are written.
func (f *detailFlags) args() []string {
	switch {
	case f.Quiet:
		return []string{"-q"}
	case f.Verbose:
		return []string{"-v"}
	}
	return nil
}

func TestScheduleOfARecordingThatWasCutShortHasNoEnd(t *testing.T) {
	const recording = `{"type":"step","attempt":0,"words":"SYN","about":"now","settings":["SYN retries 1","HZ 1000"]}
{"type":"step","attempt":1,"offset_ms":1000,"latest_ms":1008,"words":"SYN again"}
{"type":"end","offset_ms":3000}
`
	const want = "SYN retries 1, HZ 1000\n    +0.000s  SYN             now\n    +1.000s  SYN again       1          until +1.008s\n"
	if diff := cmp.Diff(want, checkCut(t, []byte(recording), `{"type":"end"`)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
