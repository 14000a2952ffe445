package counters

// udpSections tell of UDP, and of the rarer UDP-Lite, which counts the same. IPv6 has the same names.
var udpSections = []section{
	{UDP, "Udp", udpRows},
	{UDP, "UdpLite", udpLiteRows(udpRows)},
}

var udpRows = []row{
	{
		name: "InDatagrams", netstat: "N packets received",
		means:      "datagrams that applications have read",
		by:         "udp_recvmsg, udpv6_recvmsg",
		misleading: "what waits in a socket, or was dropped there, is not among them",
	},
	{
		name: "OutDatagrams", netstat: "N packets sent",
		means: "datagrams that were sent",
		by:    "udp_send_skb, udp_v6_send_skb",
	},
	{
		name: "NoPorts", netstat: "N packets to unknown port received",
		means: "datagrams to ports that no socket has; the sender gets an ICMP error",
		by:    "__udp4_lib_rcv, __udp6_lib_rcv",
		worry: "when it grows: a service is down, or somebody scans",
	},
	{
		name: "InErrors", netstat: "N packet receive errors",
		means: "all datagrams that were dropped at a socket: full buffer (RcvbufErrors), damaged (InCsumErrors), " +
			"no memory (MemErrors), or filtered",
		by:         "udp_queue_rcv_one_skb, __udp4_lib_rcv and those of IPv6",
		misleading: "most are not errors of the packet: see RcvbufErrors and InCsumErrors",
		worry:      "when it grows: RcvbufErrors and InCsumErrors say why",
	},
	{
		name: "RcvbufErrors", netstat: "N receive buffer errors",
		means: "datagrams that were dropped, as the socket's receive buffer was full; in InErrors too",
		by:    "__udp_queue_rcv_skb, __udpv6_queue_rcv_skb",
		worry: "when it grows: an application reads too slowly, or needs a larger SO_RCVBUF (tcptrace counters " +
			"--path names it)",
	},
	{
		name:  "InCsumErrors",
		means: "datagrams that were damaged: their checksum was wrong; in InErrors too",
		by:    "__udp4_lib_rcv, udp_recvmsg and those of IPv6",
		worry: "whenever it grows: memory, a cable or a device on the way damages data",
	},
	{
		name:  "MemErrors",
		means: "datagrams that were dropped, as all of UDP used more than udp_mem allows; in InErrors too",
		by:    "__udp_queue_rcv_skb, __udpv6_queue_rcv_skb",
		worry: "whenever it grows: sysctl net.ipv4.udp_mem beside sockstat UDP mem, both in pages",
	},
	{
		name: "SndbufErrors", netstat: "N send buffer errors",
		means: "datagrams that were not sent: the send buffer, or the queue of the device, was full",
		by:    "udp_sendmsg, udp_send_skb and those of IPv6",
		worry: "when it grows: tc -s qdisc, or a larger SO_SNDBUF",
	},
	{
		name:  "IgnoredMulti",
		means: "multicast datagrams that no socket here wanted",
		by:    "__udp4_lib_mcast_deliver, __udp6_lib_mcast_deliver",
	},
}

// udpLiteRows are rows without the words that netstat has only for UDP.
func udpLiteRows(rows []row) []row {
	lite := make([]row, len(rows))
	for i, r := range rows {
		r.netstat, r.misleading = "", ""
		lite[i] = r
	}
	return lite
}
