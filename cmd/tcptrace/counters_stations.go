package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"tcptrace/tracer/host"
	"tcptrace/tracer/host/counters"
)

// packetWalk is a packet's way, station by station: of one that arrives, and then of one that is sent.
type packetWalk struct{ stations []station }

// The two ways.
const (
	wayReceived = "received"
	waySent     = "sent"
)

// stationSockets is the name of the station that tells of drops socket by socket.
const stationSockets = "sockets"

// station is a place where packets can get lost.
type station struct {
	way      string
	name     string
	about    string // what happens there
	drops    []stationDrop
	settings []stationSetting
	sockets  []lossySocket
	notes    []string
	minor    bool // it has no limit of its own, so that there is nothing to tell of it but drops
}

// stationDrop is a number of packets that were dropped.
type stationDrop struct {
	name     string
	count    int64
	change   int64
	hostWide bool
	included bool // in another of them, so that it must not be added to it
	means    string
}

// stationSetting is a limit, as it is now, and the command that changes it.
type stationSetting struct{ name, value, most, command string }

// walkOf describes the way from what was read.
func walkOf(s *pathSources) *packetWalk {
	w := new(packetWalk)
	for i := range s.devices {
		w.add(deviceStation(&s.devices[i], wayReceived))
	}
	w.add(s.softirqStation(), s.ipStation())
	if len(s.nfqueues) > 0 {
		w.add(s.nfqueueStation())
	}
	w.add(s.tcpStation(), s.udpStation(), s.socketStation(), s.applicationStation())
	w.add(s.sendStation())
	for i := range s.devices {
		w.add(queueStation(&s.devices[i]), deviceStation(&s.devices[i], waySent))
	}
	return w
}

func (w *packetWalk) add(stations ...station) { w.stations = append(w.stations, stations...) }

// since compares with an earlier walk, station by station and socket by socket.
func (w *packetWalk) since(before *packetWalk) {
	counts, drops := make(map[string]int64), make(map[string]int64)
	for _, s := range before.stations {
		for _, d := range s.drops {
			counts[s.way+s.name+d.name] = d.count
		}
		for _, l := range s.sockets {
			drops[l.identity()] = l.drops
		}
	}
	for i := range w.stations {
		s := &w.stations[i]
		for j := range s.drops {
			d := &s.drops[j]
			d.change = d.count - counts[s.way+s.name+d.name]
		}
		for j := range s.sockets {
			if l := &s.sockets[j]; s.name == stationSockets { // others tell of the same sockets again
				l.change = l.drops - drops[l.identity()]
			}
		}
	}
}

// identity tells sockets apart. A half-open one has no inode, but drops nothing.
func (l *lossySocket) identity() string {
	return fmt.Sprint(l.protocol, l.inode, l.local, l.remote)
}

// drops is how many packets were dropped in all, or lately; of the two ways together.
func (w *packetWalk) drops(lately bool) int64 {
	var n int64
	for i := range w.stations {
		n += w.stations[i].dropped(lately)
	}
	return n
}

func (s *station) dropped(lately bool) int64 {
	var n int64
	for _, d := range s.drops {
		switch {
		case d.included:
		case lately:
			n += d.change
		default:
			n += d.count
		}
	}
	return n
}

// deviceStation is a device's ring and what its driver and everybody else's code lost on that way.
func deviceStation(d *host.Device, way string) station {
	s := station{way: way, name: "device " + d.Name, about: aboutDevice(d, way), minor: d.Ring == nil || !d.Up}
	sending := way == waySent
	own := dropsOf(d.OwnStatistics, sending, "ethtool -S: ")
	general := dropsOf(d.Statistics, sending, "")
	general = slices.DeleteFunc(general, func(d stationDrop) bool { return hasDrop(own, "ethtool -S: "+d.name) })
	// The general ones are made of the driver's own where it has these, and rx_errors of those beside it. The backlog's
	// drops are in the rx_dropped of software devices.
	for i := range general {
		g := &general[i]
		g.included = len(own) > 0 || strings.HasSuffix(g.name, "x_errors") && anyDropped(general) ||
			g.name == "rx_dropped" && d.Ring == nil
	}
	s.drops = slices.Concat(own, general)
	switch {
	case d.Ring == nil:
		s.notes = append(s.notes, "it has no ring that ethtool knows: it is software, or its driver does not tell")
	case sending:
		s.settings = ringSetting(d, "tx", d.Ring.TX, d.Ring.TXMax)
	default:
		s.settings = ringSetting(d, "rx", d.Ring.RX, d.Ring.RXMax)
	}
	return s
}

