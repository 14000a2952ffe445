/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The handshakes of one process, and nothing else: for who makes connects by the ten thousand, and wants to know of each
 * when it was answered, and after how many SYNs. There is one record for each answer, and none for silence, which ends by
 * the process's own close().
 */
#ifndef TCPTRACE_HANDSHAKE_H
#define TCPTRACE_HANDSHAKE_H

/* The process whose connects are timed. */
volatile const u32 handshakes_of;

/*
 * When the connects under way began, by address of their struct sock.
 *
 * Inserted: on the way to SYN_SENT; a socket that connects again overwrites what it left.
 * Deleted:  by the answer, or else by CLOSE.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536); /* set at load */
	__type(key, u64);
	__type(value, u64); /* CLOCK_MONOTONIC */
} handshakes SEC(".maps");

/* In connect(): the task is the owner's. */
static void begin_handshake(struct sock *sk, u64 now_ns)
{
	u64 key = (u64)sk;

	if (bpf_get_current_pid_tgid() >> 32 != handshakes_of)
		return;
	if (bpf_map_update_elem(&handshakes, &key, &now_ns, BPF_ANY))
		count_lost(LOST_CONNECTION);
}

/*
 * Nobody is woken: whoever is told of the answer by the socket finds the record here, which the state change makes before
 * it wakes the socket's owner.
 */
static void emit_handshake(struct sock *sk, u64 began_ns, u32 error, u64 now_ns)
{
	struct sock_common *common = &sk->__sk_common;
	struct handshake *h = bpf_ringbuf_reserve(&events, sizeof(*h), 0);

	if (!h) {
		count_lost(error ? EVENT_CLOSE : EVENT_ESTABLISHED);
		return;
	}
	__builtin_memset(h, 0, sizeof(*h));
	h->began_ns = began_ns;
	h->ended_ns = now_ns;
	h->syns = READ((struct tcp_sock *)sk, total_retrans) + 1;
	h->error = error;
	h->family = READ(common, skc_family);
	h->remote_port = bpf_ntohs(READ(common, skc_dport));
	if (h->family == AF_INET6)
		BPF_CORE_READ_INTO(&h->remote, common, skc_v6_daddr.in6_u.u6_addr8);
	else
		BPF_CORE_READ_INTO((u32 *)h->remote, common, skc_daddr);
	bpf_ringbuf_submit(h, BPF_RB_NO_WAKEUP);
}

/*
 * A socket came to ESTABLISHED or CLOSE. An error is an answer only on the way from SYN_SENT: what comes later ends a
 * connection whose ESTABLISHED went unseen.
 */
static void end_handshake(struct sock *sk, u8 old_state, u8 state, u64 now_ns)
{
	u32 error = state == TCP_CLOSE ? READ(sk, sk_err) : 0;
	u64 key = (u64)sk;
	u64 *began_ns = bpf_map_lookup_elem(&handshakes, &key);

	if (!began_ns)
		return;
	if (state == TCP_ESTABLISHED || (error && old_state == TCP_SYN_SENT))
		emit_handshake(sk, *began_ns, error, now_ns);
	bpf_map_delete_elem(&handshakes, &key);
}

static void record_handshake(struct sock *sk, u8 old_state, u8 state)
{
	u64 now_ns = bpf_ktime_get_ns();

	if (state == TCP_SYN_SENT)
		begin_handshake(sk, now_ns);
	else if (state == TCP_ESTABLISHED || state == TCP_CLOSE)
		end_handshake(sk, old_state, state, now_ns);
}

#endif
