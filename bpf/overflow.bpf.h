/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What listeners refuse because a queue of theirs is full: SYNs, and the final ACKs of handshakes.
 *
 * The kernel's counters say that it happened, and how often (see mib.bpf.h): every refusal is counted, and as many are
 * recorded as anybody could read.
 */
#ifndef TCPTRACE_OVERFLOW_H
#define TCPTRACE_OVERFLOW_H

/*
 * Set by user space once the listeners that are older than the trace have their owners. What they refuse before would be
 * nobody's, or left out by a filter that they pass.
 */
u8 listeners_are_known;

enum refusal {
	REFUSED_SYN, /* dropped: accept queue */
	REFUSED_ACK, /* dropped: accept queue */
	REFUSED_DROP, /* SYN dropped: SYN queue */
	REFUSED_COOKIE, /* SYN answered by a cookie: SYN queue */
	REFUSALS,
};

/*
 * The totals of one listener on one CPU. Those with softirqs disabled are written by nobody else, and so exact without
 * atomic operations.
 */
struct refusal_totals {
	u64 total[REFUSALS];
	u64 second; /* the one in which the last record was made, by CLOCK_MONOTONIC, and */
	u32 recorded; /* how many were made in it */
	u32 untold[REFUSALS]; /* not recorded since the last one that was; that has them in its count */
	u32 unused;
};

/* Listener 0: nobody knows which of that namespace. */
struct refuser_key {
	u64 listener; /* its id */
	u32 netns;
	u32 unused;
};

/*
 * Inserted: by a listener's first refusal. Deleted: by user space, some time after the listener is gone (Tracer.MakeRoom).
 * Read by:  user space, and the next refusal.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct refuser_key);
	__type(value, struct refusal_totals);
} refusals SEC(".maps");

/* Who a listener that refused was, for when it is gone. */
struct refuser {
	struct owner owner;
	u32 max; /* of its accept queue, at its first refusal */
	u16 family;
	u16 port;
	u8 local[16]; /* what it is bound to */
};

/* Inserted, deleted and read: as refusals. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct refuser_key);
	__type(value, struct refuser);
} refusers SEC(".maps");

/*
 * How many records one listener makes a second, on each CPU. More than a person can look at, and few enough for a SYN
 * flood to leave tcptrace and its readers unmoved.
 */
#define RECORDS_A_SECOND 256

static u32 netns_inode(struct net *net)
{
	return READ(net, ns.inum);
}

static u8 syncookies_of(struct net *net)
{
	return READ(net, ipv4.sysctl_tcp_syncookies);
}

static u32 queued(struct sock *sk)
{
	return READ(sk, sk_ack_backlog);
}

static u32 queue_max(struct sock *sk)
{
	return READ(sk, sk_max_ack_backlog);
}

static u32 half_open(struct sock *sk)
{
	return READ((struct inet_connection_sock *)sk, icsk_accept_queue.qlen.counter);
}

/* sk_acceptq_is_full */
static bool accept_queue_is_full(struct sock *sk)
{
	return queued(sk) > queue_max(sk);
}

/* inet_csk_reqsk_queue_is_full, which until 5.19 did not wait for one more. */
static bool syn_queue_is_full(struct sock *sk)
{
	return half_open(sk) >= queue_max(sk);
}

/* A segment that was refused, and what was counted while it was handled. */
struct refusing {
	struct connection c; /* its ends, as the listener's side has them */
	struct tcp_header tcp;
	u8 ambiguous;
	u8 unused[3];
	u32 unexplained; /* drops of the listener that was found */
	u64 net;
	u64 sk; /* the listener; 0: not known */
	struct refusal_counts counts;
	struct refusal_counts all; /* those that are not this listener's among them */
};

