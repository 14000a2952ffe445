package counters

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// Softnet is what one CPU's softirq did with packets that arrived, on the whole host. It follows softnet_seq_show
// (net/core/net-procfs.c), whose columns have no names; of what an older kernel does not show, the Has field is false.
type Softnet struct {
	CPU       int   // its number; HasCPU false: it is the position among the CPUs that are on line
	HasCPU    bool  // 5.10 and later
	Processed int64 // packets that were given to protocols
	// Dropped are packets that enqueue_to_backlog threw away as the queue was longer than netdev_max_backlog.
	Dropped int64
	// Squeezed is how often net_rx_action stopped at netdev_budget or netdev_budget_usecs with work left over.
	Squeezed    int64
	ReceivedRPS int64 // packets and wake-ups that other CPUs steered here
	FlowLimited int64 // packets of flows that had too large a share of a long queue; in Dropped too
	Backlog     int64 // packets that wait now
	HasBacklog  bool
}

// The columns of softnet_stat.
const (
	columnProcessed   = 0
	columnDropped     = 1
	columnSqueezed    = 2
	columnReceivedRPS = 9
	columnFlowLimited = 10
	columnBacklog     = 11
	columnCPU         = 12
	fewestColumns     = 9
)

// The names that the columns have here, and in node_exporter.
const softnetBacklog = "backlog_len"

var softnetMetrics = map[string]string{
	"processed":    "processed_total",
	"dropped":      "dropped_total",
	"time_squeeze": "times_squeezed_total",
	"received_rps": "received_rps_total",
	"flow_limit":   "flow_limit_count_total",
	softnetBacklog: "backlog_len",
}

// ReadSoftnet reads the softnet_stat of a /proc/net, one for each CPU that is on line.
func ReadSoftnet(dir fs.FS) ([]Softnet, error) {
	text, err := fs.ReadFile(dir, "softnet_stat")
	if err != nil {
		return nil, fmt.Errorf("read /proc/net/softnet_stat: %w", withoutPath(err))
	}
	cpus, err := softnetCPUs(string(text))
	if err != nil {
		return nil, fmt.Errorf("read /proc/net/softnet_stat: %w", err)
	}
	return cpus, nil
}

func softnetCPUs(text string) ([]Softnet, error) {
	var cpus []Softnet
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		columns := make([]int64, len(fields))
		for i, field := range fields {
			n, err := strconv.ParseUint(field, 16, 32)
			if err != nil {
				return nil, fmt.Errorf("%q is not a hexadecimal number", field)
			}
			columns[i] = int64(n)
		}
		if len(columns) < fewestColumns {
			return nil, fmt.Errorf("a CPU has %d columns", len(columns))
		}
		cpus = append(cpus, softnetCPU(len(cpus), columns))
	}
	return cpus, nil
}

func softnetCPU(position int, columns []int64) Softnet {
	s := Softnet{
		CPU: position, Processed: columns[columnProcessed], Dropped: columns[columnDropped], Squeezed: columns[columnSqueezed],
	}
	if len(columns) > columnReceivedRPS {
		s.ReceivedRPS = columns[columnReceivedRPS]
	}
	if len(columns) > columnFlowLimited {
		s.FlowLimited = columns[columnFlowLimited]
	}
	if len(columns) > columnCPU {
		s.Backlog, s.HasBacklog = columns[columnBacklog], true
		s.CPU, s.HasCPU = int(columns[columnCPU]), true
	}
	return s
}

// parseSoftnet adds up the CPUs.
func parseSoftnet(text string, into Values) error {
	cpus, err := softnetCPUs(text)
	if err != nil {
		return err
	}
	for _, cpu := range cpus {
		into[Key{groupSoftnet, "processed"}] += cpu.Processed
		into[Key{groupSoftnet, "dropped"}] += cpu.Dropped
		into[Key{groupSoftnet, "time_squeeze"}] += cpu.Squeezed
		into[Key{groupSoftnet, "received_rps"}] += cpu.ReceivedRPS
		into[Key{groupSoftnet, "flow_limit"}] += cpu.FlowLimited
		if cpu.HasBacklog {
			into[Key{groupSoftnet, softnetBacklog}] += cpu.Backlog
		}
	}
	return nil
}
