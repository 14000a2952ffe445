package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// resultsDevice is the serial line that carries messages: the second of a PC, whose first is the kernel's console. An
// arm64 machine has its console on a line of another kind, so there the first of this kind is free.
func resultsDevice() string {
	if runtime.GOARCH == arm64 {
		return "/dev/ttyS0"
	}
	return "/dev/ttyS1"
}

// runInit is the guest's process 1. It makes the world that programs expect, and then leaves the work to a child: it
// has to reap whatever loses its parent.
func runInit() {
	if err := errors.Join(setUpWorld(), checkClock()); err != nil {
		fmt.Println("init:", err)
	} else if err := runWorker(); err != nil {
		fmt.Println("init:", err)
	}
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// guestMounts are the file systems that programs expect, in order.
var guestMounts = []struct{ kind, target string }{
	{"proc", "/proc"},
	{"sysfs", "/sys"},
	{"devtmpfs", "/dev"},
	{"devpts", "/dev/pts"},
	{"tmpfs", "/dev/shm"},
	{"tmpfs", "/tmp"},
	{"tmpfs", "/run"},
	{"cgroup2", "/sys/fs/cgroup"},
	{"bpf", "/sys/fs/bpf"},
	{"debugfs", "/sys/kernel/debug"},
	{"tracefs", "/sys/kernel/tracing"},
}

func setUpWorld() error {
	for _, m := range guestMounts {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.target, m.kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	// devtmpfs may be there already, and has no sticky bit to give to /tmp.
	if err := os.Chmod("/tmp", 0o777|os.ModeSticky); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/sys/kernel/modprobe", []byte("/sbin/modprobe"), 0); err != nil {
		return err
	}
	// What programs load by themselves, as nothing in the kernel asks for it: iptables does that.
	if status := runModprobe([]string{"ip_tables"}); status != 0 {
		fmt.Println("init: this kernel has no legacy tables, or has them built in")
	}
	if err := unix.Sethostname([]byte("guest")); err != nil {
		return err
	}
	if err := makeTUN(); err != nil {
		return err
	}
	return setLoopbackUp()
}

// makeTUN makes the device by which the tun driver is found before it is loaded.
func makeTUN() error {
	if err := os.MkdirAll("/dev/net", 0o755); err != nil {
		return err
	}
	err := unix.Mknod("/dev/net/tun", unix.S_IFCHR|0o666, int(unix.Mkdev(10, 200)))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make /dev/net/tun: %w", err)
	}
	return nil
}

func setLoopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifreq, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifreq.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifreq); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}

// runWorker starts the program anew, so that libraries which look at the world when they are initialised find it,
// and waits for it; meanwhile it reaps everything else.
func runWorker() error {
	console, err := os.OpenFile("/dev/console", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	worker, err := os.StartProcess("/init", []string{workerName}, &os.ProcAttr{
		Env:   []string{"PATH=/bin:/sbin", "HOME=/root", "TMPDIR=/tmp", "LANG=C.UTF-8"},
		Files: []*os.File{nil, console, console},
		Dir:   "/",
	})
	if err != nil {
		return err
	}
	for {
		pid, err := unix.Wait4(-1, nil, 0, nil)
		if pid == worker.Pid {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

const workerName = "matrix-worker"

// runSteps is the worker: it does what the plan says, whatever comes of it.
func runSteps() int {
	r, err := newReporter()
	if err != nil {
		fmt.Println("worker:", err)
		return 1
	}
	content, err := os.ReadFile(planPath)
	if err != nil {
		fmt.Println("worker:", err)
		return 1
	}
	var p plan
	if err := json.Unmarshal(content, &p); err != nil {
		fmt.Println("worker:", err)
		return 1
	}
	for i, s := range p.Steps {
		start := time.Now()
		status, err := s.run(stepOutput{r, i})
		if err != nil {
			r.say(message{Step: i, Text: fmt.Sprintf("\n%v\n", err)})
		}
		r.say(message{Step: i, Ended: true, Status: status, Took: time.Since(start)})
	}
	r.say(message{AllDone: true})
	r.close()
	return 0
}

// run gives the exit status. A program that runs out of time is first asked for its stacks.
func (s step) run(out io.Writer) (int, error) {
	cmd := exec.Command(s.Args[0], s.Args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.Dir, out, out
	cmd.Env = append(os.Environ(), s.Env...)
	// A child that outlives the program may not hold up the next step.
	cmd.WaitDelay = 2 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return -1, err
	}
	late := time.AfterFunc(s.Timeout, func() { cmd.Process.Signal(unix.SIGQUIT) })
	tooLate := time.AfterFunc(s.Timeout+5*time.Second, func() { unix.Kill(-cmd.Process.Pid, unix.SIGKILL) })
	err := cmd.Wait()
	tooLate.Stop()
	if !late.Stop() {
		return -1, fmt.Errorf("%s had not ended after %s", s.Name, s.Timeout)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return -1, err
	}
	if cmd.ProcessState.Exited() {
		return cmd.ProcessState.ExitCode(), nil
	}
	return -1, errors.New(cmd.ProcessState.String())
}

// A reporter sends messages to the host.
type reporter struct {
	mu  sync.Mutex
	out *os.File
}

func newReporter() (*reporter, error) {
	device := resultsDevice()
	out, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if err := makeRaw(int(out.Fd())); err != nil {
		return nil, fmt.Errorf("make %s raw: %w", device, err)
	}
	return &reporter{out: out}, nil
}

// makeRaw stops the terminal from changing what is written, as a serial line otherwise does.
func makeRaw(fd int) error {
	settings, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	settings.Oflag &^= unix.OPOST
	settings.Lflag &^= unix.ECHO | unix.ICANON | unix.ISIG
	settings.Iflag = 0
	return unix.IoctlSetTermios(fd, unix.TCSETS, settings)
}

func (r *reporter) say(m message) {
	line, err := json.Marshal(m)
	if err != nil {
		return // nothing in a message can be at fault
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out.Write(append(line, '\n'))
}

// close waits until the last byte is on its way: a reboot would drop it.
func (r *reporter) close() {
	unix.IoctlSetInt(int(r.out.Fd()), unix.TCSBRK, 1)
	r.out.Close()
}

// stepOutput is what a step's program writes to.
type stepOutput struct {
	reporter *reporter
	step     int
}

func (o stepOutput) Write(p []byte) (int, error) {
	o.reporter.say(message{Step: o.step, Text: string(p)})
	return len(p), nil
}
