package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrNoCgroup2 says that there is no cgroup v2 hierarchy.
var ErrNoCgroup2 = errors.New("no cgroup v2 hierarchy is mounted")

// CgroupRoot is where the cgroup v2 hierarchy is mounted: /sys/fs/cgroup, or /sys/fs/cgroup/unified on hosts that
// also have version 1. Where only this process's mount namespace does not have it, as below ip netns exec, the path leads to a
// mount that nobody else sees, and that goes with this process. The error is [ErrNoCgroup2] where there is none.
//
// In a cgroup namespace it may be a part of the hierarchy only.
func CgroupRoot() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", fmt.Errorf("look for a cgroup v2 hierarchy: %w", err)
	}
	if root, ok := findCgroupRoot(string(mounts)); ok {
		return root, nil
	}
	return ownCgroupMount()
}

func findCgroupRoot(mounts string) (root string, ok bool) {
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line)
		if len(fields) > 2 && fields[2] == "cgroup2" {
			return fields[1], true
		}
	}
	return "", false
}

// DescribeCgroupRoot is for people who read where the hierarchy is.
func DescribeCgroupRoot(root string) string {
	if strings.HasPrefix(root, ownMounts) {
		return "the root of the cgroup v2 hierarchy (which is not mounted here)"
	}
	return root
}

// ownMounts is where mounts are found that are mounted nowhere.
const ownMounts = "/proc/self/fd/"

// ownCgroupMount makes a mount of the hierarchy that is mounted nowhere. It is made once, and kept open.
var ownCgroupMount = sync.OnceValues(func() (string, error) {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", fmt.Errorf("look for a cgroup v2 hierarchy: %w", err)
	}
	// Where the hierarchy was never mounted, to mount it would show it to everybody, in all these files.
	if cgroup2Path(string(own)) == "" {
		return "", ErrNoCgroup2
	}
	mount, err := mountCgroup2()
	if err != nil {
		return "", fmt.Errorf("%w, and this process may not do so: %w", ErrNoCgroup2, err)
	}
	return fmt.Sprint(ownMounts, mount), nil
})

func mountCgroup2() (fd int, err error) {
	fs, err := unix.Fsopen("cgroup2", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
}

// rootCgroupID is the id of the first node of each kernfs, which is its root (kernfs_create_root).
const rootCgroupID = 1

// OpenRootCgroup opens the root of all cgroups v2, even where a cgroup namespace shows only a part of them: what is attached
// there is attached to all sockets. Whose user namespace is not the first may not do that.
func OpenRootCgroup() (*os.File, error) {
	root, err := CgroupRoot()
	if err != nil {
		return nil, err
	}
	mount, err := os.Open(root)
	if err != nil {
		return nil, err
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(mount.Fd()), &stat); err == nil && stat.Ino == rootCgroupID {
		return mount, nil
	}
	defer mount.Close()
	fd, err := openCgroup(mount, rootCgroupID)
	if err != nil {
		return nil, fmt.Errorf("this is a cgroup namespace, and what is outside of it cannot be reached: %w", err)
	}
	return os.NewFile(uintptr(fd), "/"), nil
}

// fileHandleKernfs is FILEID_KERNFS of include/linux/exportfs.h: a handle that holds just a kernfs node's id.
const fileHandleKernfs = 0xfe

// openCgroup opens a cgroup by its id, wherever it is in the hierarchy of which mount shows a part, as O_PATH.
func openCgroup(mount *os.File, id uint64) (fd int, err error) {
	handle := unix.NewFileHandle(fileHandleKernfs, binary.NativeEndian.AppendUint64(nil, id))
	fd, err = unix.OpenByHandleAt(int(mount.Fd()), handle, unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open cgroup %d: %w", id, err)
	}
	return fd, nil
}
