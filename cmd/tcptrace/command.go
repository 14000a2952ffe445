package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"tcptrace/tracer"
)

// The exit statuses of env(1), which `watch -- CMD` has when it is not CMD's own.
const (
	exitOurs          = 125 // tcptrace itself failed
	exitNotExecutable = 126
	exitNotFound      = 127
	exitBySignal      = 128 // plus the signal's number
)

// runWith watches a command and what it starts.
func (c *watchCommand) runWith(ctx context.Context, a *app, opts tracer.Options, rec *recording, args []string) error {
	path, err := lookUp(args[0])
	if err != nil {
		return err
	}
	child, err := startHeld(a, path, args)
	if err != nil {
		return &exitError{status: exitOurs, err: err}
	}
	defer child.end(0)
	opts.FollowForks, opts.NewOnly = true, true
	tr, err := openTracer(&c.kernel, opts)
	if err != nil {
		return &exitError{status: exitOurs, err: err}
	}
	defer tr.Close()
	if err := tr.FollowTask(child.pid()); err != nil {
		return &exitError{status: exitOurs, err: err}
	}
	return c.trace.within(ctx, func(ctx context.Context, interrupted func() bool) error {
		// The trace goes on until the command has ended: what it does about its end is part of the story.
		defer context.AfterFunc(ctx, func() {
			if interrupted() {
				child.end(patienceAfterInterrupt)
			} else {
				child.end(0)
			}
		})()
		child.release()
		if err := c.watch(context.WithoutCancel(ctx), a, tr, rec, interrupted, child); err != nil {
			return &exitError{status: exitOurs, err: err}
		}
		return exitStatus(child.status())
	})
}

// lookUp finds a command as a shell does, and tells one that is not there from one that may not run.
func lookUp(name string) (string, error) {
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return path, nil
	case errors.Is(err, fs.ErrPermission):
		return "", &exitError{status: exitNotExecutable, err: fmt.Errorf("%s may not be executed", name)}
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return "", &exitError{status: exitNotFound, err: fmt.Errorf("there is no command %s", name)}
	}
	return "", &exitError{status: exitNotExecutable, err: fmt.Errorf("%s cannot be executed: %w", name, withoutPath(err))}
}

// heldName is how this program calls itself to be the child that waits until the trace is there, and then becomes the
// command.
const heldName = "run-when-traced"

// held is a child process that runs nothing of the command yet.
type held struct {
	process *os.Process
	gate    io.WriteCloser
	ended   chan struct{}
	state   *os.ProcessState // once ended

	tellEnd sync.Once
	endSeen time.Time // when over first saw it
}

// startHeld starts the child. It dies with us, however we die.
func startHeld(a *app, path string, args []string) (*held, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	gateReader, gate, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	defer gateReader.Close()
	cmd := exec.Command(self, append([]string{heldName, path}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.stdin, a.stdout.file, a.stderr
	cmd.ExtraFiles = []*os.File{gateReader}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}

	h := &held{gate: gate, ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The signal at a parent's death is sent when its thread dies: this one lives until the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		h.process = cmd.Process
		started <- err
		if err == nil {
			_ = cmd.Wait() // what it says is in the state
			h.state = cmd.ProcessState
			close(h.ended)
		}
	}()
	if err := <-started; err != nil {
		gate.Close()
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	return h, nil
}

func (h *held) pid() int { return h.process.Pid }

// release lets the child become the command.
func (h *held) release() {
	_, _ = h.gate.Write([]byte{1}) // a child that is gone has ended
	h.gate.Close()
}

// How long a command has to end of itself after ^C, which a terminal sends it too, and then after SIGTERM.
const (
	patienceAfterInterrupt = time.Second
	patienceAfterTerm      = 3 * time.Second
)

// end makes sure that the child has ended: it waits that long for it to do so of itself, and then signals it. A child
// that was never released ends at once.
func (h *held) end(patience time.Duration) {
	h.gate.Close()
	for _, next := range []struct {
		patience time.Duration
		signal   syscall.Signal
	}{{patience, syscall.SIGTERM}, {patienceAfterTerm, syscall.SIGKILL}} {
		select {
		case <-h.ended:
			return
		case <-time.After(next.patience):
			_ = h.process.Signal(next.signal) // it has ended when it cannot be signalled
		}
	}
	<-h.ended
}

// lastWords is how long connections that are about to end have for it, when the command that made them has ended.
const lastWords = 250 * time.Millisecond

// over says whether the child's story is told: it has ended, and so have its connections, or they have had their time.
// Without a child it never is. f is woken when that may have changed.
func (h *held) over(f *feed, s *session) bool {
	if h == nil {
		return false
	}
	h.tellEnd.Do(func() {
		go func() {
			<-h.ended
			f.wake()
		}()
	})
	select {
	case <-h.ended:
	default:
		return false
	}
	if h.endSeen.IsZero() {
		h.endSeen = time.Now()
	}
	return len(s.tracker.OpenConnections()) == 0 || time.Since(h.endSeen) > lastWords
}

// status is the exit status that env(1) would have, once the child has ended.
func (h *held) status() int {
	wait, ok := h.state.Sys().(syscall.WaitStatus)
	if ok && wait.Signaled() {
		return exitBySignal + int(wait.Signal())
	}
	return h.state.ExitCode()
}

// newHeldCommand is the child's side: it waits at the gate, descriptor 3, and becomes the command.
func newHeldCommand() *cobra.Command {
	return &cobra.Command{
		Use:                heldName,
		Hidden:             true,
		DisableFlagParsing: true,
		Args:               cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			// What became of the parent is told to a thread, and exec keeps only the one that calls it.
			runtime.LockOSThread()
			if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
				return &exitError{status: exitOurs, err: fmt.Errorf("end with tcptrace: %w", err)}
			}
			gate := os.NewFile(3, "gate")
			var word [1]byte
			if _, err := gate.Read(word[:]); err != nil {
				return exitStatus(exitOurs) // the trace could not be had: our parent says why
			}
			gate.Close()
			path, argv := args[0], args[1:]
			err := syscall.Exec(path, argv, os.Environ())
			return &exitError{status: exitNotExecutable, err: fmt.Errorf("%s cannot be executed: %w", argv[0], err)}
		},
	}
}