func hasDrop(drops []stationDrop, name string) bool {
	return slices.ContainsFunc(drops, func(d stationDrop) bool { return d.name == name })
}

func anyDropped(drops []stationDrop) bool {
	return slices.ContainsFunc(drops, func(d stationDrop) bool { return !strings.HasSuffix(d.name, "x_errors") && d.count > 0 })
}

func aboutDevice(d *host.Device, way string) string {
	kind := d.Kind
	if d.Driver != "" && d.Driver != d.Kind {
		kind = d.Driver
	}
	if d.Kind == "device" && d.Driver == "" {
		kind = "software"
	}
	state, packets := "", d.Received
	if way == waySent {
		packets = d.Sent
	}
	if !d.Up {
		state = ", switched off"
	}
	return fmt.Sprintf("%s%s, %s %s", kind, state, countOf(int(packets), "packet"), way)
}

func dropsOf(statistics map[string]int64, sending bool, prefix string) []stationDrop {
	var drops []stationDrop
	for _, d := range host.Drops(statistics) {
		if d.Sending == sending {
			drops = append(drops, stationDrop{name: prefix + d.Name, count: d.Packets, means: d.Means})
		}
	}
	return drops
}

func ringSetting(d *host.Device, way string, now, most int) []stationSetting {
	set := stationSetting{name: "ring (" + way + ")", value: strconv.Itoa(now), most: strconv.Itoa(most)}
	if now < most {
		set.command = fmt.Sprintf("ethtool -G %s %s %d", d.Name, way, most)
	}
	return []stationSetting{set}
}

func (s *pathSources) softirqStation() station {
	st := station{way: wayReceived, name: "softirq", about: "takes packets from rings and backlogs to the protocols; of the whole host"}
	st.drops = s.counted("softnet.dropped", "softnet.flow_limit", "softnet.time_squeeze")
	for i := range st.drops {
		st.drops[i].hostWide = true
		// A squeeze drops nothing by itself, and what the flow limit drops is in dropped.
		st.drops[i].included = i > 0
	}
	for _, cpu := range s.softnet {
		if cpu.Dropped > 0 || cpu.Squeezed > 0 {
			st.notes = append(st.notes, fmt.Sprintf("CPU %d: %s dropped, %s squeezed, of %s",
				cpu.CPU, grouped(int(cpu.Dropped)), grouped(int(cpu.Squeezed)), countOf(int(cpu.Processed), "packet")))
		}
	}
	st.settings = s.sysctls(double,
		"net.core.netdev_max_backlog", "net.core.netdev_budget", "net.core.netdev_budget_usecs", "net.core.dev_weight")
	if st.settings == nil {
		st.notes = append(st.notes, "its limits are the host's, and cannot be seen from within this network namespace")
	}
	return st
}

func (s *pathSources) ipStation() station {
	st := station{way: wayReceived, name: "IP", about: "checks headers, finds the way, puts fragments together"}
	st.drops = s.counted("Ip.InHdrErrors", "Ip6.InHdrErrors", "Ip.InAddrErrors", "Ip6.InAddrErrors",
		"TcpExt.IPReversePathFilter",
		"IpExt.InNoRoutes", "Ip6.InNoRoutes", "Ip6.InTooBigErrors", "Ip.InDiscards", "Ip6.InDiscards",
		"IpExt.InTruncatedPkts", "Ip6.InTruncatedPkts",
		"Ip.InUnknownProtos", "Ip6.InUnknownProtos", "Ip.ReasmFails", "Ip6.ReasmFails")
	st.settings = s.sysctls(nil, "net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter", "net.ipv4.ipfrag_time",
		"net.ipv4.ipfrag_high_thresh")
	st.notes = []string{"what a firewall drops is not counted here: nft list ruleset shows its own counters"}
	return st
}

