package scan

import (
	"bufio"
	"bytes"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// pendingBytes is what a connect in progress takes of the kernel's memory: struct tcp_sock, inode, dentry, file, the
	// SYN that may have to be repeated, and its place in the epoll instance. Measured on Linux 6.18.
	pendingBytes = 5600
	// spareDescriptors stay free in each table for what else a program opens.
	spareDescriptors = 32
	// maxWorkers bounds the threads that a small RLIMIT_NOFILE would ask for.
	maxWorkers = 64
	// worthAWorker is how many targets a thread of their own are worth.
	worthAWorker = 1000
)

// Room is what this host has room for.
type Room struct {
	Pending int // connects in progress at a time
	Workers int // threads that share them
	// Bounds says, a sentence each, what keeps Pending below the number of targets.
	Bounds []string

	ownTables  bool // each worker can have a table of file descriptors of its own
	perWorker  int  // connects in progress of one worker
	descriptor int  // free descriptors of one table
}

// measureRoom says how many of n targets can be in progress at a time, and by how many workers. It is to run in the
// network namespace of the scan.
func measureRoom(n int, opts *Options) (Room, error) {
	room := Room{Pending: n, ownTables: canUnshareFiles()}
	free, limit, err := freeDescriptors()
	if err != nil {
		return room, err
	}
	room.descriptor = free
	tables := 1
	if room.ownTables {
		tables = maxWorkers
	}
	bounds := []struct {
		most int
		why  string
	}{
		{positive(opts.MaxPending), "as asked"},
		{free * tables, fmt.Sprintf("a table of file descriptors holds %d (RLIMIT_NOFILE), %s", limit, tablesWord(room.ownTables))},
		{memoryFor(), "more could take half of the memory that is available"},
		{pagesLeft(), "more would put the kernel's TCP under memory pressure (tcp_mem)"},
		{trackingLeft(), "the connection tracking table of this host has no room for more (nf_conntrack_max)"},
	}
	for _, b := range bounds {
		if b.most < room.Pending {
			room.Pending = max(b.most, 1)
			room.Bounds = append(room.Bounds, fmt.Sprintf("at most %d connects at a time: %s", room.Pending, b.why))
		}
	}
	room.divide(n, opts)
	return room, nil
}

func tablesWord(own bool) string {
	if own {
		return fmt.Sprintf("and there are at most %d", maxWorkers)
	}
	return "and this process is not allowed a second one (unshare)"
}

// divide shares the room among workers.
func (r *Room) divide(n int, opts *Options) {
	r.Workers = min(runtime.GOMAXPROCS(0), (n+worthAWorker-1)/worthAWorker)
	if r.ownTables {
		r.Workers = max(r.Workers, (r.Pending+r.descriptor-1)/r.descriptor)
	}
	if opts.Workers != 0 {
		r.Workers = opts.Workers
	}
	r.Workers = max(1, min(r.Workers, r.Pending))
	r.perWorker = max(1, (r.Pending+r.Workers-1)/r.Workers)
	if r.ownTables {
		r.perWorker = min(r.perWorker, r.descriptor)
	}
	r.Pending = min(r.Pending, r.perWorker*r.Workers)
}

// positive is n, and no bound at all for 0.
func positive(n int) int {
	if n == 0 {
		return math.MaxInt
	}
	return n
}

// canUnshareFiles tries it: seccomp may forbid it, nothing else does.
func canUnshareFiles() bool {
	return alone(func() error { return unix.Unshare(unix.CLONE_FILES) }) == nil
}

// freeDescriptors is how many more a table like this process's holds, and how many in all.
func freeDescriptors() (free, limit int, err error) {
	var rlimit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &rlimit); err != nil {
		return 0, 0, fmt.Errorf("read RLIMIT_NOFILE: %w", err)
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0, 0, fmt.Errorf("count file descriptors: %w", err)
	}
	limit = int(min(rlimit.Cur, math.MaxInt32))
	free = limit - len(open) - spareDescriptors
	if free < 1 {
		return 0, limit, fmt.Errorf("no file descriptors are left: %d of %d are open (RLIMIT_NOFILE)", len(open), limit)
	}
	return free, limit, nil
}

// memoryFor is how many connects half of the available memory holds.
func memoryFor() int {
	kilobytes, ok := numberAfter("/proc/meminfo", "MemAvailable:")
	if !ok {
		return math.MaxInt
	}
	return kilobytes * 1024 / 2 / pendingBytes
}

// pagesLeft is how many connects fit below tcp_mem's pressure: each accounts a page for its SYN.
func pagesLeft() int {
	text, err := os.ReadFile("/proc/sys/net/ipv4/tcp_mem")
	if err != nil {
		return math.MaxInt
	}
	fields := strings.Fields(string(text))
	if len(fields) != 3 {
		return math.MaxInt
	}
	pressure, err := strconv.Atoi(fields[1])
	if err != nil {
		return math.MaxInt
	}
	return pressure / 10 * 9
}

// trackingLeft is how many connections this namespace's connection tracking still has room for. One that tracks nothing
// at the moment is taken for one that is not in the way.
func trackingLeft() int {
	count, ok := readNumber("/proc/sys/net/netfilter/nf_conntrack_count")
	if !ok || count == 0 {
		return math.MaxInt
	}
	limit, ok := readNumber("/proc/sys/net/netfilter/nf_conntrack_max")
	if !ok {
		return math.MaxInt
	}
	return (limit - count) / 10 * 9
}

func readNumber(file string) (int, bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(text)))
	return n, err == nil
}

// numberAfter finds the number that follows a word at the beginning of a line.
func numberAfter(file, word string) (int, bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > 1 && fields[0] == word {
			n, err := strconv.Atoi(fields[1])
			return n, err == nil
		}
	}
	return 0, false
}
