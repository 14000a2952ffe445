package host

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"tcptrace/tracer/event"
)

// SocketOwners finds who holds each socket, by the inode of its file, in /proc. Without root it finds only this user's.
// Where several processes hold one, it is the first of them, in the order of their numbers.
func SocketOwners() map[uint64]event.Owner {
	owners := make(map[uint64]event.Owner)
	for inode, holders := range SocketHolders() {
		owners[inode] = holders[0]
	}
	return owners
}

// SocketHolders is [SocketOwners] with all the processes that hold each socket.
func SocketHolders() map[uint64][]event.Owner {
	holders := make(map[uint64][]event.Owner)
	processes, _ := os.ReadDir("/proc")
	pids := make([]int, 0, len(processes))
	for _, process := range processes {
		if pid, err := strconv.Atoi(process.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	for _, pid := range pids {
		addSockets(pid, holders)
	}
	return holders
}

// addSockets adds the sockets of one process. One that ends meanwhile, or that we may not look at, has none.
func addSockets(pid int, holders map[uint64][]event.Owner) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	descriptors, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return
	}
	var owner event.Owner
	for _, descriptor := range descriptors {
		target, err := os.Readlink(filepath.Join(dir, "fd", descriptor.Name()))
		if err != nil {
			continue
		}
		inode, ok := socketInode(target)
		if !ok {
			continue
		}
		if !owner.Known() {
			owner = process(pid, dir)
		}
		if known := holders[inode]; len(known) > 0 && known[len(known)-1].PID == pid {
			continue // by another descriptor
		}
		holders[inode] = append(holders[inode], owner)
	}
}

// socketInode reads what /proc shows for a descriptor of a socket: socket:[9426251].
func socketInode(target string) (uint64, bool) {
	number, ok := strings.CutPrefix(target, "socket:[")
	if !ok {
		return 0, false
	}
	number, ok = strings.CutSuffix(number, "]")
	if !ok {
		return 0, false
	}
	inode, err := strconv.ParseUint(number, 10, 64)
	return inode, err == nil
}

// process is what /proc says of a process that owns something.
func process(pid int, dir string) event.Owner {
	owner := event.Owner{PID: pid}
	if comm, err := os.ReadFile(filepath.Join(dir, "comm")); err == nil {
		owner.Comm = string(bytes.TrimSuffix(comm, []byte("\n")))
	}
	if info, err := os.Stat(dir); err == nil {
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			owner.UID = stat.Uid
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, "cgroup")); err == nil {
		owner.Cgroup = cgroup2Path(string(text))
		owner.Container = ContainerID(owner.Cgroup)
	}
	return owner
}

// cgroup2Path finds the line of version 2 in /proc/PID/cgroup: 0::/system.slice/nginx.service.
func cgroup2Path(text string) string {
	for line := range strings.Lines(text) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSuffix(path, "\n")
		}
	}
	return ""
}
