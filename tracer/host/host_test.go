package host

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
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

func TestConfigHZ(t *testing.T) {
	tests := []struct {
		name, config string
		want         int
	}{
		{"usual", "CONFIG_HZ_250=y\n# CONFIG_HZ_1000 is not set\nCONFIG_HZ=250\nCONFIG_SCHED_HRTICK=y\n", 250},
		{"last line without its end", "CONFIG_HZ=1000", 1000},
		{"not there", "CONFIG_NET=y\n", 0},
		{"no number", "CONFIG_HZ=fast\n", 0},
		{"not positive", "CONFIG_HZ=0\n", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			hz, err := configHZ(strings.NewReader(test.config))
			if hz != test.want || (err == nil) != (test.want != 0) {
				t.Errorf("configHZ = %d, %v; want %d", hz, err, test.want)
			}
		})
	}
}

func TestConfigIsReadCompressed(t *testing.T) {
	var file bytes.Buffer
	z := gzip.NewWriter(&file)
	io.WriteString(z, "CONFIG_HZ=300\n")
	z.Close()
	config, err := gunzip(io.NopCloser(&file))
	if err != nil {
		t.Fatal(err)
	}
	if hz, err := configHZ(config); hz != 300 || err != nil {
		t.Errorf("configHZ = %d, %v; want 300", hz, err)
	}
	if _, err := gunzip(io.NopCloser(strings.NewReader("CONFIG_HZ=300\n"))); err == nil {
		t.Error("plain text passed as compressed")
	}
}

type deniedFS struct{}

func (deniedFS) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
}
