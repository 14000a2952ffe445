package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A guest is one boot: a kernel and the steps to do on it.
type guest struct {
	image     kernelImage
	mechanism string // that is forced; empty: none
	cpus      int
	steps     []step
}

func (g guest) name() string { return g.image.line + "-" + cmp.Or(g.mechanism, g.image.architecture) }

// A boot is how a guest went.
type boot struct {
	guest   guest
	steps   []stepResult
	done    bool // it came to its end
	hung    bool // it was ended, as it took too long
	retried bool
	took    time.Duration
	busy    time.Duration // CPU time of the emulator
	dir     string        // of its files
	err     error         // it could not even be started
}

type stepResult struct {
	step   step
	output []byte
	ended  bool
	status int
	took   time.Duration
}

// A runner boots guests.
type runner struct {
	qemu     *qemu
	cache    string
	programs map[string]string // the archive of each architecture
	kvm      bool
	bench    bool          // its guests count instructions
	patience time.Duration // for one guest
}

// run boots a guest, once more when it died by itself before anything was found: emulators and kernels do that now and
// then. What failed is never tried again, for that would hide it, and neither is what hangs. The files of a guest that
// died are kept beside those of the second.
func (r *runner) run(ctx context.Context, g guest) boot {
	dir := filepath.Join(r.cache, "runs", g.name())
	b := r.boot(ctx, dir, g)
	if b.err == nil && !b.done && !b.hung && len(b.failures()) == 0 && ctx.Err() == nil {
		died := dir + ".died"
		if err := errors.Join(os.RemoveAll(died), os.Rename(dir, died)); err != nil {
			b.err = err
			return b
		}
		b = r.boot(ctx, dir, g)
		b.retried = true
	}
	return b
}

func (r *runner) boot(ctx context.Context, dir string, g guest) boot {
	b := boot{guest: g, dir: dir}
	start := time.Now()
	b.err = r.start(ctx, &b)
	b.took = time.Since(start)
	return b
}

func (r *runner) start(ctx context.Context, b *boot) error {
	if err := errors.Join(os.RemoveAll(b.dir), os.MkdirAll(b.dir, 0o755)); err != nil {
		return err
	}
	m := machine{architecture: b.guest.image.architecture, kernel: b.guest.image.vmlinuz, initramfs: filepath.Join(b.dir, "initramfs"), console: b.console(),
		results: filepath.Join(b.dir, "messages"), cpus: b.guest.cpus, megabytes: 1024, kvm: r.kvm, countsInstructions: r.bench}
	if err := r.packGuest(ctx, m.initramfs, b.guest); err != nil {
		return err
	}
	defer os.Remove(m.initramfs)
	ctx, cancel := context.WithTimeout(ctx, r.patience)
	defer cancel()
	cmd := r.qemu.boot(ctx, m)
	log, err := os.Create(filepath.Join(b.dir, "emulator"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	// Only what the guest says counts.
	runErr := runPromptly(cmd)
	b.hung = ctx.Err() != nil
	if state := cmd.ProcessState; state != nil {
		b.busy = state.UserTime() + state.SystemTime()
	}
	if err := b.read(m.results); err != nil {
		return errors.Join(err, runErr)
	}
	return b.keepOutputs()
}

// runPromptly has the emulator's main thread, which only hands a guest its interrupts, run before all others; those that it
// starts run like any. A guest that gets them late on a busy machine has a clock that goes on and jiffies that stand still:
// its timers would then fire early by the clock. Who may not ask for that does without.
//
// It dies with this process, however that ends.
func runPromptly(cmd *exec.Cmd) error {
	runtime.LockOSThread() // the kernel sends the signal when the thread ends that started it
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	_ = unix.SchedSetAttr(cmd.Process.Pid, &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1, Flags: unix.SCHED_FLAG_RESET_ON_FORK,
	}, 0)
	return cmd.Wait()
}

func (b *boot) console() string { return filepath.Join(b.dir, "console") }

func (b *boot) outputOf(i int) string {
	s := b.steps[i].step
	name := strings.ReplaceAll(s.Name, "/", "-")
	if s.Mechanism != "" {
		name += "-" + s.Mechanism
	}
	return filepath.Join(b.dir, name+".log")
}

// keepOutputs writes what each step said into a file of its own, for people to read.
func (b *boot) keepOutputs() error {
	var errs []error
	for i, s := range b.steps {
		errs = append(errs, os.WriteFile(b.outputOf(i), s.output, 0o644))
	}
	return errors.Join(errs...)
}

// packGuest puts modules, programs and the plan together.
func (r *runner) packGuest(ctx context.Context, initramfs string, g guest) error {
	modules, err := packModules(ctx, r.qemu, g.image)
	if err != nil {
		return fmt.Errorf("pack the modules of %s: %w", g.image.release, err)
	}
	planFile := initramfs + ".plan"
	defer os.Remove(planFile)
	if err := writePlan(planFile, plan{Steps: g.steps}); err != nil {
		return err
	}
	return concatenate(initramfs, modules, r.programs[g.image.architecture], planFile)
}

func writePlan(file string, p plan) error {
	content, err := json.Marshal(p)
	if err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	w := newCPIOWriter(f)
	w.file(planPath, false, content)
	return errors.Join(w.close(), f.Close())
}

// read takes the messages of a guest. A line that is cut off is the last of one that died.
func (b *boot) read(results string) error {
	f, err := os.Open(results)
	if err != nil {
		return err
	}
	defer f.Close()
	b.steps = make([]stepResult, len(b.guest.steps))
	for i, s := range b.guest.steps {
		b.steps[i].step = s
	}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var m message
		if json.Unmarshal(lines.Bytes(), &m) != nil || m.Step >= len(b.steps) {
			continue
		}
		b.done = b.done || m.AllDone
		s := &b.steps[m.Step]
		s.output = append(s.output, m.Text...)
		if m.Ended {
			s.ended, s.status, s.took = true, m.Status, m.Took
		}
	}
	return lines.Err()
}
