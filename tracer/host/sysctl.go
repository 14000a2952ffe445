package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// ErrNoSysctl says that this kernel does not have the sysctl at all, as older ones lack tcp_syn_linear_timeouts. One
// that is there but cannot be read gives another error.
var ErrNoSysctl = errors.New("this kernel has no such sysctl")

// ipv4Sysctls is where TCP's sysctls are, those for IPv6 included. What lies there belongs to the network namespace
// of the thread that opens it.
const ipv4Sysctls = "/proc/sys/net/ipv4"

// TCPSysctl reads a whole number such as tcp_syn_retries of the network namespace of the calling thread: lock the
// thread there first, or do not care. The value has the sysctl's own unit.
func TCPSysctl(name string) (int, error) {
	return readSysctl(os.DirFS(ipv4Sysctls), name)
}

func readSysctl(dir fs.FS, name string) (int, error) {
	text, err := fs.ReadFile(dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, sysctlError(name, ErrNoSysctl)
	}
	if err != nil {
		return 0, sysctlError(name, withoutPath(err))
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, sysctlError(name, fmt.Errorf("%q is not a whole number", strings.TrimSpace(string(text))))
	}
	return n, nil
}

func sysctlError(name string, err error) error {
	return fmt.Errorf("read net.ipv4.%s: %w", name, err)
}

// withoutPath leaves out the file's name, which the sysctl's name has said already.
func withoutPath(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}

// TCPSysctls reads all the numbers of a sysctl such as tcp_rmem or ip_local_port_range, of the network namespace of the
// calling thread.
func TCPSysctls(name string) ([]int, error) { return readSysctls(os.DirFS(ipv4Sysctls), name) }

func readSysctls(dir fs.FS, name string) ([]int, error) {
	numbers, err := readNumbers(dir, name)
	if err != nil {
		return nil, sysctlError(name, err)
	}
	return numbers, nil
}

func readNumbers(dir fs.FS, name string) ([]int, error) {
	text, err := fs.ReadFile(dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoSysctl
	}
	if err != nil {
		return nil, withoutPath(err)
	}
	var numbers []int
	for field := range strings.FieldsSeq(string(text)) {
		n, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("%q is not a whole number", field)
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

// Sysctl reads all the numbers of a sysctl by its whole name, such as net.core.netdev_max_backlog. What belongs to a network
// namespace is that of the calling thread's; some of net.core are the host's, and there only in its first namespace.
func Sysctl(name string) ([]int, error) { return readWholeSysctl(os.DirFS("/proc/sys"), name) }

func readWholeSysctl(dir fs.FS, name string) ([]int, error) {
	numbers, err := readNumbers(dir, strings.ReplaceAll(name, ".", "/"))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return numbers, nil
}
