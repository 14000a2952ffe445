package main

import (
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestWatchExitsLikeEnv(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	for _, test := range []struct {
		script string
		status int
	}{
		{"exit 0", 0},
		{"exit 7", 7},
		{"kill -KILL $$", 128 + 9},
		{"kill -USR1 $$", 128 + 10},
	} {
		got := tcptraceRun(t, "watch", "-q", "--", "sh", "-c", test.script)
		if got.status != test.status || got.stderr != "" {
			t.Errorf("%s: exit status %d, %q on stderr; want %d", test.script, got.status, got.stderr, test.status)
		}
	}
}

func TestWatchFollowsACommandAndItsChildren(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	p := newAcceptPair(t)
	const own, childs, strangers = 81, 82, 83 // nothing listens there
	program := acceptProgram(t, "tcptrace")
	connect := func(port uint16) string { return program + " connect -q " + acceptService4(port).String() + " >&2\n" }
	recording := filepath.Join(t.TempDir(), "recording")
	// The stranger connects while the command runs: it waits for what the stranger's end makes of its standard input.
	watch := acceptCommand{host: p.client, stdin: strangersEnd(t, p, strangers), args: []string{
		"watch", "-q", "--record", recording, "--", "sh", "-c",
		"cat >&2\n" + "(" + connect(childs) + ") &\nwait\nexec " + connect(own),
	}}.start(t)
	if got := watch.wait(t); got.status != exitFailed {
		t.Errorf("exit status %d, want 1, that of the command's last act", got.status)
	}
	lines := readLines(t, recording)
	verdicts := lines.verdictsByRemote(t)
	if len(verdicts) != 2 {
		t.Errorf("%d verdicts, want 2: %+v", len(verdicts), verdicts)
	}
	for port, itself := range map[uint16]bool{own: true, childs: false} {
		v := verdicts[acceptService4(port)]
		if v.Cause != "refused" || v.Owner.Comm != "tcptrace" || len(lines.events(v.Conn, "connect")) != 1 {
			t.Errorf("port %d: %+v; want refused, with its connect", port, v)
		}
		if isChild := verdicts[acceptService4(own)].Owner.PID != v.Owner.PID; isChild == itself {
			t.Errorf("port %d: the owner is %+v, and that of the command %+v", port, v.Owner, verdicts[acceptService4(own)].Owner)
		}
	}
}

// strangersEnd is an input that ends when somebody else has connected to the port.
func strangersEnd(t *testing.T, p *acceptPair, port uint16) *endOf {
	return &endOf{func() {
		acceptCommand{args: []string{"connect", "-q", acceptService4(port).String()}, uid: acceptNobody, host: p.client}.run(t)
	}}
}

// endOf is an empty input that runs a function before it ends.
type endOf struct{ before func() }

func (e *endOf) Read([]byte) (int, error) {
	e.before()
	return 0, io.EOF
}

func readLines(t *testing.T, file string) acceptLines {
	t.Helper()
	text, err := os.ReadFile(file)
	acceptMust(t, err)
	return parseLines(t, string(text))
}
