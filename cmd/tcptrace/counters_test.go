package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/host"
	"tcptrace/tracer/host/counters"
	"tcptrace/tracer/sockets"
)

// procFiles are a /proc/net in which something of everything has happened.
func procFiles() fstest.MapFS {
	return fstest.MapFS{
		"netstat": {Data: []byte("TcpExt: SyncookiesSent PruneCalled TW ListenOverflows ListenDrops TCPHPHits TCPOrigDataSent TCPSynRetrans TCPRcvQDrop" +
			" IPReversePathFilter TCPBrandNew\nTcpExt: 0 4 12 6350 6400 900 5000 7 2 3 1\n" +
			"IpExt: InNoRoutes InOctets\nIpExt: 0 1000000\n")},
		"snmp": {Data: []byte("Ip: Forwarding DefaultTTL InReceives InHdrErrors InDiscards\nIp: 2 64 10000 1 0\n" +
			"IcmpMsg: InType3\nIcmpMsg: 2\n" +
			"Tcp: RtoAlgorithm RtoMin ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs RetransSegs InErrs InCsumErrors\n" +
			"Tcp: 1 200 100 150 5 6 3 9000 8000 107 0 0\n" +
			"Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors MemErrors\nUdp: 90 0 17 40 10 0 4 1\n")},
		"snmp6":        {Data: []byte("Ip6InReceives 5\nUdp6RcvbufErrors 0\nUdp6InErrors 0\n")},
		"sockstat":     {Data: []byte("sockets: used 16\nTCP: inuse 4 orphan 0 tw 12 alloc 5 mem 2\n")},
		"softnet_stat": {Data: []byte("00002710 00000002 00000003 0 0 0 0 0 0 0 0 00000000 00000001 0 0\n")},
	}
}

func readValues(t *testing.T, dir fstest.MapFS) counters.Values {
	t.Helper()
	values, err := counters.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	return values
}

var countersStart = time.Date(2026, 2, 3, 10, 0, 0, 0, time.UTC)

// countersOut is what a command prints of readings of counters: of the first, or of what changed until the second.
func countersOut(t *testing.T, c *countersCommand, json bool, first, second *countersReading) []byte {
	t.Helper()
	var buf sinkBuffer
	c.output.Format = formatText
	if json {
		c.output.Format = formatJSON
	}
	out := countersSinks{newCountersPrinter(&buf, painter{}, &c.output, &c.detail, c.All)}
	if second == nil {
		out.now(first)
		out.end(countersTotal{reading: first})
	} else {
		out.begin(2 * time.Second)
		second.since(first)
		out.change(second)
		out.end(countersTotal{reading: second, intervals: 1, interrupted: true})
	}
	out.Flush()
	return buf.Bytes()
}

// laterValues are what became of the counters two seconds later.
func laterValues(values counters.Values) counters.Values {
	later := make(counters.Values)
	for key, n := range values {
		later[key] = n
	}
	for key, more := range map[counters.Key]int64{
		{Group: "TcpExt", Name: "ListenOverflows"}: 12, {Group: "TcpExt", Name: "ListenDrops"}: 12,
		{Group: "Tcp", Name: "OutSegs"}: 2000, {Group: "Tcp", Name: "RetransSegs"}: 20, {Group: "Tcp", Name: "CurrEstab"}: -2,
		{Group: "TcpExt", Name: "TCPOrigDataSent"}: 1000, {Group: "Udp", Name: "RcvbufErrors"}: 5, {Group: "Udp", Name: "InErrors"}: 5,
	} {
		later[key] += more
	}
	return later
}

