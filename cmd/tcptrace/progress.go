package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// progressEvery is how often a progress line changes of itself.
const progressEvery = time.Second

// progress is a line on a terminal that says how far a command is, and is gone in the end. It says nothing to what is no
// terminal.
type progress struct {
	out io.Writer // nil: no terminal
}

func newProgress(stderr io.Writer) progress {
	if f, ok := stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return progress{out: f}
	}
	return progress{}
}

// show replaces the line.
func (p progress) show(format string, values ...any) {
	if p.out != nil {
		fmt.Fprint(p.out, "\r"+escape(fmt.Sprintf(format, values...))+"\x1b[K")
	}
}

// clear makes room for something else.
func (p progress) clear() {
	if p.out != nil {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
