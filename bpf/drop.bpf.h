/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Packets that this host dropped: those that a connection we follow sent, or should have got.
 *
 * kfree_skb is called for every packet that was not used up, and TCP has done with many of them: most are no loss.
 * The kernel's reason tells, and where there is none, the function that freed it. What is left out is listed in
 * tracer/dropreasons.go, with why.
 */
#ifndef TCPTRACE_DROP_H
#define TCPTRACE_DROP_H

/* What a reason says, as tracer/dropreasons.go sorts them. */
enum drop_class {
	DROP_TOLD, /* the packet was lost, and that is why */
	DROP_QUIET, /* the packet had done its work, or never had any */
	DROP_UNSPECIFIED, /* the function tells */
	DROP_SEQUENCE, /* lost unless it holds nothing but what was there before */
	DROP_NO_SOCKET, /* lost if it answers one of our SYNs; else a RST tells of it */
	DROP_SYN, /* lost unless it is a SYN-ACK, which another event tells of */
};

#define DROP_REASONS 256

/* enum drop_class of the running kernel's reasons. */
volatile const u8 drop_classes[DROP_REASONS];

/* Machine code, from its first byte to the one behind its last. */
struct code {
	u64 start;
	u64 end;
};

#define QUIET_FUNCTIONS 64

/* Functions that free what they have done with. 0 of them: the kernel hides its symbols. */
volatile const struct code quiet_functions[QUIET_FUNCTIONS];
volatile const u32 quiet_function_count;

/* A packet that was freed, and what the kernel says of it. */
struct freed {
	struct sk_buff *skb;
	struct sock *receiver; /* NULL: not known */
	u64 location;
	u32 reason;
	u8 has_reason;
	u8 unused[3];
};

/* Where symbols are hidden, what has no reason might be anything. */
static bool was_freed_quietly(u64 location)
{
	if (!quiet_function_count)
		return true;
	for (u32 i = 0; i < QUIET_FUNCTIONS; i++) {
		if (i >= quiet_function_count)
			return false;
		if (location >= quiet_functions[i].start && location < quiet_functions[i].end)
			return true;
	}
	return false;
}

static u8 class_of(const struct freed *f)
{
	u8 class = DROP_UNSPECIFIED;

	if (f->has_reason)
		class = f->reason < DROP_REASONS ? drop_classes[f->reason & (DROP_REASONS - 1)] : DROP_TOLD;
	if (class != DROP_UNSPECIFIED)
		return class;
	return was_freed_quietly(f->location) ? DROP_QUIET : DROP_TOLD;
}

static bool is_syn_ack(const struct segment *s)
{
	const u8 both = TCP_FLAG_SYN | TCP_FLAG_ACK;

	return (s->flags & both) == both;
}

static bool is_syn(const struct segment *s)
{
	return (s->flags & (TCP_FLAG_SYN | TCP_FLAG_ACK)) == TCP_FLAG_SYN;
}

/* What only the segment and its receiver can tell; sk may be NULL. */
static bool is_no_loss(u8 class, const struct segment *s, struct sock *sk)
{
	switch (class) {
	case DROP_SEQUENCE: /* tcp_validate_incoming: until 6.11 one reason stood for the past and the future */
		return sk && (s32)(s->seq + s->len - READ((struct tcp_sock *)sk, rcv_nxt)) <= 0;
	case DROP_NO_SOCKET:
		return !is_syn_ack(s);
	case DROP_SYN:
		return is_syn_ack(s);
	}
	return false;
}

/*
 * Whether sk sends that packet, and does not get it: early demux gives what comes in its socket, too. The segment's ends
 * are those of its receiver.
 */
static bool is_leaving(struct sk_buff *skb, const struct segment *s, struct sock *sk)
{
	u16 port;

	if (!sk)
		return false;
	port = READ(sk, __sk_common.skc_num);
	if (port == s->ends.local_port && port == s->ends.remote_port)
		return !READ(skb, dev);
	return port != s->ends.local_port;
}

/* The map that has the connection of a packet. */
enum owner_map {
	OWNER_UNKNOWN,
	OWNER_CONNECTION,
	OWNER_REQUEST,
	OWNER_DEPARTED,
};

/* Where a packet was when it was dropped, and whose it was. */
struct lost_packet {
	struct segment segment;
	u64 sk; /* the connection's struct sock *; 0: none, or no more */
	u64 key; /* in the map */
	u8 map; /* enum owner_map */
	u8 class;
	u8 direction;
	u8 hook;
	u8 unused[4];
};

static bool belongs_to(struct lost_packet *p, u64 sk)
{
	if (!sk || !last_connection_of((struct sock *)sk))
		return false;
	p->map = OWNER_CONNECTION;
	p->sk = sk;
	return true;
}

static bool belongs_to_request(struct lost_packet *p, u64 pair)
{
	if (!find_request(pair))
		return false;
	p->map = OWNER_REQUEST;
	p->key = pair;
	return true;
}

