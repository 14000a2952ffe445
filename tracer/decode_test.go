package tracer

import (
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tcptrace/tracer/event"
)

func testDecoder() *decoder {
	return &decoder{
		jiffy:   4 * time.Millisecond,
		wall:    func(mono time.Duration) time.Time { return time.Unix(1_000_000_000, int64(mono)).UTC() },
		reasons: map[uint32]string{0: "NOT_SPECIFIED", 1: "NO_SOCKET"},
		comms:   make(map[[16]int8]string),
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
	all := unsafe.Slice((*byte)(unsafe.Pointer(&raw)), unsafe.Sizeof(raw))
	if !whole {
		all = all[:recordSize]
	}
	return append([]byte(nil), all...)
}

func chars(s string) (c [16]int8) {
	for i := range len(s) {
		c[i] = int8(s[i])
	}
	return c
}

func TestDecodeRetry(t *testing.T) {
	var raw bpfEventWithSettings
	r := &raw.Event
	r.TimeNs, r.Connection, r.Nth, r.Kind = 5_000_000_000, 42, 3, uint8(event.SYNRetransmit)
	r.Family, r.LocalPort, r.RemotePort = unix.AF_INET, 40000, 443
	r.Local, r.Remote = [16]uint8{192, 0, 2, 1}, [16]uint8{192, 0, 2, 10}
	r.Role, r.State, r.Attempt, r.RtoJiffies = uint8(event.RoleClient), uint8(event.StateSYNSent), 2, 250
	r.OwnerPid, r.OwnerUid, r.OwnerComm, r.OwnerCgroup = 812, 1000, chars("api"), 7
	r.ContextPid, r.ContextComm, r.Cpu = 0, chars("swapper/1"), 1

	var got event.Event
	if err := testDecoder().decode(wire(raw, false), &got); err != nil {
		t.Fatal(err)
	}
	want := event.Event{
		Nth: 3, Mono: 5 * time.Second, Time: time.Unix(1_000_000_005, 0).UTC(), Kind: event.SYNRetransmit, Conn: 42,
		Local: netip.MustParseAddrPort("192.0.2.1:40000"), Remote: netip.MustParseAddrPort("192.0.2.10:443"),
		Role: event.RoleClient, State: event.StateSYNSent, Attempt: 2, RTO: time.Second,
		Owner:   event.Owner{PID: 812, Comm: "api", UID: 1000, Cgroup: "/system.slice/api.service", CgroupID: 7},
		Context: event.Context{Comm: "swapper/1", CPU: 1},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("decode (-want +got):\n%s", diff)
	}
}

func TestDecodeSettings(t *testing.T) {
	var raw bpfEventWithSettings
	raw.Event.Kind = uint8(event.Connect)
	raw.Event.Flags = uint8(bpfEventFlagsEVENT_HAS_SETTINGS)
	s := &raw.Settings
	s.OptionUserTimeoutMs, s.OptionSynRetries = 2500, 3
	s.SysctlSynRetries, s.SysctlSynLinearTimeouts, s.SysctlRtoMaxMs = 6, 4, 120_000
	s.SysctlKeepaliveIdleJiffies = 7200 * 250
	s.Flags = uint8(bpfSettingsFlagsSETTINGS_HAS_LINEAR_TIMEOUTS | bpfSettingsFlagsSETTINGS_KEEPALIVE)

	var got event.Event
	if err := testDecoder().decode(wire(raw, true), &got); err != nil {
		t.Fatal(err)
	}
	if want := (&event.Options{SYNRetries: 3, UserTimeout: 2500 * time.Millisecond, KeepAlive: true}); !cmp.Equal(want, got.Options) {
		t.Errorf("options: %s", cmp.Diff(want, got.Options))
	}
	want := &event.Sysctls{
		SYNRetries: 6, SYNLinearTimeouts: 4, HasSYNLinearTimeouts: true, RTOMax: 2 * time.Minute, KeepaliveIdle: 2 * time.Hour,
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
	var raw bpfEventWithSettings
	raw.Event.Kind, raw.Event.Flags = uint8(event.ResetSent), uint8(bpfEventFlagsEVENT_HAS_REASON)
	var got event.Event
	if err := testDecoder().decode(wire(raw, false), &got); err != nil || got.Reason != "NOT_SPECIFIED" {
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

func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	f.Add(wire(bpfEventWithSettings{}, false))
	f.Add(wire(bpfEventWithSettings{}, true))
	f.Fuzz(func(t *testing.T, record []byte) {
		var ev event.Event
		d := testDecoder()
		err := d.decode(record, &ev)
		if err == nil && len(record) != recordSize && len(record) != recordSize+settingsSize {
			t.Errorf("a record of %d bytes was taken", len(record))
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
