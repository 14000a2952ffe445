package tracer

import (
	"testing"

	"golang.org/x/sys/unix"

	"tcptrace/tracer/event"
)

// lifeOfBothEnds are the records of a connection with both ends on this host: the handshake, and its orderly end.
func lifeOfBothEnds() [][]byte {
	base := bpfEvent{
		Connection: 42, Netns: 4026531840, Isn: 1000, PeerIsn: 2000, Family: unix.AF_INET, LocalPort: 40000, RemotePort: 443,
		Local: [16]uint8{127, 0, 0, 1}, Remote: [16]uint8{127, 0, 0, 1},
		OwnerPid: 812, OwnerUid: 1000, OwnerComm: chars("api"), OwnerCgroup: 7,
	}
	var records [][]byte
	for _, kind := range []event.Kind{
		event.Connect, event.SYNReceived, event.Established, event.Established, event.Accept, event.StateChange, event.StateChange,
		event.StateChange, event.StateChange, event.StateChange, event.Close, event.Close,
	} {
		base.TimeNs += 10_000
		base.Nth++
		base.Kind = uint8(kind)
		switch kind {
		case event.Connect, event.Established:
			records = append(records, wire(bpfEventWithSettings{Event: base, Settings: bpfSettings{SysctlSynRetries: 6, SysctlRetries2: 15}}, true))
		case event.Close:
			records = append(records, wireTraffic(bpfEventWithTraffic{Event: base, Traffic: bpfTraffic{BytesSent: 1}}))
		default:
			records = append(records, wire(bpfEventWithSettings{Event: base}, false))
		}
	}
	return records
}

// BenchmarkDecodeConnection is what decoding takes. An operation is one event of a connection that comes and goes.
func BenchmarkDecodeConnection(b *testing.B) {
	records, d := lifeOfBothEnds(), testDecoder()
	var ev event.Event
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := d.decode(records[i%len(records)], &ev); err != nil {
			b.Fatal(err)
		}
	}
}

// Of traffic alone there is room to be made, for many events at a time: less than one allocation in a hundred events.
func TestDecodingAllocatesNextToNothing(t *testing.T) {
	records, d := lifeOfBothEnds(), testDecoder()
	var ev event.Event
	connections := func() {
		for range 10 {
			for _, record := range records {
				if err := d.decode(record, &ev); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if n := testing.AllocsPerRun(100, connections); n > 1 {
		t.Errorf("%v allocations for %d events, want at most one", n, 10*len(records))
	}
}