/* A SYN-ACK on its way out belongs to a request, which is no socket; so does the final ACK on its way in. */
static bool has_sender(struct lost_packet *p, u64 sk)
{
	const struct segment *s = &p->segment;

	return belongs_to(p, sk) || (is_syn_ack(s) && belongs_to_request(p, isn_pair(s->ack - 1, s->seq)));
}

static bool has_receiver(struct lost_packet *p, u64 sk)
{
	const struct segment *s = &p->segment;

	if (belongs_to(p, sk) || belongs_to(p, socket_by_ends(&s->ends)))
		return true;
	return s->flags & TCP_FLAG_ACK && belongs_to_request(p, isn_pair(s->seq - 1, s->ack - 1));
}

/* Whether that is a namespace that one asks for. */
static bool is_place_of_interest(u32 netns)
{
	return !(filter_dimensions & FILTER_NETNS) || bpf_map_lookup_elem(&namespaces, &netns);
}

/* The initial sequence number of the client whose handshake this is part of. */
static bool client_isn_of(u32 *isn, const struct segment *s)
{
	if (is_syn(s)) {
		*isn = s->seq;
		return true;
	}
	*isn = s->ack - 1;
	return s->flags & (TCP_FLAG_SYN | TCP_FLAG_RST) && s->flags & TCP_FLAG_ACK;
}

/*
 * The connect of whose handshake this packet is, wherever on this host it was dropped: on its way through a router's
 * namespace, or beside the ends that it set out with, because something translates addresses.
 */
static bool has_connect(struct lost_packet *p)
{
	struct sock *sk = NULL;
	u32 isn;

	if (!client_isn_of(&isn, &p->segment) || !is_place_of_interest(p->segment.ends.netns))
		return false;
	if (!connect_by_isn(isn, &sk))
		return false;
	p->map = sk ? OWNER_CONNECTION : OWNER_DEPARTED;
	p->sk = (u64)sk;
	p->key = isn;
	return true;
}

/*
 * Strangers' SYNs that were dropped, a second: what a firewall is there for comes in floods. The rest is in the count of
 * the next one.
 */
#define STRANGERS_A_SECOND 64

struct strangers {
	u32 second;
	u32 told;
	u32 untold;
};

struct strangers strangers;

static bool is_stranger_too_many(struct connection *c, u64 now_ns)
{
	u32 second = now_ns / 1000000000;

	if (second != strangers.second) {
		strangers.second = second;
		strangers.told = 0;
	}
	if (strangers.told < STRANGERS_A_SECOND) {
		strangers.told++;
		c->packets_untold = strangers.untold;
		strangers.untold = 0;
		return false;
	}
	strangers.untold++;
	return true;
}

static bool is_of_followed(u32 client_isn)
{
	return sock_by_isn(client_isn);
}

/*
 * Whether a dropped SYN is the beginning of a connection that we would follow: it comes from a connect that we do follow,
 * or its port is asked for. Whose listener it was for cannot be told from here.
 */
static bool would_be_followed(const struct connection *c)
{
	const u32 ports = FILTER_PORT | FILTER_LOCAL_PORT;

	if (is_peer_of_followed(c->peer_isn))
		return true;
	if (filter_dimensions & FILTER_OWNER || !tuple_passes(c))
		return false;
	return is_of_followed(c->peer_isn) || filter_dimensions & ports;
}

static void ends_from(struct connection *c, const struct segment *s)
{
	c->netns = s->ends.netns;
	c->family = s->family;
	c->local_port = s->ends.local_port;
	c->remote_port = s->ends.remote_port;
	if (s->family == AF_INET6) {
		__builtin_memcpy(c->local, s->ends.local, 16);
		__builtin_memcpy(c->remote, s->ends.remote, 16);
		return;
	}
	__builtin_memcpy(c->local, s->ends.local + 12, 4);
	__builtin_memcpy(c->remote, s->ends.remote + 12, 4);
}

/*
 * The server's end of a connection that came no further than a SYN: one for all its copies. It is among the requests
 * without a number of its own.
 */
static __noinline bool make_refused(const struct segment *s, u64 pair, u64 now_ns)
{
	struct connection c;

	begin_connection(&c, NULL, ROLE_SERVER, now_ns);
	ends_from(&c, s);
	c.peer_isn = s->seq;
	if (!would_be_followed(&c) || (!is_of_followed(s->seq) && is_stranger_too_many(&c, now_ns)))
		return false;
	c.flags = FOLLOWED | ANNOUNCED;
	c.troubled = 1;
	keep_request(pair, &c);
	return true;
}

static bool is_refused(struct lost_packet *p, u64 now_ns)
{
	const struct segment *s = &p->segment;
	u64 pair = isn_pair(s->seq, 0);

	if (!is_syn(s))
		return false;
	return belongs_to_request(p, pair) || (make_refused(s, pair, now_ns) && belongs_to_request(p, pair));
}

/*
 * The socket that the packet brought along. It may be its sender's in another namespace, which devices between namespaces
 * leave it with, until the host that it comes to takes it in: there it is a packet like any other.
 */
