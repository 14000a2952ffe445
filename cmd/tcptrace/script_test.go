package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	flag.Parse()
	testscript.Main(m, map[string]func(){
		"tcptrace": func() {
			os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
		},
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    exits,
			"sentence": sentence,
			"deaf":     deaf,
		},
		Setup: func(env *testscript.Env) error {
			recording, err := os.ReadFile("testdata/session-silence.json.golden")
			if err != nil {
				return err
			}
			env.Setenv("TZ", "UTC")
			lines := bytes.SplitAfter(recording, []byte("\n"))
			cut := slices.Concat(lines[0], lines[1], lines[2], lines[3], lines[4][:100])
			return errors.Join(
				os.WriteFile(env.WorkDir+"/silence.json", recording, 0o644),
				os.WriteFile(env.WorkDir+"/cut.json", cut, 0o644),
			)
		},
	})
}

// exits runs a command that must exit with the status that precedes it, and keeps its output in the files out and err.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	runErr := ts.Exec(args[1], args[2:]...)
	status := 0
	if exit, ok := runErr.(*exec.ExitError); ok {
		status = exit.ExitCode()
	} else {
		ts.Check(runErr)
	}
	ts.Check(os.WriteFile(ts.MkAbs("out"), []byte(ts.ReadFile("stdout")), 0o644))
	ts.Check(os.WriteFile(ts.MkAbs("err"), []byte(ts.ReadFile("stderr")), 0o644))
	if status != want {
		ts.Fatalf("%s exited %d; want %d", strings.Join(args[1:], " "), status, want)
	}
}

// sentence is a command line that is wrong: it must exit 2 and say why in this one line, and nothing else.
func sentence(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: sentence WORDS COMMAND ARG...")
	}
	exits(ts, false, append([]string{"2"}, args[1:]...))
	if out := ts.ReadFile("out"); out != "" {
		ts.Fatalf("standard output has %q", out)
	}
	if got, want := ts.ReadFile("err"), "tcptrace: "+args[0]+"\n"; got != want {
		ts.Fatalf("it says %q; want %q", got, want)
	}
}

// deaf runs a command whose reader of standard output has gone away before it began. It must exit with the status
// that precedes it, and say nothing.
func deaf(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: deaf STATUS COMMAND ARG...")
	}
	reader, writer, err := os.Pipe()
	ts.Check(err)
	ts.Check(reader.Close())
	defer writer.Close()
	path, err := exec.LookPath(args[1])
	ts.Check(err)
	var stderr strings.Builder
	cmd := exec.Command(path, args[2:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = ts.Getenv("WORK"), writer, &stderr
	err = cmd.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		ts.Check(err)
	}
	if got := fmt.Sprint(cmd.ProcessState.ExitCode()); got != args[0] || stderr.Len() != 0 {
		ts.Fatalf("it exited %s (%v) and said %q; want %s and nothing", got, cmd.ProcessState, stderr.String(), args[0])
	}
}

func TestFullDiskIsReported(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	var stderr strings.Builder
	status := run(t.Context(), []string{"version"}, strings.NewReader(""), full, &stderr)
	if status != exitNoTrace || stderr.String() != "tcptrace: write standard output: no space left on device\n" {
		t.Errorf("exit status %d, %q", status, stderr.String())
	}
}

func TestEveryHelpEndsWithExamples(t *testing.T) {
	root := newRootCommand(&app{stdout: newOutput(io.Discard, func() {})})
	commands := append(root.Commands(), root)
	for len(commands) > 0 {
		cmd := commands[0]
		commands = append(commands[1:], cmd.Commands()...)
		if cmd.Hidden || cmd.Name() == "help" || cmd.Name() == "completion" {
			continue
		}
		var out, stderr strings.Builder
		args := append(strings.Fields(cmd.CommandPath())[1:], "--help")
		if status := run(t.Context(), args, strings.NewReader(""), &out, &stderr); status != exitOK || stderr.Len() != 0 {
			t.Errorf("%v: exit status %d, %q", args, status, stderr.String())
		}
		_, examples, found := strings.Cut(out.String(), "\nExamples:\n")
		if !found || !strings.Contains(examples, "tcptrace ") || strings.Contains(examples, "\nFlags:") {
			t.Errorf("%v does not end with examples:\n%s", args, out.String())
		}
	}
}
