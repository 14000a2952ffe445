package verdict

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"tcptrace/tracer/event"
)

// The directions of a drop at either end; a third is "forward", through a namespace of this host.
const (
	dropIn  = "in"
	dropOut = "out"
)

// ofTCP are the reasons (enum skb_drop_reason) with which TCP itself discards what does not fit a connection. That is
// how the protocol works, and no firewall.
var ofTCP = []string{
	"NO_SOCKET", "TCP_FLAGS", "TCP_ZEROWINDOW", "TCP_OLD_DATA", "TCP_OVERWINDOW", "TCP_OFOMERGE", "TCP_OFO_DROP",
	"TCP_OFO_QUEUE_PRUNE", "TCP_OLD_SEQUENCE", "TCP_INVALID_SEQUENCE", "TCP_INVALID_END_SEQUENCE",
	"TCP_INVALID_ACK_SEQUENCE", "TCP_RESET", "TCP_INVALID_SYN", "TCP_CLOSE", "TCP_FASTOPEN", "TCP_OLD_ACK",
	"TCP_TOO_OLD_ACK", "TCP_ACK_UNSENT_DATA", "TCP_ABORT_ON_DATA", "TCP_LISTEN_OVERFLOW",
}

// keyReasons are those of TCP MD5 and AO, with what each says of the keys.
var keyReasons = map[string]string{
	"TCP_MD5NOTFOUND":   "it has no MD5 signature, and this socket has a key for that peer",
	"TCP_MD5UNEXPECTED": "it has an MD5 signature, and this socket has no key for that peer",
	"TCP_MD5FAILURE":    "its MD5 signature was made with another key",
	"TCP_AUTH_HDR":      "its authentication option is malformed, or it has both MD5 and AO",
	"TCP_AONOTFOUND":    "it has no AO signature, and this socket has a key for that peer",
	"TCP_AOUNEXPECTED":  "it has an AO signature, and this socket has no key for that peer",
	"TCP_AOKEYNOTFOUND": "its AO signature names a key that this socket does not have",
	"TCP_AOFAILURE":     "its AO signature was made with another key",
}

// reasonXDP is what some kernels give where an XDP program discards a packet; of others only the function tells.
const reasonXDP = "XDP"

// explanation says why a packet was dropped, and where to look; DEVICE stands for the device's name there.
type explanation struct{ why, look string }

// dropReasons explain the kernel's other names for a drop.
var dropReasons = map[string]explanation{
	"NETFILTER_DROP":          {"its firewall", "nft list ruleset, and iptables-save -c where the legacy tables are in use (their counters tell the rule)"},
	"IP_RPFILTER":             {"the reverse path filter: it came in by another device than the way back would take", "sysctl -a -r '\\.rp_filter$' (0 is off, 2 takes any device that has a route back), and ip route"},
	"TCP_CSUM":                {"a wrong TCP checksum", "tcpdump -vv says cksum incorrect too; then whoever changed the packet on the way, or the device's checksum offload: ethtool -k"},
	"IP_CSUM":                 {"a wrong IP checksum", "tcpdump -vv says bad cksum too; then whoever changed the packet on the way, or the device's checksum offload: ethtool -k"},
	"SKB_CSUM":                {"a wrong checksum", "tcpdump -vv, and the device's checksum offload: ethtool -k"},
	"SOCKET_FILTER":           {"a BPF filter on the socket", "ss -tab (skf) on the socket: SO_ATTACH_FILTER, SO_ATTACH_BPF or a cgroup's ingress program"},
	"BPF_CGROUP_EGRESS":       {"a cgroup's egress BPF program", "bpftool cgroup tree"},
	"XFRM_POLICY":             {"an IPsec policy", "ip xfrm policy, and ip -s xfrm state"},
	"QDISC_DROP":              {"the queueing discipline of the device", "tc -s qdisc show dev DEVICE (dropped)"},
	"TC_EGRESS":               {"a filter of the device's egress", "tc filter show dev DEVICE egress, and bpftool net"},
	"TC_INGRESS":              {"a filter of the device's ingress", "tc filter show dev DEVICE ingress, and bpftool net"},
	reasonXDP:                 {"an XDP program of the device, before any firewall", "bpftool net, and ip -d link show DEVICE (prog/xdp)"},
	"CPU_BACKLOG":             {"a full backlog of the CPU", "net.core.netdev_max_backlog, and /proc/net/softnet_stat (second column)"},
	"SOCKET_BACKLOG":          {"a full backlog of the socket", "sysctl net.ipv4.tcp_rmem: the application keeps the socket busy"},
	"SOCKET_RCVBUFF":          {"a full receive buffer", "ss -tm: the application does not read, or SO_RCVBUF is small"},
	"PROTO_MEM":               {"TCP's memory being used up", "sysctl net.ipv4.tcp_mem against /proc/net/sockstat (mem)"},
	"NOMEM":                   {"memory being used up", "free, and dmesg"},
	"IP_OUTNOROUTES":          {"having no route for it", "ip route"},
	"IP_INNOROUTES":           {"having no route for it", "ip route, and ip rule"},
	"IP_INADDRERRORS":         {"an address that it does not take", "ip addr, and ip route get"},
	"IPV6DISABLED":            {"IPv6 being disabled", "sysctl net.ipv6.conf.all.disable_ipv6"},
	"PKT_TOO_BIG":             {"its size", "ip route get (mtu)"},
	"DEV_READY":               {"a device that is not up", "ip link show DEVICE"},
	"FULL_RING":               {"a full ring of the device", "ethtool -S DEVICE, and ethtool -g DEVICE"},
	"UNHANDLED_PROTO":         {"its link-layer header: it names no protocol that is taken here", "tcpdump -e"},
	"IP_INHDR":                {"a malformed IP header", "tcpdump -vv"},
	"UNICAST_IN_L2_MULTICAST": {"its link-layer address", "ip neigh show dev DEVICE"},
}

