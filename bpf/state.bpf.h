/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * State changes, from the handshake's end to CLOSE.
 */
#ifndef TCPTRACE_STATE_H
#define TCPTRACE_STATE_H

/*
 * sk comes from a state that c is not known to have come to: both copies of the program were left out of a change, as busy
 * CPUs do since Linux 7, whose tracepoints may be preempted. It is one at the least.
 */
static void count_unseen_change(const struct connection *c, u8 old_state)
{
	if (c->state != old_state && c->state != TCP_STATE_UNKNOWN && modes.states_twice && !is_silent(c))
		count_lost(LOST_UNSEEN);
}

/* The same of CLOSE, when sk is destroyed, or of the errno that it waited for. This one has a kind, as in replace_last. */
static void count_unseen_end(const struct connection *c)
{
	if (!(c->flags & ENDED) && modes.states_twice && !is_silent(c))
		count_lost(EVENT_CLOSE);
}

static void emit_established(struct connection *c, struct sock *sk, u8 old_state, u64 now_ns)
{
	struct event_with_settings *e = begin_with_settings(c, EVENT_ESTABLISHED, now_ns, sk);

	if (!e)
		return;
	if (c->flags & COOKIE_SENT && c->role == ROLE_SERVER)
		e->event.flags |= EVENT_BY_COOKIE;
	e->event.state = TCP_ESTABLISHED;
	e->event.old_state = old_state;
	e->event.ttl = c->handshake_ttl;
	submit(e);
}

/* Not inlined, as record_close is not: the stack of one would lie beneath what comes of every other change of state. */
static __noinline void record_established(struct sock *sk, u8 old_state)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	struct connection *c = connection_of(sk);
	u64 now_ns;

	if (!c && old_state == TCP_SYN_RECV)
		c = open_child(sk);
	if (!c || c->state == TCP_ESTABLISHED || !passes_at_last(sk, c))
		return;
	now_ns = bpf_ktime_get_ns();
	count_unseen_change(c, old_state);
	if (c->role == ROLE_CLIENT && old_state == TCP_SYN_RECV && !c->crossing)
		c->crossing = CROSSING_AWAITS_SYNACK;
	c->state = TCP_ESTABLISHED;
	c->established_ns = now_ns;
	if (!c->local_port)
		read_tuple(c, sk);
	if (!c->peer_isn)
		c->peer_isn = READ(tp, rcv_nxt) - 1;
	if (!c->isn)
		c->isn = READ(tp, snd_una) - 1;
	if (c->role == ROLE_SERVER) {
		index_connection(c, sk);
		c->handshake_ttl = ttl_of_final_ack(c, sk);
	} else if (c->role == ROLE_CLIENT) {
		settle_isn(c->isn);
	}
	note_winner(c, sk);
	emit_established(c, sk, old_state, now_ns);
}

/* A socket that is older than the trace, and that the iterator did not find an owner for. */
static __noinline struct connection *discover(struct sock *sk)
{
	struct connection c;

	begin_connection(&c, sk, ROLE_UNKNOWN, bpf_ktime_get_ns());
	if (!tuple_passes(&c))
		return NULL;
	c.state = TCP_STATE_UNKNOWN;
	c.options = options_of(sk);
	c.options_untold = 1;
	c.flags = FOLLOWED | ANNOUNCED | PRE_EXISTING;
	index_connection(&c, sk);
	return keep_first(sk, &c);
}

static void emit_state(struct connection *c, u8 old_state, u8 state, u64 now_ns)
{
	struct event *e = begin(c, EVENT_STATE, now_ns);

	if (!e)
		return;
	e->state = state;
	e->old_state = old_state;
	submit(e);
}

/*
 * tcp_time_wait replaces the socket by a mini-socket and closes it, so that TIME_WAIT itself is never reported.
 * SOCK_DONE tells: it is set when the peer's FIN has come, and only then is the mini-socket really in TIME_WAIT.
 */
