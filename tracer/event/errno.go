package event

import (
	"fmt"
	"strconv"
	"strings"
)

// Errno is a Linux error number, positive as in userspace; 0 is no error. Its numbers are those of the generic
// ABI (include/uapi/asm-generic/errno.h), which amd64 and arm64 share.
type Errno uint16

// The errors that TCP gives.
const (
	EPERM         Errno = 1
	ENOENT        Errno = 2
	EINTR         Errno = 4
	EIO           Errno = 5
	EBADF         Errno = 9
	EAGAIN        Errno = 11
	ENOMEM        Errno = 12
	EACCES        Errno = 13
	EFAULT        Errno = 14
	EBUSY         Errno = 16
	ENODEV        Errno = 19
	EINVAL        Errno = 22
	ENFILE        Errno = 23
	EMFILE        Errno = 24
	EPIPE         Errno = 32
	ENONET        Errno = 64
	EPROTO        Errno = 71
	EMSGSIZE      Errno = 90
	ENOPROTOOPT   Errno = 92
	EOPNOTSUPP    Errno = 95
	EAFNOSUPPORT  Errno = 97
	EADDRINUSE    Errno = 98
	EADDRNOTAVAIL Errno = 99
	ENETDOWN      Errno = 100
	ENETUNREACH   Errno = 101
	ECONNABORTED  Errno = 103
	ECONNRESET    Errno = 104
	ENOBUFS       Errno = 105
	EISCONN       Errno = 106
	ENOTCONN      Errno = 107
	ETIMEDOUT     Errno = 110
	ECONNREFUSED  Errno = 111
	EHOSTDOWN     Errno = 112
	EHOSTUNREACH  Errno = 113
	EALREADY      Errno = 114
	EINPROGRESS   Errno = 115
	ECANCELED     Errno = 125
	EKEYREJECTED  Errno = 129
	// ERESTARTSYS is internal to the kernel: the syscall was interrupted by a signal and may be restarted.
	ERESTARTSYS Errno = 512
)

var errnoNames = map[Errno]string{
	EPERM: "EPERM", ENOENT: "ENOENT", EINTR: "EINTR", EIO: "EIO", EBADF: "EBADF", EAGAIN: "EAGAIN", ENOMEM: "ENOMEM",
	EACCES: "EACCES", EFAULT: "EFAULT", EBUSY: "EBUSY", ENODEV: "ENODEV", EINVAL: "EINVAL", ENFILE: "ENFILE",
	EMFILE: "EMFILE", EPIPE: "EPIPE", ENONET: "ENONET", EPROTO: "EPROTO", EMSGSIZE: "EMSGSIZE",
	ENOPROTOOPT: "ENOPROTOOPT", EOPNOTSUPP: "EOPNOTSUPP", EAFNOSUPPORT: "EAFNOSUPPORT", EADDRINUSE: "EADDRINUSE",
	EADDRNOTAVAIL: "EADDRNOTAVAIL", ENETDOWN: "ENETDOWN", ENETUNREACH: "ENETUNREACH", ECONNABORTED: "ECONNABORTED",
	ECONNRESET: "ECONNRESET", ENOBUFS: "ENOBUFS", EISCONN: "EISCONN", ENOTCONN: "ENOTCONN", ETIMEDOUT: "ETIMEDOUT",
	ECONNREFUSED: "ECONNREFUSED", EHOSTDOWN: "EHOSTDOWN", EHOSTUNREACH: "EHOSTUNREACH", EALREADY: "EALREADY",
	EINPROGRESS: "EINPROGRESS", ECANCELED: "ECANCELED", EKEYREJECTED: "EKEYREJECTED", ERESTARTSYS: "ERESTARTSYS",
}

// String is the symbolic name, such as ETIMEDOUT; a number that has none here is written E<number>, and 0 is
// empty.
func (e Errno) String() string {
	if e == 0 {
		return ""
	}
	if name, ok := errnoNames[e]; ok {
		return name
	}
	return "E" + strconv.Itoa(int(e))
}

// ParseErrno is the inverse of [Errno.String].
func ParseErrno(name string) (Errno, error) {
	if name == "" {
		return 0, nil
	}
	for e, n := range errnoNames {
		if n == name {
			return e, nil
		}
	}
	if digits, ok := strings.CutPrefix(name, "E"); ok {
		if n, err := strconv.ParseUint(digits, 10, 16); err == nil {
			return Errno(n), nil
		}
	}
	return 0, fmt.Errorf("no errno is called %q", name)
}
