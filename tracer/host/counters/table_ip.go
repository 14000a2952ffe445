package counters

// ipSections tell of IP and ICMP. A counter of IPv6 that has the same name as one of IPv4 has no row of its own.
var ipSections = []section{
	{IP, "Ip", []row{
		{
			name: "InReceives", netstat: "N total packets received",
			means: "packets that arrived; what GRO merged counts once",
			by:    "ip_rcv",
		},
		{
			name: "InDelivers", netstat: "N incoming packets delivered",
			means: "packets that were given to a protocol",
			by:    "ip_protocol_deliver_rcu",
		},
		{
			name: "InHdrErrors", netstat: "N with invalid headers",
			means: "packets dropped for a wrong header: version, length, checksum, or a TTL that was used up in " +
				"forwarding",
			by:    "ip_rcv_core, ip_forward",
			worry: "when it grows: routing loops (TTL), or damage on the way",
		},
		{
			name: "InAddrErrors", netstat: "N with invalid addresses",
			means: "packets dropped, as they are for none of this host's addresses and it does not forward",
			by:    "ip_error",
			worry: "when it grows: somebody uses this host as a router",
		},
		{
			name: "InUnknownProtos", netstat: "N with unknown protocol",
			means: "packets of a protocol that nothing here speaks",
			by:    "ip_protocol_deliver_rcu",
		},
		{
			name: "InDiscards", netstat: "N incoming packets discarded",
			means: "packets dropped for lack of memory; of IPv6, by an IPsec policy or as it is switched off, too",
			by:    "ip_rcv_core, ip_local_deliver_finish",
			worry: "whenever it grows",
		},
		{name: "ForwDatagrams", netstat: "N forwarded", means: "packets that were passed on", by: "ip_forward"},
		{
			name: "OutRequests", netstat: "N requests sent out",
			means: "packets that this host sent, before its firewall saw them",
			by:    "__ip_local_out",
		},
		{name: "OutTransmits", means: "packets that went to a device, fragments one by one", by: "ip_finish_output2"},
		{
			name: "OutDiscards", netstat: "N outgoing packets dropped",
			means: "packets of UDP, ICMP and raw sockets that were dropped on the way out: no memory, a full " +
				"queue, a firewall",
			by:         "ip_send_skb, __ip_append_data",
			misleading: "packets of TCP are not counted",
			worry:      "when it grows: nft list ruleset, tc -s qdisc",
		},
		{
			name: "OutNoRoutes", netstat: "N dropped because of missing route",
			means: "packets dropped, as no route leads to where they go",
			by:    "tcp_v4_connect, udp_sendmsg, __ip_queue_xmit",
			worry: "when it grows: ip route get ADDRESS",
		},
		{name: "ReasmReqds", netstat: "N reassemblies required", means: "fragments that arrived", by: "ip_defrag"},
		{
			name: "ReasmOKs", netstat: "N packets reassembled ok",
			means: "packets that were put together from fragments",
			by:    "ip_frag_reasm",
		},
		{
			name: "ReasmFails", netstat: "N packet reassemblies failed",
			means: "fragments that came to nothing",
			by:    "ip_frag_reasm, ip_expire",
			worry: "when it grows: fragments get lost, or ipfrag_high_thresh is reached",
		},
		{
			name: "ReasmTimeout", netstat: "N fragments dropped after timeout",
			means:      "packets of which a fragment was missing for ipfrag_time",
			by:         "ip_expire",
			misleading: "it counts packets, whatever fragments they had",
			worry:      "when it grows: fragments get lost on the way",
		},
		{
			name: "FragOKs", netstat: "N outgoing packets fragmented ok",
			means: "packets that were sent in fragments",
			by:    "ip_do_fragment",
		},
		{
			name: "FragFails", netstat: "N outgoing packets failed fragmentation",
			means: "packets that were too big and may not be fragmented",
			by:    "ip_fragment, ip_do_fragment",
			worry: "when it grows: the sender is told by ICMP; if that gets lost, large segments do (a path MTU " +
				"black hole)",
		},
		{
			name: "FragCreates", netstat: "N fragments created",
			means: "fragments that were sent",
			by:    "ip_do_fragment",
		},
		{name: "Forwarding", netstat: "Forwarding: N", means: "1 if this namespace forwards IPv4, 2 if not"},
		{name: "DefaultTTL", means: "the TTL that packets get unless the socket says another"},
	}},
	{IP, "IpExt", []row{
		{
			name:  "InNoRoutes",
			means: "packets dropped, as no route leads to where they go",
			by:    "ip_error",
			worry: "when it grows: this host gets what it cannot forward",
		},
		{
			name:  "InTruncatedPkts",
			means: "packets that were shorter than their header says",
			by:    "ip_rcv_core",
			worry: "when it grows: a device or driver damages data",
		},
		{
			name:  "InCsumErrors",
			means: "packets whose header has a wrong checksum; in InHdrErrors too",
			by:    "ip_rcv_core",
			worry: "when it grows: a device on the way damages data",
		},
		{name: "InOctets", means: "bytes of packets that arrived", by: "ip_rcv_core"},
		{name: "OutOctets", means: "bytes of packets that were sent", by: "ip_output, ip_finish_output2"},
		{name: "InMcastPkts", means: "multicast packets that arrived", by: "ip_rcv_finish_core"},
		{name: "OutMcastPkts", means: "multicast packets that were sent", by: "ip_finish_output2"},
		{name: "InBcastPkts", means: "broadcast packets that arrived", by: "ip_rcv_finish_core"},
		{name: "OutBcastPkts", means: "broadcast packets that were sent", by: "ip_finish_output2"},
		{name: "InMcastOctets", means: "bytes of multicast packets that arrived", by: "ip_rcv_finish_core"},
		{name: "OutMcastOctets", means: "bytes of multicast packets that were sent", by: "ip_finish_output2"},
		{name: "InBcastOctets", means: "bytes of broadcast packets that arrived", by: "ip_rcv_finish_core"},
		{name: "OutBcastOctets", means: "bytes of broadcast packets that were sent", by: "ip_finish_output2"},
		{name: "InNoECTPkts", means: "packets that arrived without ECN", by: "ip_rcv_core"},
		{
			name:  "InECT0Pkts",
			means: "packets that arrived able to carry ECN, with its codepoint 0",
			by:    "ip_rcv_core",
		},
		{
			name:  "InECT1Pkts",
			means: "packets that arrived able to carry ECN, with its codepoint 1",
			by:    "ip_rcv_core",
		},
		{name: "InCEPkts", means: "packets that met congestion on the way and say so (ECN)", by: "ip_rcv_core"},
		{
			name:  "ReasmOverlaps",
			means: "fragments dropped, as they overlap with others",
			by:    "ip_frag_queue",
			worry: "whenever it grows: somebody attacks, or a sender is broken",
		},
	}},
	{IP, "TcpExt", []row{
		{
			name:  "IPReversePathFilter",
			means: "packets dropped, as the way back to their sender leaves by another interface (rp_filter)",
			by:    "ip_rcv_finish_core",
			worry: "when it grows: asymmetric routes; sysctl -w net.ipv4.conf.IFACE.rp_filter=2 allows any route " +
				"back",
		},
		{
			name:  "ArpFilter",
			means: "ARP requests that got no answer, as the way back leaves by another interface (arp_filter)",
			by:    "arp_filter",
		},
	}},
	{IP, "Ip6", []row{
		{
			name: "InTooBigErrors", netstat: "N with packets too big",
			means: "IPv6: packets that were too big for the link they should be forwarded to",
			by:    "ip6_forward",
		},
		{
			name: "InNoRoutes", netstat: "N incoming packets with no route",
			means: "IPv6: packets dropped, as no route leads to where they go",
			by:    "ip6_pkt_drop",
		},
		{
			name: "OutForwDatagrams", netstat: "N forwarded",
			means: "IPv6: packets that were passed on",
			by:    "ip6_forward",
		},
	}},
	{ICMP, "Icmp", icmpRows},
	{ICMP, "Icmp6", []row{
		{
			name: "InPktTooBigs", netstat: "packets too big: N",
			means: "words that a packet was too big for a link on the way: the path MTU",
			by:    "icmpv6_rcv",
		},
		{
			name: "OutPktTooBigs", netstat: "packets too big: N",
			means: "words to senders that a packet is too big for the next link",
			by:    "icmp6_send",
		},
		{
			name: "InParmProblems", netstat: "parameter problem: N",
			means: "words that a header made no sense",
			by:    "icmpv6_rcv",
		},
		{
			name: "OutParmProblems", netstat: "parameter problem: N",
			means: "words to senders that a header makes no sense",
			by:    "icmp6_send",
		},
		{name: "InEchoReplies", netstat: "echo replies: N", means: "answers to pings", by: "icmpv6_rcv"},
		{
			name: "OutEchoReplies", netstat: "echo replies: N",
			means: "answers to pings that were sent",
			by:    "icmpv6_echo_reply",
		},
		{
			name: "InNeighborSolicits", netstat: "neighbour solicits: N",
			means: "questions for a neighbour's address",
			by:    "icmpv6_rcv",
		},
		{
			name: "InNeighborAdvertisements", netstat: "neighbour advertisement: N",
			means: "answers with a neighbour's address",
			by:    "icmpv6_rcv",
		},
		{
			name: "OutNeighborSolicits", netstat: "neighbor solicits: N",
			means: "questions for a neighbour's address that were sent",
			by:    "ndisc_send_ns",
		},
		{
			name: "OutNeighborAdvertisements", netstat: "neighbor advertisements: N",
			means: "answers with this host's address",
			by:    "ndisc_send_na",
		},
		{name: "InRouterSolicits", netstat: "router solicits: N", means: "questions for a router", by: "icmpv6_rcv"},
		{
			name: "InRouterAdvertisements", netstat: "router advertisement: N",
			means: "what routers say of themselves",
			by:    "icmpv6_rcv",
		},
		{
			name: "OutRouterSolicits", netstat: "router solicits: N",
			means: "questions for a router that were sent",
			by:    "ndisc_send_rs",
		},
		{name: "OutRouterAdvertisements", means: "what this host says of itself as a router"},
		{
			name: "InGroupMembQueries", netstat: "group member queries: N",
			means: "questions for multicast listeners",
			by:    "icmpv6_rcv",
		},
		{
			name: "InGroupMembResponses", netstat: "group member responses: N",
			means: "reports of multicast listeners",
			by:    "icmpv6_rcv",
		},
		{
			name: "InGroupMembReductions", netstat: "group member reductions: N",
			means: "multicast listeners that went",
			by:    "icmpv6_rcv",
		},
		{name: "InMLDv2Reports", means: "reports of multicast listeners, version 2", by: "icmpv6_rcv"},
		{
			name: "OutGroupMembQueries", netstat: "group member queries: N",
			means: "questions for multicast listeners that were sent",
		},
		{
			name: "OutGroupMembResponses", netstat: "group member responses: N",
			means: "reports of multicast listeners that were sent",
			by:    "igmp6_send",
		},
		{
			name: "OutGroupMembReductions", netstat: "group member reductions: N",
			means: "words that this host listens no more to a multicast group",
			by:    "igmp6_send",
		},
		{
			name:  "OutMLDv2Reports",
			means: "reports of multicast listeners that were sent, version 2",
			by:    "mld_sendpack",
		},
	}},
}

