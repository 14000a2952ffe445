package main

import (
	"errors"
	"fmt"
	"io"
)

// The exit statuses that users are promised.
const (
	exitOK      = 0
	exitFailed  = 1 // something probed failed
	exitUsage   = 2 // wrong usage
	exitNoTrace = 3 // could not trace, or could not write what was traced
)

// exitError is an error that decides the exit status. Without err there is nothing left to say: the output has
// said it.
type exitError struct {
	status int
	err    error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usageErrorf is for what the user can put right by typing something else: one sentence, status 2.
func usageErrorf(format string, values ...any) error {
	return &exitError{status: exitUsage, err: fmt.Errorf(format, values...)}
}

// noTraceErrorf is for what stands between the user and a trace: one sentence that says what to do, status 3.
func noTraceErrorf(format string, values ...any) error {
	return &exitError{status: exitNoTrace, err: fmt.Errorf(format, values...)}
}

// exitStatus ends the command with that status and without another word; 0 is no error.
func exitStatus(status int) error {
	if status == exitOK {
		return nil
	}
	return &exitError{status: status}
}

// report writes err to stderr, unless it has nothing to say, and returns the exit status. An error that carries
// no status is something that went wrong in tracing.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	exit, ok := errors.AsType[*exitError](err)
	if !ok {
		exit = &exitError{status: exitNoTrace}
	}
	if !ok || exit.err != nil {
		fmt.Fprintf(stderr, "tcptrace: %s\n", escape(err.Error()))
	}
	return exit.status
}
