/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * ICMP errors: what routers, and the peer's host, say of a connection's packets.
 *
 * They may come to a socket that its application is using at the moment, which then learns of them only by an error
 * that the next packet turns into its end; and the event may be seen only after the close that it caused.
 */
#ifndef TCPTRACE_ICMP_H
#define TCPTRACE_ICMP_H

/* An ICMP error, and the segment that it quotes, with its ends as we see them, who sent it. */
struct icmp_error {
	struct icmp_header header;
	u16 family;
	u8 from[16];
	struct ends ends;
	u32 seq;
	u32 ack; /* 0: not quoted; eight bytes of the segment are all that there must be */
};

/* As icmp_rcv and icmpv6_rcv have them end with those that concern a transport. */
static bool is_error(u8 protocol, u8 type)
{
	if (protocol == IPPROTO_ICMPV6)
		return !(type & ICMPV6_INFOMSG_MASK);
	return type == ICMP_DEST_UNREACH || type == ICMP_SOURCE_QUENCH || type == ICMP_TIME_EXCEEDED ||
	       type == ICMP_PARAMETERPROB;
}

static bool read_quotation(struct icmp_error *i, struct sk_buff *skb, u32 offset)
{
	const u32 guaranteed = 8;
	struct tcp_header tcp = {};
	struct ip_packet ip;

	if (!read_ip(&ip, skb, offset) || ip.protocol != IPPROTO_TCP)
		return false;
	offset += ip.header_size;
	if (!read_header(&tcp, sizeof(tcp), skb, offset) && !read_header(&tcp, guaranteed, skb, offset))
		return false;
	i->ends.local_port = bpf_ntohs(tcp.source);
	i->ends.remote_port = bpf_ntohs(tcp.destination);
	mapped_address(i->ends.local, ip.family, ip.source);
	mapped_address(i->ends.remote, ip.family, ip.destination);
	i->seq = bpf_ntohl(tcp.seq);
	i->ack = bpf_ntohl(tcp.ack_seq);
	return true;
}

static bool read_icmp_error(struct icmp_error *i, struct sk_buff *skb)
{
	u32 offset = network_offset(skb);
	struct ip_packet ip;

	if (!read_ip(&ip, skb, offset) || (ip.protocol != IPPROTO_ICMP && ip.protocol != IPPROTO_ICMPV6))
		return false;
	offset += ip.header_size;
	if (!read_header(&i->header, sizeof(i->header), skb, offset) || !is_error(ip.protocol, i->header.type))
		return false;
	i->family = ip.family;
	__builtin_memcpy(i->from, ip.source, 16);
	if (!read_quotation(i, skb, offset + sizeof(i->header)))
		return false;
	i->ends.netns = netns_of_packet(skb);
	return true;
}

/* tcp_v4_err and tcp_v6_err ignore what quotes nothing that is under way (OutOfWindowIcmps). */
static bool is_under_way(u32 seq, struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	u32 una = READ(tp, snd_una);

	return seq - una <= READ(tp, snd_nxt) - una;
}

/* NULL also for what TCP itself takes no notice of. */
static struct connection *find_quoted(const struct icmp_error *i, struct sock **sk)
{
	u64 pair = isn_pair(i->ack - 1, i->seq);
	struct connection *c = connection_by_ends(&i->ends, sk);

	if (c)
		return is_under_way(i->seq, *sk) ? c : NULL;
	c = connect_by_isn(i->seq, sk);
	if (c)
		return c->netns == i->ends.netns ? c : NULL;
	return i->ack ? find_request(pair) : NULL;
}

/* The MTU of the link that the segment was too big for. */
static u32 mtu_of(const struct icmp_error *i)
{
	if (i->family == AF_INET6 && i->header.type == ICMPV6_PKT_TOOBIG)
		return bpf_ntohs(i->header.unused) << 16 | bpf_ntohs(i->header.mtu);
	if (i->family == AF_INET && i->header.type == ICMP_DEST_UNREACH && i->header.code == ICMP_FRAG_NEEDED)
		return bpf_ntohs(i->header.mtu);
	return 0;
}

static void fill_icmp_error(struct event_with_packet *e, const struct icmp_error *i, struct sock *sk)
{
	e->details.tcp_seq = i->seq;
	if (sk) {
		e->event.state = READ(sk, __sk_common.skc_state);
		e->event.cookie = cookie_of(sk);
	}
	e->packet.icmp_type = i->header.type;
	e->packet.icmp_code = i->header.code;
	e->packet.mtu = mtu_of(i);
	e->packet.address_family = i->family;
	__builtin_memcpy(e->packet.address, i->from, 16);
	e->packet.direction = DIRECTION_IN;
}

/* An ICMP packet has come to its end on this host. */
static void record_icmp_error(struct sk_buff *skb)
{
	struct icmp_error i = {};
	struct event_with_packet *e;
	struct sock *sk = NULL;
	struct connection *c;
	u64 now_ns;

	if (!read_icmp_error(&i, skb))
		return;
	now_ns = bpf_ktime_get_ns();
	c = find_quoted(&i, &sk);
	if (!c || was_told(c, skb) || is_one_too_many(c, now_ns))
		return;
	/* Path MTU discovery is how it should be. */
	if (!(c->flags & ENDED) && !mtu_of(&i))
		note_trouble(c, sk);
	e = begin_with_packet(c, EVENT_ICMP_ERROR, now_ns);
	if (!e)
		return;
	fill_icmp_error(e, &i, sk);
	submit(e);
}

/* A copy that dev_queue_xmit_nit made for packet sockets. Those with a ring of memory free it without owning it. */
static bool is_copy_of_outgoing(struct sk_buff *skb)
{
	return BPF_CORE_READ_BITFIELD_PROBED(skb, pkt_type) == PACKET_OUTGOING;
}

/* Whether it is worth reading; so is what has its IP header nobody knows where. */
static bool may_be_icmp(struct sk_buff *skb)
{
	u16 offset = READ(skb, network_header);
	u8 protocol;

	if (!offset)
		return true;
	protocol = ip_start_at(head_of(skb) + offset).protocol;
	return protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6;
}

/*
 * The same, seen by its being freed. What TCP has found a socket for has no device any more (tcp_v4_rcv). What a packet
 * socket, or a raw one, has read is a copy, and still that socket's. So is most of what else is freed this way, which spares
 * it a look at its headers.
 */
static void record_consumed_icmp(struct sk_buff *skb)
{
	if (!READ(skb, dev) || READ(skb, sk))
		return;
	if (!is_copy_of_outgoing(skb) && may_be_icmp(skb))
		record_icmp_error(skb);
}

/* icmpv6_rcv: until 6.3 it freed all that it got as if it were dropped. */
volatile const struct code icmpv6_function;

static void record_freed_icmp(struct sk_buff *skb, u64 location)
{
	if (location >= icmpv6_function.start && location < icmpv6_function.end)
		record_consumed_icmp(skb);
}

#endif