// nfqueueStation is where the firewall has programs judge packets, of those that are sent as well.
func (s *pathSources) nfqueueStation() station {
	st := station{way: wayReceived, name: "firewall's programs", about: "judge what a rule hands to them (NFQUEUE), and what is sent as well"}
	for _, q := range s.nfqueues {
		name := fmt.Sprintf("queue %d", q.Number)
		st.drops = append(st.drops,
			stationDrop{name: name, count: q.Dropped, means: "the queue was full, as the program is slow"},
			stationDrop{name: name + ", socket", count: q.Unread, means: "the program's netlink socket had no room"})
		if q.Waiting > 0 {
			st.notes = append(st.notes, fmt.Sprintf("%s has %s waiting for netlink port %d, mostly the program's PID", name, grouped(q.Waiting), q.Port))
		}
	}
	st.minor = len(st.notes) == 0
	return st
}

func (s *pathSources) tcpStation() station {
	st := station{way: wayReceived, name: "TCP", about: "finds the socket, checks the segment, queues its data"}
	st.drops = s.counted("Tcp.InCsumErrors", "TcpExt.ListenOverflows", "TcpExt.ListenDrops", "TcpExt.TCPReqQFullDrop",
		"TcpExt.TCPBacklogDrop",
		"TcpExt.TCPRcvQDrop", "TcpExt.TCPZeroWindowDrop", "TcpExt.TCPOFODrop", "TcpExt.RcvPruned", "TcpExt.OfoPruned",
		"TcpExt.PFMemallocDrop",
		"TcpExt.PAWSEstab", "TcpExt.PruneCalled", "TcpExt.TCPRcvCollapsed")
	// ListenDrops has the other refusals in it; pruning and collapsing make room, and PAWS refuses what is old.
	include(st.drops, "TcpExt.ListenOverflows", "TcpExt.TCPReqQFullDrop", "TcpExt.PruneCalled",
		"TcpExt.TCPRcvCollapsed", "TcpExt.OfoPruned", "TcpExt.RcvPruned")
	st.settings = slices.Concat(
		s.sysctls(double, "net.core.somaxconn", "net.ipv4.tcp_max_syn_backlog", "net.ipv4.tcp_rmem"),
		s.sysctls(nil, "net.ipv4.tcp_syncookies", "net.ipv4.tcp_mem"))
	return st
}

func (s *pathSources) udpStation() station {
	st := station{way: wayReceived, name: "UDP", about: "finds the socket, checks the datagram, queues it"}
	st.drops = s.counted("Udp.RcvbufErrors", "Udp6.RcvbufErrors", "Udp.InCsumErrors", "Udp6.InCsumErrors",
		"Udp.MemErrors", "Udp6.MemErrors",
		"Udp.NoPorts", "Udp6.NoPorts")
	for _, group := range []string{"Udp", "Udp6"} {
		if rest, ok := s.otherUDPErrors(group); ok {
			st.drops = append(st.drops, rest)
		}
	}
	st.settings = slices.Concat(s.sysctls(double, "net.core.rmem_default",
		"net.core.rmem_max"), s.sysctls(nil, "net.ipv4.udp_mem"))
	return st
}

// otherUDPErrors is what InErrors has beyond full buffers, damage and lack of memory: mostly socket filters.
func (s *pathSources) otherUDPErrors(group string) (stationDrop, bool) {
	all, ok := s.values[counters.Key{Group: group, Name: "InErrors"}]
	for _, name := range []string{"RcvbufErrors", "InCsumErrors", "MemErrors"} {
		all -= s.values[counters.Key{Group: group, Name: name}]
	}
	return stationDrop{
		name: group + ".InErrors besides these", count: max(0, all),
		means: "datagrams that a socket's filter, IPsec or an encapsulation refused",
	}, ok
}

