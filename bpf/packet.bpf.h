/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Packets: what an skb holds, where it is on its way, and which connection it belongs to when it has no socket.
 */
#ifndef TCPTRACE_PACKET_H
#define TCPTRACE_PACKET_H

/*
 * Connects that failed and whose socket is gone, by initial sequence number. What explains them may come later: an ICMP
 * error is freed only after it has ended the connect, and applications are less patient than neighbour discovery.
 *
 * Inserted: when a client that never was established is forgotten. Deleted: LRU only.
 * Read by:  drops and ICMP errors.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u32);
	__type(value, struct connection);
} departed SEC(".maps");

/* Somebody looks for connections by their packets. Set by user space once the hooks are attached. */
u8 packets_are_traced;

/* Both ends of c are known. Not inlined, for verifiers add up the stacks of callers. */
static __noinline void index_connection(const struct connection *c, struct sock *sk)
{
	struct ends ends;

	if (!packets_are_traced || !c->local_port)
		return;
	ends_of(&ends, c);
	insert_socket(&ends, (u64)sk);
}

static void remove_from_index(const struct connection *c, struct sock *sk)
{
	struct ends ends;

	if (!packets_are_traced || !c->local_port)
		return;
	ends_of(&ends, c);
	delete_socket(&ends, (u64)sk);
}

/* c is about to be forgotten. */
static void note_departed(struct connection *c, struct sock *sk)
{
	remove_from_index(c, sk);
	if (packets_are_traced && c->flags & FOLLOWED && c->role == ROLE_CLIENT && c->isn && !c->established_ns)
		bpf_map_update_elem(&departed, &c->isn, c, BPF_ANY);
}

/* The connect whose first sequence number this is, or NULL; its socket, where it still has one. */
static struct connection *connect_by_isn(u32 isn, struct sock **sk)
{
	struct sock *found = sock_by_isn(isn);
	struct connection *c = found ? last_connection_of(found) : NULL;

	if (c && c->isn == isn) {
		*sk = found;
		return c;
	}
	*sk = NULL;
	return bpf_map_lookup_elem(&departed, &isn);
}

/* The connection with these ends, or NULL. */
static struct connection *connection_by_ends(const struct ends *ends, struct sock **sk)
{
	u64 key = socket_by_ends(ends);

	if (!key)
		return NULL;
	*sk = (struct sock *)key;
	return bpf_map_lookup_elem(&connections, &key);
}

/* A TCP segment, with its ends as its receiver sees them. */
struct segment {
	struct ends ends;
	u32 seq;
	u32 ack;
	u32 len;
	u16 family;
	u8 flags;
	u8 unused;
};

static void *head_of(struct sk_buff *skb)
{
	return READ(skb, head);
}

/* Where the IP header begins, from head. Drivers hand packets on without having said so; data is there then. */
static u32 network_offset(struct sk_buff *skb)
{
	u16 offset = READ(skb, network_header);

	if (offset)
		return offset;
	return READ(skb, data) - READ(skb, head);
}

/* Reads size bytes of what is at head, and nothing of what is behind that. */
static bool read_header(void *to, u32 size, struct sk_buff *skb, u32 offset)
{
	if (offset + size > READ(skb, tail))
		return false;
	return !bpf_probe_read_kernel(to, size, head_of(skb) + offset);
}

/* An IP header of either version, without extensions. */
struct ip_packet {
	u16 family; /* 0: none */
	u16 header_size;
	u32 payload; /* bytes; 0 also when there are more than the header can tell */
	u8 protocol;
	u8 source[16];
	u8 destination[16];
};

/* What the headers of both versions have, though not in the same place. All 0: it is neither's. */
struct ip_start {
	u8 ttl; /* or hop limit */
	u8 protocol; /* or the first of the extensions */
};

static struct ip_start ip_start_at(const void *packet)
{
	u8 header[offsetof(struct ipv4_header, protocol) + 1]; /* IPv6 has both before that */
	struct ip_start start = {};

