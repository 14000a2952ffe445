/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The client's side of a beginning: connect(), its first SYN, and the errors that connect() returns by itself.
 */
#ifndef TCPTRACE_CONNECT_H
#define TCPTRACE_CONNECT_H

/* Set by user space once the hooks are attached, according to those that could be had. */
struct hook_modes {
	/*
	 * All hooks are there. A connection that begins before would be seen by only some of them, and misjudged; it is
	 * left to be discovered as older than the trace.
	 */
	u8 armed;
	u8 announce_at_state; /* nothing sees tcp_connect: the state change must do, without the source port */
	u8 errors_follow; /* connect()'s own errors are seen, so a close may wait for its errno */
	u8 states_twice; /* changes of state are seen by two copies of a program: what both miss, nobody else counts */
};

struct hook_modes modes;

struct connect_call {
	u64 sk; /* struct sock * that went to SYN_SENT: whatever comes of it is told by its own events; 0: none so far */
	u64 address; /* the caller's, of the destination */
	u32 fd;
	u32 unused;
};

/*
 * connect() calls under way, by thread, of those whose owner passes the filter.
 *
 * Inserted: when one starts. Deleted: when it returns, as every call does that was seen to start, even a killed thread's;
 * an LRU map would take 0.2 us for both, this one 0.08.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, struct connect_call);
} connect_calls SEC(".maps");

static void note_connect_began(struct sock *sk)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct connect_call *call = bpf_map_lookup_elem(&connect_calls, &thread);

	if (call)
		call->sk = (u64)sk;
}

/*
 * The connection that sk had before is no more. If it never ended, its end was missed: there are kernels that run no BPF
 * program on top of certain tasks, those of a micro-VM's supervisor for one, so that a softirq that interrupts such a task
 * goes unseen though ftrace shows it. Not inlined, for the stack is short.
 */
static __noinline void replace_last(struct sock *sk)
{
	struct connection *last = last_connection_of(sk);

	if (!last)
		return;
	if (!(last->flags & ENDED)) {
		if (last->flags & FOLLOWED)
			count_lost(EVENT_CLOSE);
		settle_probe(last);
	}
	note_departed(last, sk);
}

/* Keeps c, whose owner and tuple were read, as the connection of sk, which has none. */
static struct connection *keep_first(struct sock *sk, struct connection *c)
{
	u64 key = (u64)sk;

	learn_timers(sk);
	if (bpf_map_update_elem(&connections, &key, c, BPF_ANY)) {
		if (c->flags & FOLLOWED)
			count_lost(LOST_CONNECTION);
		return NULL;
	}
	return bpf_map_lookup_elem(&connections, &key);
}

/* The same, where sk may have connected before. */
static struct connection *keep(struct sock *sk, struct connection *c)
{
	replace_last(sk);
	return keep_first(sk, c);
}

/* c is on the caller's stack: a place that CPUs share, a softirq would use in the middle of it. */
static void begin_connection(struct connection *c, struct sock *sk, u8 role, u64 now_ns)
{
	__builtin_memset(c, 0, sizeof(*c));
	c->id = new_connection_id(now_ns);
	c->role = role;
	if (sk) {
		c->netns = netns_of(sk);
		c->state = READ(sk, __sk_common.skc_state);
		read_tuple(c, sk);
	}
}

/* In connect(), for an owner who passes, on the socket's way to SYN_SENT: the source port is not chosen yet. */
static __noinline struct connection *open_client(struct sock *sk, u64 now_ns)
{
	struct connection c;

	if (!modes.armed)
		return NULL;
	begin_connection(&c, sk, ROLE_CLIENT, now_ns);
	read_owner(&c.owner, (struct task_struct *)bpf_get_current_task());
	c.flags = FOLLOWED | CONNECTING;
	c.state = TCP_SYN_SENT;
	return keep(sk, &c);
}

static void forget(struct connection *c, struct sock *sk)
{
	u64 key = (u64)sk;

	settle_probe(c);
	note_departed(c, sk);
	bpf_map_delete_elem(&connections, &key);
}

/* Whether c passes the filter, which can be said once its tuple is complete. */
static bool passes_at_last(struct sock *sk, struct connection *c)
{
	if (c->flags & ANNOUNCED)
		return true;
	read_tuple(c, sk);
	if (!tuple_passes(c)) {
		forget(c, sk);
		return false;
	}
	c->flags |= ANNOUNCED;
	return true;
}

/* With the tuple complete: the first SYN is about to be sent. */
static void announce(struct sock *sk, struct connection *c, u64 now_ns)
{
	struct event_with_settings *e;

	if (c->flags & ANNOUNCED || !passes_at_last(sk, c))
		return;
	index_connection(c, sk);
	/* Taken before tcp_connect_init, where the SYN consumes it. */
	c->isn = READ((struct tcp_sock *)sk, write_seq);
	if (c->isn)
		remember_isn(c->isn, sk);

	e = begin_with_settings(c, EVENT_CONNECT, now_ns, sk);
	if (!e)
		return;
	e->event.state = TCP_SYN_SENT;
	e->event.old_state = TCP_CLOSE;
	e->event.rto_jiffies = READ((struct inet_connection_sock *)sk, icsk_rto);
	submit(e);
}

/*
 * Announced by its change of state, a connection had no source port yet and no sequence number. It has both once its
 * SYN is made: until that is acknowledged, snd_una is the SYN's own number.
 */
static void learn_late_tuple(struct connection *c, struct sock *sk)
{
	if (c->isn || READ(sk, __sk_common.skc_state) != TCP_SYN_SENT)
		return;
	read_tuple(c, sk);
	index_connection(c, sk);
	c->isn = READ((struct tcp_sock *)sk, snd_una);
	remember_isn(c->isn, sk);
}

