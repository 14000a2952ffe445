/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The end: what a connection carried, and which timer was running.
 */
#ifndef TCPTRACE_CLOSE_H
#define TCPTRACE_CLOSE_H

/* Whether the socket had sent its FIN, or at least wanted to, before it came from that state to CLOSE. */
static bool wrote_fin(u8 old_state)
{
	return old_state == TCP_FIN_WAIT1 || old_state == TCP_FIN_WAIT2 || old_state == TCP_CLOSING ||
	       old_state == TCP_LAST_ACK;
}

/* A connection that was never established carried nothing, and does not know when its peer was last heard. */
static bool was_established(u8 old_state)
{
	return wrote_fin(old_state) || old_state == TCP_ESTABLISHED || old_state == TCP_CLOSE_WAIT;
}

/* Whether bytes_acked has the SYN. Of a socket older than the trace it is known by more being acknowledged than sent. */
static bool counts_syn(const struct traffic *t, struct tcp_sock *tp, u8 role)
{
	if (role != ROLE_UNKNOWN)
		return role == ROLE_CLIENT;
	return t->bytes_acked + t->unacked_bytes > t->bytes_sent - READ(tp, bytes_retrans);
}

/*
 * Sequence numbers are all there when a socket goes to CLOSE: tcp_write_queue_purge, which some ends call before, clears
 * no more than the queues, packets_out and icsk_backoff. They count SYN and FIN, each as a byte: the client's own SYN in
 * bytes_acked, as only a client sees it acknowledged; this side's FIN once it is written; and the peer's from tcp_fin on,
 * which sets SOCK_DONE.
 */
static void read_traffic(struct traffic *t, struct sock *sk, u8 role, u8 old_state)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	u32 una = READ(tp, snd_una), next = READ(tp, snd_nxt), end = READ(tp, write_seq);
	bool fin = wrote_fin(old_state);
	bool peers_fin = sock_flag(sk, bpf_core_enum_value(enum sock_flags, SOCK_DONE));

	__builtin_memset(t, 0, sizeof(*t));
	t->bytes_sent = READ(tp, bytes_sent);
	t->bytes_acked = READ(tp, bytes_acked);
	t->bytes_received = READ(tp, bytes_received);
	t->retransmitted_segments = READ(tp, total_retrans);
	t->unacked_bytes = next - una;
	t->unsent_bytes = end - next;
	t->unread_bytes = READ(tp, rcv_nxt) - READ(tp, copied_seq);
	t->send_window_bytes = READ(tp, snd_wnd);

	if (fin && una == end && t->bytes_acked)
		t->bytes_acked--;
	if (fin && next == end && t->unacked_bytes)
		t->unacked_bytes--;
	if (fin && t->unsent_bytes)
		t->unsent_bytes--;
	if (counts_syn(t, tp, role) && t->bytes_acked)
		t->bytes_acked--;
	if (peers_fin && t->bytes_received)
		t->bytes_received--;
	if (peers_fin && t->unread_bytes)
		t->unread_bytes--;
}

static void fill_close(struct event *e, struct sock *sk, u8 old_state, u32 error)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;

	e->state = TCP_CLOSE;
	e->old_state = old_state;
	e->error = error;
	e->cookie = cookie_of(sk);
	/* tcp_write_err leaves both for us: they say which timer it was. */
	e->retransmits = READ(icsk, icsk_retransmits);
	e->probes_out = READ(icsk, icsk_probes_out);
}

/* The end of a connection that was none. */
static void emit_failed_close(struct connection *c, struct sock *sk, u8 old_state, u32 error, u64 now_ns)
{
	struct event *e = begin(c, EVENT_CLOSE, now_ns);

	if (!e)
		return;
	fill_close(e, sk, old_state, error);
	submit(e);
}

static void emit_close(struct connection *c, struct sock *sk, u8 old_state, u32 error, u64 now_ns)
{
	struct event_with_traffic *e;

	if (!was_established(old_state)) {
		emit_failed_close(c, sk, old_state, error, now_ns);
		return;
	}
	e = begin_with_traffic(c, EVENT_CLOSE, now_ns);
	if (!e)
		return;
	fill_close(&e->event, sk, old_state, error);
	e->event.idle_jiffies = idle_jiffies(sk);
	read_traffic(&e->traffic, sk, c->role, old_state);
	submit(e);
}

#endif