static void note_time_wait(struct connection *c, struct sock *sk, u8 old_state, u64 now_ns)
{
	u8 stand_in = TCP_FIN_WAIT2;

	if (old_state != TCP_FIN_WAIT2 && old_state != TCP_CLOSING)
		return;
	if (READ(sk, sk_err))
		return;
	if (sock_flag(sk, bpf_core_enum_value(enum sock_flags, SOCK_DONE)))
		stand_in = TCP_TIME_WAIT;
	if (stand_in != old_state)
		emit_state(c, old_state, stand_in, now_ns);
}

/* The connection of sk, which has begun by now. It may be a child that went unseen so far. */
static struct connection *known_or_discovered(struct sock *sk)
{
	struct connection *c = connection_of(sk);

	if (c || filter_dimensions & FILTER_OWNER)
		return c;
	if (!modes.armed || !has_ports_that_pass(sk) || last_connection_of(sk))
		return NULL;
	c = inherit_late(sk);
	return c ? c : discover(sk);
}

static void emit_end(struct connection *c, struct sock *sk, u8 old_state, u32 error, u64 now_ns)
{
	note_time_wait(c, sk, old_state, now_ns);
	emit_close(c, sk, old_state, error, now_ns);
}

static __noinline void record_close(struct sock *sk, u8 old_state)
{
	struct connection *c = old_state == TCP_SYN_SENT ? connection_of(sk) : known_or_discovered(sk);
	u32 error;

	if (!c)
		return;
	error = READ(sk, sk_err);
	/* connect() is about to fail with an errno that the socket never had: wait for it. */
	if (modes.errors_follow && !error && c->flags & CONNECTING && old_state == TCP_SYN_SENT)
		return;
	if (!passes_at_last(sk, c))
		return;
	count_unseen_change(c, old_state);
	recover_answer(c, sk);
	settle_probe(c);
	note_bad_end(c, sk, old_state, error);
	if (!is_silent(c))
		emit_end(c, sk, old_state, error, bpf_ktime_get_ns());
	c->flags |= ENDED;
}

static void record_other_state(struct sock *sk, u8 old_state, u8 state)
{
	struct connection *c = known_or_discovered(sk);

	if (!c || c->state == state)
		return;
	count_unseen_change(c, old_state);
	recover_answer(c, sk);
	c->state = state;
	if (only_troubled && state == TCP_FIN_WAIT1 && awaits_reply(sk))
		note_trouble(c, sk);
	if (!is_silent(c))
		emit_state(c, old_state, state, bpf_ktime_get_ns());
}

/* sk is of TCP. */
static void record_state(struct sock *sk, u8 old_state, u8 state)
{
	if (old_state == state)
		return;
	switch (state) {
	case TCP_SYN_SENT:
		record_syn_sent_state(sk);
		break;
	case TCP_LISTEN:
		record_listen(sk, (struct task_struct *)bpf_get_current_task());
		break;
	case TCP_SYN_RECV:
		/* From LISTEN it is a child still wearing its listener's tuple; ESTABLISHED is next. */
		if (old_state == TCP_SYN_SENT)
			record_other_state(sk, old_state, state);
		break;
	case TCP_ESTABLISHED:
		record_established(sk, old_state);
		break;
	case TCP_CLOSE:
		if (old_state != TCP_LISTEN)
			record_close(sk, old_state);
		break;
	default:
		record_other_state(sk, old_state, state);
	}
}

/* The same, of a program that is attached twice, and to whose hook other protocols come as well. */
static void record_state_twice(struct sock *sk, u8 old_state, u8 state)
{
	if (!is_second_copy(sk, old_state << 8 | state) && is_tcp(sk))
		record_state(sk, old_state, state);
}

static void record_destroy(struct sock *sk)
{
	struct connection *c;

	if (is_second_copy(sk, SEEN_DESTROYED))
		return;
	c = last_connection_of(sk);
	if (c) {
		count_unseen_end(c);
		forget(c, sk);
	} else {
		forget_listener(sk);
	}
}

#endif
