/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The server's side of a beginning: listeners, the requests that SYNs become, and accept.
 */
#ifndef TCPTRACE_LISTEN_H
#define TCPTRACE_LISTEN_H

/* How many listeners may share a port (SO_REUSEPORT, several addresses) and still be found by it. */
#define LISTENERS_A_PORT 64

struct port_slot {
	u32 netns;
	u16 port;
	u16 slot; /* below LISTENERS_A_PORT */
};

/*
 * Listeners by port: what a segment tells of its listener. One that listen() itself gave a port is not among them.
 *
 * Inserted: with listeners, by whoever finds a slot empty.
 * Deleted:  with them.
 * Read by:  find_listener, where no hook tells the listener itself.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192); /* as listeners has */
	__type(key, struct port_slot);
	__type(value, u64); /* struct sock * */
} listeners_by_port SEC(".maps");

static u32 drops_of(struct sock *sk)
{
	return READ(sk, sk_drops.counter);
}

static void enlist(struct listener *listener, u64 sk)
{
	struct port_slot key = { .netns = listener->netns, .port = listener->port };

	listener->slot = LISTENERS_A_PORT;
	if (!listener->port)
		return;
	for (u16 slot = 0; slot < LISTENERS_A_PORT; slot++) {
		key.slot = slot;
		if (!bpf_map_update_elem(&listeners_by_port, &key, &sk, BPF_NOEXIST)) {
			listener->slot = slot;
			return;
		}
	}
}

static void delist(const struct listener *listener)
{
	struct port_slot key = { .netns = listener->netns, .port = listener->port, .slot = listener->slot };

	if (listener->slot < LISTENERS_A_PORT)
		bpf_map_delete_elem(&listeners_by_port, &key);
}

static void forget_listener(struct sock *sk)
{
	u64 key = (u64)sk;
	struct listener *listener = bpf_map_lookup_elem(&listeners, &key);

	if (!listener)
		return;
	delist(listener);
	bpf_map_delete_elem(&listeners, &key);
}

/* Makes sk known as a listener, if need be without an owner. */
static struct listener *know_listener(struct sock *sk)
{
	u64 key = (u64)sk;
	u16 port = READ(sk, __sk_common.skc_num);
	struct listener *known = bpf_map_lookup_elem(&listeners, &key);
	struct listener listener = {};

	if (known && known->port == port)
		return known;
	forget_listener(sk); /* it has stopped, and listens again elsewhere */
	listener.id = new_connection_id(bpf_ktime_get_ns());
	listener.netns = netns_of(sk);
	listener.port = port;
	listener.drops = drops_of(sk);
	listener.passes = !(filter_dimensions & FILTER_OWNER);
	enlist(&listener, key);
	bpf_map_update_elem(&listeners, &key, &listener, BPF_ANY);
	return bpf_map_lookup_elem(&listeners, &key);
}

/* In listen(): the task is the owner's. */
static void record_listen(struct sock *sk, struct task_struct *task)
{
	struct listener *listener = know_listener(sk);

	if (!listener)
		return;
	read_owner(&listener->owner, task);
	listener->passes = owner_passes(task);
}

/* Gives c the owner of its listener, until somebody accepts it; says whether that owner passes. */
static bool adopt_listener(struct connection *c, struct sock *listening)
{
	u64 key = (u64)listening;
	struct listener *listener = bpf_map_lookup_elem(&listeners, &key);

	c->listener = key;
	if (!listener)
		return !(filter_dimensions & FILTER_OWNER);
	if (listener->owner.pid) {
		c->owner = listener->owner;
		c->flags |= VIA_LISTENER;
	}
	return listener->passes;
}

static bool is_peer_of_followed(u32 client_isn)
{
	return follow_peers && sock_by_isn(client_isn);
}

/*
 * Decides whether a server's connection is followed from its beginning. One whose listener's owner does not pass may still
 * be, by whoever accepts it: see claim.
 */
static bool begins_followed(struct connection *c, bool owner_ok)
{
	if (!is_peer_of_followed(c->peer_isn) && !(owner_ok && tuple_passes(c)))
		return false;
	c->flags |= FOLLOWED;
	return true;
}

#define PASSED_OVER 4096 /* a power of two */

/*
 * Requests that are not followed, each in the place that its number gives it: what tells their children from those of SYN
 * cookies, which have no request, without a look at the kernel's counters.
 *
 * Written: when a request is passed over, whatever was there before.
 * Read by: the child.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PASSED_OVER);
	__type(key, u32);
	__type(value, u64); /* isn_pair */
} passed_over SEC(".maps");

static u64 *place_of(u64 pair)
{
	u32 place = (pair ^ pair >> 32) & (PASSED_OVER - 1);

	return bpf_map_lookup_elem(&passed_over, &place);
}

static void pass_over(u64 pair)
{
	u64 *place = place_of(pair);

	if (place)
		*place = pair;
}

