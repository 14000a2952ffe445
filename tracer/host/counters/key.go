package counters

import (
	"regexp"
	"strings"
	"sync"
)

// Key names a counter as the kernel does: Group is what stands before the colon in netstat and snmp, and the part of the
// name up to the 6 in snmp6. Of sockstat and sockstat6 it is "sockstat", and of softnet_stat "softnet".
type Key struct{ Group, Name string }

// The groups that the kernel does not name itself.
const (
	groupSockstat = "sockstat"
	groupSoftnet  = "softnet"
)

// String is the whole name, such as TcpExt.ListenOverflows.
func (k Key) String() string { return k.Group + "." + k.Name }

// Proc is the name as it stands in the file of /proc/net.
func (k Key) Proc() string {
	switch {
	case k.Group == groupSockstat:
		return strings.Replace(k.Name, "_", " ", 1)
	case k.IPv6():
		return k.Group + k.Name
	}
	return k.Name
}

// IPv6 says that the counter is of IPv6 alone.
func (k Key) IPv6() bool {
	if k.Group == groupSockstat {
		protocol, _, _ := strings.Cut(k.Name, "_")
		return strings.HasSuffix(protocol, "6")
	}
	return strings.HasSuffix(k.Group, "6")
}

// IPv4 says that the counter is of IPv4 alone. Those of TCP are of both families.
func (k Key) IPv4() bool {
	switch k.Group {
	case "Ip", "IpExt", "Icmp", "IcmpMsg", "Udp", "UdpLite":
		return true
	case groupSockstat:
		return !k.IPv6() && !strings.HasPrefix(k.Name, "sockets_")
	}
	return false
}

// HostWide says that the number is the whole host's, and not of the namespace in which it was read.
func (k Key) HostWide() bool {
	if k.Group != groupSockstat {
		return k.Group == groupSoftnet
	}
	switch k.Name {
	case "TCP_orphan", "TCP_alloc", "TCP_mem", "UDP_mem":
		return true
	}
	return false
}

// Gauge says that the number is of what there is now, so that it goes down again and has no rate.
func (k Key) Gauge() bool {
	switch k.Group {
	case groupSockstat:
		return true
	case groupSoftnet:
		return k.Name == softnetBacklog
	}
	return k == Key{"Tcp", "CurrEstab"} || k.Constant()
}

// Constant says that the number is a setting, or fixed for ever: MIB-II wants it among the counters.
func (k Key) Constant() bool {
	switch k {
	case Key{"Ip", "Forwarding"}, Key{"Ip", "DefaultTTL"},
		Key{"Tcp", "RtoAlgorithm"}, Key{"Tcp", "RtoMin"}, Key{"Tcp", "RtoMax"}, Key{"Tcp", "MaxConn"}:
		return true
	}
	return false
}

// NodeExporter is the name of the metric that Prometheus's node_exporter makes of the counter.
func (k Key) NodeExporter() string {
	switch k.Group {
	case groupSockstat:
		return "node_sockstat_" + k.Name
	case groupSoftnet:
		return "node_softnet_" + softnetMetrics[k.Name]
	}
	return "node_netstat_" + k.Group + "_" + k.Name
}

// exportedByDefault are the fields that node_exporter's netstat collector keeps unless it is told others
// (--collector.netstat.fields).
var exportedByDefault = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(.*_(InErrors|InErrs)|Ip_Forwarding|Ip(6|Ext)_(InOctets|OutOctets)` +
		`|Icmp6?_(InMsgs|OutMsgs)|TcpExt_(Listen.*|Syncookies.*|TCPSynRetrans)` +
		`|Tcp_(ActiveOpens|InSegs|OutSegs|OutRsts|PassiveOpens|RetransSegs|CurrEstab)` +
		`|Udp6?_(InDatagrams|OutDatagrams|NoPorts|RcvbufErrors|SndbufErrors))$`)
})

// ExportedByDefault says whether every node_exporter has the metric, and not only one that was asked for it.
func (k Key) ExportedByDefault() bool {
	if k.Group == groupSockstat || k.Group == groupSoftnet {
		return true
	}
	return exportedByDefault().MatchString(k.Group + "_" + k.Name)
}

// Matches says whether a user who wrote pattern meant the counter. A pattern is a name in any of the ways in which it is
// written (ListenOverflows, TcpExt.ListenOverflows, TcpExtListenOverflows of nstat, Ip6InReceives of snmp6, the metric of
// node_exporter), or a group with a dot behind it (Tcp.). Case does not matter.
func (k Key) Matches(pattern string) bool {
	if group, ok := strings.CutSuffix(pattern, "."); ok {
		return strings.EqualFold(group, k.Group)
	}
	if strings.EqualFold(pattern, k.NodeExporter()) {
		return true
	}
	plain := plainName(pattern)
	return plain != "" && (plain == plainName(k.Name) || plain == plainName(k.Group+k.Name) || plain == plainName(k.Proc()))
}

// plainName leaves what all spellings of a name have in common.
func plainName(name string) string {
	return strings.ToLower(strings.NewReplacer(".", "", "_", "", " ", "").Replace(name))
}
