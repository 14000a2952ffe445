package prober

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// namedNetNS is where ip-netns(8) keeps the namespaces that have names.
const namedNetNS = "/run/netns"

// errExited is the error of a [NetNS.Do] whose function ended its goroutine instead of returning.
var errExited = errors.New("the function in the network namespace did not return")

// NetNS is a handle of a network namespace, which stays alive as long as the handle is open. A nil *NetNS stands for
// the namespace that the process started in. The handle may be used by several goroutines, but not while it is closed.
type NetNS struct {
	file *os.File
	name string
}

// OpenNetNS opens a network namespace by its name in /run/netns, by the path of a namespace file, or by the PID of a
// process inside. What contains a slash is a path; a number is a PID, unless a namespace has that name. The caller
// closes the handle.
func OpenNetNS(ref string) (*NetNS, error) {
	switch {
	case ref == "":
		return nil, errors.New("a network namespace is named by its name, path or PID: it cannot be empty")
	case strings.ContainsRune(ref, '/'):
		return openNetNS(ref, ref)
	case ref == "." || ref == "..":
		return nil, fmt.Errorf("no network namespace is named %q in %s", ref, namedNetNS)
	}
	ns, err := openNetNS(filepath.Join(namedNetNS, ref), ref)
	if !errors.Is(err, fs.ErrNotExist) {
		return ns, err
	}
	pid, numErr := strconv.ParseUint(ref, 10, 31)
	if numErr != nil {
		return nil, fmt.Errorf("no network namespace is named %q in %s", ref, namedNetNS)
	}
	ns, err = openNetNS(fmt.Sprintf("/proc/%d/ns/net", pid), "of process "+ref)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no process has the PID %d, and no network namespace that name in %s", pid, namedNetNS)
	}
	return ns, err
}

// CurrentNetNS opens the network namespace of the calling thread. The caller closes the handle.
func CurrentNetNS() (*NetNS, error) {
	return openNetNS("/proc/thread-self/ns/net", "of this thread")
}

// NetNSFromFD makes a handle from a file descriptor of a network namespace, which remains the caller's: the handle
// has a duplicate. The caller closes the handle.
func NetNSFromFD(fd int) (*NetNS, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate the handle of a network namespace: %w", err)
	}
	name := "fd " + strconv.Itoa(fd)
	return newNetNS(os.NewFile(uintptr(dup), name), name)
}

// openNetNS opens the namespace file path; errors call it name.
func openNetNS(path, name string) (*NetNS, error) {
	// Without O_NONBLOCK, a path that is a FIFO would block for ever.
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", name, errors.Unwrap(err))
	}
	return newNetNS(file, name)
}

// newNetNS takes file over if it is a network namespace, and closes it otherwise.
func newNetNS(file *os.File, name string) (*NetNS, error) {
	kind, err := unix.IoctlRetInt(int(file.Fd()), unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		file.Close()
		return nil, fmt.Errorf("%s is not a network namespace", name)
	}
	return &NetNS{file: file, name: name}, nil
}

// String is how the namespace was named when it was opened.
func (ns *NetNS) String() string {
	if ns == nil {
		return "this network namespace"
	}
	return ns.name
}

// FD is the namespace's file descriptor, for callers that speak netlink or setns(2) themselves. It is valid until
// Close, and -1 for a nil handle.
func (ns *NetNS) FD() int {
	if ns == nil {
		return -1
	}
	return int(ns.file.Fd())
}

// Inode is the number that names the namespace in the kernel's reports (net->ns.inum), and 0 when it cannot be read.
func (ns *NetNS) Inode() uint32 {
	var st unix.Stat_t
	var err error
	if ns == nil {
		err = unix.Stat("/proc/self/ns/net", &st)
	} else {
		err = unix.Fstat(ns.FD(), &st)
	}
	if err != nil {
		return 0
	}
	return uint32(st.Ino)
}

// Close gives the handle up. A nil handle has nothing to close.
func (ns *NetNS) Close() error {
	if ns == nil {
		return nil
	}
	return ns.file.Close()
}

// Do runs fn inside the namespace and returns its error. Sockets that fn makes belong to the namespace for good and
// may be used anywhere afterwards; goroutines that fn starts are not inside.
//
// fn runs on a thread of its own, which ends with it. So no other code ever runs in the wrong namespace, but a child
// process with a parent-death signal dies with the thread too. With a nil handle fn simply runs.
func (ns *NetNS) Do(fn func() error) error {
	if ns == nil {
		return fn()
	}
	return onThrowawayThread(func() error {
		if err := unix.Setns(ns.FD(), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", ns.name, err)
		}
		return fn()
	})
}

// DoAlone is Do with a thread of fn's own for a nil handle, too. So fn may change what belongs to a thread, such as its
// table of file descriptors, and nothing else ever runs with that.
func (ns *NetNS) DoAlone(fn func() error) error {
	if ns != nil {
		return ns.Do(fn)
	}
	return onThrowawayThread(fn)
}

// onThrowawayThread runs fn on a thread that ends with it, and waits.
//
// The thread is never the process's first one. The runtime cannot end that: it would stay in the namespace, and so
// would /proc/self/net, which is the first thread's view.
func onThrowawayThread(fn func() error) error {
	result := make(chan error, 1)
	go func() {
		err := errExited
		defer func() { result <- err }()
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			err = onThrowawayThread(fn) // another thread, as this one is taken
			return
		}
		err = fn() // the thread stays locked, so the runtime ends it with this goroutine
	}()
	return <-result
}
