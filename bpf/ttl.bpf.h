/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The time to live, or hop limit, with which packets of the peer arrive. A RST that has another than the peer's part of
 * the handshake had came another way, or from somebody else.
 */
#ifndef TCPTRACE_TTL_H
#define TCPTRACE_TTL_H

/* Of what a socket is given, a RST and a SYN-ACK are looked at: the handshake of a client, and what ends it. */
static void note_ttl(struct sock *sk, u8 flags, u8 ttl)
{
	struct connection *c = connection_of(sk);

	if (!c)
		return;
	if (flags & TCP_FLAG_RST)
		c->reset_ttl = ttl;
	else if (!c->established_ns)
		c->handshake_ttl = ttl;
}

/* 0: skb holds none. */
static u8 ttl_of(struct sk_buff *skb)
{
	return ip_start_at(head_of(skb) + READ(skb, network_header)).ttl;
}

/* skb is NULL when a socket is restored without a handshake (TCP_REPAIR). */
static void record_ttl(struct sock *sk, struct sk_buff *skb, u8 flags)
{
	if (skb)
		note_ttl(sk, flags, ttl_of(skb));
}

/*
 * tcp_filter calls it for each segment that a socket is given, before that is looked at, with skb beginning at its IP
 * header and having that socket. Nearly all are data, which takes 44 ns with the kernel measuring it
 * (kernel.bpf_stats_enabled), half of which is the measuring.
 */
static void record_arrival(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ipv4_header *ip4 = data;
	struct ipv6_header *ip6 = data;
	struct tcp_header *tcp;
	u8 protocol, ttl;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if ((void *)(ip4 + 1) > end)
			return;
		protocol = ip4->protocol;
		ttl = ip4->ttl;
		tcp = data + (ip4->version_ihl & 15) * 4;
	} else {
		if ((void *)(ip6 + 1) > end)
			return;
		protocol = ip6->next_header;
		ttl = ip6->hop_limit;
		tcp = (void *)(ip6 + 1);
	}
	if (protocol != IPPROTO_TCP || (void *)(tcp + 1) > end)
		return;
	if (tcp->flags & TCP_FLAG_RST || (tcp->flags & (TCP_FLAG_SYN | TCP_FLAG_ACK)) == (TCP_FLAG_SYN | TCP_FLAG_ACK))
		note_ttl(READ((struct sk_buff *)skb, sk), tcp->flags, ttl);
}

static bool is_mapped(const struct connection *c)
{
	const u32 *words = (const u32 *)c->remote;

	return !words[0] && !words[1] && words[2] == bpf_htonl(0xffff);
}

/*
 * Of the final ACK: tcp_v4_syn_recv_sock and tcp_v6_syn_recv_sock leave it with the child, as what it sends to groups
 * with unless told otherwise. That of an IPv4 client is always where the former puts it.
 */
static u8 ttl_of_final_ack(const struct connection *c, struct sock *sk)
{
	struct inet_sock *inet = (struct inet_sock *)sk;
	struct ipv6_pinfo *ip6;

	if (c->family == AF_INET || is_mapped(c))
		return READ(inet, mc_ttl);
	ip6 = READ(inet, pinet6);
	return ip6 ? BPF_CORE_READ_BITFIELD_PROBED(ip6, mcast_hops) : 0;
}

#endif