// tunnelDrop explains the drops of tunnels' own functions.
var tunnelDrop = explanation{"the tunnel: no way to its far end, or none that it may take", "ip -d link show DEVICE, and ip route get and ip neigh for its remote address"}

const lookAtNFQueues = "nft list ruleset (queue), and /proc/net/netfilter/nfnetlink_queue, which lists the queues that a program listens on, " +
	"with its netlink port, mostly its PID"

// nfqueueVerdict explains the drops of a program that the firewall asks.
var nfqueueVerdict = explanation{"the program that its firewall asks (NFQUEUE): it refused it, or has gone meanwhile", lookAtNFQueues}

// dropFunctions explain drops for which the kernel gives no reason, by how the name of the function that freed the packet
// begins.
var dropFunctions = []struct {
	prefix string
	explanation
}{
	// What xfrm_lookup_route puts in a route's place, and what a route's device leaves when it goes.
	{"dst_discard", explanation{"an IPsec policy that has no security association for it yet", "ip xfrm policy, ip xfrm state, and the log of the IKE daemon"}},
	// nf_queue frees what it cannot hand over; what the program refused is freed where that is told, or where it has gone.
	{"nf_queue", explanation{"its firewall queues it for a program (NFQUEUE), and none listens there, or the queue is full", lookAtNFQueues}},
	{"nfqnl_", nfqueueVerdict}, {"nf_reinject", nfqueueVerdict},
	{"wg_", explanation{"WireGuard: it has no peer for that address (allowed ips), or none with an endpoint", "wg show DEVICE"}},
	{"bond_", explanation{"the bond: none of its devices works", "cat /proc/net/bonding/DEVICE"}},
	{"ipgre_", tunnelDrop}, {"gre_", tunnelDrop}, {"ip_tunnel_", tunnelDrop}, {"ip_md_tunnel_", tunnelDrop}, {"ipip_", tunnelDrop},
	{"sit_", tunnelDrop}, {"ip6gre_", tunnelDrop}, {"ip6_tnl_", tunnelDrop}, {"vxlan_", tunnelDrop}, {"geneve_", tunnelDrop},
	{"vti_", tunnelDrop}, {"xfrmi_", tunnelDrop},
}

// dropped are the packets that this connection's own host dropped, in its own network namespace, one by one in time
// order, for reasons that are not TCP's own.
func (s *story) dropped(direction string) []*event.Event {
	return s.dropsWhere(func(ev *event.Event) bool {
		return ev.Direction == direction && s.inOwnNamespace(ev) && isLoss(ev) && !ofNeighbour(ev) && !s.ofConntrack(ev)
	})
}

// isLoss says that a packet was dropped for no reason of TCP's own.
func isLoss(ev *event.Event) bool {
	return !slices.Contains(ofTCP, ev.Reason) && keyReasons[ev.Reason] == "" && !ofOldConnection(ev)
}

// dropsWhere are the drops of this connection for which match holds.
func (s *story) dropsWhere(match func(*event.Event) bool) []*event.Event {
	if !s.saw(event.Drop) {
		return nil
	}
	var drops []*event.Event
	for i := range s.conn.Events {
		if ev := &s.conn.Events[i]; ev.Kind == event.Drop && match(ev) {
			drops = append(drops, ev)
		}
	}
	return drops
}

// inOwnNamespace says that an event of a packet was where its connection's socket is, not further on its way on this
// host.
func (s *story) inOwnNamespace(ev *event.Event) bool {
	return ev.NetNS == 0 || s.conn.NetNS == 0 || ev.NetNS == s.conn.NetNS
}

