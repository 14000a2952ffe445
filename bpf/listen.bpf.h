/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The server's side of a beginning: listeners, the requests that SYNs become, and accept.
 */
#ifndef TCPTRACE_LISTEN_H
#define TCPTRACE_LISTEN_H

/* In listen(): the task is the owner's. */
static void record_listen(struct sock *sk, struct task_struct *task)
{
	struct listener listener = {};
	u64 key = (u64)sk;

	read_owner(&listener.owner, task);
	listener.passes = owner_passes(&listener.owner, task);
	bpf_map_update_elem(&listeners, &key, &listener, BPF_ANY);
}

static void forget_listener(struct sock *sk)
{
	u64 key = (u64)sk;

	bpf_map_delete_elem(&listeners, &key);
}

/* Gives c the owner of its listener, until somebody accepts it; says whether that owner passes. */
static bool adopt_listener(struct connection *c, struct sock *listening)
{
	u64 key = (u64)listening;
	struct listener *listener = bpf_map_lookup_elem(&listeners, &key);

	if (!listener)
		return !(filter_dimensions & FILTER_OWNER);
	c->owner = listener->owner;
	c->flags |= VIA_LISTENER;
	return listener->passes;
}

static bool is_peer_of_followed(u32 client_isn)
{
	return follow_peers && bpf_map_lookup_elem(&initial_sequences, &client_isn);
}

/*
 * Decides whether a server's connection is followed. One whose listener's owner does not pass is kept unfollowed
 * as long as the filter asks for owners: whoever accepts it may pass.
 */
static bool worth_keeping(struct connection *c, bool owner_ok)
{
	if (is_peer_of_followed(c->peer_isn)) {
		c->flags |= FOLLOWED;
		return true;
	}
	if (!tuple_passes(c))
		return false;
	if (owner_ok)
		c->flags |= FOLLOWED;
	return true;
}

/*
 * A listener took a SYN: the request exists, its SYN-ACK is about to be sent. A request is no socket, but has both
 * ends in a struct sock_common as sockets do.
 */
static void record_syn_received(struct sock *listening, struct request_sock *req)
{
	struct tcp_request_sock *treq = (struct tcp_request_sock *)req;
	u64 now_ns = bpf_ktime_get_ns();
	u64 pair = isn_pair(BPF_CORE_READ(treq, rcv_isn), BPF_CORE_READ(treq, snt_isn));
	struct connection c;
	struct event *e;

	if (!modes.armed || bpf_map_lookup_elem(&requests, &pair))
		return;
	begin_connection(&c, (struct sock *)req, ROLE_SERVER, now_ns);
	c.peer_isn = BPF_CORE_READ(treq, rcv_isn);
	c.isn = BPF_CORE_READ(treq, snt_isn);
	if (!worth_keeping(&c, adopt_listener(&c, listening)))
		return;
	c.flags |= ANNOUNCED;
	e = begin(&c, EVENT_SYN_RECEIVED, now_ns);
	if (e) {
		e->state = TCP_NEW_SYN_RECV;
		e->old_state = TCP_LISTEN;
		e->tcp_seq = c.peer_isn;
		submit(e);
	}
	bpf_map_update_elem(&requests, &pair, &c, BPF_ANY);
}

/* SYN_RECV -> ESTABLISHED: the child of a request. What was known of the request is the child's now. */
static struct connection *open_child(struct sock *sk, u64 now_ns)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	u32 peer_isn = BPF_CORE_READ(tp, rcv_nxt) - 1;
	u32 isn = BPF_CORE_READ(tp, snd_una) - 1;
	u64 pair = isn_pair(peer_isn, isn);
	struct connection *request = bpf_map_lookup_elem(&requests, &pair);
	struct connection *kept, c;

	if (request) {
		kept = keep(sk, request);
		bpf_map_delete_elem(&requests, &pair);
		return kept;
	}
	if (!modes.armed)
		return NULL;
	/* By SYN cookie, or the request is older than the trace: its listener cannot be told from here. */
	begin_connection(&c, sk, ROLE_SERVER, now_ns);
	c.state = TCP_SYN_RECV;
	c.peer_isn = peer_isn;
	c.isn = isn;
	if (!worth_keeping(&c, !(filter_dimensions & FILTER_OWNER)))
		return NULL;
	return keep(sk, &c);
}

/* In accept(): from here on the connection is its acceptor's. */
static void record_accept(struct sock *sk)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	u64 now_ns = bpf_ktime_get_ns();
	struct connection *c;
	struct event *e;

	if (!sk || !is_tcp(sk))
		return;
	c = connection_of(sk);
	if (!c)
		return;
	read_owner(&c->owner, task);
	c->flags &= ~VIA_LISTENER;
	if (!(c->flags & FOLLOWED)) {
		if (!owner_passes(&c->owner, task)) {
			forget(sk);
			return;
		}
		c->flags |= FOLLOWED;
	}
	e = begin(c, EVENT_ACCEPT, now_ns);
	if (!e)
		return;
	e->state = BPF_CORE_READ(sk, __sk_common.skc_state);
	e->cookie = cookie_of(sk);
	if (c->established_ns)
		e->waited_ns = now_ns - c->established_ns;
	submit(e);
}

#endif