/*
 * Where that is put together, as it does not fit on the stack with what is called from there. Listeners handle segments
 * with softirqs disabled, so nobody else finds it taken.
 *
 * Written and read by: the programs of accept_queue_full and syn_queue_full.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct refusing);
} refusing_here SEC(".maps");

static struct refusing *begin_refusing(struct net *net)
{
	u32 zero = 0;
	struct refusing *r = bpf_map_lookup_elem(&refusing_here, &zero);

	if (!r)
		return NULL;
	r->net = (u64)net;
	r->sk = 0;
	r->ambiguous = 0;
	return r;
}

static struct sock *listener_sock(const struct refusing *r)
{
	return (struct sock *)r->sk;
}

static struct listener *listener_of(const struct refusing *r)
{
	u64 key = r->sk;

	return key ? bpf_map_lookup_elem(&listeners, &key) : NULL;
}

static bool read_refused(struct refusing *r, struct sk_buff *skb, u8 role, u64 now_ns)
{
	begin_connection(&r->c, NULL, role, now_ns);
	if (!read_segment_tuple(&r->c, skb, &r->tcp))
		return false;
	r->c.netns = netns_inode((struct net *)r->net);
	return true;
}

static struct refusal_totals *totals_by(const struct refuser_key *key)
{
	struct refusal_totals *totals = bpf_map_lookup_elem(&refusals, key);
	struct refusal_totals nothing = {};

	if (totals)
		return totals;
	bpf_map_update_elem(&refusals, key, &nothing, BPF_NOEXIST);
	return bpf_map_lookup_elem(&refusals, key);
}

static void introduce(const struct refuser_key *key, struct sock *sk, const struct listener *listener)
{
	struct refuser refuser = {};

	if (bpf_map_lookup_elem(&refusers, key))
		return;
	refuser.owner = listener->owner;
	refuser.max = queue_max(sk);
	refuser.family = READ(sk, __sk_common.skc_family);
	refuser.port = listener->port;
	if (refuser.family == AF_INET6)
		BPF_CORE_READ_INTO(&refuser.local, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
	else
		BPF_CORE_READ_INTO((u32 *)refuser.local, sk, __sk_common.skc_rcv_saddr);
	bpf_map_update_elem(&refusers, key, &refuser, BPF_NOEXIST);
}

/* NULL: the filter leaves it out, or there is no room. */
static struct refusal_totals *totals_of(u32 netns, struct sock *sk, struct listener *listener)
{
	struct refuser_key key = { .netns = netns };
	struct refusal_totals *totals;

	if (filter_dimensions & FILTER_NETNS && !bpf_map_lookup_elem(&namespaces, &key.netns))
		return NULL;
	if (listener) {
		if (!listener->passes)
			return NULL;
		key.listener = listener->id;
		introduce(&key, sk, listener);
	} else if (filter_dimensions & FILTER_OWNER) {
		return NULL;
	}
	totals = totals_by(&key);
	if (!totals)
		count_lost(EVENT_ACCEPT_QUEUE_FULL);
	return totals;
}

static struct refusal_totals *totals_of_refusing(const struct refusing *r)
{
	return totals_of(netns_inode((struct net *)r->net), listener_sock(r), listener_of(r));
}

static void add_up(struct refusal_totals *totals, const struct refusal_counts *counts, u8 overflow)
{
	/* The index is a number to the verifier only where it is one in the code. */
	if (overflow == REFUSED_ACK) {
		totals->total[REFUSED_ACK] += counts->overflows;
		totals->untold[REFUSED_ACK] += counts->overflows;
	} else {
		totals->total[REFUSED_SYN] += counts->overflows;
		totals->untold[REFUSED_SYN] += counts->overflows;
	}
	totals->total[REFUSED_DROP] += counts->queue_drops;
	totals->untold[REFUSED_DROP] += counts->queue_drops;
	totals->total[REFUSED_COOKIE] += counts->cookies;
	totals->untold[REFUSED_COOKIE] += counts->cookies;
}

/* Whether there may be one more record in this second. A client that is followed from its own end is always told of. */
static bool may_record(struct refusal_totals *totals, u32 client_isn, u64 now_ns)
{
	u64 second = now_ns / 1000000000;

	if (second != totals->second) {
		totals->second = second;
		totals->recorded = 0;
	}
	if (totals->recorded >= RECORDS_A_SECOND && !is_peer_of_followed(client_isn))
		return false;
	totals->recorded++;
	return true;
}

static void fill_queue(struct queue *q, const struct refusing *r, u8 kind)
{
	struct sock *sk = listener_sock(r);

	__builtin_memset(q, 0, sizeof(*q));
	q->ambiguous = r->ambiguous;
	if (!sk)
		return;
	q->len = kind == EVENT_SYN_QUEUE_FULL ? half_open(sk) : queued(sk);
	q->max = queue_max(sk);
}

/*
 * untold: how many refusals this record is to tell of, its own among them. If it cannot be delivered, the next one has to.
 */
