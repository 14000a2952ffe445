package tracer

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"tcptrace/tracer/event"
)

func testDecoder() *decoder {
	return &decoder{
		jiffy:   4 * time.Millisecond,
		wall:    func(mono time.Duration) time.Time { return time.Unix(1_000_000_000, int64(mono)).UTC() },
		reasons: map[uint32]string{0: "NOT_SPECIFIED", 1: "NO_SOCKET"},
		drops:   map[uint32]string{12: "NETFILTER_DROP", 58: "NEIGH_FAILED"},
		symbol: func(address uint64) string {
			if address == 0xffffffff81000040 {
				return "nft_do_chain"
			}
			return ""
		},
		comms: make(map[[16]int8]string),
		cgroups: func(id uint64) (string, string) {
			if id == 7 {
				return "/system.slice/api.service", ""
			}
			return "", ""
		},
	}
}

// wire is the record as the kernel side would write it; whole says whether settings follow.
func wire(raw bpfEventWithSettings, whole bool) []byte {
	if !whole {
		return bytesOf(raw.Event)
	}
	raw.Event.Flags |= uint16(bpfEventFlagsEVENT_HAS_SETTINGS)
	return bytesOf(raw)
}

func wireTraffic(raw bpfEventWithTraffic) []byte {
	raw.Event.Flags |= uint16(bpfEventFlagsEVENT_HAS_TRAFFIC)
	return bytesOf(raw)
}

func wireDetails(raw bpfEventWithDetails) []byte {
	raw.Event.Flags |= uint16(bpfEventFlagsEVENT_HAS_DETAILS)
	return bytesOf(raw)
}

func wirePacket(raw bpfEventWithPacket) []byte {
	raw.Event.Flags |= uint16(bpfEventFlagsEVENT_HAS_DETAILS | bpfEventFlagsEVENT_HAS_PACKET)
	return bytesOf(raw)
}

func bytesOf[T any](raw T) []byte {
	return slices.Clone(unsafe.Slice((*byte)(unsafe.Pointer(&raw)), unsafe.Sizeof(raw)))
}

func chars(s string) (c [16]int8) {
	for i := range len(s) {
		c[i] = int8(s[i])
	}
	return c
}

func TestDecodeRetry(t *testing.T) {
	var raw bpfEventWithDetails
	r := &raw.Event
	r.TimeNs, r.Connection, r.Nth, r.Kind = 5_000_000_000, 42, 3, uint8(event.SYNRetransmit)
	r.Family, r.LocalPort, r.RemotePort = unix.AF_INET, 40000, 443
	r.Local, r.Remote = [16]uint8{192, 0, 2, 1}, [16]uint8{192, 0, 2, 10}
	r.Role, r.State, r.Attempt, r.RtoJiffies = uint8(event.RoleClient), uint8(event.StateSYNSent), 2, 250
	r.OwnerPid, r.OwnerUid, r.OwnerComm, r.OwnerCgroup = 812, 1000, chars("api"), 7
	r.Flags = uint16(bpfEventFlagsEVENT_HAS_CONTEXT)
	record := append(wireDetails(raw), bytesOf(bpfContext{Comm: chars("swapper/1"), Cpu: 1})...)

	var got event.Event
	if err := testDecoder().decode(record, &got); err != nil {
		t.Fatal(err)
	}
	want := event.Event{
		Nth: 3, Mono: 5 * time.Second, Time: time.Unix(1_000_000_005, 0).UTC(), Kind: event.SYNRetransmit, Conn: 42,
		Local: netip.MustParseAddrPort("192.0.2.1:40000"), Remote: netip.MustParseAddrPort("192.0.2.10:443"),
		Role: event.RoleClient, State: event.StateSYNSent, Attempt: 2, RTO: time.Second,
		Owner:   event.Owner{PID: 812, Comm: "api", UID: 1000, Cgroup: "/system.slice/api.service", CgroupID: 7},
		Context: event.Context{Comm: "swapper/1", CPU: 1},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})); diff != "" {
		t.Errorf("decode (-want +got):\n%s", diff)
	}
}

