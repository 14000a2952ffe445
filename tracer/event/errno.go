package event

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
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

// errnoNames are all that applications may see (include/uapi/asm-generic/errno-base.h, errno.h).
var errnoNames = [...]string{
	1: "EPERM", 2: "ENOENT", 3: "ESRCH", 4: "EINTR", 5: "EIO", 6: "ENXIO", 7: "E2BIG", 8: "ENOEXEC", 9: "EBADF",
	10: "ECHILD", 11: "EAGAIN", 12: "ENOMEM", 13: "EACCES", 14: "EFAULT", 15: "ENOTBLK", 16: "EBUSY", 17: "EEXIST",
	18: "EXDEV", 19: "ENODEV", 20: "ENOTDIR", 21: "EISDIR", 22: "EINVAL", 23: "ENFILE", 24: "EMFILE", 25: "ENOTTY",
	26: "ETXTBSY", 27: "EFBIG", 28: "ENOSPC", 29: "ESPIPE", 30: "EROFS", 31: "EMLINK", 32: "EPIPE", 33: "EDOM",
	34: "ERANGE", 35: "EDEADLK", 36: "ENAMETOOLONG", 37: "ENOLCK", 38: "ENOSYS", 39: "ENOTEMPTY", 40: "ELOOP", 42: "ENOMSG",
	43: "EIDRM", 44: "ECHRNG", 45: "EL2NSYNC", 46: "EL3HLT", 47: "EL3RST", 48: "ELNRNG", 49: "EUNATCH", 50: "ENOCSI",
	51: "EL2HLT", 52: "EBADE", 53: "EBADR", 54: "EXFULL", 55: "ENOANO", 56: "EBADRQC", 57: "EBADSLT", 59: "EBFONT",
	60: "ENOSTR", 61: "ENODATA", 62: "ETIME", 63: "ENOSR", 64: "ENONET", 65: "ENOPKG", 66: "EREMOTE", 67: "ENOLINK",
	68: "EADV", 69: "ESRMNT", 70: "ECOMM", 71: "EPROTO", 72: "EMULTIHOP", 73: "EDOTDOT", 74: "EBADMSG", 75: "EOVERFLOW",
	76: "ENOTUNIQ", 77: "EBADFD", 78: "EREMCHG", 79: "ELIBACC", 80: "ELIBBAD", 81: "ELIBSCN", 82: "ELIBMAX", 83: "ELIBEXEC",
	84: "EILSEQ", 85: "ERESTART", 86: "ESTRPIPE", 87: "EUSERS", 88: "ENOTSOCK", 89: "EDESTADDRREQ", 90: "EMSGSIZE",
	91: "EPROTOTYPE", 92: "ENOPROTOOPT", 93: "EPROTONOSUPPORT", 94: "ESOCKTNOSUPPORT", 95: "EOPNOTSUPP", 96: "EPFNOSUPPORT",
	97: "EAFNOSUPPORT", 98: "EADDRINUSE", 99: "EADDRNOTAVAIL", 100: "ENETDOWN", 101: "ENETUNREACH", 102: "ENETRESET",
	103: "ECONNABORTED", 104: "ECONNRESET", 105: "ENOBUFS", 106: "EISCONN", 107: "ENOTCONN", 108: "ESHUTDOWN",
	109: "ETOOMANYREFS", 110: "ETIMEDOUT", 111: "ECONNREFUSED", 112: "EHOSTDOWN", 113: "EHOSTUNREACH", 114: "EALREADY",
	115: "EINPROGRESS", 116: "ESTALE", 117: "EUCLEAN", 118: "ENOTNAM", 119: "ENAVAIL", 120: "EISNAM", 121: "EREMOTEIO",
	122: "EDQUOT", 123: "ENOMEDIUM", 124: "EMEDIUMTYPE", 125: "ECANCELED", 126: "ENOKEY", 127: "EKEYEXPIRED",
	128: "EKEYREVOKED", 129: "EKEYREJECTED", 130: "EOWNERDEAD", 131: "ENOTRECOVERABLE", 132: "ERFKILL", 133: "EHWPOISON", 134: "EFTYPE",
}

// String is the symbolic name, such as ETIMEDOUT; a number that has none is written E<number>, and 0 is empty.
func (e Errno) String() string {
	switch {
	case e == 0:
		return ""
	case e == ERESTARTSYS:
		return "ERESTARTSYS"
	case int(e) < len(errnoNames) && errnoNames[e] != "":
		return errnoNames[e]
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
