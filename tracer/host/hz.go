package host

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoKernelConfig says that the kernel's configuration is nowhere to be read: CONFIG_IKCONFIG_PROC is off, and
// the distribution keeps none in /boot.
var ErrNoKernelConfig = errors.New("no kernel configuration in /proc/config.gz or /boot")

// HZ is how many ticks a second the running kernel's timers have (CONFIG_HZ), and 0 with [ErrNoKernelConfig] or
// another error where that cannot be known.
func HZ() (int, error) {
	config, err := openKernelConfig()
	if err != nil {
		return 0, err
	}
	defer config.Close()
	return configHZ(config)
}

func openKernelConfig() (io.ReadCloser, error) {
	if f, err := os.Open("/proc/config.gz"); err == nil {
		return gunzip(f)
	}
	release, err := Release()
	if err != nil {
		return nil, err
	}
	f, err := os.Open("/boot/config-" + release)
	if err != nil {
		return nil, ErrNoKernelConfig
	}
	return f, nil
}

// gunzip reads f decompressed, and closes it with itself.
func gunzip(f io.ReadCloser) (io.ReadCloser, error) {
	z, err := gzip.NewReader(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("read the kernel configuration: %w", err)
	}
	return struct {
		io.Reader
		io.Closer
	}{z, f}, nil
}

// configHZ finds CONFIG_HZ in a kernel configuration.
func configHZ(config io.Reader) (int, error) {
	lines := bufio.NewScanner(config)
	for lines.Scan() {
		value, ok := strings.CutPrefix(lines.Text(), "CONFIG_HZ=")
		if !ok {
			continue
		}
		hz, err := strconv.Atoi(value)
		if err != nil || hz <= 0 {
			return 0, fmt.Errorf("the kernel configuration says CONFIG_HZ=%s", value)
		}
		return hz, nil
	}
	if err := lines.Err(); err != nil {
		return 0, fmt.Errorf("read the kernel configuration: %w", err)
	}
	return 0, errors.New("the kernel configuration does not say CONFIG_HZ")
}

// Release is the running kernel's release, as uname -r has it.
func Release() (string, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "", fmt.Errorf("ask for the kernel's release: %w", err)
	}
	release, _, _ := bytes.Cut(name.Release[:], []byte{0})
	return string(release), nil
}