func TestDecodeSettings(t *testing.T) {
	var raw bpfEventWithSettings
	raw.Event.Kind = uint8(event.Connect)
	s := &raw.Settings
	s.OptionUserTimeoutMs, s.OptionSynRetries, s.OptionLinger2Jiffies = 2500, 3, -1
	s.OptionMark, s.OptionDevice = 0xdeadbeef, 3
	s.SysctlSynRetries, s.SysctlSynLinearTimeouts, s.SysctlRtoMaxMs = 6, 4, 120_000
	s.SysctlKeepaliveIdleJiffies = 7200 * 250
	s.Flags = uint8(bpfSettingsFlagsSETTINGS_HAS_LINEAR_TIMEOUTS | bpfSettingsFlagsSETTINGS_KEEPALIVE | bpfSettingsFlagsSETTINGS_SYNACK_RTO_MAX)

	var got event.Event
	if err := testDecoder().decode(wire(raw, true), &got); err != nil {
		t.Fatal(err)
	}
	if want := (&event.Options{SYNRetries: 3, UserTimeout: 2500 * time.Millisecond, KeepAlive: true,
		Linger2: -4 * time.Millisecond, Mark: 0xdeadbeef, Device: 3}); !cmp.Equal(want, got.Options) {
		t.Errorf("options: %s", cmp.Diff(want, got.Options))
	}
	want := &event.Sysctls{
		SYNRetries: 6, SYNLinearTimeouts: 4, HasSYNLinearTimeouts: true, RTOMax: 2 * time.Minute, KeepaliveIdle: 2 * time.Hour,
		SYNACKRTOMax: true,
	}
	if diff := cmp.Diff(want, got.Sysctls); diff != "" {
		t.Errorf("sysctls (-want +got):\n%s", diff)
	}
}

func TestDecodeKeepsUnknownUnknown(t *testing.T) {
	var raw bpfEventWithSettings
	raw.Event.Kind = uint8(event.Error)
	raw.Event.Family = unix.AF_INET
	raw.Event.Remote, raw.Event.RemotePort = [16]uint8{192, 0, 2, 10}, 80
	var got event.Event
	if err := testDecoder().decode(wire(raw, false), &got); err != nil {
		t.Fatal(err)
	}
	if got.Local.IsValid() {
		t.Errorf("local is %s; a socket without address and port has none", got.Local)
	}
	if got.Owner.Known() || got.Reason != "" || got.Options != nil || got.Sysctls != nil {
		t.Errorf("something unknown became known: %+v", got)
	}
}

func TestDecodeTellsReasonZeroFromNone(t *testing.T) {
	var raw bpfEventWithDetails
	raw.Event.Kind, raw.Event.Flags = uint8(event.ResetSent), uint16(bpfEventFlagsEVENT_HAS_REASON)
	var got event.Event
	if err := testDecoder().decode(wireDetails(raw), &got); err != nil || got.Reason != "NOT_SPECIFIED" {
		t.Errorf("reason %q, error %v; want NOT_SPECIFIED", got.Reason, err)
	}
}

func TestDecodeTakesMappedAddressesForIPv4(t *testing.T) {
	var raw bpfEventWithSettings
	raw.Event.Family, raw.Event.RemotePort = unix.AF_INET6, 80
	raw.Event.Remote = netip.MustParseAddr("::ffff:192.0.2.10").As16()
	var got event.Event
	if err := testDecoder().decode(wire(raw, false), &got); err != nil || got.Remote.String() != "192.0.2.10:80" {
		t.Errorf("remote %s, error %v; want 192.0.2.10:80", got.Remote, err)
	}
}

func TestDecodeCloseCarriesTheTotal(t *testing.T) {
	var raw bpfEventWithSettings
	raw.Event.Kind, raw.Event.Nth = uint8(event.Close), 9
	var got event.Event
	if err := testDecoder().decode(wire(raw, false), &got); err != nil || got.Total != 9 {
		t.Errorf("total %d, error %v; want 9", got.Total, err)
	}
}

func TestDecodeRetransmission(t *testing.T) {
	for trigger, want := range map[bpfTrigger]string{
		bpfTriggerTRIGGER_NONE: "", bpfTriggerTRIGGER_RTO: "rto", bpfTriggerTRIGGER_FAST: "fast", bpfTriggerTRIGGER_TLP: "tlp", bpfTriggerTRIGGER_TIMER: "timer",
	} {
		var raw bpfEventWithDetails
		raw.Event.Kind, raw.Event.Trigger, raw.Event.IdleJiffies = uint8(event.Retransmit), uint8(trigger), 250
		raw.Details.Len, raw.Details.Count, raw.Details.ElapsedMs = 1448, 7, 1234
		var got event.Event
		if err := testDecoder().decode(wireDetails(raw), &got); err != nil {
			t.Fatal(err)
		}
		if got.Trigger != want || got.Len != 1448 || got.Count != 7 || got.Idle != time.Second || got.Elapsed != 1234*time.Millisecond {
			t.Errorf("%d of %d bytes by %q, idle for %s, %s elapsed", got.Count, got.Len, got.Trigger, got.Idle, got.Elapsed)
		}
	}
}

