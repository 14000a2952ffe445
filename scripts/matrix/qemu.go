package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// qemu is an unpacked emulator, with the libraries and tools that this machine has not got.
type qemu struct {
	root    string
	version string
}

// fetchQEMU takes the backports' QEMU 10: the 7.2 of Debian 12 crashes guests under TCG.
func fetchQEMU(ctx context.Context, cache string) (*qemu, error) {
	q := &qemu{root: filepath.Join(cache, "qemu")}
	// What was added last to the tools tells a cache that has them all.
	if _, err := os.Stat(filepath.Join(q.root, "usr/bin/qemu-system-aarch64")); err != nil {
		if err := q.fetch(ctx, cache); err != nil {
			return nil, fmt.Errorf("fetch QEMU: %w", err)
		}
	}
	out, err := output(q.tool(ctx, "qemu-system-x86_64", "--version"))
	if err != nil {
		return nil, err
	}
	first, _, _ := strings.Cut(string(out), "\n")
	q.version = strings.TrimPrefix(first, "QEMU emulator version ")
	return q, nil
}

func (q *qemu) fetch(ctx context.Context, cache string) error {
	m, err := findMirror(ctx)
	if err != nil {
		return err
	}
	backports := m.codename + "-backports"
	a, err := newApt(filepath.Join(cache, "apt-qemu"), m, m.codename, m.codename+"-updates", m.codename+"-security", backports)
	if err != nil {
		return err
	}
	complaint := a.update(ctx)
	fresh := q.root + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if err := os.MkdirAll(fresh, 0o755); err != nil {
		return err
	}
	// seabios is the guest's firmware; xz unpacks modules, zstd and lz4 kernels.
	if err := a.downloadWithDependencies(ctx, fresh, backports, "qemu-system-x86", "seabios", "qemu-system-arm", "xz-utils", "zstd", "lz4"); err != nil {
		if complaint != nil {
			return fmt.Errorf("%w (before that: %w)", err, complaint)
		}
		return err
	}
	if err := os.RemoveAll(q.root); err != nil {
		return err
	}
	return os.Rename(fresh, q.root)
}

// tool is a program of the unpacked packages.
func (q *qemu) tool(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(q.root, "usr/bin", name), args...)
	libraries := []string{filepath.Join(q.root, "usr/lib/x86_64-linux-gnu"), filepath.Join(q.root, "lib/x86_64-linux-gnu")}
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(libraries, ":"),
		"QEMU_MODULE_DIR="+filepath.Join(libraries[0], "qemu"))
	return cmd
}

// A machine is what QEMU is to be.
type machine struct {
	architecture      string
	kernel, initramfs string
	console, results  string // files for what the kernel and the guest's init say
	cpus, megabytes   int
	// kvm asks for real virtualisation. It cannot be found out: inside another virtual machine /dev/kvm may be there and
	// guests hang in it.
	kvm bool
	// countsInstructions has each instruction take a nanosecond, by all the machine's clocks, and idle time none.
	countsInstructions bool
}

// boards are what is emulated of each architecture.
var boards = map[string]struct{ emulator, board, cpu, console string }{
	// Told that it copies strings fast, a kernel clears and copies memory by instructions that are emulated byte by byte. Wide
	// registers and ciphers are emulated by calls, and the former are saved at each switch of threads: a tenth of the time.
	amd64: {"qemu-system-x86_64", "pc", "max,-erms,-fsrm,-fzrm,-fsrs,-avx,-avx2,-xsave,-aes,-pclmulqdq", "ttyS0"},
	// Signing pointers as real hardware does would take most of the time.
	arm64: {"qemu-system-aarch64", "virt", "max,pauth-impdef=on", "ttyAMA0"},
}

// kernelOptions make kernels fast under emulation: nothing there speculates; one level of page tables less is less to walk; and a
// kernel that finds a second CPU of this vendor believes their counters to differ, and would ask an emulated HPET for the
// time, which both CPUs then wait for.
const kernelOptions = "panic=-1 quiet loglevel=4 mitigations=off no5lvl tsc=reliable"

// boot is the command that runs a machine until its kernel reboots or panics. Its own exit status says nothing.
func (q *qemu) boot(ctx context.Context, m machine) *exec.Cmd {
	accelerator := "tcg,thread=multi,tb-size=256"
	if m.kvm && m.architecture == runtime.GOARCH {
		accelerator = "kvm"
	}
	if m.countsInstructions {
		accelerator = "tcg,thread=single,tb-size=256"
	}
	b := boards[m.architecture]
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-M", b.board, "-cpu", b.cpu, "-accel", accelerator,
		"-L", filepath.Join(q.root, "usr/share/qemu"), "-L", filepath.Join(q.root, "usr/share/seabios"),
		"-smp", strconv.Itoa(m.cpus), "-m", strconv.Itoa(m.megabytes),
		"-kernel", m.kernel, "-initrd", m.initramfs,
		"-append", "console=" + b.console + " " + kernelOptions,
		"-serial", "file:" + m.console,
	}
	if m.architecture == arm64 { // that board has one serial line of its own
		args = append(args, "-chardev", "file,id=results,path="+m.results, "-device", "pci-serial,chardev=results")
	} else {
		args = append(args, "-serial", "file:"+m.results)
	}
	if m.countsInstructions {
		args = append(args, "-icount", "shift=0,sleep=off", "-rtc", "clock=vm")
	}
	return q.tool(ctx, b.emulator, args...)
}