func TestCountersAsPrinted(t *testing.T) {
	t.Setenv("TZ", "UTC")
	for _, test := range []struct {
		golden  string
		command countersCommand
		change  bool
	}{
		{"counters", countersCommand{}, false},
		{"counters-all", countersCommand{All: true, detail: detailFlags{Verbose: true}}, false},
		{"counters-quiet", countersCommand{detail: detailFlags{Quiet: true}}, false},
		{"counters-names", countersCommand{names: []string{"TCPPrequeued", "syncookiessent", "Udp."}}, false},
		{"counters-change", countersCommand{}, true},
		{"counters-change-names", countersCommand{names: []string{"ListenOverflows", "PruneCalled"}}, true},
	} {
		for _, json := range []bool{false, true} {
			values := readValues(t, procFiles())
			first := test.command.reading(values)
			first.at = countersStart
			var second *countersReading
			if test.change {
				second = test.command.reading(laterValues(values))
				second.at, second.elapsed = countersStart.Add(2*time.Second), 2*time.Second
			}
			name := test.golden
			if json {
				name += ".json"
			}
			checkGolden(t, name, countersOut(t, &test.command, json, first, second))
		}
	}
}

// pathExample is a host that loses packets everywhere.
func pathExample(t *testing.T) *pathSources {
	t.Helper()
	dir := procFiles()
	softnet, err := counters.ReadSoftnet(dir)
	if err != nil {
		t.Fatal(err)
	}
	listener := &sockets.Socket{Local: netip.MustParseAddrPort("0.0.0.0:443"), State: event.StateListen, Inode: 11, Held: true, Drops: 6400}
	slow := &sockets.Socket{
		Local: netip.MustParseAddrPort("192.0.2.1:5432"), Remote: netip.MustParseAddrPort("198.51.100.7:40000"), State: event.StateEstablished,
		Inode: 12, Held: true, Drops: 2, Receive: &sockets.Buffer{Size: 131072, Used: 130000},
	}
	healthy := &sockets.Socket{
		Local: netip.MustParseAddrPort("192.0.2.1:22"), Remote: netip.MustParseAddrPort("198.51.100.7:40001"), State: event.StateEstablished,
		Inode: 13, Held: true, Receive: &sockets.Buffer{Size: 131072, Used: 10},
	}
	return &pathSources{
		values: readValues(t, dir), softnet: softnet, root: true,
		devices: []host.Device{
			{Name: "lo", Kind: "device", Up: true, Received: 5, Sent: 5, Statistics: map[string]int64{"rx_dropped": 0, "tx_dropped": 0}, Queues: []host.Queue{{Kind: "noqueue", Handle: "none"}}},
			{
				Name: "eth0", Kind: "device", Driver: "e1000e", Up: true, Received: 10000, Sent: 8000, Ring: &host.Ring{RX: 256, RXMax: 4096, TX: 256, TXMax: 256}, QueueLength: 1000,
				Statistics:    map[string]int64{"rx_dropped": 0, "rx_missed_errors": 9, "rx_errors": 9, "tx_dropped": 0, "tx_errors": 0},
				OwnStatistics: map[string]int64{"rx_missed_errors": 9, "rx_no_buffer_count": 1, "tx_dropped": 0, "rx_packets": 10000},
				Queues:        []host.Queue{{Kind: "fq_codel", Handle: "8001:", Dropped: 8, Overlimits: 1, Requeues: 2, Waiting: 3}},
			},
		},
		udp: []host.UDPSocket{
			{Local: netip.MustParseAddrPort("0.0.0.0:514"), Inode: 21, Unread: 212000, Dropped: 10},
			{Local: netip.MustParseAddrPort("0.0.0.0:53"), Inode: 22},
		},
		tcp: []*sockets.Socket{listener, slow, healthy},
		owners: map[uint64]event.Owner{
			11: {PID: 4211, Comm: "api"}, 12: {PID: 4300, Comm: "post\x1bgres"}, 21: {PID: 500, Comm: "rsyslogd"},
		},
		settings: map[string][]int{
			"net.core.netdev_max_backlog": {1000}, "net.core.rmem_default": {212992}, "net.ipv4.tcp_rmem": {4096, 131072, 6291456},
			"net.core.somaxconn": {4096}, "net.ipv4.conf.all.rp_filter": {1},
		},
	}
}

