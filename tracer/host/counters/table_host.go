package counters

// hostSections tell of what arrives before any protocol sees it, and of the sockets that there are.
var hostSections = []section{
	{Softirq, groupSoftnet, []row{
		{"processed", "", "packets that arrived on this whole host and were given to protocols", "__netif_receive_skb_core", "", ""},
		{"dropped", "", "packets that a CPU's backlog had no room for; only loopback, veth, tunnels and RPS use it, most network cards do not",
			"enqueue_to_backlog", "", "when it grows: sysctl -w net.core.netdev_max_backlog"},
		{"time_squeeze", "", "times that a CPU stopped receiving with packets left, as netdev_budget or netdev_budget_usecs was used up", "net_rx_action", "",
			"when it grows with drops in the ring: a CPU is too busy; spread interrupts, or raise net.core.netdev_budget and netdev_budget_usecs"},
		{"received_rps", "", "times that another CPU woke this one to receive packets (RPS)", "rps_trigger_softirq", "", ""},
		{"flow_limit", "", "packets of a flow with too large a share of a long backlog (flow_limit_cpu_bitmap); in dropped too", "skb_flow_limit", "", ""},
		{softnetBacklog, "", "packets that wait in the backlogs now", "enqueue_to_backlog", "", ""},
	}},
	{InUse, groupSockstat, []row{
		{"sockets_used", "", "sockets of any kind in this namespace", "", "", ""},
		{"TCP_inuse", "", "TCP sockets over IPv4, listeners included, TIME_WAIT not", "", "", ""},
		{"TCP6_inuse", "", "TCP sockets over IPv6, listeners included, TIME_WAIT not", "", "", ""},
		{"TCP_tw", "", "sockets in TIME_WAIT", "", "", "when it nears tcp_max_tw_buckets, or the port range towards one destination"},
		{"TCP_orphan", "", "sockets of the whole host that their application has closed and the kernel is not done with", "", "", "when it nears tcp_max_orphans"},
		{"TCP_alloc", "", "TCP sockets of the whole host", "", "", ""},
		{"TCP_mem", "", "pages that all of TCP on this host uses for data", "", "", "when it nears the middle value of tcp_mem"},
		{"UDP_inuse", "", "UDP sockets over IPv4", "", "", ""},
		{"UDP6_inuse", "", "UDP sockets over IPv6", "", "", ""},
		{"UDP_mem", "", "pages that all of UDP on this host uses for data", "", "", "when it nears the middle value of udp_mem"},
		{"UDPLITE_inuse", "", "UDP-Lite sockets over IPv4", "", "", ""},
		{"UDPLITE6_inuse", "", "UDP-Lite sockets over IPv6", "", "", ""},
		{"RAW_inuse", "", "raw sockets over IPv4", "", "", ""},
		{"RAW6_inuse", "", "raw sockets over IPv6", "", "", ""},
		{"FRAG_inuse", "", "IPv4 packets of which fragments are missing now", "", "", ""},
		{"FRAG_memory", "", "bytes that their fragments use", "", "", "when it nears ipfrag_high_thresh"},
		{"FRAG6_inuse", "", "IPv6 packets of which fragments are missing now", "", "", ""},
		{"FRAG6_memory", "", "bytes that their fragments use", "", "", "when it nears ip6frag_high_thresh"},
	}},
}