var icmpRows = []row{
	{name: "InMsgs", netstat: "N ICMP messages received", means: "messages that arrived", by: "icmp_rcv"},
	{
		name: "InErrors", netstat: "N input ICMP message failed",
		means: "messages that made no sense, or whose checksum was wrong",
		by:    "icmp_rcv",
	},
	{
		name:  "InCsumErrors",
		means: "messages whose checksum was wrong",
		by:    "icmp_rcv",
		worry: "when it grows: a device on the way damages data",
	},
	{
		name: "InDestUnreachs", netstat: "destination unreachable: N",
		means: "errors that say that a destination, or a port, cannot be reached",
		by:    "icmp_rcv",
		worry: "when it grows: connects fail (tcptrace watch --cause rejected_by_icmp)",
	},
	{
		name: "InTimeExcds", netstat: "timeout in transit: N",
		means: "errors that say that a packet passed too many routers",
		by:    "icmp_rcv",
		worry: "when it grows: a routing loop, unless somebody traces routes",
	},
	{
		name: "InParmProbs", netstat: "wrong parameters: N",
		means: "errors that say that a header made no sense",
		by:    "icmp_rcv",
	},
	{
		name: "InSrcQuenchs", netstat: "source quenches: N",
		means: "requests to send slower, which are ignored",
		by:    "icmp_rcv",
	},
	{name: "InRedirects", netstat: "redirects: N", means: "words that another router is nearer", by: "icmp_rcv"},
	{name: "InEchos", netstat: "echo requests: N", means: "pings", by: "icmp_rcv"},
	{name: "InEchoReps", netstat: "echo replies: N", means: "answers to pings", by: "icmp_rcv"},
	{name: "InTimestamps", netstat: "timestamp request: N", means: "questions for the time", by: "icmp_rcv"},
	{name: "InTimestampReps", netstat: "timestamp reply: N", means: "answers with the time", by: "icmp_rcv"},
	{name: "InAddrMasks", netstat: "address mask request: N", means: "questions for the netmask", by: "icmp_rcv"},
	{name: "InAddrMaskReps", netstat: "address mask replies: N", means: "answers with the netmask", by: "icmp_rcv"},
	{name: "OutMsgs", netstat: "N ICMP messages sent", means: "messages that were sent", by: "icmp_push_reply"},
	{
		name: "OutErrors", netstat: "N ICMP messages failed",
		means: "messages that could not be sent",
		by:    "icmp_push_reply",
	},
	{
		name:  "OutRateLimitGlobal",
		means: "errors that were not sent, as icmp_msgs_per_sec was reached",
		by:    "icmpv4_global_allow",
		worry: "when it grows: traceroutes and path MTU discovery through this host fail",
	},
	{
		name:  "OutRateLimitHost",
		means: "errors that were not sent, as icmp_ratelimit to that host was reached",
		by:    "icmpv4_xrlim_allow",
		worry: "when it grows: traceroutes and path MTU discovery through this host fail",
	},
	{
		name: "OutDestUnreachs", netstat: "destination unreachable: N",
		means: "errors that say that a destination, or a port, cannot be reached here",
		by:    "__icmp_send",
		worry: "when it grows: somebody sends to closed UDP ports, or through a firewall that rejects",
	},
	{
		name: "OutTimeExcds", netstat: "time exceeded: N",
		means: "errors that say that a packet passed too many routers, this the last",
		by:    "__icmp_send",
	},
	{
		name: "OutParmProbs", netstat: "wrong parameters: N",
		means: "errors that say that a header makes no sense",
		by:    "__icmp_send",
	},
	{name: "OutSrcQuenchs", netstat: "source quench: N", means: "requests to send slower: Linux sends none"},
	{
		name: "OutRedirects", netstat: "redirect: N",
		means: "words that another router is nearer",
		by:    "ip_rt_send_redirect",
	},
	{name: "OutEchos", netstat: "echo requests: N", means: "pings that were sent"},
	{name: "OutEchoReps", netstat: "echo replies: N", means: "answers to pings that were sent", by: "icmp_echo"},
	{name: "OutTimestamps", netstat: "timestamp requests: N", means: "questions for the time that were sent"},
	{
		name: "OutTimestampReps", netstat: "timestamp replies: N",
		means: "answers with the time that were sent",
		by:    "icmp_timestamp",
	},
	{name: "OutAddrMasks", netstat: "address mask requests: N", means: "questions for the netmask that were sent"},
	{name: "OutAddrMaskReps", netstat: "address mask replies: N", means: "answers with the netmask that were sent"},
}
