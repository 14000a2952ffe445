package host

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
)

// Device is a network device, and what it has lost.
type Device struct {
	Name   string
	Kind   string // what netlink calls it, such as veth; "device" is a network card
	Driver string // empty: it has none that says so
	Up     bool   // it is switched on; whether there is a carrier is another matter

	Received, Sent int64 // packets
	// Statistics are those that every device has, by their names in /sys/class/net/*/statistics.
	Statistics map[string]int64
	// OwnStatistics are those that only the driver knows, by the names that ethtool -S shows. Nil: it has none.
	OwnStatistics map[string]int64
	Ring          *Ring // nil: it has none
	QueueLength   int   // txqueuelen, in packets; 0: none
	Queues        []Queue
}

// Queue is a queueing discipline, which holds packets that wait to be sent.
type Queue struct {
	Kind       string // such as fq_codel
	Handle     string // such as 8001:; "none" for the one that the kernel chose
	Dropped    int64
	Overlimits int64 // packets that had to wait for their turn
	Requeues   int64 // packets that the device did not take at once
	Waiting    int64 // packets that wait now
}

// Name is the queue's kind and handle, as tc says them; of one that the kernel chose, its kind.
func (q *Queue) Name() string {
	if q.Handle == "none" {
		return q.Kind
	}
	return q.Kind + " " + q.Handle
}

// Devices lists the devices of the network namespace of the calling thread, in the kernel's order. What a device does not
// tell of itself is left out.
func Devices() ([]Device, error) {
	links, err := whole(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list network devices: %w", err)
	}
	tool, err := openEthtool()
	if err != nil {
		return nil, err
	}
	defer tool.Close()
	devices := make([]Device, 0, len(links))
	for _, link := range links {
		d := device(link)
		d.Driver = tool.driver(d.Name)
		// Loopback, tunnels and many others have neither.
		d.Ring, _ = tool.ring(d.Name)
		d.OwnStatistics, _ = tool.statistics(d.Name)
		if d.Queues, err = queues(link); err != nil {
			return nil, fmt.Errorf("list the queues of %s: %w", d.Name, err)
		}
		devices = append(devices, d)
	}
	return devices, nil
}

// whole lists again what changed while it was being listed, for a while.
func whole[T any](list func() ([]T, error)) ([]T, error) {
	const patience = 5
	var all []T
	var err error
	for range patience {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	return all, nil // as much as there is of what never rests
}

func device(link netlink.Link) Device {
	attributes := link.Attrs()
	d := Device{
		Name: attributes.Name, Kind: link.Type(), Up: attributes.Flags&net.FlagUp != 0,
		QueueLength: attributes.TxQLen,
	}
	if s := attributes.Statistics; s != nil {
		d.Received, d.Sent = int64(s.RxPackets), int64(s.TxPackets)
		d.Statistics = map[string]int64{
			"rx_errors": int64(s.RxErrors), "rx_dropped": int64(s.RxDropped), "rx_over_errors": int64(s.RxOverErrors),
			"rx_length_errors": int64(s.RxLengthErrors), "rx_crc_errors": int64(s.RxCrcErrors),
			"rx_frame_errors": int64(s.RxFrameErrors),
			"rx_fifo_errors":  int64(s.RxFifoErrors), "rx_missed_errors": int64(s.RxMissedErrors),
			"tx_errors": int64(s.TxErrors), "tx_dropped": int64(s.TxDropped), "tx_aborted_errors": int64(s.TxAbortedErrors),
			"tx_carrier_errors": int64(s.TxCarrierErrors), "tx_fifo_errors": int64(s.TxFifoErrors),
			"tx_heartbeat_errors": int64(s.TxHeartbeatErrors), "tx_window_errors": int64(s.TxWindowErrors),
		}
	}
	return d
}

func queues(link netlink.Link) ([]Queue, error) {
	disciplines, err := whole(func() ([]netlink.Qdisc, error) { return netlink.QdiscList(link) })
	if err != nil {
		return nil, err
	}
	var all []Queue
	for _, discipline := range disciplines {
		attributes := discipline.Attrs()
		q := Queue{Kind: discipline.Type(), Handle: netlink.HandleStr(attributes.Handle)}
		if s := attributes.Statistics; s != nil && s.Queue != nil {
			q.Dropped, q.Overlimits = int64(s.Queue.Drops), int64(s.Queue.Overlimits)
			q.Requeues, q.Waiting = int64(s.Queue.Requeues), int64(s.Queue.Qlen)
		}
		all = append(all, q)
	}
	return all, nil
}
