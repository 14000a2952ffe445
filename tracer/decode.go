package tracer

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tcptrace/tracer/event"
)

// errRecord says that a record is not what bpf/event.h describes.
var errRecord = errors.New("malformed record")

const recordSize = int(unsafe.Sizeof(bpfEvent{}))

// parts are what may follow an event, in this order.
var parts = []struct {
	flag bpfEventFlags
	size int
}{
	{bpfEventFlagsEVENT_HAS_SETTINGS, int(unsafe.Sizeof(bpfSettings{}))},
	{bpfEventFlagsEVENT_HAS_TRAFFIC, int(unsafe.Sizeof(bpfTraffic{}))},
	{bpfEventFlagsEVENT_HAS_DETAILS, int(unsafe.Sizeof(bpfDetails{}))},
	{bpfEventFlagsEVENT_HAS_QUEUE, int(unsafe.Sizeof(bpfQueue{}))},
	{bpfEventFlagsEVENT_HAS_PACKET, int(unsafe.Sizeof(bpfPacket{}))},
	{bpfEventFlagsEVENT_HAS_CONTEXT, int(unsafe.Sizeof(bpfContext{}))},
}

// trailing is how many bytes follow the event itself.
func trailing(flags bpfEventFlags) (size int) {
	for _, p := range parts {
		if flags&p.flag != 0 {
			size += p.size
		}
	}
	return size
}

// decoder makes events of records. Units become types here and nowhere else.
type decoder struct {
	jiffy   time.Duration // 0: unknown, then so are all durations that the kernel counts in jiffies
	wall    func(mono time.Duration) time.Time
	reasons map[uint32]string // of RSTs
	drops   map[uint32]string // reasons
	symbol  func(address uint64) string
	comms   map[[16]int8]string
	cgroups func(id uint64) (path, container string)

	settings map[bpfSettings]settings
	traffic  []event.Traffic // room for those that are still to come
}

// decode fills ev from one record.
func (d *decoder) decode(record []byte, ev *event.Event) error {
	var r bpfEvent
	if len(record) < recordSize {
		return fmt.Errorf("%w: %d bytes", errRecord, len(record))
	}
	read(&r, record)
	flags, rest := bpfEventFlags(r.Flags), record[recordSize:]
	if len(rest) != trailing(flags) {
		return fmt.Errorf("%w: %d bytes, flags %x", errRecord, len(record), r.Flags)
	}
	local, remote, err := endpoints(r.Family, r.Local, r.LocalPort, r.Remote, r.RemotePort)
	if err != nil {
		return err
	}
	*ev = event.Event{
		Nth:         r.Nth,
		Mono:        time.Duration(r.TimeNs),
		Kind:        event.Kind(r.Kind),
		Conn:        event.ConnID(r.Connection),
		Cookie:      r.Cookie,
		NetNS:       r.Netns,
		Local:       local,
		Remote:      remote,
		Role:        event.Role(r.Role),
		State:       event.State(r.State),
		OldState:    event.State(r.OldState),
		ISN:         r.Isn,
		PeerISN:     r.PeerIsn,
		Attempt:     int(r.Attempt),
		RTO:         d.jiffies(r.RtoJiffies),
		Backoff:     int(r.Backoff),
		Errno:       event.Errno(r.Error),
		Retransmits: int(r.Retransmits),
		ProbesOut:   int(r.ProbesOut),
		Idle:        d.jiffies(r.IdleJiffies),
		Trigger:     triggers[bpfTrigger(r.Trigger)],
		TTL:         int(r.Ttl),
		PreExisting: flags&bpfEventFlagsEVENT_PRE_EXISTING != 0,
		ByCookie:    flags&bpfEventFlagsEVENT_BY_COOKIE != 0,
		KeptHere:    flags&bpfEventFlagsEVENT_KEPT_HERE != 0,

		LocalCongestion: flags&bpfEventFlagsEVENT_LOCAL_CONGESTION != 0,
	}
	ev.Time = d.wall(ev.Mono)
	if r.OwnerPid != 0 {
		ev.Owner = d.owner(r.OwnerPid, r.OwnerUid, r.OwnerComm, r.OwnerCgroup)
		if flags&bpfEventFlagsEVENT_VIA_LISTENER != 0 {
			ev.Owner.Via = "listener"
		}
	}
	switch ev.Kind {
	case event.Close, event.SYNACKTimeout:
		ev.Total = r.Nth
	case event.SYNReceived:
		ev.TCPSeq = r.PeerIsn
	}
	d.follow(flags, rest, ev)
	return nil
}