// The context is behind everything else.
func TestDecodeContextOfWhatHasSettings(t *testing.T) {
	var raw bpfEventWithSettings
	raw.Event.Kind, raw.Event.Ttl = uint8(event.Established), 255
	raw.Event.Flags = uint16(bpfEventFlagsEVENT_HAS_CONTEXT)
	raw.Settings.OptionSynRetries = 3
	record := append(wire(raw, true), bytesOf(bpfContext{Pid: 7, Cpu: 8191})...)
	var got event.Event
	if err := testDecoder().decode(record, &got); err != nil {
		t.Fatal(err)
	}
	if got.TTL != 255 || got.Context != (event.Context{PID: 7, CPU: 8191}) || got.Options.SYNRetries != 3 {
		t.Errorf("TTL %d in %+v with %d SYN retries, want 255 in process 7 on CPU 8191 with 3", got.TTL, got.Context, got.Options.SYNRetries)
	}
}

// A SYN's own number is the first of its connection, and not told twice.
func TestDecodeNumbersTheSYNReceived(t *testing.T) {
	var raw bpfEventWithSettings
	raw.Event.Kind, raw.Event.PeerIsn = uint8(event.SYNReceived), 77
	var got event.Event
	if err := testDecoder().decode(wire(raw, true), &got); err != nil || got.TCPSeq != 77 || got.PeerISN != 77 {
		t.Errorf("sequence number %d of %d, error %v; want 77", got.TCPSeq, got.PeerISN, err)
	}
}

func TestDecodeWindowProbeCountsInJiffies(t *testing.T) {
	var raw bpfEventWithDetails
	raw.Event.Kind, raw.Details.ElapsedJiffies, raw.Event.ProbesOut = uint8(event.WindowProbe), 50, 2
	var got event.Event
	if err := testDecoder().decode(wireDetails(raw), &got); err != nil || got.Elapsed != 200*time.Millisecond || got.ProbesOut != 2 {
		t.Errorf("%s elapsed, %d unanswered, error %v; want 200ms and 2", got.Elapsed, got.ProbesOut, err)
	}
}

func TestDecodeTraffic(t *testing.T) {
	var raw bpfEventWithTraffic
	raw.Event.Kind = uint8(event.Close)
	raw.Traffic = bpfTraffic{
		BytesSent: 1 << 40, BytesAcked: 2, BytesReceived: 3, RetransmittedSegments: 4,
		UnackedBytes: 5, UnsentBytes: 6, UnreadBytes: 7, SendWindowBytes: 8,
	}
	var got event.Event
	if err := testDecoder().decode(wireTraffic(raw), &got); err != nil {
		t.Fatal(err)
	}
	want := &event.Traffic{
		BytesSent: 1 << 40, BytesAcked: 2, BytesReceived: 3, Retransmits: 4, Unacked: 5, Unsent: 6, Unread: 7, SendWindow: 8,
	}
	if diff := cmp.Diff(want, got.Traffic); diff != "" {
		t.Errorf("traffic (-want +got):\n%s", diff)
	}
}

func TestDecodeDrop(t *testing.T) {
	var raw bpfEventWithPacket
	raw.Event.Kind, raw.Event.Flags = uint8(event.Drop), uint16(bpfEventFlagsEVENT_HAS_REASON)
	raw.Details.Reason, raw.Details.TcpSeq, raw.Details.Ifname = 12, 7, chars("eth0")
	raw.Packet = bpfPacket{
		Location: 0xffffffff81000040, TcpFlags: 0x12, Direction: uint8(bpfDirectionDIRECTION_IN), Hook: uint8(bpfHookHOOK_INPUT),
		AddressFamily: unix.AF_INET, Address: [16]uint8{192, 0, 2, 10},
	}
	want := event.Event{
		Kind: event.Drop, Time: time.Unix(1_000_000_000, 0).UTC(), Reason: "NETFILTER_DROP", Location: "nft_do_chain",
		TCPSeq: 7, IfName: "eth0", TCPFlags: "SYN+ACK", Direction: "in", Hook: "input",
	}
	var got event.Event
	if err := testDecoder().decode(wirePacket(raw), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})); diff != "" {
		t.Errorf("decode (-want +got):\n%s", diff)
	}

	raw.Details.Reason, raw.Packet.Location = 58, 0
	if err := testDecoder().decode(wirePacket(raw), &got); err != nil || got.Neighbour != netip.MustParseAddr("192.0.2.10") {
		t.Errorf("who did not answer: %s, error %v; want 192.0.2.10", got.Neighbour, err)
	}
}

