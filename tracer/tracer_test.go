package tracer

import (
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tcptrace/tracer/host"
)

func TestRingSizeIsOneThatTheKernelTakes(t *testing.T) {
	page := uint32(os.Getpagesize())
	for _, test := range []struct {
		wanted int
		want   uint32
	}{
		{0, 64 << 20}, {1, page}, {int(page), page}, {int(page) + 1, 2 * page}, {1 << 20, 1 << 20}, {1<<20 + 1, 2 << 20},
	} {
		if got := ringSize(test.wanted); got != test.want {
			t.Errorf("ringSize(%d) = %d, want %d", test.wanted, got, test.want)
		}
	}
}

func TestParseMechanisms(t *testing.T) {
	got, err := ParseMechanisms("tracepoint, kprobe")
	if want := []Mechanism{Tracepoint, Kprobe}; err != nil || !cmp.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if got, err := ParseMechanisms(""); got != nil || err != nil {
		t.Errorf("the empty list: %v, %v; want no restriction", got, err)
	}
	if _, err := ParseMechanisms("uprobe"); err == nil {
		t.Error("an unknown mechanism was taken")
	}
}

func TestMayTrace(t *testing.T) {
	bit := func(capabilities ...int) (all uint64) {
		for _, c := range capabilities {
			all |= 1 << c
		}
		return all
	}
	for _, test := range []struct {
		name      string
		effective uint64
		want      bool
	}{
		{"none", 0, false},
		{"root", bit(unix.CAP_SYS_ADMIN), true},
		{"the finer ones", bit(unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_NET_ADMIN), true},
		{"without CAP_PERFMON", bit(unix.CAP_BPF, unix.CAP_NET_ADMIN), false},
	} {
		if got := mayTrace(test.effective); got != test.want {
			t.Errorf("%s: %t, want %t", test.name, got, test.want)
		}
	}
}

func TestNetworkKeyHoldsIPv4AsMapped(t *testing.T) {
	got := networkKey(netip.MustParsePrefix("192.0.2.77/24")).(bpfNetworkKey)
	want := bpfNetworkKey{PrefixBits: 120, Address: netip.MustParseAddr("::ffff:192.0.2.0").As16()}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestFilterDimensions(t *testing.T) {
	f := Filter{UIDs: []uint32{0}, LocalPorts: []uint16{22}}
	if got, want := f.dimensions(false), bpfFilterDimensionFILTER_UID|bpfFilterDimensionFILTER_LOCAL_PORT; got != want {
		t.Errorf("dimensions %b, want %b", got, want)
	}
	var everything Filter
	if got := everything.dimensions(false); got != 0 {
		t.Errorf("the zero filter has dimensions %b", got)
	}
	if got := everything.dimensions(true); got != bpfFilterDimensionFILTER_TASK {
		t.Errorf("following a command has dimensions %b, want that of tasks", got)
	}
}

func TestMonotonicIsTheClockOfTheTrace(t *testing.T) {
	clock := wallClock{}
	before := time.Now()
	at := clock.at(host.Monotonic())
	if at.Before(before.Add(-time.Millisecond)) || at.After(time.Now().Add(time.Millisecond)) {
		t.Errorf("now is %s by the clock, %s by the wall", at, before)
	}
}
