/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * RST, sent and received.
 */
#ifndef TCPTRACE_RESET_H
#define TCPTRACE_RESET_H

static void record_reset_received(struct sock *sk)
{
	struct connection *c = connection_of(sk);
	struct event *e;

	if (!c)
		return;
	learn_late_tuple(c, sk);
	note_trouble(c, sk);
	e = begin(c, EVENT_RESET_RECEIVED, bpf_ktime_get_ns());
	if (!e)
		return;
	e->state = READ(sk, __sk_common.skc_state);
	e->ttl = c->reset_ttl;
	e->cookie = cookie_of(sk);
	submit(e);
}

/* The flags of a segment that TCP is looking at; 0 when there is none. */
static u8 flags_of_segment(struct sk_buff *skb)
{
	struct tcp_header tcp;

	if (!skb || bpf_probe_read_kernel(&tcp, sizeof(tcp), READ(skb, head) + READ(skb, transport_header)))
		return 0;
	return tcp.flags;
}

/* answered: the segment that the RST is the answer to, which says why there is one; NULL when there is none. */
static void emit_reset_sent(struct connection *c, u8 state, struct sk_buff *answered, bool has_reason, u32 reason)
{
	u8 flags = flags_of_segment(answered);
	struct event_with_packet *e;

	e = (struct event_with_packet *)begin_detailed(c, EVENT_RESET_SENT, bpf_ktime_get_ns(), sizeof(*e));
	if (!e)
		return;
	__builtin_memset(&e->packet, 0, sizeof(e->packet));
	e->packet.tcp_flags = flags;
	e->event.state = state;
	e->details.reason = reason;
	e->event.flags |= EVENT_HAS_PACKET;
	if (has_reason)
		e->event.flags |= EVENT_HAS_REASON;
	submit(e);
}

/* Mini-sockets (TIME_WAIT, requests) are not sockets, though they share struct sock_common with them. */
static bool is_full_socket(struct sock *sk)
{
	u8 state = READ(sk, __sk_common.skc_state);

	return state != TCP_TIME_WAIT && state != TCP_NEW_SYN_RECV;
}

/* Whether skb holds a segment of TCP on which, of these flags, exactly those wanted are set. */
static bool is_tcp_segment(struct sk_buff *skb, u8 flags, u8 wanted)
{
	u16 network = READ(skb, network_header), transport = READ(skb, transport_header);
	unsigned char *head = READ(skb, head);
	struct tcp_header tcp;

	/* Either may not have been found yet. */
	if (network == (u16)~0 || transport == (u16)~0 || transport <= network)
		return false;
	if (bpf_probe_read_kernel(&tcp, sizeof(tcp), head + transport) || (tcp.flags & flags) != wanted)
		return false;
	/* Extension headers of IPv6 do not come with these. */
	return ip_start_at(head + network).protocol == IPPROTO_TCP;
}

/* The ends of the segment that skb holds, as this host sees them: what it was sent to is local. */
static bool read_segment_tuple(struct connection *c, struct sk_buff *skb, struct tcp_header *tcp)
{
	unsigned char *head = READ(skb, head);
	void *network = head + READ(skb, network_header);
	struct ipv4_header ip4;
	struct ipv6_header ip6;

	if (bpf_probe_read_kernel(tcp, sizeof(*tcp), head + READ(skb, transport_header)))
		return false;
	if (bpf_probe_read_kernel(&ip4, sizeof(ip4), network))
		return false;
	c->local_port = bpf_ntohs(tcp->destination);
	c->remote_port = bpf_ntohs(tcp->source);
	if (ip4.version_ihl >> 4 == 4) {
		c->family = AF_INET;
		__builtin_memcpy(c->local, ip4.destination, 4);
		__builtin_memcpy(c->remote, ip4.source, 4);
		return true;
	}
	if (bpf_probe_read_kernel(&ip6, sizeof(ip6), network))
		return false;
	c->family = AF_INET6;
	__builtin_memcpy(c->local, ip6.destination, 16);
	__builtin_memcpy(c->remote, ip6.source, 16);
	return true;
}

/* Nothing here answers that SYN but a RST. Told when the SYN is that of a connect we follow. */
static void record_refusal(struct sk_buff *skb, bool has_reason, u32 reason)
{
	struct connection c;
	struct tcp_header tcp;
	u32 isn;

	begin_connection(&c, NULL, ROLE_SERVER, bpf_ktime_get_ns());
	if (!skb || !read_segment_tuple(&c, skb, &tcp))
		return;
	if (!(tcp.flags & TCP_FLAG_SYN) || tcp.flags & TCP_FLAG_ACK)
		return;
	isn = bpf_ntohl(tcp.seq);
	if (!sock_by_isn(isn))
		return;
	c.peer_isn = isn;
	c.netns = READ(skb, dev, nd_net.net, ns.inum);
	c.flags = FOLLOWED;
	c.troubled = 1;
	emit_reset_sent(&c, TCP_CLOSE, skb, has_reason, reason);
}

/*
 * sk may be NULL, a listener or a mini-socket; skb, what the RST answers, is NULL when it answers nothing. An
 * abort (unread data, linger 0) closes the socket first and sends its RST then.
 */
static void record_reset_sent(struct sock *sk, struct sk_buff *skb, bool has_reason, u32 reason)
{
	struct connection *c = sk && is_full_socket(sk) ? last_connection_of(sk) : NULL;

	if (!c) {
		record_refusal(skb, has_reason, reason);
		return;
	}
	note_trouble(c, sk);
	emit_reset_sent(c, READ(sk, __sk_common.skc_state), skb, has_reason, reason);
}

#endif
