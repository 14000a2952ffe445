package host

import (
	"errors"
	"io/fs"
	"slices"
	"testing"
	"testing/fstest"
	"time"
)

func TestSysctlIsReadAsNumber(t *testing.T) {
	dir := fstest.MapFS{"tcp_syn_retries": {Data: []byte("6\n")}}
	n, err := readSysctl(dir, "tcp_syn_retries")
	if n != 6 || err != nil {
		t.Errorf("readSysctl = %d, %v; want 6", n, err)
	}
}

func TestSysctlMissingIsToldFromUnreadable(t *testing.T) {
	_, err := readSysctl(fstest.MapFS{}, "tcp_syn_linear_timeouts")
	if !errors.Is(err, ErrNoSysctl) {
		t.Errorf("missing sysctl: %v; want ErrNoSysctl", err)
	}
	_, err = readSysctl(deniedFS{}, "tcp_syn_retries")
	if errors.Is(err, ErrNoSysctl) || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("unreadable sysctl: %v; want ErrPermission alone", err)
	}
	if want := "read net.ipv4.tcp_syn_retries: permission denied"; err.Error() != want {
		t.Errorf("error %q; want %q", err, want)
	}
}

func TestSysctlOfSeveralNumbersIsRefused(t *testing.T) {
	dir := fstest.MapFS{"tcp_rmem": {Data: []byte("4096\t131072\t6291456\n")}}
	if n, err := readSysctl(dir, "tcp_rmem"); err == nil {
		t.Errorf("readSysctl = %d; want an error", n)
	}
}

func TestSysctlOfThisKernel(t *testing.T) {
	n, err := TCPSysctl("tcp_syn_retries")
	if err != nil || n < 1 || n > 127 {
		t.Errorf("TCPSysctl(tcp_syn_retries) = %d, %v; the kernel allows 1 to 127", n, err)
	}
}

func TestTicksPerSecondOfEveryHZ(t *testing.T) {
	for hz := 1; hz <= 1200; hz++ {
		tick := (time.Second + time.Duration(hz/2)) / time.Duration(hz) // TICK_NSEC
		if got, err := ticksPerSecond(tick); got != hz || err != nil {
			t.Errorf("a tick of %s: %d, %v; want %d", tick, got, err, hz)
		}
	}
}

func TestImpossibleTickIsRefused(t *testing.T) {
	for _, tick := range []time.Duration{-1, 0, 2 * time.Second} {
		if hz, err := ticksPerSecond(tick); err == nil {
			t.Errorf("a tick of %s: %d; want an error", tick, hz)
		}
	}
}

type deniedFS struct{}

func (deniedFS) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
}

func TestSysctlByItsWholeName(t *testing.T) {
	dir := fstest.MapFS{"net/core/netdev_budget": {Data: []byte("300\n")}, "net/ipv4/udp_mem": {Data: []byte("1\t2\t3\n")}}
	for name, want := range map[string][]int{"net.core.netdev_budget": {300}, "net.ipv4.udp_mem": {1, 2, 3}} {
		if got, err := readWholeSysctl(dir, name); !slices.Equal(got, want) || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	_, err := readWholeSysctl(dir, "net.core.dev_weight")
	if !errors.Is(err, ErrNoSysctl) || err.Error() != "read net.core.dev_weight: this kernel has no such sysctl" {
		t.Errorf("missing sysctl: %v", err)
	}
}