func TestPathAsPrinted(t *testing.T) {
	t.Setenv("TZ", "UTC")
	for _, test := range []struct {
		golden  string
		command countersCommand
		change  bool
	}{
		{"counters-path", countersCommand{Path: true}, false},
		{"counters-path-all", countersCommand{Path: true, All: true}, false},
		{"counters-path-quiet", countersCommand{Path: true, detail: detailFlags{Quiet: true}}, false},
		{"counters-path-change", countersCommand{Path: true}, true},
	} {
		for _, json := range []bool{false, true} {
			sources := pathExample(t)
			first := test.command.reading(sources.values)
			first.at, first.walk = countersStart, walkOf(sources)
			var second *countersReading
			if test.change {
				later := pathExample(t)
				later.values = laterValues(later.values)
				later.udp[0].Dropped += 5
				later.devices[1].OwnStatistics["rx_missed_errors"] += 4
				second = test.command.reading(later.values)
				second.at, second.elapsed, second.walk = countersStart.Add(2*time.Second), 2*time.Second, walkOf(later)
			}
			name := test.golden
			if json {
				name += ".json"
			}
			checkGolden(t, name, countersOut(t, &test.command, json, first, second))
		}
	}
}

// countersRun is what a run prints whose first reading is followed by two intervals, in the second of which nothing happens,
// and, cut short, by a third in which something does.
func countersRun(t *testing.T, c countersCommand, format format, cutShort bool) []byte {
	t.Helper()
	var buf sinkBuffer
	read := func(at int, later bool) *countersReading {
		sources := pathExample(t)
		if later {
			sources.values = laterValues(sources.values)
			sources.udp[0].Dropped += 5
			sources.devices[1].OwnStatistics["rx_missed_errors"] += 4
		}
		r := c.reading(sources.values)
		r.elapsed = time.Duration(at) * 1001 * time.Millisecond
		if r.at = countersStart.Add(r.elapsed); c.Path {
			r.walk = walkOf(sources)
		}
		return r
	}
	c.output.Format = format
	out := newCountersPrinter(&buf, painter{}, &c.output, &c.detail, c.All)
	out.meta(meta{Version: "v0", Subject: aboutCounters, Interval: c.Interval, All: c.All})
	first := read(0, false)
	if c.Interval == 0 {
		out.now(first)
		out.end(countersTotal{reading: first})
		return buf.Bytes()
	}
	out.begin(c.Interval)
	second, third := read(1, false), read(2, true)
	second.since(first)
	third.since(second)
	out.change(second)
	if c.Count == 1 {
		out.end(countersTotal{reading: second, intervals: 1, told: true})
		return buf.Bytes()
	}
	out.change(third)
	last := third
	if cutShort {
		last = read(3, true)
	}
	last.since(first)
	out.end(countersTotal{reading: last, intervals: 2, interrupted: cutShort})
	return buf.Bytes()
}

func TestCountersAreReplayedAsTheyWerePrinted(t *testing.T) {
	t.Setenv("TZ", "UTC")
	for name, c := range map[string]countersCommand{
		"now": {}, "all": {All: true}, "verbose": {detail: detailFlags{Verbose: true}}, "quiet": {detail: detailFlags{Quiet: true}},
		"named":    {names: []string{"TCPPrequeued", "syncookiessent", "Udp6.", "sockstat.", "softnet."}},
		"interval": {Interval: time.Second}, "interval, all": {Interval: time.Second, All: true}, "one interval": {Interval: time.Second, Count: 1},
		"path": {Path: true}, "path, all": {Path: true, All: true}, "path, quiet": {Path: true, detail: detailFlags{Quiet: true}},
		"path, interval": {Path: true, Interval: time.Second}, "path, one interval": {Path: true, Interval: time.Second, Count: 1},
	} {
		for _, cutShort := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, cut short: %t", name, cutShort), func(t *testing.T) {
				checkReplay(t, countersRun(t, c, formatJSON, cutShort), countersRun(t, c, formatText, cutShort), exitOK, c.detail.args()...)
			})
		}
	}
}

func TestCountersOfARecordingThatWasCutShort(t *testing.T) {
	t.Setenv("TZ", "UTC")
	now := countersRun(t, countersCommand{}, formatJSON, false)
	if out := checkCut(t, now, `{"type":"ratio"`); !strings.Contains(out, "  TcpExt.ListenOverflows ") || strings.Contains(out, "(--all)") {
		t.Errorf("it says\n%s", out)
	}
	changes := countersRun(t, countersCommand{Interval: time.Second}, formatJSON, false)
	if out := checkCut(t, changes, `{"type":"ratio"`); !strings.Contains(out, "10:00:02  +2.002s\n") || !strings.Contains(out, " +12 ") ||
		strings.Contains(out, "intervals:") {
		t.Errorf("it says\n%s", out)
	}
}

