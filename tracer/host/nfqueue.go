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
		fields := strings.Fields(line) // number, port, waiting, copy mode and range, dropped by queue and by socket, last id, 1
		if len(fields) < 3 {
			return nil, fmt.Errorf("%q has too few columns", strings.TrimSpace(line))
		}
		number, numberErr := strconv.ParseUint(fields[0], 10, 16)
		port, portErr := strconv.ParseUint(fields[1], 10, 32)
		waiting, waitingErr := strconv.ParseUint(fields[2], 10, 32)
		if err := errors.Join(numberErr, portErr, waitingErr); err != nil {
			return nil, fmt.Errorf("%q has a column that is no number", strings.TrimSpace(line))
		}
		all = append(all, NFQueue{int(number), uint32(port), int(waiting)})
	}
	return all, nil
}