static void tell(struct connection *c, const struct refusing *r, u8 refusal, u32 *untold)
{
	u8 kind = refusal == REFUSED_DROP || refusal == REFUSED_COOKIE ? EVENT_SYN_QUEUE_FULL : EVENT_ACCEPT_QUEUE_FULL;
	struct event_with_queue *e = begin_with_queue(c, kind, bpf_ktime_get_ns());

	if (!e)
		return;
	e->event.state = refusal == REFUSED_ACK ? TCP_NEW_SYN_RECV : TCP_LISTEN;
	e->details.tcp_seq = bpf_ntohl(r->tcp.seq);
	if (refusal == REFUSED_ACK)
		e->details.tcp_ack = bpf_ntohl(r->tcp.ack_seq);
	if (*untold > 1)
		e->details.count = *untold;
	*untold = 0;
	fill_queue(&e->queue, r, kind);
	if (refusal == REFUSED_SYN)
		e->queue.stage = STAGE_SYN;
	if (refusal == REFUSED_ACK)
		e->queue.stage = STAGE_ACK;
	if (refusal == REFUSED_DROP)
		e->queue.action = ACTION_DROP;
	if (refusal == REFUSED_COOKIE)
		e->queue.action = ACTION_COOKIE;
	submit(e);
}

/* What is kept of an earlier copy of the same SYN, or of this one from now on. NULL: not followed. */
static struct connection *keep_refused(struct refusing *r)
{
	struct connection *c = &r->c, *earlier;
	struct syn_key key = syn_of(c);

	earlier = bpf_map_lookup_elem(&refused, &key);
	if (earlier)
		return earlier;
	if (!begins_followed(c, adopt_listener(c, listener_sock(r))))
		return NULL;
	c->flags |= ANNOUNCED;
	c->flags &= ~VIA_LISTENER; /* it is the listener's own event */
	c->troubled = 1;
	any_refused = true;
	bpf_map_update_elem(&refused, &key, c, BPF_ANY);
	return bpf_map_lookup_elem(&refused, &key);
}

/* A SYN. */
static __noinline void record_refused_syn(struct refusing *r, struct sk_buff *skb)
{
	u64 now_ns = bpf_ktime_get_ns();
	struct refusal_totals *totals;
	struct connection *kept;

	if (!listeners_are_known)
		return;
	totals = totals_of_refusing(r);
	if (!totals)
		return;
	add_up(totals, &r->counts, REFUSED_SYN);
	if (!read_refused(r, skb, ROLE_LISTENER, now_ns))
		return;
	r->c.peer_isn = bpf_ntohl(r->tcp.seq);
	if (!may_record(totals, r->c.peer_isn, now_ns))
		return;
	kept = keep_refused(r);
	if (!kept)
		return;
	if (r->counts.cookies) {
		if (!r->counts.overflows)
			kept->flags |= COOKIE_SENT;
		tell(kept, r, REFUSED_COOKIE, &totals->untold[REFUSED_COOKIE]);
	}
	if (r->counts.queue_drops)
		tell(kept, r, REFUSED_DROP, &totals->untold[REFUSED_DROP]);
	if (r->counts.overflows)
		tell(kept, r, REFUSED_SYN, &totals->untold[REFUSED_SYN]);
}

/*
 * Requests whose final ACK was refused, by the server's number, which all of the client's segments have in common.
 *
 * Inserted: by a refusal whose request was found by both numbers. Deleted: LRU only.
 * Read by:  the next refusal, which may be of data.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct syn_key);
	__type(value, u64); /* isn_pair */
} refused_acks SEC(".maps");

/* The pair of numbers of the request that a segment is for. The client's is not known by what follows the final ACK. */
static u64 pair_of_segment(const struct connection *c, const struct tcp_header *tcp)
{
	u32 isn = bpf_ntohl(tcp->ack_seq) - 1;
	u64 pair = isn_pair(bpf_ntohl(tcp->seq) - 1, isn), *known;
	struct syn_key key = {
		.netns = c->netns, .isn = isn, .local_port = c->local_port, .remote_port = c->remote_port,
	};

	known = bpf_map_lookup_elem(&refused_acks, &key);
	if (known)
		return *known;
	bpf_map_update_elem(&refused_acks, &key, &pair, BPF_ANY);
	return pair;
}

/* The request that the segment would have completed, or that there would have been but for a SYN cookie. */
static struct connection *request_of(struct refusing *r, u64 pair)
{
	struct connection *c = &r->c, *request = find_request(pair);

	if (request)
		return request;
	c->peer_isn = pair >> 32;
	c->isn = pair;
	if (!begins_followed(c, adopt_listener(c, listener_sock(r))))
		return NULL;
	resume_refused(c);
	if (take_cookie((struct net *)r->net))
		c->flags |= COOKIE_SENT;
	c->flags |= ANNOUNCED;
	c->troubled = 1;
	keep_request(pair, c);
	return find_request(pair);
}

