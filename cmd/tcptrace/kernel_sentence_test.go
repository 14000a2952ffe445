package main

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// whatCannotBe is a run that ends at once with one sentence.
type whatCannotBe struct {
	name     string
	args     []string
	uid      uint32
	thread   func() error
	status   int
	sentence string // what the one line on stderr contains; empty: there is none
	answer   string // what stdout contains; empty: it may be anything
}

func TestWhatCannotBeIsToldInOneSentence(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	p := newAcceptPair(t)
	service := acceptService4(80).String()
	notBTF := filepath.Join(acceptPublicDir(t), "no.btf")
	acceptMust(t, os.WriteFile(notBTF, []byte("this is no BTF\n"), 0o644))
	notExecutable := filepath.Join(acceptPublicDir(t), "data")
	acceptMust(t, os.WriteFile(notExecutable, nil, 0o644))
	const privilege, types = "run it with sudo", "this kernel has no BTF"
	tests := []whatCannotBe{
		{name: "connect without root", args: []string{"connect", service}, uid: acceptNobody, status: 1, answer: privilege},
		{name: "connect without root that must trace", args: []string{"connect", "--require-trace", service}, uid: acceptNobody, status: 3, sentence: privilege},
		{name: "watch without root", args: []string{"watch"}, uid: acceptNobody, status: 3, sentence: privilege},
		{name: "watch a command without root", args: []string{"watch", "--", "true"}, uid: acceptNobody, status: 125, sentence: privilege},
		{name: "doctor without root", args: []string{"doctor"}, uid: acceptNobody, status: 3, sentence: privilege},
		{name: "lab without root", args: []string{"lab", "refused"}, uid: acceptNobody, status: 3, sentence: privilege},
		{name: "selftest without root", args: []string{"selftest"}, uid: acceptNobody, status: 3, sentence: privilege},

		{name: "connect without BTF", args: []string{"connect", service}, thread: hideTypes, status: 1, answer: types},
		{name: "connect without BTF that must trace", args: []string{"connect", "--require-trace", service}, thread: hideTypes, status: 3, sentence: types},
		{name: "watch without BTF", args: []string{"watch"}, thread: hideTypes, status: 3, sentence: types},
		{name: "watch a command without BTF", args: []string{"watch", "--", "true"}, thread: hideTypes, status: 125, sentence: types},
		{name: "doctor without BTF", args: []string{"doctor"}, thread: hideTypes, status: 3, sentence: types},
		{name: "lab without BTF", args: []string{"lab", "refused"}, thread: hideTypes, status: 3, sentence: types},
		{name: "selftest without BTF", args: []string{"selftest"}, thread: hideTypes, status: 3, sentence: types},
		{name: "watch with BTF that is none", args: []string{"watch", "--btf", notBTF}, status: 3, sentence: notBTF},

		{name: "name that does not exist", args: []string{"connect", "no-such-host.invalid:80"}, status: 1, answer: "no-such-host.invalid did not resolve"},
		{name: "port out of range", args: []string{"connect", "192.0.2.10:65536"}, status: 2, sentence: "port 65536 is not from 1 to 65535"},
		{name: "no port", args: []string{"connect", "192.0.2.10"}, status: 2, sentence: "192.0.2.10"},
		{name: "unknown flag", args: []string{"connect", "--no-such-flag", service}, status: 2, sentence: "--no-such-flag is no flag of tcptrace connect"},
		{name: "unknown flag of watch", args: []string{"watch", "--no-such-flag"}, status: 2, sentence: "--no-such-flag is no flag of tcptrace watch"},
		{name: "unknown lab", args: []string{"lab", "no-anwser"}, status: 2, sentence: "did you mean no-answer?"},
		{name: "namespace that does not exist", args: []string{"watch", "--netns", "no-such-namespace"}, status: 2, sentence: "no-such-namespace"},

		{name: "command that does not exist", args: []string{"watch", "--", "no-such-command"}, status: 127, sentence: "there is no command no-such-command"},
		{name: "command that may not be executed", args: []string{"watch", "--", notExecutable}, status: 126, sentence: notExecutable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.check(t, p) })
	}
}