// ofNeighbour says that a packet waited for an address on the link until nobody had answered (neigh_invalidate).
func ofNeighbour(ev *event.Event) bool {
	return ev.Direction != dropIn && (strings.HasPrefix(ev.Reason, "NEIGH_") || ev.Neighbour.IsValid())
}

// ofOldConnection says that a SYN did not fit the connection that was there on the same ports.
func ofOldConnection(ev *event.Event) bool {
	return strings.HasPrefix(ev.Reason, "TCP_RFC7323_")
}

// ofConntrack says that connection tracking dropped a packet. Where the function does not tell, and nftables would have
// told its own, a table that is full does.
func (s *story) ofConntrack(ev *event.Event) bool {
	return inConntrack(ev) || s.conntrack().full() && mayBeConntrack(ev)
}

// inConntrack says that the function which dropped a packet is connection tracking's.
func inConntrack(ev *event.Event) bool { return strings.Contains(ev.Location, "conntrack") }

// ruleSet says that a packet was dropped by a rule of a firewall: the function that ran the rules freed it.
func ruleSet(ev *event.Event) bool {
	return strings.HasPrefix(ev.Location, "nft_") || strings.HasSuffix(ev.Location, "t_do_table")
}

// inXDP says that an XDP program discarded a packet, which no hook of netfilter has seen then.
func inXDP(ev *event.Event) bool {
	return ev.Reason == reasonXDP || strings.Contains(ev.Location, "xdp")
}

// explain is what is known of the kernel's reason for a drop, or where it says none that is explained, of the function's.
func explain(ev *event.Event) explanation {
	switch {
	case dropReasons[ev.Reason].why != "":
		return dropReasons[ev.Reason]
	case ruleSet(ev):
		return dropReasons["NETFILTER_DROP"]
	case inXDP(ev):
		return dropReasons[reasonXDP]
	}
	for _, f := range dropFunctions {
		if strings.HasPrefix(ev.Location, f.prefix) {
			return f.explanation
		}
	}
	return explanation{}
}

// has says that a packet had a TCP flag; one whose flags are not known may have.
func has(ev *event.Event, flag string) bool {
	return ev.TCPFlags == "" || slices.Contains(strings.Split(ev.TCPFlags, "+"), flag)
}

// packets is how many packets the drops stand for.
func packets(drops []*event.Event) int {
	n := 0
	for _, ev := range drops {
		n += max(1, ev.Count)
	}
	return n
}

// foremost is the first drop of the kind that there are most of: packets that are damaged on the way have as many reasons as
// there are places to notice it.
func foremost(drops []*event.Event) *event.Event {
	counts := make(map[string]int)
	for _, ev := range drops {
		counts[kindOfDrop(ev)] += max(1, ev.Count)
	}
	return slices.MaxFunc(drops, func(a, b *event.Event) int {
		return cmp.Compare(counts[kindOfDrop(a)], counts[kindOfDrop(b)])
	})
}

// kindOfDrop is the same for drops that are explained by the same.
func kindOfDrop(ev *event.Event) string { return cmp.Or(explain(ev).why, ev.Reason, ev.Location) }

// describeDrops is describeDrop of the foremost.
func describeDrops(drops []*event.Event) string {
	most := foremost(drops)
	text := describeDrop(most)
	if slices.ContainsFunc(drops, func(ev *event.Event) bool { return kindOfDrop(ev) != kindOfDrop(most) }) {
		return "mostly " + text
	}
	return text
}

// describeDrop tells where and why: "its firewall (NETFILTER_DROP in nft_do_chain, hook output)".
func describeDrop(ev *event.Event) string {
	var at []string
	if ev.Reason != "" {
		at = append(at, ev.Reason)
	}
	if ev.Location != "" {
		at = append(at, "in "+ev.Location)
	}
	text := strings.Join(at, " ")
	if ev.Hook != "" && !inXDP(ev) {
		text = strings.TrimPrefix(text+", hook "+ev.Hook, ", ")
	}
	if ev.IfName != "" {
		text = strings.TrimPrefix(text+", "+ev.IfName, ", ")
	}
	why := explain(ev).why
	switch {
	case why == "" && text == "":
		return "the kernel does not say why"
	case why == "":
		return text
	}
	return fmt.Sprintf("%s (%s)", why, text)
}

// lookFor says where to look for what dropped a packet.
func lookFor(ev *event.Event) string {
	look := explain(ev).look
	if look == "" {
		return "nft list ruleset, tc -s qdisc, and ip -s -s link"
	}
	return strings.ReplaceAll(look, "DEVICE", cmp.Or(ev.IfName, "DEVICE"))
}