static bool was_passed_over(u64 pair)
{
	u64 *place = place_of(pair);

	return place && *place == pair;
}

/* A SYN, whichever copy of it: a retry has the same number. */
struct syn_key {
	u32 netns;
	u32 isn;
	u16 local_port;
	u16 remote_port;
};

/*
 * Clients whose SYN was refused, or answered by a cookie. Should a later copy of it find room, or the cookie come back,
 * that is the same connection.
 *
 * Inserted: by a refusal that is recorded.
 * Deleted:  by the request, or the child, that it became after all; LRU, for most clients give up.
 * Read by:  the next refusal of the same SYN, and by these.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct syn_key);
	__type(value, struct connection);
} refused SEC(".maps");

/* Whether anything was ever inserted there. */
bool any_refused;

static struct syn_key syn_of(const struct connection *c)
{
	struct syn_key key = {
		.netns = c->netns,
		.isn = c->peer_isn,
		.local_port = c->local_port,
		.remote_port = c->remote_port,
	};

	return key;
}

/* c goes on where an earlier copy of its SYN was refused. */
static void resume_refused(struct connection *c)
{
	struct syn_key key = syn_of(c);
	struct connection *earlier;

	if (!any_refused)
		return;
	earlier = bpf_map_lookup_elem(&refused, &key);
	if (!earlier)
		return;
	c->id = earlier->id;
	c->nth = earlier->nth;
	c->troubled = earlier->troubled;
	c->flags |= earlier->flags & COOKIE_SENT;
	if (!c->listener)
		adopt_listener(c, (struct sock *)earlier->listener);
	bpf_map_delete_elem(&refused, &key);
}

static u64 pair_of_request(struct request_sock *req)
{
	struct tcp_request_sock *treq = (struct tcp_request_sock *)req;

	return isn_pair(READ(treq, rcv_isn), READ(treq, snt_isn));
}

/* What can be said of a request at little cost: false is certain. */
static bool may_be_followed(struct sock *listening, struct request_sock *req, u64 pair)
{
	u64 key = (u64)listening;
	struct listener *listener;

	if (is_peer_of_followed(pair >> 32))
		return true;
	if (!has_ports_that_pass((struct sock *)req))
		return false;
	if (!(filter_dimensions & FILTER_OWNER))
		return true;
	listener = bpf_map_lookup_elem(&listeners, &key);
	return listener && listener->passes;
}

/* Remembers req until its timer has been set up, from which the timer's function is to be learnt. */
static void note_request(struct request_sock *req)
{
	struct cpu_notes *notes;

	if (timer_functions.request)
		return;
	notes = notes_of_this_cpu();
	if (notes)
		notes->request = (u64)req;
}

/*
 * A listener took a SYN: the request exists, its SYN-ACK is about to be sent. A request is no socket, but has both
 * ends in a struct sock_common as sockets do.
 */
static void record_syn_received(struct sock *listening, struct request_sock *req)
{
	u64 pair = pair_of_request(req);
	struct event_with_settings *e;
	struct connection c;
	u64 now_ns;

	if (!modes.armed)
		return;
	if (!may_be_followed(listening, req, pair)) {
		pass_over(pair);
		return;
	}
	if (is_request_known(pair))
		return;
	now_ns = bpf_ktime_get_ns();
	begin_connection(&c, (struct sock *)req, ROLE_SERVER, now_ns);
	c.peer_isn = pair >> 32;
	c.isn = pair;
	if (!begins_followed(&c, adopt_listener(&c, listening))) {
		pass_over(pair);
		return;
	}
	resume_refused(&c);
	c.flags &= ~COOKIE_SENT;
	c.flags |= ANNOUNCED;
	note_request(req);
	e = begin_with_listener(&c, EVENT_SYN_RECEIVED, now_ns, listening);
	if (e) {
		e->event.state = TCP_NEW_SYN_RECV;
		e->event.old_state = TCP_LISTEN;
		submit(e);
	}
	keep_request(pair, &c);
}

/*
 * Whether one that came by a SYN cookie, which is trouble, is kept though nobody follows it: once it is accepted, there is
 * nothing left to tell that by.
 */
static bool may_be_claimed(const struct connection *c)
{
	return c->flags & COOKIE_SENT && filter_dimensions & FILTER_OWNER && tuple_passes(c);
}

/* The initial sequence numbers of a server. With Fast Open there may be data of both sides before its handshake is complete. */
static u32 first_received(struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	return READ(tp, rcv_nxt) - (u32)READ(tp, bytes_received) - 1;
}

static u32 first_sent(struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	return READ(tp, snd_una) - (u32)READ(tp, bytes_acked) - 1;
}

/* tcp_init_buffer_space notes it, to the microsecond, and tcp_rcv_space_adjust changes that only when data is read. */
static u64 established_ns_of(struct sock *sk)
{
	return READ((struct tcp_sock *)sk, rcvq_space.time) * 1000;
}