func (s *pathSources) socketStation() station {
	st := station{way: wayReceived, name: stationSockets, about: "what each socket itself dropped; counted above too", sockets: s.lossy()}
	if !s.root {
		st.notes = append(st.notes, "other users' processes are not named: that needs root")
	}
	return st
}

func (s *pathSources) applicationStation() station {
	st := station{
		way: wayReceived, name: "application", about: "reads what the sockets hold; these leave half of the buffer or more unread",
		sockets: s.unread(),
	}
	return st
}

func (s *pathSources) sendStation() station {
	st := station{way: waySent, name: "sockets and IP", about: "give packets to the device's queue"}
	st.drops = s.counted("Udp.SndbufErrors", "Udp6.SndbufErrors", "TcpExt.TCPRetransFail", "TcpExt.TCPWqueueTooBig",
		"Ip.OutNoRoutes", "Ip6.OutNoRoutes",
		"Ip.OutDiscards", "Ip6.OutDiscards", "Ip.FragFails", "Ip6.FragFails")
	st.settings = slices.Concat(s.sysctls(double, "net.ipv4.tcp_wmem"), s.sysctls(nil, "net.core.wmem_default",
		"net.core.wmem_max"))
	return st
}

// queueStation is where packets wait for a device.
func queueStation(d *host.Device) station {
	s := station{way: waySent, name: "queue of " + d.Name, about: "packets wait for the device", minor: true}
	for _, q := range d.Queues {
		name := q.Name()
		s.drops = append(s.drops, stationDrop{name: name, count: q.Dropped, means: "the queue was full, or its rules dropped them"})
		if q.Waiting > 0 || q.Requeues > 0 || q.Overlimits > 0 {
			s.notes = append(s.notes, fmt.Sprintf("%s has %s waiting, %s requeued, %s over the limit",
				name, grouped(int(q.Waiting)), grouped(int(q.Requeues)), grouped(int(q.Overlimits))))
		}
	}
	if len(d.Queues) > 0 && d.Queues[0].Kind != "noqueue" && d.QueueLength > 0 {
		s.minor = !d.Up
		s.settings = []stationSetting{{
			name: "txqueuelen", value: strconv.Itoa(d.QueueLength), command: fmt.Sprintf("ip link set %s txqueuelen %d", d.Name, 2*d.QueueLength),
		}}
	}
	return s
}

// counted are the counters of these names that the kernel has.
func (s *pathSources) counted(names ...string) []stationDrop {
	var drops []stationDrop
	for _, name := range names {
		group, counter, _ := strings.Cut(name, ".")
		key := counters.Key{Group: group, Name: counter}
		if value, ok := s.values[key]; ok {
			drops = append(drops, stationDrop{name: name, count: value, means: counters.Lookup(key).Means})
		}
	}
	return drops
}

// include marks drops that are in others, too.
func include(drops []stationDrop, names ...string) {
	for i := range drops {
		drops[i].included = drops[i].included || slices.Contains(names, drops[i].name)
	}
}

// sysctls are settings of these names that could be read. raise says what to try instead; nil: the command is for the user
// to complete.
func (s *pathSources) sysctls(raise func([]int) string, names ...string) []stationSetting {
	var settings []stationSetting
	for _, name := range names {
		numbers, ok := s.settings[name]
		if !ok {
			continue
		}
		set := stationSetting{name: name, value: strings.Trim(fmt.Sprint(numbers), "[]")}
		if raise != nil {
			set.command = fmt.Sprintf("sysctl -w %s=%s", name, raise(numbers))
		}
		settings = append(settings, set)
	}
	return settings
}

// double is twice as much of a limit, and of three numbers twice the last.
func double(numbers []int) string {
	raised := slices.Clone(numbers)
	if len(raised) > 0 {
		raised[len(raised)-1] *= 2
	}
	text := strings.Trim(fmt.Sprint(raised), "[]")
	if len(raised) > 1 {
		return strconv.Quote(text)
	}
	return text
}
