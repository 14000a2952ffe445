package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNewestKernelWins(t *testing.T) {
	for _, test := range []struct {
		names []string
		want  string
	}{
		{[]string{"linux-image-5.10.0-9-cloud-amd64", "linux-image-5.10.0-32-cloud-amd64"}, "linux-image-5.10.0-32-cloud-amd64"},
		{[]string{"linux-image-6.12.95+deb12-cloud-amd64", "linux-image-6.12.107+deb13-cloud-amd64"}, "linux-image-6.12.107+deb13-cloud-amd64"},
		{[]string{"linux-image-6.1.0-50-cloud-amd64", "linux-image-6.1.0-50-cloud-amd64-unsigned"}, "linux-image-6.1.0-50-cloud-amd64-unsigned"},
		// The linux-image of this line has nothing in it.
		{[]string{"linux-binary-7.2.12+deb14-cloud-amd64", "linux-image-7.2.12+deb14-cloud-amd64"}, "linux-binary-7.2.12+deb14-cloud-amd64"},
		{[]string{"linux-binary-7.10.1+deb14-cloud-amd64", "linux-binary-7.9.9+deb14-cloud-amd64"}, "linux-binary-7.10.1+deb14-cloud-amd64"},
	} {
		if got := slices.MaxFunc(test.names, comparePackages); got != test.want {
			t.Errorf("of %v it takes %s", test.names, got)
		}
	}
}

