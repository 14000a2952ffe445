package counters

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// procNet are files as a kernel writes them, each a short one.
func procNet() fstest.MapFS {
	files := map[string]string{
		"netstat": "TcpExt: SyncookiesSent ListenOverflows NeverHeardOf\nTcpExt: 1 2 3\nIpExt: InOctets\nIpExt: 18446744073709551615\n",
		"snmp": "Ip: Forwarding DefaultTTL InReceives\nIp: 2 64 100\nIcmpMsg: InType3\nIcmpMsg: 5\nIcmpMsg: OutType3\nIcmpMsg: 6\n" +
			"Tcp: RtoAlgorithm MaxConn CurrEstab\nTcp: 1 -1 7\n",
		"snmp6":     "Ip6InReceives                   \t8\nIcmp6OutType143 \t9\nUdpLite6InErrors 10\n",
		"sockstat":  "sockets: used 16\nTCP: inuse 1 orphan 0 tw 4 alloc 1 mem 2\n",
		"sockstat6": "TCP6: inuse 3\n",
		"softnet_stat": "0000000a 00000002 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000005 00000000 00000000 00000000\n" +
			"00000014 00000003 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000001 00000002 00000001 00000002 00000000 00000000\n",
	}
	dir := make(fstest.MapFS)
	for name, text := range files {
		dir[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return dir
}

func TestEveryFileIsReadByName(t *testing.T) {
	got, err := Read(procNet())
	if err != nil {
		t.Fatal(err)
	}
	want := Values{
		{"TcpExt", "SyncookiesSent"}: 1, {"TcpExt", "ListenOverflows"}: 2, {"TcpExt", "NeverHeardOf"}: 3, {"IpExt", "InOctets"}: -1,
		{"Ip", "Forwarding"}: 2, {"Ip", "DefaultTTL"}: 64, {"Ip", "InReceives"}: 100,
		{"IcmpMsg", "InType3"}: 5, {"IcmpMsg", "OutType3"}: 6,
		{"Tcp", "RtoAlgorithm"}: 1, {"Tcp", "MaxConn"}: -1, {"Tcp", "CurrEstab"}: 7,
		{"Ip6", "InReceives"}: 8, {"Icmp6", "OutType143"}: 9, {"UdpLite6", "InErrors"}: 10,
		{"sockstat", "sockets_used"}: 16, {"sockstat", "TCP_inuse"}: 1, {"sockstat", "TCP_orphan"}: 0, {"sockstat", "TCP_tw"}: 4,
		{"sockstat", "TCP_alloc"}: 1, {"sockstat", "TCP_mem"}: 2, {"sockstat", "TCP6_inuse"}: 3,
		{"softnet", "processed"}: 30, {"softnet", "dropped"}: 5, {"softnet", "time_squeeze"}: 2, {"softnet", "received_rps"}: 1,
		{"softnet", "flow_limit"}: 2, {"softnet", "backlog_len"}: 6,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestKernelWithoutIPv6HasTheOtherCounters(t *testing.T) {
	dir := procNet()
	delete(dir, "snmp6")
	delete(dir, "sockstat6")
	values, err := Read(dir)
	if _, six := values[Key{"Ip6", "InReceives"}]; err != nil || six || values[Key{"Tcp", "CurrEstab"}] != 7 {
		t.Errorf("%v, %v", values, err)
	}
}

func TestDamagedFilesAreRefused(t *testing.T) {
	for name, tests := range map[string]map[string]string{
		"netstat": {
			"TcpExt: A B\nTcpExt: 1\n": "TcpExt has 2 names and 1 values",
			"TcpExt: A\nIpExt: 1\n":    `"TcpExt:" and "IpExt:" are no pair of lines`,
			"TcpExt: A\n":              `the names of "TcpExt:" have no values`,
			"TcpExt: A\nTcpExt: x\n":   `TcpExt.A: "x" is not a number`,
			"TcpExt A\nTcpExt 1\n":     `"TcpExt" and "TcpExt" are no pair of lines`,
		},
		"snmp6": {
			"InReceives 1\n":     `"InReceives 1" is no counter of IPv6`,
			"Ip6InReceives\n":    `"Ip6InReceives" is no counter of IPv6`,
			"Ip6InReceives one ": `Ip6InReceives: "one" is not a number`,
		},
		"sockstat": {
			"TCP: inuse\n":    `"TCP: inuse" does not count sockets`,
			"TCP inuse 1\n":   `"TCP inuse 1" does not count sockets`,
			"TCP: inuse -x\n": `TCP inuse: "-x" is not a number`,
		},
		"softnet_stat": {
			"0000000g 0 0 0 0 0 0 0 0\n": `"0000000g" is not a hexadecimal number`,
			"1 2 3\n":                    "a CPU has 3 columns",
		},
	} {
		for text, want := range tests {
			_, err := Read(fstest.MapFS{name: {Data: []byte(text)}})
			if want = "read /proc/net/" + name + ": " + want; err == nil || err.Error() != want {
				t.Errorf("%q: %v; want %s", text, err, want)
			}
		}
	}
	if _, err := Read(fstest.MapFS{}); err != errNone {
		t.Errorf("no file at all: %v", err)
	}
}

func TestOlderSoftnetSaysLess(t *testing.T) {
	cpus, err := softnetCPUs("00000001 00000002 00000003 0 0 0 0 0 0\n00000004 00000005 00000006 0 0 0 0 0 0 00000007 00000008\n")
	want := []Softnet{
		{CPU: 0, Processed: 1, Dropped: 2, Squeezed: 3},
		{CPU: 1, Processed: 4, Dropped: 5, Squeezed: 6, ReceivedRPS: 7, FlowLimited: 8},
	}
	if diff := cmp.Diff(want, cpus); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestChangeOverAWrap(t *testing.T) {
	processed, overflows := Key{"softnet", "processed"}, Key{"TcpExt", "ListenOverflows"}
	before, now := Values{processed: 1<<32 - 2, overflows: 5}, Values{processed: 3, overflows: 9}
	if a, b := Change(processed, before, now), Change(overflows, before, now); a != 5 || b != 4 {
		t.Errorf("%d and %d, want 5 and 4", a, b)
	}
}

// TestSentencesAreThoseOfNetstat compares with what netstat -s of net-tools 2.10 printed of invented values.
func TestSentencesAreThoseOfNetstat(t *testing.T) {
	text, err := os.ReadFile("testdata/netstat.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(text)) {
		name, want, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " | ")
		group, counter, dot := strings.Cut(name, ".")
		if !ok || !dot {
			t.Fatalf("testdata has the line %q", line)
		}
		seen++
		if info := Lookup(Key{group, counter}); info.Netstat != want {
			t.Errorf("%s: %q, netstat says %q", name, info.Netstat, want)
		}
	}
	if seen < 250 {
		t.Errorf("%d sentences were compared", seen)
	}
}

// A counter without a row is read and shown, but says nothing.
func TestEveryCounterThatNetstatKnowsIsExplained(t *testing.T) {
	text, err := os.ReadFile("testdata/netstat.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		name, _, _ := strings.Cut(line, " | ")
		group, counter, _ := strings.Cut(name, ".")
		if info := Lookup(Key{group, counter}); info.Means == "" || info.Topic == Other {
			t.Errorf("%s has no meaning", name)
		}
	}
}

func TestCountersOfOldDescriptionsHaveMeanings(t *testing.T) {
	described := strings.Fields(`Ip.InReceives Ip.ForwDatagrams Tcp.ActiveOpens Tcp.PassiveOpens Tcp.InSegs Tcp.OutSegs Tcp.RetransSegs
		TcpExt.PruneCalled TcpExt.TW TcpExt.DelayedACKs TcpExt.DelayedACKLocked TcpExt.DelayedACKLost TcpExt.TCPPrequeued
		TcpExt.TCPDirectCopyFromBacklog TcpExt.TCPDirectCopyFromPrequeue TcpExt.TCPHPHits TcpExt.TCPHPAcks TcpExt.TCPSackRecovery
		TcpExt.TCPLossUndo TcpExt.TCPFastRetrans TcpExt.TCPRcvCollapsed TcpExt.ListenOverflows`)
	for _, key := range keys(described...) {
		isGone := slices.ContainsFunc(AllGone(), func(g Gone) bool { return g.Key == key })
		if _, ok := known()[key]; ok == isGone {
			t.Errorf("%s: explained %t, gone %t", key, ok, isGone)
		}
	}
}

func TestTablesAreComplete(t *testing.T) {
	seen := make(map[Key]bool)
	sentence := regexp.MustCompile(`^[^.]*[^.\s]$`)
	for _, s := range sections() {
		if !slices.Contains(Topics(), s.topic) {
			t.Errorf("topic %q is not among the topics", s.topic)
		}
		for _, r := range s.rows {
			key := Key{s.group, r.name}
			if seen[key] {
				t.Errorf("%s has two rows", key)
			}
			seen[key] = true
			if r.means == "" || !sentence.MatchString(strings.ReplaceAll(r.means, "RFC ", "")) {
				t.Errorf("%s means %q", key, r.means)
			}
			if r.misleading != "" && Lookup(key).Netstat == "" {
				t.Errorf("%s: a sentence that netstat does not print misleads nobody", key)
			}
			if r.netstat != "" && strings.Count(r.netstat, "N") < 1 {
				t.Errorf("%s: %q has no number in it", key, r.netstat)
			}
		}
	}
	for _, g := range AllGone() {
		if seen[g.Key] || g.Since == "" || g.Means == "" {
			t.Errorf("%+v is gone, and in the tables %t", g, seen[g.Key])
		}
	}
	for _, ratio := range Ratios() {
		for _, key := range slices.Concat(ratio.Of, ratio.Less, ratio.Among) {
			if info := Lookup(key); info.Topic == Other {
				t.Errorf("%s is made of %s, which no table has", ratio.Name, key)
			}
		}
	}
}

func TestUnknownCounterHasItsNameAtLeast(t *testing.T) {
	info := Lookup(Key{"TcpExt", "TCPSomethingNew"})
	want := Info{Key: Key{"TcpExt", "TCPSomethingNew"}, Topic: Other, Netstat: "TCPSomethingNew: N"}
	if diff := cmp.Diff(want, info); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCountersOfIPv6AreTwins(t *testing.T) {
	for _, test := range []struct {
		key            Key
		topic          Topic
		netstat, means string
	}{
		{Key{"Udp6", "RcvbufErrors"}, UDP, "Udp6RcvbufErrors: N", "IPv6: datagrams that were dropped, as the socket's receive buffer was full; in InErrors too"},
		{Key{"Ip6", "InOctets"}, IP, "Ip6InOctets: N", "IPv6: bytes of packets that arrived"},
		{Key{"Icmp6", "InMsgs"}, ICMP, "N ICMP messages received", "IPv6: messages that arrived"},
		{Key{"Icmp6", "OutType143"}, ICMP, "Icmp6OutType143: N", "messages of type 143 that were sent"},
		{Key{"Ip6", "InNoRoutes"}, IP, "N incoming packets with no route", "IPv6: packets dropped, as no route leads to where they go"},
	} {
		info := Lookup(test.key)
		if info.Topic != test.topic || info.Netstat != test.netstat || info.Means != test.means {
			t.Errorf("%s: %+v", test.key, info)
		}
	}
}

func TestNamesOfOtherTools(t *testing.T) {
	for _, test := range []struct{ key, proc, exporter string }{
		{"TcpExt.ListenOverflows", "ListenOverflows", "node_netstat_TcpExt_ListenOverflows"},
		{"Ip6.InReceives", "Ip6InReceives", "node_netstat_Ip6_InReceives"},
		{"sockstat.TCP_mem", "TCP mem", "node_sockstat_TCP_mem"},
		{"sockstat.sockets_used", "sockets used", "node_sockstat_sockets_used"},
		{"softnet.time_squeeze", "time_squeeze", "node_softnet_times_squeezed_total"},
		{"softnet.backlog_len", "backlog_len", "node_softnet_backlog_len"},
	} {
		key := keys(test.key)[0]
		if key.Proc() != test.proc || key.NodeExporter() != test.exporter || key.String() != test.key {
			t.Errorf("%s: %q, %q", test.key, key.Proc(), key.NodeExporter())
		}
	}
}

func TestPatternsOfEverySpelling(t *testing.T) {
	overflows, six, mem := Key{"TcpExt", "ListenOverflows"}, Key{"Ip6", "InReceives"}, Key{"sockstat", "TCP_mem"}
	for _, test := range []struct {
		key     Key
		pattern string
		want    bool
	}{
		{overflows, "ListenOverflows", true}, {overflows, "listenoverflows", true}, {overflows, "TcpExt.ListenOverflows", true},
		{overflows, "TcpExtListenOverflows", true}, {overflows, "node_netstat_TcpExt_ListenOverflows", true},
		{overflows, "TcpExt.", true}, {overflows, "tcpext.", true}, {overflows, "Tcp.", false}, {overflows, "Listen", false},
		{overflows, "", false}, {overflows, ".", false}, {overflows, "_", false},
		{six, "Ip6InReceives", true}, {six, "InReceives", true}, {six, "Ip.", false}, {six, "Ip6.", true}, {six, "IpInReceives", false},
		{mem, "TCP mem", true}, {mem, "node_sockstat_TCP_mem", true}, {mem, "TCP_mem", true}, {mem, "sockstat.", true},
	} {
		if got := test.key.Matches(test.pattern); got != test.want {
			t.Errorf("%s matches %q: %t", test.key, test.pattern, got)
		}
	}
}

func TestFamiliesOfCounters(t *testing.T) {
	for name, want := range map[string][2]bool{ // IPv4, IPv6
		"Tcp.InSegs": {}, "TcpExt.TW": {}, "softnet.dropped": {}, "sockstat.sockets_used": {},
		"Ip.InReceives": {true, false}, "IpExt.InOctets": {true, false}, "sockstat.TCP_inuse": {true, false},
		"Ip6.InReceives": {false, true}, "UdpLite6.NoPorts": {false, true}, "sockstat.FRAG6_memory": {false, true},
	} {
		key := keys(name)[0]
		if got := [2]bool{key.IPv4(), key.IPv6()}; got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestRatiosOfWhatIsThere(t *testing.T) {
	values := Values{
		{"Tcp", "RetransSegs"}: 30, {"Tcp", "OutSegs"}: 1000, {"TcpExt", "TCPSynRetrans"}: 10, {"TcpExt", "TCPOrigDataSent"}: 400,
		{"Udp", "RcvbufErrors"}: 1, {"Udp", "InDatagrams"}: 3, {"Tcp", "AttemptFails"}: 4, {"Tcp", "ActiveOpens"}: 0,
	}
	got := make(map[string][2]int64)
	for _, ratio := range Ratios() {
		if part, whole, ok := ratio.Compute(values); ok {
			got[ratio.Name] = [2]int64{part, whole}
		}
	}
	want := map[string][2]int64{"retransmission rate": {30, 1000}, "data sent again": {20, 400}, "UDP dropped at sockets": {1, 4}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSortedByTopicWithTwinsTogether(t *testing.T) {
	values := make(Values)
	for _, key := range keys("Udp6.RcvbufErrors", "Udp.RcvbufErrors", "Udp.InDatagrams", "TcpExt.Zzz", "TcpExt.Aaa", "Tcp.ActiveOpens", "Ip6.InOctets", "IpExt.InOctets") {
		values[key] = 1
	}
	var got []string
	for _, info := range Sorted(values) {
		got = append(got, info.String())
	}
	want := strings.Fields("Tcp.ActiveOpens Ip6.InOctets IpExt.InOctets Udp.InDatagrams Udp.RcvbufErrors Udp6.RcvbufErrors TcpExt.Aaa TcpExt.Zzz")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCountersOfThisKernel(t *testing.T) {
	values, err := Read(os.DirFS("/proc/thread-self/net"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Tcp.ActiveOpens", "TcpExt.ListenOverflows", "Udp.RcvbufErrors", "sockstat.TCP_inuse", "softnet.processed"} {
		if _, ok := values[keys(name)[0]]; !ok {
			t.Errorf("this kernel has no %s", name)
		}
	}
	if n := values[Key{"softnet", "processed"}]; n == 0 {
		t.Error("this host never received a packet")
	}
}

func FuzzFiles(f *testing.F) {
	dir := procNet()
	for name := range dir {
		text, err := fs.ReadFile(dir, name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, file := range files {
			values := make(Values)
			if file.parse(text, values) != nil {
				continue
			}
			for key := range values {
				if key.Group == "" || key.Name == "" || !key.Matches(key.Group+".") {
					t.Errorf("%s of %q: %+v", filepath.Base(file.name), text, key)
				}
				if info := Lookup(key); info.Key != key {
					t.Errorf("%+v is looked up as %+v", key, info.Key)
				}
			}
			if got := Sorted(values); len(got) != len(values) {
				t.Errorf("%d of %d counters are sorted", len(got), len(values))
			}
		}
	})
}

func TestSentencesOfNamesWithTheLetterN(t *testing.T) {
	for name, want := range map[string]string{
		"IpExt.InNoRoutes": "InNoRoutes: 17", "TcpExt.TCPMD5NotFound": "TCPMD5NotFound: 17", "Udp.NoPorts": "17 packets to unknown port received",
		"TcpExt.DelayedACKLost": "Quick ack mode was activated 17 times", "softnet.dropped": "", "Tcp.MaxConn": "",
	} {
		if info := Lookup(keys(name)[0]); info.Sentence("17") != want {
			t.Errorf("%s: %q, want %q", name, info.Sentence("17"), want)
		}
	}
}
