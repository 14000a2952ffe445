package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/term"
)

// errReaderGone ends the context of a command whose standard output is read by nobody any more.
var errReaderGone = errors.New("nobody reads standard output any more")

// output is standard output, or a recording: buffered, and quiet once its reader has gone away. Whoever writes to it
// need not look at errors; the first one is kept, and [output.finish] tells it.
type output struct {
	file io.Writer
	gone func()

	mu  sync.Mutex
	buf *bufio.Writer
	err error
}

// newOutput writes to w and calls gone, once, when writing failed.
func newOutput(w io.Writer, gone func()) *output {
	return &output{file: w, gone: gone, buf: bufio.NewWriterSize(w, 64<<10)}
}

// Write never fails: what comes after the first error is dropped.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		_, err := o.buf.Write(p)
		o.note(err)
	}
	return len(p), nil
}

// Flush lets the user see what has been written so far.
func (o *output) Flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.note(o.buf.Flush())
	}
}

func (o *output) note(err error) {
	if err == nil {
		return
	}
	o.err = err
	o.gone()
}

// finish flushes and returns the error that lost data. A reader that went away wanted no more, so that is none.
func (o *output) finish() error {
	o.Flush()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil || errors.Is(o.err, syscall.EPIPE) || errors.Is(o.err, io.ErrClosedPipe) {
		return nil
	}
	return o.err
}

// isTerminal says whether people look at this stream at once.
func (o *output) isTerminal() bool {
	f, ok := o.file.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