func (test *whatCannotBe) check(t *testing.T, p *acceptPair) {
	c := acceptCommand{args: test.args, uid: test.uid, thread: test.thread}
	if c.thread == nil {
		c.host = p.client
	} else {
		// Both namespaces of the thread are to be others: it enters the client's on its way.
		c.thread = func() error { return errors.Join(enterNetNS(p.client), test.thread()) }
	}
	got := c.run(t)
	if got.status != test.status {
		t.Errorf("exit status %d, want %d", got.status, test.status)
	}
	sentences := strings.Count(got.stderr, "\n")
	switch {
	case test.sentence == "" && sentences != 0:
		t.Errorf("stderr has %q, want nothing", got.stderr)
	case test.sentence != "" && (sentences != 1 || !strings.HasPrefix(got.stderr, "tcptrace: ") || !strings.Contains(got.stderr, test.sentence)):
		t.Errorf("stderr has %q, want one sentence with %q", got.stderr, test.sentence)
	}
	if !strings.Contains(unwrapped(got.stdout), test.answer) {
		t.Errorf("stdout has %q, want %q in it", got.stdout, test.answer)
	}
}

// unwrapped joins the lines of a text, which may break anywhere.
func unwrapped(text string) string { return strings.Join(strings.Fields(text), " ") }

func TestReaderThatGoesAwayEndsTheCommand(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	p := newAcceptPair(t)
	const silent, refused = 443, 80
	p.drop(t, silent, 0)
	for _, test := range []struct {
		name string
		args []string
		// disturb makes something happen that the command would write about.
		disturb func(t *testing.T)
	}{
		{"connect", []string{"connect", "-o", "json", "--netns", acceptNetNS(p.client), acceptService4(silent).String()}, func(*testing.T) {}},
		{"lab", []string{"lab", "no-answer", "-o", "json"}, func(*testing.T) {}},
		{"watch", []string{"watch", "-o", "json", "--netns", acceptNetNS(p.client)}, func(t *testing.T) {
			acceptCommand{args: []string{"connect", acceptService4(refused).String()}, uid: acceptNobody, host: p.client}.run(t)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := headOf(t, test.args, test.disturb)
			if got.status < 0 || got.status > 1 || got.stderr != "" || !strings.HasPrefix(got.stdout, `{"type":"meta",`) {
				t.Errorf("%+v; want exit status 0 or 1, and not a word", got)
			}
		})
	}
}

// headOf runs the command as if for head(1): its reader takes one line and goes away. A command that does not notice
// is killed after a while, which the status tells.
func headOf(t *testing.T, args []string, disturb func(*testing.T)) acceptResult {
	t.Helper()
	reader, writer, err := os.Pipe()
	acceptMust(t, err)
	var stderr strings.Builder
	cmd := exec.Command(acceptProgram(t, "tcptrace"), args...)
	cmd.Stdout, cmd.Stderr = writer, &stderr
	began := time.Now()
	acceptMust(t, cmd.Start())
	acceptMust(t, writer.Close())
	line, err := bufio.NewReader(reader).ReadString('\n')
	acceptMust(t, err)
	acceptMust(t, reader.Close())
	disturb(t)
	deadline := time.AfterFunc(acceptPatience/4, func() { cmd.Process.Kill() })
	defer deadline.Stop()
	_ = cmd.Wait() // what it says is in the state
	return acceptResult{cmd.ProcessState.ExitCode(), line, stderr.String(), time.Since(began)}
}

func TestUnprivilegedAnswerNamesWhatItCouldNotSee(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	p := newAcceptPair(t)
	got := acceptCommand{
		args: []string{"connect", "-o", "json", acceptService4(80).String()}, uid: acceptNobody, host: p.client,
	}.run(t)
	lines := got.lines(t)
	v := lines.only(t, typeVerdict)
	if v.Cause != "refused" || v.Errno != "ECONNREFUSED" || v.Confidence == "certain" || len(lines.of(typeEvent)) != 0 {
		t.Errorf("%+v; want refused without certainty, and no events", v)
	}
	if !slices.ContainsFunc(v.Doubts, func(d string) bool { return strings.Contains(d, "CAP_BPF") }) {
		t.Errorf("the doubts are %q; none says which privilege is missing", v.Doubts)
	}
}
