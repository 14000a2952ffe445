/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What is sent again because nothing came back.
 */
#ifndef TCPTRACE_RETRANSMIT_H
#define TCPTRACE_RETRANSMIT_H

/*
 * The RTO that tcp_retransmit_timer arms after this retry. It doubles icsk_rto only when it is done, so that
 * here the last one still stands.
 */
static u32 rto_after_syn_retry(struct sock *sk, int error)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;
	struct net *net = BPF_CORE_READ(sk, __sk_common.skc_net.net);
	u32 rto = BPF_CORE_READ(icsk, icsk_rto);

	/* Local congestion: half a second (TCP_RESOURCE_PROBE_INTERVAL), and the RTO stays. */
	if (error > 0)
		return rto;
	if (timeouts_so_far((struct tcp_sock *)sk) > linear_timeouts(net))
		rto *= 2;
	if (option_rto_max_jiffies(icsk) && rto > option_rto_max_jiffies(icsk))
		rto = option_rto_max_jiffies(icsk);
	return rto;
}

/* error is what the transmit returned: a negative errno, or a positive verdict of the queue (NET_XMIT_*). */
static void record_retransmit(struct sock *sk, int error)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;
	struct connection *c;
	struct event *e;
	u8 attempt;

	if (BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_SYN_SENT)
		return;
	c = connection_of(sk);
	/* Raised before this is called: the first retry is number 1. */
	attempt = BPF_CORE_READ(icsk, icsk_retransmits);
	if (!c || attempt <= c->syn_retries)
		return;
	c->syn_retries = attempt;
	learn_late_tuple(c, sk);
	e = begin(c, EVENT_SYN_RETRANSMIT, bpf_ktime_get_ns());
	if (!e)
		return;
	e->state = TCP_SYN_SENT;
	e->attempt = attempt;
	e->backoff = BPF_CORE_READ(icsk, icsk_backoff);
	e->rto_jiffies = rto_after_syn_retry(sk, error);
	e->tcp_seq = c->isn;
	e->cookie = cookie_of(sk);
	if (error < 0)
		e->error = -error;
	else if (error > 0)
		e->error = ENOBUFS; /* as net_xmit_errno() says to applications */
	submit(e);
}

/* returned: tcp_rtx_synack is done, and not just about to be. */
static void record_synack_retransmit(struct request_sock *req, bool returned)
{
	struct tcp_request_sock *treq = (struct tcp_request_sock *)req;
	u64 pair = isn_pair(BPF_CORE_READ(treq, rcv_isn), BPF_CORE_READ(treq, snt_isn));
	struct connection *c = bpf_map_lookup_elem(&requests, &pair);
	/* Raised once this one is on its way: before that, the count is that of the others. */
	u8 attempt = BPF_CORE_READ(req, num_retrans) + !(returned && rtx_synack_counts());
	struct event *e;

	if (!c || attempt <= c->synack_retries)
		return;
	c->synack_retries = attempt;
	e = begin(c, EVENT_SYNACK_RETRANSMIT, bpf_ktime_get_ns());
	if (!e)
		return;
	e->state = TCP_NEW_SYN_RECV;
	e->attempt = attempt;
	e->tcp_seq = c->isn;
	submit(e);
}

#endif
