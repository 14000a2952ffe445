package main

import (
	"os"
	"strconv"
	"strings"

	"tcptrace/prober"
)

// resetCount is what the counters of a network namespace say about the RSTs that it sent.
type resetCount struct {
	sent  int // TcpOutRsts
	ours  int // TcpExtTCPAbortOnData: closes that reset, as a scan's do
	known bool
}

// resetsSent reads the counters. Where they cannot be read, nothing is known.
func resetsSent(ns *prober.NetNS) resetCount {
	var c resetCount
	// What /proc/thread-self/net shows is the namespace of the thread that opens it.
	err := ns.Do(func() error {
		sent, okSent := netCounter("/proc/thread-self/net/snmp", "Tcp:", "OutRsts")
		ours, okOurs := netCounter("/proc/thread-self/net/netstat", "TcpExt:", "TCPAbortOnData")
		c = resetCount{sent, ours, okSent && okOurs}
		return nil
	})
	c.known = c.known && err == nil
	return c
}

// since is how many RSTs the namespace has sent since c, other than to close its connections; -1: unknown.
func (c resetCount) since(ns *prober.NetNS) int {
	now := resetsSent(ns)
	if !c.known || !now.known {
		return -1
	}
	return max(0, (now.sent-c.sent)-(now.ours-c.ours))
}

// netCounter finds a counter in a file that has, for each group, a line of names and a line of values.
func netCounter(file, group, name string) (int, bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != group {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, known := range names {
			if known == name && i < len(fields) {
				n, err := strconv.Atoi(fields[i])
				return n, err == nil
			}
		}
	}
	return 0, false
}