func TestDecodeICMPError(t *testing.T) {
	for _, test := range []struct {
		raw  bpfPacket
		want event.ICMP
	}{
		{
			bpfPacket{IcmpType: 3, IcmpCode: 4, Mtu: 1400, AddressFamily: unix.AF_INET, Address: [16]uint8{192, 0, 2, 254}},
			event.ICMP{Type: 3, Code: 4, Name: "fragmentation needed", From: netip.MustParseAddr("192.0.2.254"), MTU: 1400},
		},
		{
			bpfPacket{IcmpType: 1, IcmpCode: 1, AddressFamily: unix.AF_INET6, Address: netip.MustParseAddr("2001:db8::fe").As16()},
			event.ICMP{
				Type: 1, Code: 1, Name: "communication administratively prohibited", From: netip.MustParseAddr("2001:db8::fe"),
			},
		},
	} {
		raw := bpfEventWithPacket{Packet: test.raw}
		raw.Event.Kind = uint8(event.ICMPError)
		var got event.Event
		if err := testDecoder().decode(wirePacket(raw), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&test.want, got.ICMP, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("decode (-want +got):\n%s", diff)
		}
	}
}

func TestDecodeRefusesWhatItsFlagsDoNotDescribe(t *testing.T) {
	settings, traffic, packet := wire(bpfEventWithSettings{}, true), wireTraffic(bpfEventWithTraffic{}), wirePacket(bpfEventWithPacket{})
	for name, record := range map[string][]byte{
		"settings cut short": settings[:len(settings)-1],
		"traffic cut short":  traffic[:recordSize],
		"packet cut short":   packet[:len(packet)-1],
		"packet alone":       wirePacket(bpfEventWithPacket{})[:recordSize+int(unsafe.Sizeof(bpfPacket{}))],
		"more than an event": append(wire(bpfEventWithSettings{}, false), 0),
	} {
		if err := testDecoder().decode(record, new(event.Event)); !errors.Is(err, errRecord) {
			t.Errorf("%s: %v, want %v", name, err, errRecord)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	f.Add(wire(bpfEventWithSettings{}, false))
	f.Add(wire(bpfEventWithSettings{}, true))
	f.Add(wireTraffic(bpfEventWithTraffic{}))
	f.Add(wireDetails(bpfEventWithDetails{}))
	f.Add(wirePacket(bpfEventWithPacket{}))
	f.Fuzz(func(t *testing.T, record []byte) {
		var ev event.Event
		if err := testDecoder().decode(record, &ev); err != nil {
			return
		}
		// Nothing that follows is one byte longer, or shorter.
		for _, changed := range [][]byte{record[:len(record)-1], append(slices.Clone(record), 0)} {
			if err := testDecoder().decode(changed, &ev); !errors.Is(err, errRecord) {
				t.Errorf("a record of %d bytes was taken, and so was one of %d: %v", len(record), len(changed), err)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	var raw bpfEventWithSettings
	raw.Event.Kind, raw.Event.Family = uint8(event.StateChange), unix.AF_INET
	raw.Event.OwnerPid, raw.Event.OwnerComm = 812, chars("api")
	record := wire(raw, false)
	d := testDecoder()
	var ev event.Event
	b.ReportAllocs()
	for b.Loop() {
		if err := d.decode(record, &ev); err != nil {
			b.Fatal(err)
		}
	}
}

func TestDecodeQueue(t *testing.T) {
	for _, test := range []struct {
		raw  bpfQueue
		want event.Event
	}{
		{bpfQueue{Len: 129, Max: 128, Stage: uint8(bpfStageSTAGE_SYN)}, event.Event{Queue: &event.Queue{Len: 129, Max: 128}, Stage: "syn"}},
		{bpfQueue{Len: 1, Stage: uint8(bpfStageSTAGE_ACK)}, event.Event{Queue: &event.Queue{Len: 1}, Stage: "ack"}},
		{bpfQueue{Action: uint8(bpfActionACTION_COOKIE), Ambiguous: 1}, event.Event{Action: "cookie", Ambiguous: true}},
		{bpfQueue{Len: 9, Max: 8, Action: uint8(bpfActionACTION_DROP)}, event.Event{Queue: &event.Queue{Len: 9, Max: 8}, Action: "drop"}},
	} {
		raw := bpfEventWithQueue{Queue: test.raw}
		raw.Event.Flags = uint16(bpfEventFlagsEVENT_HAS_DETAILS | bpfEventFlagsEVENT_HAS_QUEUE)
		var got event.Event
		if err := testDecoder().decode(bytesOf(raw), &got); err != nil {
			t.Fatal(err)
		}
		got = event.Event{Queue: got.Queue, Stage: got.Stage, Action: got.Action, Ambiguous: got.Ambiguous}
		if diff := cmp.Diff(test.want, got, cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", test.raw, diff)
		}
	}
}

func TestDecodeSYNACKTimeoutCarriesTheTotal(t *testing.T) {
	var raw bpfEventWithSettings
	raw.Event.Kind, raw.Event.Nth = uint8(event.SYNACKTimeout), 3
	var got event.Event
	if err := testDecoder().decode(wire(raw, false), &got); err != nil || got.Total != 3 {
		t.Errorf("total %d, error %v; want 3", got.Total, err)
	}
}
