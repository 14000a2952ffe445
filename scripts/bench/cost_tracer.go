package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// running is a tracer at work. What it prints is read and counted, as a pipeline would.
type running struct {
	cmd      *exec.Cmd
	attached time.Duration // from its start to its first line
	lines    atomic.Int64
	read     chan struct{} // closed at the end of its output
	last     []byte        // of its output, once read is closed
	stderr   bytes.Buffer
}

// startTracer starts a tracer and waits until it says something: its first line, which says that its hooks are attached,
// or, where it has none, that of a connection which is made until it is seen.
func startTracer(ctx context.Context, args []string) (*running, error) {
	r := &running{cmd: exec.CommandContext(ctx, args[0], args[1:]...), read: make(chan struct{})}
	r.cmd.Stderr = &r.stderr
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	seen := make(chan struct{})
	poked := make(chan struct{})
	go func() {
		defer close(poked)
		if !slices.Contains(args, "json") {
			pokeUntil(seen)
		}
	}()
	defer func() { close(seen); <-poked }()
	lines := bufio.NewReaderSize(out, 1<<20)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return nil, errors.Join(err, r.cmd.Wait(), errors.New(strings.TrimSpace(r.stderr.String())))
		}
		if !strings.HasPrefix(line, "Attaching") { // bpftrace's, before it does
			break
		}
	}
	r.attached = time.Since(began)
	go r.count(lines)
	return r, nil
}

// pokeUntil makes connections to this process until done is closed.
func pokeUntil(done <-chan struct{}) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return
	}
	defer listener.Close()
	for {
		select {
		case <-done:
			return
		case <-time.After(20 * time.Millisecond):
		}
		if conn, err := net.Dial("tcp4", listener.Addr().String()); err == nil {
			conn.Close()
		}
	}
}

// count reads the output to its end and keeps the end of it.
func (r *running) count(out io.Reader) {
	defer close(r.read)
	buffer := make([]byte, 1<<20)
	for {
		n, err := out.Read(buffer)
		r.lines.Add(int64(bytes.Count(buffer[:n], []byte{'\n'})))
		r.keep(buffer[:n])
		if err != nil {
			return
		}
	}
}

const kept = 128 << 10 // more than a summary is long

func (r *running) keep(more []byte) {
	r.last = append(r.last, more[max(0, len(more)-kept):]...)
	r.last = append(r.last[:0], r.last[max(0, len(r.last)-kept):]...)
}

// rest waits until the tracer has nothing more to do: for a while it takes no time and says nothing.
func (r *running) rest() {
	const quiet, step = 6, 50 * time.Millisecond
	lines, used := r.lines.Load(), processTime(r.cmd.Process.Pid)
	for still := 0; still < quiet; still++ {
		time.Sleep(step)
		moreLines, more := r.lines.Load(), processTime(r.cmd.Process.Pid)
		if moreLines != lines || more-used > step/20 {
			still = -1
		}
		lines, used = moreLines, more
	}
}

// memory is what of the tracer is in memory: its own pages, and those that it shares with the kernel, the ring.
func (r *running) memory() (own, shared int64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	return kib(status, "RssAnon"), kib(status, "RssFile") + kib(status, "RssShmem"), nil
}

// kib reads a line of /proc/PID/status, in bytes.
func kib(status []byte, key string) int64 {
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		if name == key {
			n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return n << 10
		}
	}
	return 0
}

// stop ends the tracer as ^C does, and says how many events it lost.
func (r *running) stop() (lost int64, err error) {
	if err := r.cmd.Process.Signal(syscall.SIGINT); err != nil {
		return 0, err
	}
	select {
	case <-r.read:
	case <-time.After(time.Second):
		// bpftrace 0.17 may miss a signal that comes as it begins to wait, and sees that it had one at the next event.
		pokeUntil(r.read)
	}
	<-r.read
	err = r.cmd.Wait()
	exit, failed := errors.AsType[*exec.ExitError](err)
	if failed && (exit.ExitCode() == 130 || exit.ExitCode() == 1) { // interrupted
		err = nil
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %s", err, strings.TrimSpace(r.stderr.String()))
	}
	return lostEvents(string(r.last) + r.stderr.String()), nil
}

// losses is how either tracer says at the end how much it lost.
var losses = regexp.MustCompile(`"lost":([0-9]+)|Lost ([0-9]+) events`)

func lostEvents(said string) int64 {
	var all int64
	for _, match := range losses.FindAllStringSubmatch(said, -1) {
		n, _ := strconv.ParseInt(match[1]+match[2], 10, 64)
		all += n
	}
	return all
}
