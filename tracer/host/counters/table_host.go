package counters

// hostSections tell of what arrives before any protocol sees it, and of the sockets that there are.
var hostSections = []section{
	{Softirq, groupSoftnet, []row{
		{
			name:  "processed",
			means: "packets that arrived on this whole host and were given to protocols",
			by:    "__netif_receive_skb_core",
		},
		{
			name: "dropped",
			means: "packets that a CPU's backlog had no room for; only loopback, veth, tunnels and RPS use it, " +
				"most network cards do not",
			by:    "enqueue_to_backlog",
			worry: "when it grows: sysctl -w net.core.netdev_max_backlog",
		},
		{
			name: "time_squeeze",
			means: "times that a CPU stopped receiving with packets left, as netdev_budget or netdev_budget_usecs " +
				"was used up",
			by: "net_rx_action",
			worry: "when it grows with drops in the ring: a CPU is too busy; spread interrupts, or raise " +
				"net.core.netdev_budget and netdev_budget_usecs",
		},
		{
			name:  "received_rps",
			means: "times that another CPU woke this one to receive packets (RPS)",
			by:    "rps_trigger_softirq",
		},
		{
			name: "flow_limit",
			means: "packets of a flow with too large a share of a long backlog (flow_limit_cpu_bitmap); in " +
				"dropped too",
			by: "skb_flow_limit",
		},
		{name: softnetBacklog, means: "packets that wait in the backlogs now", by: "enqueue_to_backlog"},
	}},
	{InUse, groupSockstat, []row{
		{name: "sockets_used", means: "sockets of any kind in this namespace"},
		{name: "TCP_inuse", means: "TCP sockets over IPv4, listeners included, TIME_WAIT not"},
		{name: "TCP6_inuse", means: "TCP sockets over IPv6, listeners included, TIME_WAIT not"},
		{
			name:  "TCP_tw",
			means: "sockets in TIME_WAIT",
			worry: "when it nears tcp_max_tw_buckets, or the port range towards one destination",
		},
		{
			name:  "TCP_orphan",
			means: "sockets of the whole host that their application has closed and the kernel is not done with",
			worry: "when it nears tcp_max_orphans",
		},
		{name: "TCP_alloc", means: "TCP sockets of the whole host"},
		{
			name:  "TCP_mem",
			means: "pages that all of TCP on this host uses for data",
			worry: "when it nears the middle value of tcp_mem",
		},
		{name: "UDP_inuse", means: "UDP sockets over IPv4"},
		{name: "UDP6_inuse", means: "UDP sockets over IPv6"},
		{
			name:  "UDP_mem",
			means: "pages that all of UDP on this host uses for data",
			worry: "when it nears the middle value of udp_mem",
		},
		{name: "UDPLITE_inuse", means: "UDP-Lite sockets over IPv4"},
		{name: "UDPLITE6_inuse", means: "UDP-Lite sockets over IPv6"},
		{name: "RAW_inuse", means: "raw sockets over IPv4"},
		{name: "RAW6_inuse", means: "raw sockets over IPv6"},
		{name: "FRAG_inuse", means: "IPv4 packets of which fragments are missing now"},
		{name: "FRAG_memory", means: "bytes that their fragments use", worry: "when it nears ipfrag_high_thresh"},
		{name: "FRAG6_inuse", means: "IPv6 packets of which fragments are missing now"},
		{name: "FRAG6_memory", means: "bytes that their fragments use", worry: "when it nears ip6frag_high_thresh"},
	}},
}
