package host

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDropsAreFoundByTheirNames(t *testing.T) {
	const (
		full    = "the ring, or the card's memory, was full: it is emptied too slowly"
		dropped = "the device or its driver dropped them"
	)
	tests := map[string]struct {
		statistics map[string]int64
		want       []Drop
	}{
		"e1000e": {
			map[string]int64{"rx_packets": 9, "rx_missed_errors": 1, "rx_no_buffer_count": 2, "rx_crc_errors": 3, "tx_dropped": 4, "rx_long_byte_count": 5},
			[]Drop{
				{"rx_crc_errors", 3, false, "damaged on the wire, or of a wrong length"}, {"rx_missed_errors", 1, false, full},
				{"rx_no_buffer_count", 2, false, full}, {"tx_dropped", 4, true, dropped},
			},
		},
		"virtio_net tells a sum and each queue": {
			map[string]int64{"rx_drops": 7, "rx0_drops": 3, "rx1_drops": 4, "rx0_kicks": 1, "tx0_xdp_tx_drops": 2},
			[]Drop{{"rx_drops", 7, false, dropped}, {"tx*_xdp_tx_drops", 2, true, "an XDP program, or the sending of what it redirected, dropped them"}},
		},
		"queues without a sum are added up": {
			map[string]int64{"rx_queue_0_drops": 3, "rx_queue_1_drops": 4, "rx_queue_0_packets": 100},
			[]Drop{{"rx*_drops", 7, false, dropped}},
		},
		"mlx5": {
			map[string]int64{"rx_out_of_buffer": 5, "rx_discards_phy": 6, "rx0_buff_alloc_err": 1, "tx_queue_stopped": 9},
			[]Drop{{"rx*_buff_alloc_err", 1, false, full}, {"rx_discards_phy", 6, false, dropped}, {"rx_out_of_buffer", 5, false, full}},
		},
		"ixgbe": {
			map[string]int64{"rx_no_dma_resources": 5, "fdir_miss": 6, "tx_timeout_count": 1},
			[]Drop{{"rx_no_dma_resources", 5, false, full}, {"tx_timeout_count", 1, true, "the device did not take them in time"}},
		},
		"no statistics": {nil, nil},
	}
	for name, test := range tests {
		if diff := cmp.Diff(test.want, Drops(test.statistics)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestDevicesHaveLoopback(t *testing.T) {
	devices, err := Devices()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range devices {
		if d.Name == "lo" {
			if _, ok := d.Statistics["rx_dropped"]; !ok || d.Ring != nil || d.Driver != "" {
				t.Errorf("%+v", d)
			}
			return
		}
	}
	t.Errorf("%d devices, and no loopback", len(devices))
}

func FuzzDeviceDrops(f *testing.F) {
	f.Add("rx_queue_0_drops", "rx1_drops", int64(1), int64(2))
	f.Add("tx_fifo[3]", "rx-2.missed", int64(0), int64(7))
	f.Fuzz(func(t *testing.T, a, b string, m, n int64) {
		statistics := map[string]int64{a: m, b: n}
		for _, d := range Drops(statistics) {
			if d.Name == "" || d.Means == "" {
				t.Errorf("%v: %+v", statistics, d)
			}
		}
	})
}
