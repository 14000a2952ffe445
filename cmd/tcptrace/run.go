package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// run is the whole command: it reads args as os.Args[1:] and returns the exit status. Data goes to stdout,
// everything else to stderr.
//
// SIGINT and SIGTERM end the context, so that a command can say what it knows so far; a second one kills the
// process. A reader of stdout that goes away (`tcptrace watch | head`) ends the context as well: the command stops
// cleanly, says nothing more, and its status is that of what happened so far.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	// Caught rather than ignored: an ignored signal would stay ignored in the programs that we start.
	brokenPipes := make(chan os.Signal, 1)
	signal.Notify(brokenPipes, syscall.SIGPIPE)
	defer signal.Stop(brokenPipes)

	a := &app{
		args:   args,
		stdin:  stdin,
		stdout: newOutput(stdout, func() { cancel(errReaderGone) }),
		stderr: stderr,
	}
	root := newRootCommand(a)
	root.SetArgs(args)
	root.SetOut(a.stdout)
	root.SetErr(stderr)
	status := report(stderr, root.ExecuteContext(ctx))
	if err := a.stdout.finish(); err != nil {
		lost := report(stderr, fmt.Errorf("write standard output: %w", withoutPath(err)))
		status = cmp.Or(status, lost)
	}
	return status
}

// app is what every command shares: the process's streams, and the words that started it.
type app struct {
	args   []string
	stdin  io.Reader
	stdout *output
	stderr io.Writer
}

// notice tells the user something that is not data.
func (a *app) notice(format string, values ...any) {
	fmt.Fprintf(a.stderr, "tcptrace: %s\n", escape(fmt.Sprintf(format, values...)))
}