/* A final ACK, or data that followed it. pair: 0 where nobody knows. */
static __noinline void record_refused_ack(struct refusing *r, struct sk_buff *skb, u64 pair)
{
	u64 now_ns = bpf_ktime_get_ns();
	struct refusal_totals *totals;
	struct connection *request;

	if (!listeners_are_known)
		return;
	totals = totals_of_refusing(r);
	if (!totals)
		return;
	add_up(totals, &r->counts, REFUSED_ACK);
	if (!read_refused(r, skb, ROLE_SERVER, now_ns))
		return;
	if (!pair)
		pair = pair_of_segment(&r->c, &r->tcp);
	if (!may_record(totals, pair >> 32, now_ns))
		return;
	request = request_of(r, pair);
	if (!request || !(request->flags & FOLLOWED))
		return;
	note_trouble(request, NULL);
	tell(request, r, REFUSED_ACK, &totals->untold[REFUSED_ACK]);
}

/* ---- where functions can be hooked: the listener is told, and the look before says what was counted by others ---- */

static struct net *net_of(struct sock *sk)
{
	return READ(sk, __sk_common.skc_net.net);
}

/* What was counted while nobody looked: of which listener, and at which stage, is not known. */
static void count_unseen(struct net *net, const struct refusal_counts *counts)
{
	struct refusal_totals *totals;

	if (!listeners_are_known)
		return;
	totals = totals_of(netns_inode(net), NULL, NULL);
	if (totals)
		add_up(totals, counts, REFUSED_SYN);
}

/* Before a listener handles a segment. What has been counted since the last look went unseen. */
static void enter_listener(struct sock *sk)
{
	struct refusal_counts counts = {};
	struct net *net = net_of(sk);

	if (take_refusals(net, &counts) && counts.known)
		count_unseen(net, &counts);
}

/* After that. NULL: nothing was refused. */
static struct refusing *leave_listener(struct sock *sk)
{
	struct refusing *r = begin_refusing(net_of(sk));

	if (!r || !take_refusals((struct net *)r->net, &r->counts))
		return NULL;
	r->sk = (u64)sk;
	know_listener(sk);
	return r;
}

/*
 * With tcp_syncookies at 2 every SYN is counted as if the queue were full (tcp_conn_request), which is no event. False:
 * nothing is left.
 */
static bool forget_routine_cookies(struct refusing *r)
{
	struct sock *sk = listener_sock(r);

	if (r->counts.cookies && syncookies_of((struct net *)r->net) == 2 && sk && !syn_queue_is_full(sk))
		r->counts.cookies = 0;
	return r->counts.overflows || r->counts.queue_drops || r->counts.cookies;
}

static void record_conn_request(struct sock *sk, struct sk_buff *skb)
{
	struct refusing *r = leave_listener(sk);

	if (r && forget_routine_cookies(r))
		record_refused_syn(r, skb);
}

/* tcp_check_req or tcp_get_cookie_sock is about to make a child for a final ACK, or for what followed one. */
static void enter_final_ack(struct sock *sk, struct request_sock *req)
{
	struct cpu_notes *notes = notes_of_this_cpu();

	enter_listener(sk);
	if (notes)
		notes->final_ack = pair_of_request(req);
}

/* And is done; the request may be gone. */
static void record_final_ack(struct sock *sk, struct sk_buff *skb)
{
	struct cpu_notes *notes = notes_of_this_cpu();
	struct refusing *r = leave_listener(sk);

	if (notes && r)
		record_refused_ack(r, skb, notes->final_ack);
}

/* ---- where only tracepoints can be: the listener has to be found ---- */

/* How well a listener fits a segment, in the order in which one is preferred (compute_score); 0: not at all. */
enum fit {
	FIT_NOT,
	FIT_WILDCARD_V6, /* of IPv6, for a segment of IPv4 */
	FIT_WILDCARD,
	FIT_ADDRESS,
};

static bool is_unspecified(const u32 *words)
{
	return !words[0] && !words[1] && !words[2] && !words[3];
}

/* What is looked for, and what was found so far. */
struct search {
	u32 netns;
	u32 to[4]; /* where the segment was sent to, and */
	u16 port;
	u16 family;
	u8 overflow; /* an accept queue is full, and not a SYN queue */
	u8 drop; /* it was dropped for that */
	u8 ambiguous;
	u8 unused;
	u32 best; /* score */
	u64 sk; /* whose that is */
};

