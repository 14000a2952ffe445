package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// A load is what is traced: a process of its own, so that the kernel counts its time, and on a CPU of its own.

// loadResult is what a load took.
type loadResult struct {
	Wall time.Duration `json:"wall"`
	CPU  time.Duration `json:"cpu"` // with the softirqs that run on top of it, which do both ends' work on loopback
}

const (
	loadPort    = 7400
	loadBacklog = 128
	// loadAddresses is over how many addresses of loopback the connections are spread: 28,000 ports each, which stay in
	// TIME_WAIT for a minute.
	loadAddresses = 250
)

// runLoad makes that many connections as fast as one CPU can, after each other, and writes what it took.
func runLoad(out io.Writer, connections, cpu int) error {
	runtime.LockOSThread()
	var only unix.CPUSet
	only.Set(cpu)
	if err := unix.SchedSetaffinity(0, &only); err != nil {
		return fmt.Errorf("stay on one CPU: %w", err)
	}
	listener, err := listenForLoad(loadPort + cpu)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer unix.Close(listener)
	wall, used := time.Now(), threadTime()
	for i := range connections {
		if err := converse(listener, loadPort+cpu, byte(1+i%loadAddresses)); err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
	}
	return json.NewEncoder(out).Encode(loadResult{Wall: time.Since(wall), CPU: threadTime() - used})
}

func listenForLoad(port int) (int, error) {
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return -1, err
	}
	err = errors.Join(unix.SetsockoptInt(listener, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.Bind(listener, &unix.SockaddrInet4{Port: port}), unix.Listen(listener, loadBacklog))
	if err != nil {
		unix.Close(listener)
	}
	return listener, err
}

// converse is one connection: connect, accept, a byte each way, and an orderly end that the client begins.
func converse(listener, port int, host byte) error {
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Connect(client, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, host}}); err != nil {
		return errors.Join(err, unix.Close(client))
	}
	server, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		return errors.Join(err, unix.Close(client))
	}
	err = errors.Join(pass(client, server), pass(server, client), unix.Close(client))
	return errors.Join(err, expectEnd(server), unix.Close(server))
}

// pass brings a byte from one end to the other.
func pass(from, to int) error {
	var b [1]byte
	if _, err := unix.Write(from, b[:]); err != nil {
		return err
	}
	_, err := unix.Read(to, b[:])
	return err
}

func expectEnd(fd int) error {
	n, err := unix.Read(fd, make([]byte, 1))
	if err == nil && n != 0 {
		err = errors.New("data after the end")
	}
	return err
}

// runCalls makes that many system calls that have nothing to do with sockets, and writes what they took.
func runCalls(out io.Writer, calls int) error {
	runtime.LockOSThread()
	wall, used := time.Now(), threadTime()
	for range calls {
		unix.Getppid()
	}
	return json.NewEncoder(out).Encode(loadResult{Wall: time.Since(wall), CPU: threadTime() - used})
}

// threadTime is the CPU time of this thread.
func threadTime() time.Duration { return clock(unix.CLOCK_THREAD_CPUTIME_ID) }

func clock(id int32) time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(id, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// processTime is the CPU time of all threads of another process: the clock that clock_getcpuclockid(3) tells.
func processTime(pid int) time.Duration {
	const scheduled = 2 // CPUCLOCK_SCHED
	return clock(int32(^pid<<3 | scheduled))
}
