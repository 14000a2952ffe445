package tracer

// dropClasses are the reasons of which not every packet was lost, by the kernel's names without prefix. Everything else is
// told, what future kernels add included.
var dropClasses = map[string]bpfDropClass{
	"NOT_SPECIFIED": bpfDropClassDROP_UNSPECIFIED,

	// Not dropped at all.
	"NOT_DROPPED_YET": bpfDropClassDROP_QUIET,
	"CONSUMED":        bpfDropClassDROP_QUIET,

	// The segment held nothing new, or less than what is there already: copies of what came before, their
	// acknowledgements, and keepalive probes, which are made to be such.
	"TCP_OLD_DATA":             bpfDropClassDROP_QUIET,
	"TCP_OLD_SEQUENCE":         bpfDropClassDROP_QUIET,
	"TCP_OLD_ACK":              bpfDropClassDROP_QUIET,
	"TCP_OFOMERGE":             bpfDropClassDROP_QUIET,
	"TCP_OFO_DROP":             bpfDropClassDROP_QUIET,
	"TCP_RFC7323_PAWS_ACK":     bpfDropClassDROP_QUIET,
	"TCP_INVALID_SEQUENCE":     bpfDropClassDROP_SEQUENCE, // until 6.11 for old ones, too
	"TCP_INVALID_END_SEQUENCE": bpfDropClassDROP_SEQUENCE,

	// It had its effect: a RST that was heeded, a segment for a socket that has come to its end, one that was answered by a
	// RST. Other events tell of these.
	"TCP_RESET":         bpfDropClassDROP_QUIET,
	"TCP_CLOSE":         bpfDropClassDROP_QUIET,
	"TCP_ABORT_ON_DATA": bpfDropClassDROP_QUIET,
	"TCP_FASTOPEN":      bpfDropClassDROP_QUIET,
	"NO_SOCKET":         bpfDropClassDROP_NO_SOCKET,
	"TCP_INVALID_SYN":   bpfDropClassDROP_SYN,

	// A raw socket had no room for its copy (sock_queue_rcv_skb_reason). TCP has other reasons for want of room.
	"SOCKET_RCVBUFF": bpfDropClassDROP_UNSPECIFIED,

	// A socket was closed with it still in a queue; and copies that were not for TCP: of packet sockets, as tcpdump has
	// them, and of a bridge or device that hears what is meant for others.
	"QUEUE_PURGE":       bpfDropClassDROP_QUIET,
	"SOCKET_CLOSE":      bpfDropClassDROP_QUIET,
	"PACKET_SOCK_ERROR": bpfDropClassDROP_QUIET,
	"OTHERHOST":         bpfDropClassDROP_QUIET,
}

// quietFunctions free packets that they have done with, without a reason or with one that says too little. TCP's own do
// so, too, with packets that it refuses: kernels before 5.17, which have no reasons, do not tell these from the others.
var quietFunctions = []string{
	// The way of a segment through TCP.
	"tcp_v4_rcv", "tcp_v6_rcv", "tcp_v4_do_rcv", "tcp_v6_do_rcv", "tcp_rcv_established", "tcp_rcv_state_process",
	"tcp_rcv_synsent_state_process", "tcp_validate_incoming", "tcp_data_queue", "tcp_data_queue_ofo", "tcp_ofo_queue",
	"tcp_try_rmem_schedule", "tcp_prune_ofo_queue", "tcp_collapse", "tcp_drop", "tcp_drop_reason", "tcp_child_process",
	"tcp_conn_request", "cookie_v4_check", "cookie_v6_check", "tcp_get_cookie_sock",
	// The end of a socket.
	"tcp_disconnect", "tcp_close", "__tcp_close", "tcp_v4_destroy_sock", "tcp_done", "inet_sock_destruct",
	"inet_csk_destroy_sock", "sk_stream_kill_queues", "skb_queue_purge", "skb_queue_purge_reason", "skb_rbtree_purge",
	"skb_errqueue_purge", "__release_sock",
	// Copies for packet sockets, and for raw ones.
	"packet_rcv", "packet_rcv_spkt", "tpacket_rcv", "packet_rcv_fanout",
	"raw_rcv", "raw_rcv_skb", "rawv6_rcv", "rawv6_rcv_skb",
	// What a driver has sent, if it frees that in an interrupt (__dev_kfree_skb_irq).
	"net_tx_action",
}

// icmpv6Function takes in ICMPv6 errors.
const icmpv6Function = "icmpv6_rcv"

// classifyDrops gives the class of each reason of a kernel, by number.
func classifyDrops(names map[uint32]string) (classes [256]uint8) {
	for number, name := range names {
		if number < uint32(len(classes)) {
			classes[number] = uint8(dropClasses[name])
		}
	}
	return classes
}