// follow adds to ev the parts that follow it. They are all there.
func (d *decoder) follow(flags bpfEventFlags, rest []byte, ev *event.Event) {
	if flags&bpfEventFlagsEVENT_HAS_SETTINGS != 0 {
		var raw bpfSettings
		rest = read(&raw, rest)
		s := d.knownSettings(&raw)
		ev.Options, ev.Sysctls = s.options, s.sysctls
	}
	if flags&bpfEventFlagsEVENT_HAS_TRAFFIC != 0 {
		var raw bpfTraffic
		rest = read(&raw, rest)
		ev.Traffic = d.trafficOf(&raw)
	}
	if flags&bpfEventFlagsEVENT_HAS_DETAILS != 0 {
		var raw bpfDetails
		rest = read(&raw, rest)
		d.details(flags, &raw, ev)
	}
	if flags&bpfEventFlagsEVENT_HAS_QUEUE != 0 {
		var raw bpfQueue
		rest = read(&raw, rest)
		fillQueue(&raw, ev)
	}
	if flags&bpfEventFlagsEVENT_HAS_PACKET != 0 {
		var raw bpfPacket
		rest = read(&raw, rest)
		d.packet(&raw, ev)
	}
	if flags&bpfEventFlagsEVENT_HAS_CONTEXT != 0 {
		var raw bpfContext
		read(&raw, rest)
		ev.Context = event.Context{PID: int(raw.Pid), Comm: d.comm(raw.Comm), CPU: int(raw.Cpu)}
	}
}

func (d *decoder) details(flags bpfEventFlags, raw *bpfDetails, ev *event.Event) {
	ev.TCPSeq, ev.TCPAck, ev.Len = raw.TcpSeq, raw.TcpAck, int(raw.Len)
	ev.IfName = text(raw.Ifname[:])
	ev.Waited = time.Duration(raw.WaitedNs)
	ev.Elapsed = time.Duration(raw.ElapsedMs)*time.Millisecond + d.jiffies(raw.ElapsedJiffies)
	ev.Count = int(raw.Count)
	if flags&bpfEventFlagsEVENT_HAS_REASON != 0 {
		ev.Reason = d.reasonsOf(ev.Kind)[raw.Reason]
	}
}

// reasonsOf are the names of the numbers that this kind has for reasons.
func (d *decoder) reasonsOf(kind event.Kind) map[uint32]string {
	if kind == event.Drop {
		return d.drops
	}
	return d.reasons
}

// read fills to from the start of a record, where the kernel side writes the same struct with the same layout: bpf2go
// generated one from the other. It returns the rest.
func read[T any](to *T, record []byte) []byte {
	n := copy(unsafe.Slice((*byte)(unsafe.Pointer(to)), unsafe.Sizeof(*to)), record)
	return record[n:]
}

// triggers are the contract's names of what made the kernel send data again.
var triggers = map[bpfTrigger]string{
	bpfTriggerTRIGGER_RTO:   "rto",
	bpfTriggerTRIGGER_FAST:  "fast",
	bpfTriggerTRIGGER_TLP:   "tlp",
	bpfTriggerTRIGGER_SYN:   "syn",
	bpfTriggerTRIGGER_TIMER: "timer",
}

// stages and actions are the contract's names of them.
var stages = map[bpfStage]string{
	bpfStageSTAGE_SYN: "syn",
	bpfStageSTAGE_ACK: "ack",
}

var actions = map[bpfAction]string{
	bpfActionACTION_COOKIE: "cookie",
	bpfActionACTION_DROP:   "drop",
}

// fillQueue takes what a listener's event says of its queue. An empty one that holds nothing is that of a listener that
// nobody knows: neither would be full.
func fillQueue(q *bpfQueue, ev *event.Event) {
	if q.Len != 0 || q.Max != 0 {
		ev.Queue = &event.Queue{Len: int(q.Len), Max: int(q.Max)}
	}
	ev.Stage, ev.Action = stages[bpfStage(q.Stage)], actions[bpfAction(q.Action)]
	ev.Ambiguous = q.Ambiguous != 0
}

func (d *decoder) jiffies(n uint32) time.Duration { return time.Duration(n) * d.jiffy }

func (d *decoder) owner(pid, uid uint32, comm [16]int8, cgroup uint64) event.Owner {
	path, container := d.cgroups(cgroup)
	return event.Owner{
		PID: int(pid), Comm: d.comm(comm), UID: uid,
		CgroupID: cgroup, Cgroup: path, Container: container,
	}
}

// trafficAtOnce is for how many events room is made at a time, which is what a page holds.
const trafficAtOnce = 64

func (d *decoder) trafficOf(t *bpfTraffic) *event.Traffic {
	if len(d.traffic) == 0 {
		d.traffic = make([]event.Traffic, trafficAtOnce)
	}
	traffic := &d.traffic[0]
	d.traffic = d.traffic[1:]
	*traffic = event.Traffic{
		BytesSent:     int64(t.BytesSent),
		BytesAcked:    int64(t.BytesAcked),
		BytesReceived: int64(t.BytesReceived),
		Retransmits:   int(t.RetransmittedSegments),
		Unacked:       int(t.UnackedBytes),
		Unsent:        int(t.UnsentBytes),
		Unread:        int(t.UnreadBytes),
		SendWindow:    int(t.SendWindowBytes),
	}
	return traffic
}