func TestPathWithoutTheHostsSettingsSaysSo(t *testing.T) {
	sources := pathExample(t)
	sources.settings, sources.root = nil, false
	notes := make(map[string][]string)
	for _, s := range walkOf(sources).stations {
		notes[s.name] = s.notes
	}
	if note := "its limits are the host's, and cannot be seen from within this network namespace"; !slices.Contains(notes["softirq"], note) {
		t.Errorf("softirq: %q", notes["softirq"])
	}
	if note := "other users' processes are not named: that needs root"; !slices.Contains(notes["sockets"], note) {
		t.Errorf("sockets: %q", notes["sockets"])
	}
}

func TestDropsOfTheWholeWayCountNothingTwice(t *testing.T) {
	w := walkOf(pathExample(t))
	// 10 in the ring, 2 in softirq, 4 by IP, 6,402 by TCP, 17 by UDP, 8 in the queue.
	const want = 10 + 2 + 4 + 6402 + 17 + 8
	if got := w.drops(false); got != want {
		t.Errorf("%d, want %d", got, want)
	}
}

func TestProgramsThatTheFirewallAsksAreAStation(t *testing.T) {
	sources := pathExample(t)
	before := walkOf(sources).drops(false)
	sources.nfqueues = []host.NFQueue{{Number: 5, Port: 213, Waiting: 4, Dropped: 17, Unread: 3}, {Number: 6, Port: 214}}
	w := walkOf(sources)
	if got := w.drops(false) - before; got != 20 {
		t.Errorf("%d packets dropped there, want 20", got)
	}
	at := slices.IndexFunc(w.stations, func(s station) bool { return s.name == "firewall's programs" })
	if at < 0 || !slices.Equal(w.stations[at].notes, []string{"queue 5 has 4 waiting for netlink port 213, mostly the program's PID"}) {
		t.Errorf("the stations are %+v", w.stations)
	}
}

func TestUDPErrorsAreToldApart(t *testing.T) {
	rest, ok := pathExample(t).otherUDPErrors("Udp")
	if !ok || rest.count != 2 {
		t.Errorf("of 17 errors, 10 for full buffers, 4 damaged and 1 for memory, %d others (%t); want 2", rest.count, ok)
	}
	if _, ok := (&pathSources{}).otherUDPErrors("Udp6"); ok {
		t.Error("a kernel without IPv6 has errors of UDP over it")
	}
}

func TestMissingCounterSuggestsItsNeighbour(t *testing.T) {
	r := (&countersCommand{}).reading(readValues(t, procFiles()))
	for name, want := range map[string]string{
		"ListenOverflow": `there is no counter "ListenOverflow"; did you mean TcpExt.ListenOverflows?`,
		"Udp.RcvBufErr":  "there is no counter \"Udp.RcvBufErr\"; did you mean Udp.RcvbufErrors?",
		"x":              "there is no counter \"x\"; `tcptrace counters --all` lists them",
	} {
		err := r.check(&countersCommand{names: []string{name}})
		exit, ok := errors.AsType[*exitError](err)
		if !ok || exit.status != exitUsage || err.Error() != want {
			t.Errorf("%s: %v; want %s", name, err, want)
		}
	}
	for _, name := range []string{"TCPBrandNew", "TCPPrequeued", "TCPAbortOnMemory", "sockstat."} {
		if err := r.check(&countersCommand{names: []string{name}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCountersOfOneFamily(t *testing.T) {
	values := readValues(t, procFiles())
	four := &countersCommand{All: true, scope: traceFlags{Only4: true}}
	six := &countersCommand{All: true, scope: traceFlags{Only6: true}}
	for _, v := range four.reading(values).shown {
		if v.IPv6() {
			t.Errorf("-4 shows %s", v)
		}
	}
	for _, v := range six.reading(values).shown {
		if v.IPv4() {
			t.Errorf("-6 shows %s", v)
		}
	}
}
