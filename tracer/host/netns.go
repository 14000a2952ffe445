package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// namedNamespaces are where ip netns and container engines keep network namespaces that need no process.
var namedNamespaces = []string{"/run/netns", "/run/docker/netns", "/run/cri/netns"}

// NetNamespaces gives a path of each network namespace that a process lives in or that has a name, by its inode. Those
// that this process may not look at are left out.
func NetNamespaces() map[uint32]string {
	found := make(map[uint32]string)
	processes, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, dir := range namedNamespaces {
		names, _ := filepath.Glob(filepath.Join(dir, "*"))
		processes = append(processes, names...)
	}
	for _, path := range processes {
		var stat unix.Stat_t
		if unix.Stat(path, &stat) != nil {
			continue // it ended, or is none of ours
		}
		if inode := uint32(stat.Ino); found[inode] == "" {
			found[inode] = path
		}
	}
	return found
}

// NetNSOfSocket opens the network namespace of a socket that is descriptor fd of a process: a process may hold sockets of
// namespaces that it does not live in, and that nobody does. The caller closes the file.
func NetNSOfSocket(pid, fd int) (*os.File, error) {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	defer unix.Close(process)
	socket, err := unix.PidfdGetfd(process, fd, 0)
	if err != nil {
		return nil, fmt.Errorf("take descriptor %d of process %d: %w", fd, pid, err)
	}
	defer unix.Close(socket)
	namespace, err := unix.IoctlRetInt(socket, unix.SIOCGSKNS)
	if err != nil {
		return nil, fmt.Errorf("ask for the network namespace of descriptor %d of process %d: %w", fd, pid, err)
	}
	return os.NewFile(uintptr(namespace), "net:["+strconv.Itoa(pid)+":"+strconv.Itoa(fd)+"]"), nil
}
