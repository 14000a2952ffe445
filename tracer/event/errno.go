package event

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Errno is a Linux error number, positive as in userspace; 0 is no error. Its numbers are those of the generic
// ABI (include/uapi/asm-generic/errno.h), which amd64 and arm64 share.
type Errno uint16

// The errors that are spoken of here.
const (
	EPERM         Errno = 1
	EIO           Errno = 5
	EACCES        Errno = 13
	EBUSY         Errno = 16
	EINVAL        Errno = 22
	EPIPE         Errno = 32
	ENONET        Errno = 64
	EPROTO        Errno = 71
	EMSGSIZE      Errno = 90
	ENOPROTOOPT   Errno = 92
	EOPNOTSUPP    Errno = 95
	EADDRNOTAVAIL Errno = 99
	ENETUNREACH   Errno = 101
	ECONNABORTED  Errno = 103
	ECONNRESET    Errno = 104
	ENOBUFS       Errno = 105
	ETIMEDOUT     Errno = 110
	ECONNREFUSED  Errno = 111
	EHOSTDOWN     Errno = 112
	EHOSTUNREACH  Errno = 113
	EINPROGRESS   Errno = 115
	EKEYREJECTED  Errno = 129
	// ERESTARTSYS is internal to the kernel: the syscall was interrupted by a signal and may be restarted.
	ERESTARTSYS Errno = 512
)

// String is the symbolic name, such as ETIMEDOUT; a number that has none is written E<number>, and 0 is empty.
func (e Errno) String() string {
	switch e {
	case 0:
		return ""
	case EOPNOTSUPP: // has another name in the library
		return "EOPNOTSUPP"
	case ERESTARTSYS: // has none
		return "ERESTARTSYS"
	}
	if name := unix.ErrnoName(syscall.Errno(e)); name != "" {
		return name
	}
	return "E" + strconv.Itoa(int(e))
}

// ParseErrno is the inverse of [Errno.String].
func ParseErrno(name string) (Errno, error) {
	if name == "" {
		return 0, nil
	}
	if e, ok := errnosByName()[name]; ok {
		return e, nil
	}
	if digits, ok := strings.CutPrefix(name, "E"); ok {
		if n, err := strconv.ParseUint(digits, 10, 16); err == nil {
			return Errno(n), nil
		}
	}
	return 0, fmt.Errorf("no errno is called %q", name)
}

var errnosByName = sync.OnceValue(func() map[string]Errno {
	byName := make(map[string]Errno)
	for e := Errno(1); e <= ERESTARTSYS; e++ {
		byName[e.String()] = e
	}
	return byName
})