// settings are what rules one socket's life.
type settings struct {
	options *event.Options
	sysctls *event.Sysctls
}

// mostSettings bounds what a host can make us remember whose sockets all have settings of their own.
const mostSettings = 1024

// knownSettings gives the same settings for the same record: nearly all sockets of a host are alike, and nobody changes
// what an event has.
func (d *decoder) knownSettings(raw *bpfSettings) settings {
	if s, ok := d.settings[*raw]; ok {
		return s
	}
	s := d.settingsOf(raw)
	if len(d.settings) < mostSettings {
		if d.settings == nil {
			d.settings = make(map[bpfSettings]settings)
		}
		d.settings[*raw] = s
	}
	return s
}

func (d *decoder) settingsOf(s *bpfSettings) settings {
	flags := bpfSettingsFlags(s.Flags)
	return settings{
		options: &event.Options{
			SYNRetries:        int(s.OptionSynRetries),
			UserTimeout:       time.Duration(s.OptionUserTimeoutMs) * time.Millisecond,
			KeepAlive:         flags&bpfSettingsFlagsSETTINGS_KEEPALIVE != 0,
			KeepaliveIdle:     d.jiffies(s.OptionKeepaliveIdleJiffies),
			KeepaliveInterval: d.jiffies(s.OptionKeepaliveIntervalJiffies),
			KeepaliveCount:    int(s.OptionKeepaliveCount),
			RTOMax:            d.jiffies(s.OptionRtoMaxJiffies),
			Linger2:           time.Duration(s.OptionLinger2Jiffies) * d.jiffy,
			Mark:              s.OptionMark,
			Device:            int(s.OptionDevice),
		},
		sysctls: &event.Sysctls{
			SYNRetries:           int(s.SysctlSynRetries),
			SYNLinearTimeouts:    int(s.SysctlSynLinearTimeouts),
			HasSYNLinearTimeouts: flags&bpfSettingsFlagsSETTINGS_HAS_LINEAR_TIMEOUTS != 0,
			SYNACKRetries:        int(s.SysctlSynackRetries),
			Retries1:             int(s.SysctlRetries1),
			Retries2:             int(s.SysctlRetries2),
			OrphanRetries:        int(s.SysctlOrphanRetries),
			RTOMax:               time.Duration(s.SysctlRtoMaxMs) * time.Millisecond,
			KeepaliveIdle:        d.jiffies(s.SysctlKeepaliveIdleJiffies),
			KeepaliveInterval:    d.jiffies(s.SysctlKeepaliveIntervalJiffies),
			KeepaliveCount:       int(s.SysctlKeepaliveCount),
			FinTimeout:           d.jiffies(s.SysctlFinTimeoutJiffies),
			AbortOnOverflow:      flags&bpfSettingsFlagsSETTINGS_ABORT_ON_OVERFLOW != 0,
			SYNCookies:           int(s.SysctlSyncookies),
			SYNACKRTOMax:         flags&bpfSettingsFlagsSETTINGS_SYNACK_RTO_MAX != 0,
		},
	}
}

// comm turns a process name into a string, and the same name always into the same one: there are few names and many
// events.
func (d *decoder) comm(raw [16]int8) string {
	if name, ok := d.comms[raw]; ok {
		return name
	}
	name := text(raw[:])
	if len(d.comms) < maxComms {
		d.comms[raw] = name
	}
	return name
}

// maxComms bounds what a host that invents process names can make us remember.
const maxComms = 4096

func text(raw []int8) string {
	bytes := make([]byte, 0, len(raw))
	for _, c := range raw {
		if c == 0 {
			break
		}
		bytes = append(bytes, byte(c))
	}
	return string(bytes)
}

// endpoints makes addresses of what the kernel holds: 0 for family means that they are unknown. An IPv4 address on
// an IPv6 socket becomes an IPv4 address, which it is on the wire.
func endpoints(family uint16, local [16]uint8, localPort uint16, remote [16]uint8, remotePort uint16) (l, r netip.AddrPort, err error) {
	switch family {
	case unix.AF_UNSPEC:
		return l, r, nil
	case unix.AF_INET:
		return endpoint(netip.AddrFrom4([4]byte(local[:4])), localPort),
			endpoint(netip.AddrFrom4([4]byte(remote[:4])), remotePort), nil
	case unix.AF_INET6:
		return endpoint(netip.AddrFrom16(local).Unmap(), localPort),
			endpoint(netip.AddrFrom16(remote).Unmap(), remotePort), nil
	}
	return l, r, fmt.Errorf("%w: address family %d", errRecord, family)
}

// endpoint is invalid, so unknown, for a socket that has neither address nor port yet.
func endpoint(address netip.Addr, port uint16) netip.AddrPort {
	if address.IsUnspecified() && port == 0 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(address, port)
}