	if (bpf_probe_read_kernel(header, sizeof(header), packet))
		return start;
	switch (header[0] >> 4) {
	case 4:
		start.ttl = header[offsetof(struct ipv4_header, ttl)];
		start.protocol = header[offsetof(struct ipv4_header, protocol)];
		break;
	case 6:
		start.ttl = header[offsetof(struct ipv6_header, hop_limit)];
		start.protocol = header[offsetof(struct ipv6_header, next_header)];
	}
	return start;
}

static bool read_ipv4(struct ip_packet *ip, struct sk_buff *skb, u32 offset)
{
	const u16 not_the_first = 0x1fff; /* offset of a fragment */
	struct ipv4_header header;
	u16 size, total;

	if (!read_header(&header, sizeof(header), skb, offset))
		return false;
	if (bpf_ntohs(header.fragment) & not_the_first)
		return false;
	size = (header.version_ihl & 15) * 4;
	total = bpf_ntohs(header.length);
	ip->family = AF_INET;
	ip->header_size = size;
	ip->payload = total > size ? total - size : 0;
	ip->protocol = header.protocol;
	__builtin_memcpy(ip->source, header.source, 4);
	__builtin_memcpy(ip->destination, header.destination, 4);
	return true;
}

static bool read_ipv6(struct ip_packet *ip, struct sk_buff *skb, u32 offset)
{
	struct ipv6_header header;

	if (!read_header(&header, sizeof(header), skb, offset))
		return false;
	ip->family = AF_INET6;
	ip->header_size = sizeof(header);
	ip->payload = bpf_ntohs(header.payload_length);
	ip->protocol = header.next_header;
	__builtin_memcpy(ip->source, header.source, 16);
	__builtin_memcpy(ip->destination, header.destination, 16);
	return true;
}

static bool read_ip(struct ip_packet *ip, struct sk_buff *skb, u32 offset)
{
	bool known = false;
	u8 version = 0;

	__builtin_memset(ip, 0, sizeof(*ip));
	if (!read_header(&version, sizeof(version), skb, offset))
		return false;
	switch (version >> 4) {
	case 4:
		known = read_ipv4(ip, skb, offset);
		break;
	case 6:
		known = read_ipv6(ip, skb, offset);
	}
	BLUR(*ip);
	return known;
}

static void segment_ends(struct segment *s, const struct ip_packet *ip, const struct tcp_header *tcp)
{
	s->family = ip->family;
	s->ends.local_port = bpf_ntohs(tcp->destination);
	s->ends.remote_port = bpf_ntohs(tcp->source);
	mapped_address(s->ends.local, ip->family, ip->destination);
	mapped_address(s->ends.remote, ip->family, ip->source);
}

/* The segment that skb holds; its namespace is for the caller to fill in. */
static bool read_segment(struct segment *s, struct sk_buff *skb)
{
	u32 offset = network_offset(skb), header_size;
	struct tcp_header tcp;
	struct ip_packet ip;

	__builtin_memset(s, 0, sizeof(*s));
	if (!read_ip(&ip, skb, offset) || ip.protocol != IPPROTO_TCP)
		return false;
	if (!read_header(&tcp, sizeof(tcp), skb, offset + ip.header_size))
		return false;
	segment_ends(s, &ip, &tcp);
	s->seq = bpf_ntohl(tcp.seq);
	s->ack = bpf_ntohl(tcp.ack_seq);
	s->flags = tcp.flags;
	header_size = (tcp.data_offset >> 4) * 4;
	s->len = ip.payload > header_size ? ip.payload - header_size : 0;
	return true;
}

static struct dst_entry *route_of(struct sk_buff *skb)
{
	return (struct dst_entry *)(READ(skb, _skb_refdst) & ~SKB_DST_NOREF);
}

/* Its device; tcp_v4_rcv takes that away from what it has found a socket for, but the route has one as well. */
static struct net_device *device_of(struct sk_buff *skb)
{
	struct net_device *dev = READ(skb, dev);
	struct dst_entry *route;