// bootOf is a boot whose guest said these messages, and then perhaps something that was cut off.
func bootOf(t *testing.T, steps []step, tail string, messages ...message) boot {
	t.Helper()
	var said bytes.Buffer
	for _, m := range messages {
		line, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		said.Write(append(line, '\n'))
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "messages")
	if err := os.WriteFile(file, append(said.Bytes(), tail...), 0o644); err != nil {
		t.Fatal(err)
	}
	b := boot{guest: guest{image: kernelImage{line: "5.10"}, steps: steps, mechanism: "fentry"}, dir: dir}
	if err := b.read(file); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestResultOfAGuest(t *testing.T) {
	tests := []step{{Name: "tracer", Mechanism: "fentry"}}
	selftest := []step{{Name: selftestStep, Mechanism: "fentry"}}
	ended, done := message{Ended: true, Took: time.Second}, message{AllDone: true}
	said := func(text string) message { return message{Text: text} }
	for name, test := range map[string]struct {
		boot   boot
		result string
		status int
	}{
		"all passed":         {bootOf(t, tests, "", said("--- PASS: TestA (0.1s)\nPASS\n"), ended, done), "pass", 0},
		"a test failed":      {bootOf(t, tests, "", said("--- FAIL: TestA (0.1s)\n"), message{Ended: true, Status: 1}, done), "fail", 1},
		"a test was skipped": {bootOf(t, tests, "", said("    --- SKIP: TestA/b (0.1s)\nPASS\n"), ended, done), "fail", 1},
		"a program failed":   {bootOf(t, tests, "", said("panic: x\n"), message{Ended: true, Status: 2}, done), "fail", 1},
		"it died":            {bootOf(t, tests, `{"Step":0,"Te`, said("=== RUN TestA\n")), "died", 1},
		"it died at once":    {bootOf(t, tests, ""), "died", 1},
		"it failed and died": {bootOf(t, tests, "", said("--- FAIL: TestA (0.1s)\n")), "fail", 1},
		"a hook is missing": {bootOf(t, selftest, "",
			said(`{"type":"lab","name":"refused","hooks":[{"type":"hook","kind":"error","missing":"x"}]}`+"\n"), ended, done), "degraded", 0},
		"a verdict has doubts": {bootOf(t, selftest, "",
			said(`{"type":"lab","name":"refused","degraded":true}`+"\n"), ended, done), "degraded", 0},
		"another line with doubts": {bootOf(t, selftest, "",
			said(`{"type":"notice","degraded":true,"hooks":[{"kind":"error"}]}`+"\n"), ended, done), "pass", 0},
		"every hook was had": {bootOf(t, selftest, "",
			said(`{"type":"lab","name":"refused","hooks":[{"type":"hook","kind":"error","mechanism":"fentry"}]}`+"\n"), ended, done), "pass", 0},
	} {
		if got := test.boot.result(); got != test.result {
			t.Errorf("%s: %s, want %s", name, got, test.result)
		}
		var out strings.Builder
		if got := conclude(&out, []boot{test.boot}, nil); got != test.status {
			t.Errorf("%s: exit status %d, want %d:\n%s", name, got, test.status, out.String())
		}
	}
}

func TestConclusionEndsWithWhatFailedAndACount(t *testing.T) {
	var out strings.Builder
	conclude(&out, []boot{bootOf(t, []step{{Name: "tracer"}}, "",
		message{Text: "--- PASS: TestA (0s)\n--- FAIL: TestB (0s)\n    why\n--- PASS: TestC (0s)\n"}, message{Ended: true, Status: 1}, message{AllDone: true})}, nil)
	const end = `
5.10-fentry: tracer TestB failed
  --- FAIL: TestB (0s)
      why

2 passed, 1 failed
`
	if !strings.HasSuffix(out.String(), end) {
		t.Errorf("it ends with:\n%s", out.String())
	}
}

// What went wrong is said first, and what it is seen by may take many lines.
func TestFailuresInShortSayWhatWentWrong(t *testing.T) {
	events := slices.Repeat([]string{"          an event"}, 20)
	first := append([]string{"    a_test.go:1: once more: it went wrong"}, events...)
	second := append([]string{"    a_test.go:22: it went wrong again"}, events...)
	want := slices.Concat(first[:6], second[:6])
	if diff := cmp.Diff(want, inShort(slices.Concat(first, second, []string{"--- FAIL: TestA (0s)"}))); diff != "" {
		t.Errorf("of two messages (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(events[:6], inShort(events)); diff != "" {
		t.Errorf("of no message (-want +got):\n%s", diff)
	}
}

func TestConclusionNamesAGuestThatDied(t *testing.T) {
	var out strings.Builder
	conclude(&out, []boot{bootOf(t, []step{{Name: "tracer"}}, "")}, nil)
	if !strings.HasSuffix(out.String(), "\n5.10-fentry: the guest died\n\n0 passed, 1 failed\n") {
		t.Errorf("it ends with:\n%s", out.String())
	}
}

func TestOutputOfAFailedTest(t *testing.T) {
	const said = `=== RUN   TestA
a talks
--- PASS: TestA (0.00s)
=== RUN   TestB
=== RUN   TestB/one
    b_test.go:1: it went wrong
=== RUN   TestB/two
    b_test.go:2: it went well
--- FAIL: TestB (0.00s)
    --- FAIL: TestB/one (0.00s)
    --- PASS: TestB/two (0.00s)
FAIL
`
	got := testOutput(failure{step: &stepResult{output: []byte(said)}, test: "TestB/one"})
	want := "    b_test.go:1: it went wrong\n--- FAIL: TestB (0.00s)\n    --- FAIL: TestB/one (0.00s)"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRequirementsOfAModule(t *testing.T) {
	got := requirementsOf(map[string][]string{
		"depends": {"nf-tables,nf_conntrack"},
		"softdep": {"pre: crypto-crc32c other", "post: later"},
	})
	if diff := cmp.Diff([]string{"nf_tables", "nf_conntrack", "crypto_crc32c", "other"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAClockThatRunsWrongIsNoticed(t *testing.T) {
	for kernel, wrong := range map[time.Duration]bool{
		2 * time.Second: false, 2100 * time.Millisecond: false, 2900 * time.Millisecond: false, 1600 * time.Millisecond: false,
		160 * time.Second: true, 4 * time.Second: true, time.Second: true, 0: true,
	} {
		if err := compareClocks(kernel, 2*time.Second); errors.Is(err, errClock) != wrong {
			t.Errorf("%s: %v; want it noticed: %t", kernel, err, wrong)
		}
	}
}

// The kernel takes an archive only when every header and every file begins at a multiple of four.
func TestArchiveIsAligned(t *testing.T) {
	var archive bytes.Buffer
	w := newCPIOWriter(&archive)
	w.file("/a/b/odd", true, []byte("12345"))
	w.link("/a/link", "b/odd")
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	content := archive.Bytes()
	headers := 0
	for at := 0; ; headers++ {
		next := bytes.Index(content[at:], []byte("070701"))
		if next < 0 {
			break
		}
		if (at+next)%4 != 0 {
			t.Errorf("a header is at %d", at+next)
		}
		at += next + 6
	}
	if headers != 5 || len(content)%4 != 0 { // two directories, a file, a link, the end
		t.Errorf("%d headers, %d bytes", headers, len(content))
	}
}