/* Written and read by: find_listener. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct search);
} searches SEC(".maps");

static struct search *this_cpus_search(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&searches, &zero);
}

static u8 fit_of(struct sock *sk, const struct search *s)
{
	const u32 *to = s->to;
	u32 bound[4] = {};

	if (READ(sk, __sk_common.skc_family) == AF_INET) {
		bound[0] = READ(sk, __sk_common.skc_rcv_saddr);
		if (s->family != AF_INET)
			return FIT_NOT;
		if (!bound[0])
			return FIT_WILDCARD;
		return bound[0] == to[0] ? FIT_ADDRESS : FIT_NOT;
	}
	BPF_CORE_READ_INTO(&bound, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
	if (s->family == AF_INET6) {
		if (is_unspecified(bound))
			return FIT_WILDCARD;
		return bound[0] == to[0] && bound[1] == to[1] && bound[2] == to[2] && bound[3] == to[3] ? FIT_ADDRESS : FIT_NOT;
	}
	if (is_unspecified(bound))
		return BPF_CORE_READ_BITFIELD_PROBED(sk, __sk_common.skc_ipv6only) ? FIT_NOT : FIT_WILDCARD_V6;
	return !bound[0] && !bound[1] && bound[2] == bpf_htonl(0xffff) && bound[3] == to[0] ? FIT_ADDRESS : FIT_NOT;
}

/* Drops of a listener that no refusal has explained so far. */
static u32 unexplained_drops(struct listener *listener, struct sock *sk)
{
	s32 drops = drops_of(sk) - listener->drops;

	if (drops >= 0)
		return drops;
	__sync_fetch_and_add(&listener->drops, drops); /* two CPUs explained the same one */
	return 0;
}

/* Of listeners that fit equally well, the one that can have refused: its queue is full, its drops have gone up. */
static u32 suspicion(struct listener *listener, struct sock *sk, const struct search *s)
{
	bool full = s->overflow ? accept_queue_is_full(sk) : syn_queue_is_full(sk);
	bool dropped = s->drop && unexplained_drops(listener, sk);

	return full << 1 | dropped;
}

/*
 * Compares the listener in one of the port's slots with the best so far. A function of its own to the verifier, which would
 * otherwise follow each combination of 64 listeners' properties.
 */
__noinline int compare_listener(u32 slot)
{
	struct search *s = this_cpus_search();
	struct listener *listener;
	struct port_slot key;
	struct sock *sk;
	u64 *found;
	u32 score;

	if (!s)
		return 0;
	key.netns = s->netns;
	key.port = s->port;
	key.slot = slot;
	found = bpf_map_lookup_elem(&listeners_by_port, &key);
	if (!found)
		return 0;
	sk = (struct sock *)*found;
	listener = bpf_map_lookup_elem(&listeners, found);
	if (!listener || READ(sk, __sk_common.skc_state) != TCP_LISTEN)
		return 0;
	score = fit_of(sk, s);
	if (!score)
		return 0;
	score = score << 2 | suspicion(listener, sk, s);
	if (score < s->best)
		return 0;
	s->ambiguous = score == s->best;
	if (score > s->best) {
		s->best = score;
		s->sk = (u64)sk;
	}
	return 1;
}

/* Finds, among the listeners of the port, the one that the segment was for. NULL: none is known. */
static __noinline struct listener *find_listener(struct refusing *r)
{
	struct search *s = this_cpus_search();
	struct listener *listener;

	if (!s)
		return NULL;
	__builtin_memset(s, 0, sizeof(*s));
	s->netns = r->c.netns;
	s->port = r->c.local_port;
	s->family = r->c.family;
	__builtin_memcpy(s->to, r->c.local, sizeof(s->to));
	s->overflow = r->counts.overflows != 0;
	s->drop = r->counts.overflows || r->counts.queue_drops;
	for (u32 slot = 0; slot < LISTENERS_A_PORT; slot++)
		compare_listener(slot);
	r->sk = s->sk;
	r->ambiguous = s->ambiguous;
	listener = listener_of(r);
	if (listener)
		r->unexplained = unexplained_drops(listener, listener_sock(r));
	return listener;
}

/* How often a refuser is looked for: while one CPU goes through the listeners, others may take a few of their drops. */
#define SEARCHES 8

/*
 * Finds the one that refused it. Of listeners that share a port, another CPU may find the same at the same time, and leave
 * nothing of its drops. Where nothing but these can say that there was a refusal, it is looked for whose drop is left.
 */
