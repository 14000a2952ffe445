package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// measurement is what a run took.
type measurement struct {
	Wall, CPU time.Duration
	RSS       int64 // KiB, the most at a time
	found     int   // targets that answered; -1: it does not say
}

// measuring, as the first argument, has this program run another and write what it took to file descriptor 3.
//
// That is a process of its own because the kernel counts as a program's memory what the process had that executed it
// (exec_mmap, fs/exec.c): a small one stands between the benchmark, which has built a network, and what is measured.
const measuring = "measure"

func measure(args []string) (status int) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	began := time.Now()
	err := cmd.Run()
	wall := time.Since(began)
	exit, failed := errors.AsType[*exec.ExitError](err)
	if failed && exit.ExitCode() == 1 { // not all targets answer
		err = nil
	}
	if err == nil {
		usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		m := measurement{Wall: wall, CPU: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), RSS: usage.Maxrss}
		err = json.NewEncoder(os.NewFile(3, "result")).Encode(m)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
