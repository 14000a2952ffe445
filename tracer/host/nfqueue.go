package host

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// NFQueue is a queue by which the firewall of a network namespace hands packets to a program that judges them (NFQUEUE).
type NFQueue struct {
	Number  int
	Port    uint32 // netlink port of the program; of its first such socket that is its PID
	Waiting int    // packets that have no verdict yet
	// Dropped are those that found the queue full, and Unread those that found the socket full by which the program gets them.
	Dropped, Unread int64
}

// NFQueues reads those that a program listens on, of a /proc/net (seq_show of nfnetlink_queue.c). There are none where the kernel
// has no such queues.
func NFQueues(dir fs.FS) ([]NFQueue, error) {
	text, err := fs.ReadFile(dir, "netfilter/nfnetlink_queue")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var all []NFQueue
	if err == nil {
		all, err = parseNFQueues(string(text))
	}
	if err != nil {
		return nil, fmt.Errorf("read /proc/net/netfilter/nfnetlink_queue: %w", withoutPath(err))
	}
	return all, nil
}

func parseNFQueues(text string) ([]NFQueue, error) {
	var all []NFQueue
	for line := range strings.Lines(text) {
		// Number, port, waiting, copy mode and range, dropped by the queue and by the socket; then the last packet's id, and 1.
		var column [7]uint32
		fields := strings.Fields(line)
		if len(fields) < len(column) {
			return nil, fmt.Errorf("%q has too few columns", strings.TrimSpace(line))
		}
		for i := range column {
			n, err := strconv.ParseUint(fields[i], 10, 32)
			if err != nil {
				return nil, fmt.Errorf("%q has a column that is no number", strings.TrimSpace(line))
			}
			column[i] = uint32(n)
		}
		all = append(all, NFQueue{int(column[0]), column[1], int(column[2]), int64(column[5]), int64(column[6])})
	}
	return all, nil
}
