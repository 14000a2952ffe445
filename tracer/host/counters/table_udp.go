package counters

// udpSections tell of UDP, and of the rarer UDP-Lite, which counts the same. IPv6 has the same names.
var udpSections = []section{
	{UDP, "Udp", udpRows},
	{UDP, "UdpLite", udpLiteRows(udpRows)},
}

var udpRows = []row{
	{"InDatagrams", "N packets received", "datagrams that applications have read", "udp_recvmsg, udpv6_recvmsg",
		"what waits in a socket, or was dropped there, is not among them", ""},
	{"OutDatagrams", "N packets sent", "datagrams that were sent", "udp_send_skb, udp_v6_send_skb", "", ""},
	{"NoPorts", "N packets to unknown port received", "datagrams to ports that no socket has; the sender gets an ICMP error", "__udp4_lib_rcv, __udp6_lib_rcv", "",
		"when it grows: a service is down, or somebody scans"},
	{"InErrors", "N packet receive errors", "all datagrams that were dropped at a socket: full buffer (RcvbufErrors), damaged (InCsumErrors), no memory (MemErrors), or filtered",
		"udp_queue_rcv_one_skb, __udp4_lib_rcv and those of IPv6", "most are not errors of the packet: see RcvbufErrors and InCsumErrors", "when it grows: RcvbufErrors and InCsumErrors say why"},
	{"RcvbufErrors", "N receive buffer errors", "datagrams that were dropped, as the socket's receive buffer was full; in InErrors too", "__udp_queue_rcv_skb, __udpv6_queue_rcv_skb", "",
		"when it grows: an application reads too slowly, or needs a larger SO_RCVBUF (tcptrace counters --path names it)"},
	{"InCsumErrors", "", "datagrams that were damaged: their checksum was wrong; in InErrors too", "__udp4_lib_rcv, udp_recvmsg and those of IPv6", "",
		"whenever it grows: memory, a cable or a device on the way damages data"},
	{"MemErrors", "", "datagrams that were dropped, as all of UDP used more than udp_mem allows; in InErrors too", "__udp_queue_rcv_skb, __udpv6_queue_rcv_skb", "",
		"whenever it grows: sysctl net.ipv4.udp_mem beside sockstat UDP mem, both in pages"},
	{"SndbufErrors", "N send buffer errors", "datagrams that were not sent: the send buffer, or the queue of the device, was full", "udp_sendmsg, udp_send_skb and those of IPv6", "",
		"when it grows: tc -s qdisc, or a larger SO_SNDBUF"},
	{"IgnoredMulti", "", "multicast datagrams that no socket here wanted", "__udp4_lib_mcast_deliver, __udp6_lib_mcast_deliver", "", ""},
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