	if (dev)
		return dev;
	route = route_of(skb);
	return route ? READ(route, dev) : NULL;
}

static u32 netns_of_packet(struct sk_buff *skb)
{
	struct net_device *dev = device_of(skb);

	return dev ? READ(dev, nd_net.net, ns.inum) : 0;
}

static bool route_is_local(struct dst_entry *route, u16 family)
{
	if (family == AF_INET6)
		return READ((struct rt6_info *)route, rt6i_flags) & ROUTE_LOCAL;
	return READ((struct rtable *)route, rt_flags) & ROUTE_LOCAL;
}

/* How far a packet is that was sent here. ip_output, or ip6_output, gives it its device. */
static u8 hook_on_the_way_out(struct sk_buff *skb)
{
	return READ(skb, dev) ? HOOK_POSTROUTING : HOOK_OUTPUT;
}

/* How far a packet is that came in. One from loopback has its route from the start. */
static u8 hook_on_the_way_in(struct sk_buff *skb, u16 family)
{
	struct dst_entry *route = route_of(skb);

	if (!route)
		return HOOK_PREROUTING;
	return route_is_local(route, family) ? HOOK_INPUT : HOOK_FORWARD;
}

static bool is_zero(const struct in6_addr *address)
{
	const u64 *words = (const u64 *)address;

	return !words[0] && !words[1];
}

/* Who is to take this packet on the link: the gateway, or else its destination. */
static void read_next_hop(struct packet *p, struct sk_buff *skb, const struct segment *s)
{
	struct dst_entry *route = route_of(skb);
	struct rtable *rt = (struct rtable *)route;
	struct in6_addr gateway = {};

	if (!route)
		return;
	p->address_family = s->family;
	if (s->family == AF_INET6) {
		BPF_CORE_READ_INTO(&gateway, (struct rt6_info *)route, rt6i_gateway);
		__builtin_memcpy(p->address, is_zero(&gateway) ? (void *)s->ends.local : (void *)&gateway, 16);
		return;
	}
	switch (READ(rt, rt_gw_family)) {
	case AF_INET:
		BPF_CORE_READ_INTO((u32 *)p->address, rt, rt_gw4);
		break;
	case AF_INET6:
		p->address_family = AF_INET6;
		BPF_CORE_READ_INTO(&p->address, rt, rt_gw6.in6_u.u6_addr8);
		break;
	default:
		__builtin_memcpy(p->address, s->ends.local + 12, 4);
	}
}

/*
 * Whether c has been told of that packet. Programs that see packets are attached twice, and both copies see the same skb
 * before it is freed; the next packet may well have its place in memory. So the second look is the last, whenever it is:
 * of two, one always finds something to tell.
 */
static bool was_told(struct connection *c, struct sk_buff *skb)
{
	bool told = c->packet == (u64)skb;

	c->packet = told ? 0 : (u64)skb;
	return told;
}

/*
 * Packets that are lost come in numbers, and a few of them say as much. Of what befalls one connection within a second
 * this many are recorded; the first one after it tells how many there were since.
 */
#define PACKETS_A_SECOND 8

static bool is_one_too_many(struct connection *c, u64 now_ns)
{
	u32 second = now_ns / 1000000000;

	if (second != c->packets_second) {
		c->packets_second = second;
		c->packets_told = 0;
	}
	if (c->packets_told < PACKETS_A_SECOND) {
		c->packets_told++;
		return false;
	}
	c->packets_untold++;
	return true;
}

static __always_inline struct event_with_packet *begin_with_packet(struct connection *c, u8 kind, u64 now_ns)
{
	struct event_with_packet *e = (struct event_with_packet *)begin_detailed(c, kind, now_ns, sizeof(*e));

	if (!e)
		return NULL;
	__builtin_memset(&e->packet, 0, sizeof(e->packet));
	e->event.flags |= EVENT_HAS_PACKET;
	if (c->packets_untold) {
		e->details.count = c->packets_untold + 1;
		c->packets_untold = 0;
	}
	return e;
}

#endif