static struct listener *find_refuser(struct refusing *r)
{
	struct listener *listener = NULL;

	for (u32 i = 0; i < SEARCHES; i++) {
		listener = find_listener(r);
		if (!listener || r->counts.known || r->unexplained)
			break;
	}
	return listener;
}

static u64 at_most(u64 n, u64 most)
{
	return n < most ? n : most;
}

/*
 * What of the counts is the listener's own, and not left over from a refusal that went unseen. When they have not been
 * looked at before, nearly all are from before the trace: then this segment was refused if the listener has a drop that
 * nothing explains, and each segment that is refused leaves one until it is looked at.
 */
static void keep_own(struct refusing *r, struct listener *listener)
{
	struct sock *sk = listener_sock(r);
	struct refusal_counts *counts = &r->counts;
	u64 drops = r->unexplained;

	if (counts->known) {
		/* None: they were taken for another CPU's, or another listener's of the port. */
		drops = drops ? drops : 1;
	} else {
		drops = at_most(drops, 1);
		if (!accept_queue_is_full(sk))
			counts->overflows = 0;
		counts->cookies = at_most(counts->cookies, syn_queue_is_full(sk));
	}
	counts->overflows = at_most(counts->overflows, drops);
	counts->queue_drops = at_most(counts->queue_drops, drops - counts->overflows);
	__sync_fetch_and_add(&listener->drops, (u32)at_most(counts->overflows + counts->queue_drops, r->unexplained));
}

/* The others are nobody's. */
static void leave_others(struct refusing *r)
{
	r->all.overflows -= r->counts.overflows;
	r->all.queue_drops -= r->counts.queue_drops;
	r->all.cookies -= r->counts.cookies;
	if (r->all.overflows || r->all.queue_drops || r->all.cookies)
		count_unseen((struct net *)r->net, &r->all);
}

/* The namespace of a segment that came in: the device is forgotten once its listener is found, the route is not. */
static struct net *net_of_segment(struct sk_buff *skb)
{
	struct net_device *dev = READ(skb, dev);
	struct dst_entry *dst;

	if (!dev) {
		dst = route_of(skb);
		dev = dst ? READ(dst, dev) : NULL;
	}
	return dev ? READ(dev, nd_net.net) : NULL;
}

/* A segment was handled by a listener, if by anybody, and is freed. NULL: nothing was refused. */
static struct refusing *leave_unknown_listener(struct sk_buff *skb)
{
	struct refusing *r = begin_refusing(net_of_segment(skb));
	struct listener *listener;

	if (!r || !take_refusals((struct net *)r->net, &r->counts))
		return NULL;
	if (!read_refused(r, skb, ROLE_LISTENER, 0))
		return NULL;
	r->all = r->counts;
	listener = find_refuser(r);
	if (listener)
		keep_own(r, listener);
	else if (!r->counts.known)
		return NULL; /* long ago, for all that is known */
	if (r->counts.known)
		leave_others(r);
	return forget_routine_cookies(r) ? r : NULL;
}

/* By now the timer has been set up of the request that was made for the SYN before. */
static void learn_from_last_request(void)
{
	struct cpu_notes *notes;

	if (timer_functions.request)
		return;
	notes = notes_of_this_cpu();
	if (notes && notes->request)
		learn_request_timer((struct request_sock *)notes->request);
}

/* tcp_rcv_state_process frees a SYN by consume_skb whatever became of it; the device is forgotten by then (tcp_v4_rcv). */
static void record_consumed(struct sk_buff *skb)
{
	struct refusing *r;

	if (READ(skb, dev) || !READ(skb, _skb_refdst))
		return;
	if (!is_tcp_segment(skb, TCP_FLAG_SYN | TCP_FLAG_ACK | TCP_FLAG_RST, TCP_FLAG_SYN))
		return;
	learn_from_last_request();
	r = leave_unknown_listener(skb);
	if (r)
		record_refused_syn(r, skb);
}

/* An ACK that its listener refuses is dropped. */
static void record_dropped(struct sk_buff *skb)
{
	struct refusing *r;

	if (!READ(skb, _skb_refdst))
		return;
	if (!is_tcp_segment(skb, TCP_FLAG_SYN | TCP_FLAG_ACK | TCP_FLAG_RST, TCP_FLAG_ACK))
		return;
	r = leave_unknown_listener(skb);
	if (r)
		record_refused_ack(r, skb, 0);
}

#endif
