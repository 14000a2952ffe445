package event

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestErrnosAreNamed(t *testing.T) {
	for e, want := range map[Errno]string{
		0: "", 1: "EPERM", 11: "EAGAIN", 41: "E41", 89: "EDESTADDRREQ", 95: "EOPNOTSUPP", 110: "ETIMEDOUT", 126: "ENOKEY", 135: "E135",
		512: "ERESTARTSYS", 600: "E600",
	} {
		if got := e.String(); got != want {
			t.Errorf("errno %d is %q, want %q", e, got, want)
		}
		if back, err := ParseErrno(want); back != e || err != nil {
			t.Errorf("parse %q: %d, %v, want %d", want, back, err, e)
		}
	}
	if e, err := ParseErrno("ENOSUCHTHING"); err == nil {
		t.Errorf("parse of what is none: %d, want an error", e)
	}
}

// The names are the library's, which knows two errors by their other names.
func TestErrnosAreThoseOfTheKernel(t *testing.T) {
	others := map[string]string{"ENOTSUP": "EOPNOTSUPP", "EFSCORRUPTED": "EUCLEAN"}
	for e := Errno(1); int(e) < len(errnoNames)+10; e++ {
		want := unix.ErrnoName(syscall.Errno(e))
		if other := others[want]; other != "" {
			want = other
		}
		if got := e.String(); want != "" && got != want {
			t.Errorf("errno %d is %q, want %q", e, got, want)
		}
	}
}