static u64 pair_of_child(struct sock *sk)
{
	return isn_pair(first_received(sk), first_sent(sk));
}

/* What was known of the request with that pair is its child's now, sk's. */
static __noinline struct connection *inherit(struct sock *sk, struct connection *request, u64 pair)
{
	struct connection *kept;

	if (request->flags & COOKIE_SENT)
		take_cookie(READ(sk, __sk_common.skc_net.net));
	request->state = TCP_SYN_RECV; /* its child's */
	kept = keep(sk, request);
	forget_request(pair);
	return kept;
}

/*
 * The child of a request that nobody saw become ESTABLISHED: both copies of the program were left out, as in
 * count_unseen_change, which counts that at the next change.
 */
static __noinline struct connection *inherit_late(struct sock *sk)
{
	u64 pair = pair_of_child(sk);
	struct connection *request, *c;

	if (was_passed_over(pair)) /* a shorter way than to look for it */
		return NULL;
	request = find_request(pair);
	if (!request)
		return NULL;
	c = inherit(sk, request, pair);
	if (!c)
		return NULL;
	c->established_ns = established_ns_of(sk);
	index_connection(c, sk);
	return c;
}

/*
 * SYN_RECV -> ESTABLISHED: the child of a request. It is not inlined, as its connection would then be on the stack beneath
 * all that comes of other changes of state.
 */
static __noinline struct connection *open_child(struct sock *sk)
{
	u64 pair = pair_of_child(sk);
	struct connection *request, c;

	if (was_passed_over(pair))
		return NULL;
	request = find_request(pair);
	if (request)
		return inherit(sk, request, pair);
	if (!modes.armed)
		return NULL;
	/* By SYN cookie, or the request is older than the trace: its listener cannot be told from here. */
	begin_connection(&c, sk, ROLE_SERVER, bpf_ktime_get_ns());
	c.state = TCP_SYN_RECV;
	c.peer_isn = pair >> 32;
	c.isn = pair;
	resume_refused(&c);
	if (take_cookie(READ(sk, __sk_common.skc_net.net)))
		c.flags |= COOKIE_SENT;
	if (c.flags & COOKIE_SENT)
		c.troubled = 1;
	if (!begins_followed(&c, !(filter_dimensions & FILTER_OWNER)) && !may_be_claimed(&c))
		return NULL;
	return keep(sk, &c);
}

/*
 * Somebody accepts sk who passes the filter, and nothing is kept of it: its listener's owner did not pass, and such connections
 * are all of the host's when one process is asked for; or it came by Fast Open, and its handshake is not complete. What
 * would have been told is still in the socket.
 */
static __noinline struct connection *claim(struct sock *sk)
{
	struct connection c;

	begin_connection(&c, sk, ROLE_SERVER, bpf_ktime_get_ns());
	if (c.state == TCP_CLOSE || !tuple_passes(&c))
		return NULL;
	c.established_ns = established_ns_of(sk);
	c.peer_isn = first_received(sk);
	c.isn = first_sent(sk);
	c.options = options_of(sk);
	c.options_untold = 1;
	c.flags = FOLLOWED | ANNOUNCED | CLAIMED;
	index_connection(&c, sk);
	return keep(sk, &c);
}

/* Whether sk, of which nothing is kept, is task's to claim. */
static bool can_be_claimed(struct sock *sk, struct task_struct *task)
{
	if (!modes.armed)
		return false;
	if (filter_dimensions & FILTER_OWNER)
		return owner_passes(task);
	return READ(sk, __sk_common.skc_state) == TCP_SYN_RECV;
}

/* The connection of sk, which is being accepted. NULL: not followed. */
static struct connection *accepted_connection(struct sock *sk, struct task_struct *task)
{
	struct connection *c = connection_of(sk);

	if (!c)
		c = inherit_late(sk);
	if (!c)
		return can_be_claimed(sk, task) ? claim(sk) : NULL;
	if (c->flags & FOLLOWED)
		return c;
	if (!owner_passes(task)) {
		forget(c, sk);
		return NULL;
	}
	c->flags |= FOLLOWED;
	return c;
}

/* In accept(): from here on the connection is its acceptor's. */
static void record_accept(struct sock *sk)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct connection *c;
	struct event_with_details *e;
	u64 now_ns;

	if (!sk || !is_tcp(sk))
		return;
	c = accepted_connection(sk, task);
	if (!c || c->accepted)
		return;
	c->accepted = 1;
	read_owner(&c->owner, task);
	c->flags &= ~VIA_LISTENER;
	if (is_silent(c))
		return;
	now_ns = bpf_ktime_get_ns();
	e = begin_with_details(c, EVENT_ACCEPT, now_ns);
	if (!e)
		return;
	e->event.state = READ(sk, __sk_common.skc_state);
	e->event.cookie = cookie_of(sk);
	if (c->established_ns)
		e->details.waited_ns = now_ns - c->established_ns;
	submit(e);
}

#endif