/*
 * Whether a connection whose owner passes is opened before tcp_connect. Its ports are complete only there, which will open
 * those that have got the port that is asked for; but it does not ask for owners.
 */
static bool may_open_at_state(struct sock *sk)
{
	return modes.announce_at_state || filter_dimensions & FILTER_OWNER || has_ports_that_pass(sk);
}

static void record_syn_sent_state(struct sock *sk)
{
	struct connection *c = connection_of(sk);
	u64 now_ns;

	if (c && c->state == TCP_SYN_SENT)
		return;
	if (!owner_passes((struct task_struct *)bpf_get_current_task()))
		return;
	note_connect_began(sk);
	if (!may_open_at_state(sk))
		return;
	now_ns = bpf_ktime_get_ns();
	c = open_client(sk, now_ns);
	if (c && modes.announce_at_state)
		announce(sk, c, now_ns);
}

static void record_connect(struct sock *sk)
{
	struct connection *c = connection_of(sk);
	u64 now_ns;

	/* Its owner did not pass when it went to SYN_SENT, or its ports do not now. */
	if (!c && (filter_dimensions & FILTER_OWNER || !has_ports_that_pass(sk)))
		return;
	now_ns = bpf_ktime_get_ns();
	if (!c)
		c = open_client(sk, now_ns);
	if (c)
		announce(sk, c, now_ns);
}

static void emit_error(struct connection *c, struct sock *sk, u32 error, u64 now_ns)
{
	struct event_with_settings *e = begin_with_settings(c, EVENT_ERROR, now_ns, sk);

	if (!e)
		return;
	e->event.error = error;
	submit(e);
}

static bool is_failure(int result)
{
	switch (-result) {
	case EINPROGRESS:
	case EALREADY:
	case EISCONN:
	case EINTR:
	case ERESTARTSYS:
		return false;
	}
	return result < 0;
}

/* connect() returned: 0, or -EINPROGRESS, or an error that no state change carries. */
static void record_connect_result(struct sock *sk, int result)
{
	struct connection *c = connection_of(sk);
	u64 now_ns;

	if (!c)
		return;
	c->flags &= ~CONNECTING;
	if (!is_failure(result) || READ(sk, __sk_common.skc_state) != TCP_CLOSE)
		return;
	if (!passes_at_last(sk, c))
		return;
	now_ns = bpf_ktime_get_ns();
	note_trouble(c, sk);
	emit_error(c, sk, -result, now_ns);
	emit_failed_close(c, sk, TCP_SYN_SENT, -result, now_ns);
	c->flags |= ENDED;
}

/*
 * connect() failed before the socket became a connection: no route, most often. destination is what it asked for,
 * as the socket was never told.
 */
static void record_connect_refused_locally(struct sock *sk, const struct sockaddr_inet *destination, int result)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	u64 now_ns = bpf_ktime_get_ns();
	struct connection c;

	if (!modes.armed || !owner_passes(task))
		return;
	begin_connection(&c, sk, ROLE_CLIENT, now_ns);
	read_owner(&c.owner, task);
	c.family = destination->family;
	c.remote_port = bpf_ntohs(destination->port);
	if (destination->family == AF_INET6)
		__builtin_memcpy(c.remote, destination->v6, 16);
	else
		__builtin_memcpy(c.remote, destination->v4, 4);
	if (!tuple_passes(&c))
		return;
	c.flags = FOLLOWED;
	c.troubled = 1;
	emit_error(&c, sk, -result, now_ns);
	emit_failed_close(&c, sk, TCP_CLOSE, -result, now_ns);
}

/* For a call that did not bring sk to SYN_SENT, as far as is known. */
static void handle_connect_result(struct sock *sk, const struct sockaddr_inet *destination, int result)
{
	if (connection_of(sk)) {
		record_connect_result(sk, result);
		return;
	}
	if (is_failure(result) && READ(sk, __sk_common.skc_state) == TCP_CLOSE)
		record_connect_refused_locally(sk, destination, result);
}

/* The same, where the kernel has copied address from the caller. What is longer in IPv6 may not be there for IPv4. */
static void record_connect_end(struct sock *sk, const void *address, int result)
{
	struct sockaddr_inet destination = {};

	bpf_probe_read_kernel(&destination, IPV4_SOCKADDR_SIZE, address);
	if (destination.family == AF_INET6)
		bpf_probe_read_kernel(&destination, sizeof(destination), address);
	handle_connect_result(sk, &destination, result);
}

/* A SYN reached a device. Retries of the same SYN through stacked devices (a VLAN on a bond) count once. */
static void record_syn_sent(struct sk_buff *skb, struct net_device *dev)
{
	struct sock *sk = READ(skb, sk);
	struct connection *c;
	struct event_with_details *e;
	u8 syn;

	if (!sk || READ(sk, __sk_common.skc_state) != TCP_SYN_SENT || !is_tcp(sk))
		return;
	c = connection_of(sk);
	if (!c || !(c->flags & ANNOUNCED))
		return;
	syn = READ((struct inet_connection_sock *)sk, icsk_retransmits) + 1;
	if (syn <= c->syns)
		return;
	c->syns = syn;
	learn_late_tuple(c, sk);

	e = begin_with_details(c, EVENT_SYN_SENT, bpf_ktime_get_ns());
	if (!e)
		return;
	e->event.state = TCP_SYN_SENT;
	e->event.attempt = syn - 1;
	e->details.tcp_seq = c->isn;
	e->event.cookie = cookie_of(sk);
	BPF_CORE_READ_INTO(&e->details.ifname, dev, name);
	submit(e);
}

#endif
