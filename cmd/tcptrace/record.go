package main

import (
	"errors"
	"os"
	"syscall"
)

// recording is the file of --record, which gets the whole stream whatever is printed.
type recording struct {
	file *os.File
	out  *output
}

// createRecording makes the file, or empties the one that is there.
func createRecording(name string) (*recording, error) {
	file, err := os.Create(name)
	if err != nil {
		return nil, usageErrorf("--record %q: %w", name, withoutPath(err))
	}
	// An error is kept by out until Close: a full disk is no reason to end a trace that is also being printed.
	return &recording{file: file, out: newOutput(file, func() {})}, nil
}

// sink is what writes to the recording; context says whether to keep where hooks ran.
func (r *recording) sink(context bool) sink { return newJSONRenderer(r.out, context) }

// Close brings the recording to the disk. Its error says that the recording has not all of the stream.
func (r *recording) Close() error {
	err := errors.Join(r.out.finish(), flushToDisk(r.file), r.file.Close())
	if err != nil {
		return noTraceErrorf("the recording %q is not complete: %w", r.file.Name(), withoutPath(err))
	}
	return nil
}

// flushToDisk brings a file to the disk. Pipes and terminals cannot be, and need not.
func flushToDisk(file *os.File) error {
	err := file.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}

// withoutPath is err without the name of the file, where the sentence has it already.
func withoutPath(err error) error {
	if path, ok := errors.AsType[*os.PathError](err); ok {
		return path.Err
	}
	return err
}
