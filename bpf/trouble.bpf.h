/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Telling only of connections with trouble, for those who leave the trace running: the others come and go without a
 * record. What a connection would have told before its trouble is made up for when that begins.
 */
#ifndef TCPTRACE_TROUBLE_H
#define TCPTRACE_TROUBLE_H

static void retell_connect(struct connection *c, struct sock *sk)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;
	struct event_with_settings *e;

	e = begin_with_settings(c, EVENT_CONNECT, began_ns(c), sk);
	if (!e)
		return;
	e->event.state = TCP_SYN_SENT;
	e->event.old_state = TCP_CLOSE;
	if (!c->established_ns && !READ(icsk, icsk_backoff))
		e->event.rto_jiffies = READ(icsk, icsk_rto); /* still the first one */
	submit(e);
}

/* A listener that is gone has taken its settings with it. */
static struct event *begin_syn_received(struct connection *c)
{
	struct event_with_settings *e;

	if (!bpf_map_lookup_elem(&listeners, &c->listener))
		return begin(c, EVENT_SYN_RECEIVED, began_ns(c));
	e = begin_with_listener(c, EVENT_SYN_RECEIVED, began_ns(c), (struct sock *)c->listener);
	return e ? &e->event : NULL;
}

static void retell_syn_received(struct connection *c)
{
	struct event *e = begin_syn_received(c);

	if (!e)
		return;
	e->state = TCP_NEW_SYN_RECV;
	e->old_state = TCP_LISTEN;
	submit(e);
}

static void retell_established(struct connection *c, struct sock *sk)
{
	struct event_with_settings *e = begin_with_settings(c, EVENT_ESTABLISHED, c->established_ns, sk);

	if (!e)
		return;
	e->event.state = TCP_ESTABLISHED;
	e->event.old_state = c->role == ROLE_CLIENT ? TCP_SYN_SENT : TCP_SYN_RECV;
	e->event.ttl = c->handshake_ttl;
	submit(e);
}

/*
 * What the connection of sk, or of a request where that is 0, would have told so far. A function of its own to the verifier,
 * which has a dozen places in one program where trouble begins, each with ways of its own to get there.
 */
__noinline int retell(u64 socket, u64 pair)
{
	struct sock *sk = (struct sock *)socket;
	struct connection *c;

	if (!only_troubled)
		return 0;
	c = sk ? last_connection_of(sk) : find_request(pair);
	if (!c)
		return 0;
	if (c->role == ROLE_SERVER && !(c->flags & (COOKIE_SENT | CLAIMED)))
		retell_syn_received(c);
	else if (c->role == ROLE_CLIENT && sk)
		retell_connect(c, sk);
	if (sk && c->established_ns)
		retell_established(c, sk);
	return 0;
}

/*
 * There is trouble with c: its records are delivered from here on, after those of its beginning, which have the times
 * of then but the options of now. sk is NULL when c is a request.
 */
static void note_trouble(struct connection *c, struct sock *sk)
{
	u64 socket = (u64)sk;

	if (!is_untroubled(c) || !(c->flags & FOLLOWED))
		return;
	c->troubled = 1;
	if (c->flags & PRE_EXISTING)
		return;
	BLUR(socket); /* a number from here on, as such functions take no pointer to the kernel's */
	retell(socket, isn_pair(c->peer_isn, c->isn));
}

/*
 * Whom each process connected to last.
 *
 * Inserted: by a client's ESTABLISHED, where only trouble is told. Deleted: LRU only.
 * Read by:  the close of a connect that was given up, which another may have made needless.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u32); /* process */
	__type(value, u64); /* struct sock * */
} latest_established SEC(".maps");

static void note_winner(struct connection *c, struct sock *sk)
{
	u64 key = (u64)sk, *latest;
	u32 pid = c->owner.pid;

	if (!only_troubled || c->role != ROLE_CLIENT || !pid)
		return;
	latest = bpf_map_lookup_elem(&latest_established, &pid);
	if (latest)
		*latest = key; /* an LRU map takes ten times as long to put another in its place */
	else
		bpf_map_update_elem(&latest_established, &pid, &key, BPF_ANY);
}

#define SIBLING_NS 1000000000 /* Happy Eyeballs wait a quarter of it (RFC 8305) */

/*
 * The application gave up the connect c. If it has just made another, that is why, and it is told as well: for people
 * this is no trouble then, and they can only see that by both.
 */
static void tell_winner(struct connection *c, u64 now_ns)
{
	u32 pid = c->owner.pid;
	u64 *key = bpf_map_lookup_elem(&latest_established, &pid);
	struct connection *winner;
	struct sock *sk;

	if (!key)
		return;
	sk = (struct sock *)*key;
	winner = last_connection_of(sk);
	if (winner && winner->owner.pid == pid && now_ns - winner->established_ns < SIBLING_NS)
		note_trouble(winner, sk);
}

/* Whether the application ends a conversation in the middle: what it said last was more than a second ago, unanswered. */
static bool awaits_reply(struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	u32 said = READ(tp, lsndtime);

	if (!READ(tp, bytes_sent) || !ticks_per_second)
		return false;
	if ((s32)(said - READ(tp, inet_conn.icsk_ack.lrcvtime)) < 0)
		return false;
	return jiffies_now() - said >= ticks_per_second;
}

static bool is_bad_end(struct sock *sk, u8 old_state, u32 error)
{
	switch (old_state) {
	case TCP_SYN_SENT: /* never connected */
	case TCP_SYN_RECV:
	case TCP_ESTABLISHED: /* without a FIN */
	case TCP_CLOSE_WAIT:
		return true;
	}
	return error || READ((struct inet_connection_sock *)sk, icsk_retransmits);
}

/* Before c is closed. */
static void note_bad_end(struct connection *c, struct sock *sk, u8 old_state, u32 error)
{
	if (!only_troubled || !is_bad_end(sk, old_state, error))
		return;
	note_trouble(c, sk);
	if (old_state == TCP_SYN_SENT && !error)
		tell_winner(c, bpf_ktime_get_ns());
}

#endif