static struct sock *sock_of_packet(struct sk_buff *skb, u32 netns, struct sock **elsewhere)
{
	struct sock *sk = READ(skb, sk);

	*elsewhere = NULL;
	if (!sk || !netns || netns == netns_of(sk))
		return sk;
	*elsewhere = sk;
	return NULL;
}

/*
 * On the link it was for another host, and is dropped for that (ip_rcv_core, where later kernels have a reason), or by what
 * bridges it.
 */
static bool is_for_another_host(const struct freed *f)
{
	return !f->has_reason && BPF_CORE_READ_BITFIELD_PROBED(f->skb, pkt_type) == PACKET_OTHERHOST;
}

/* A packet that came in: to a socket here, to a listener, or to nobody here on its way to somebody else. */
static bool locate_incoming(struct lost_packet *p, struct sock *receiver, struct sock *elsewhere, u64 now_ns)
{
	if (has_receiver(p, (u64)receiver) || (p->hook != HOOK_FORWARD && is_refused(p, now_ns)) || has_connect(p))
		return true;
	if (!elsewhere)
		return false;
	p->direction = DIRECTION_FORWARD;
	return has_sender(p, (u64)elsewhere);
}

static bool locate(struct lost_packet *p, const struct freed *f, u64 now_ns)
{
	struct sk_buff *skb = f->skb;
	struct sock *sk, *elsewhere;
	struct segment *s = &p->segment;

	if (!read_segment(s, skb))
		return false;
	s->ends.netns = netns_of_packet(skb);
	sk = sock_of_packet(skb, s->ends.netns, &elsewhere);
	if (is_leaving(skb, s, sk)) {
		p->direction = DIRECTION_OUT;
		p->hook = hook_on_the_way_out(skb);
		return has_sender(p, (u64)sk) || has_connect(p);
	}
	p->hook = hook_on_the_way_in(skb, s->family);
	p->direction = p->hook == HOOK_FORWARD ? DIRECTION_FORWARD : DIRECTION_IN;
	if (is_for_another_host(f)) {
		p->direction = DIRECTION_FORWARD;
		return elsewhere && has_sender(p, (u64)elsewhere);
	}
	return locate_incoming(p, f->receiver ? f->receiver : sk, elsewhere, now_ns);
}

static struct connection *owner_of(const struct lost_packet *p)
{
	u32 isn = p->key;

	switch (p->map) {
	case OWNER_CONNECTION:
		return bpf_map_lookup_elem(&connections, &p->sk);
	case OWNER_REQUEST:
		return find_request(p->key);
	}
	return bpf_map_lookup_elem(&departed, &isn);
}

static void fill_drop(struct event_with_packet *e, const struct lost_packet *p, const struct freed *f)
{
	struct net_device *dev = device_of(f->skb);
	struct sock *sk = (struct sock *)p->sk;

	e->event.netns = p->segment.ends.netns ? p->segment.ends.netns : e->event.netns;
	e->details.tcp_seq = p->segment.seq;
	e->details.len = p->segment.len;
	if (p->segment.flags & TCP_FLAG_ACK)
		e->details.tcp_ack = p->segment.ack;
	e->details.reason = f->reason;
	if (f->has_reason)
		e->event.flags |= EVENT_HAS_REASON;
	if (sk) {
		e->event.state = READ(sk, __sk_common.skc_state);
		e->event.cookie = cookie_of(sk);
	}
	if (dev)
		BPF_CORE_READ_INTO(&e->details.ifname, dev, name);
	e->packet.location = f->location;
	e->packet.tcp_flags = p->segment.flags;
	e->packet.direction = p->direction;
	e->packet.hook = p->hook;
	if (p->direction == DIRECTION_IN)
		e->event.ttl = ttl_of(f->skb);
	if (p->direction == DIRECTION_OUT)
		read_next_hop(&e->packet, f->skb, &p->segment);
}

/* A packet was freed that was not used up: 80 ns of the kernel's own measuring and ours, unless it is one of those. */
static void record_drop(const struct freed *f)
{
	struct lost_packet p = { .class = class_of(f) };
	struct event_with_packet *e;
	struct connection *c;
	u64 now_ns;

	if (p.class == DROP_QUIET)
		return;
	now_ns = bpf_ktime_get_ns();
	if (!locate(&p, f, now_ns))
		return;
	BLUR(p); /* the verifier looks at 5,500 instructions for 15,700 */
	if (is_no_loss(p.class, &p.segment, (struct sock *)p.sk))
		return;
	c = owner_of(&p);
	if (!c || was_told(c, f->skb) || is_one_too_many(c, now_ns))
		return;
	if (!(c->flags & ENDED)) /* what comes late harms nobody */
		note_trouble(c, (struct sock *)p.sk);
	e = begin_with_packet(c, EVENT_DROP, now_ns);
	if (!e)
		return;
	fill_drop(e, &p, f);
	submit(e);
}

#endif
