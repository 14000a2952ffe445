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
	struct net *net = READ(sk, __sk_common.skc_net.net);
	u32 rto = READ(icsk, icsk_rto);

	/* Local congestion: half a second (TCP_RESOURCE_PROBE_INTERVAL), and the RTO stays. */
	if (error > 0)
		return rto;
	if (timeouts_so_far((struct tcp_sock *)sk) > linear_timeouts(net))
		rto *= 2;
	return at_most_rto_max(icsk, rto);
}

static void record_syn_retransmit(struct sock *sk, int error)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;
	struct connection *c = connection_of(sk);
	/* Raised before this is called: the first retry is number 1. */
	u8 attempt = READ(icsk, icsk_retransmits);
	struct event_with_details *e;
	u64 now_ns;

	if (!c || attempt <= c->syn_retries)
		return;
	c->syn_retries = attempt;
	learn_late_tuple(c, sk);
	note_trouble(c, sk);
	now_ns = bpf_ktime_get_ns();
	note_rules(c, sk, now_ns);
	e = begin_with_details(c, EVENT_SYN_RETRANSMIT, now_ns);
	if (!e)
		return;
	e->event.state = TCP_SYN_SENT;
	e->event.attempt = attempt;
	e->event.backoff = READ(icsk, icsk_backoff);
	e->event.rto_jiffies = rto_after_syn_retry(sk, error);
	e->details.elapsed_ms = elapsed_since_retransmission_ms((struct tcp_sock *)sk); /* a SYN's is that of the first */
	e->details.tcp_seq = c->isn;
	e->event.cookie = cookie_of(sk);
	fill_result(&e->event, error);
	submit(e);
}

/*
 * By which way the kernel came to send it again. tcp_write_timer_handler clears icsk_pending before it calls
 * tcp_retransmit_timer, but leaves it for a loss probe; and that is sent only as long as nothing is held to be lost.
 * tcp_ld_RTO_revert calls tcp_retransmit_timer by itself, which then counts a retransmission more.
 */
static u8 trigger_of(const struct connection *c, struct inet_connection_sock *icsk)
{
	u8 pending = READ(icsk, icsk_pending);

	if (!pending || READ(icsk, icsk_retransmits) > c->retransmits)
		return TRIGGER_RTO;
	if (pending == ICSK_TIME_LOSS_PROBE && BPF_CORE_READ_BITFIELD_PROBED(icsk, icsk_ca_state) < TCP_CA_Recovery)
		return TRIGGER_TLP;
	return TRIGGER_FAST;
}

/*
 * Whether this is another retransmission than the last. One that the kernel never made, because the last copy is still in
 * the queue or the window is too small, changes nothing; a timeout is counted all the same. The second copy of a
 * program finds here that the first has been at work.
 */
static bool is_new_retransmission(struct connection *c, struct inet_connection_sock *icsk)
{
	u32 retransmitted = READ((struct tcp_sock *)icsk, total_retrans);
	u8 retransmits = READ(icsk, icsk_retransmits);
	u8 backoff = READ(icsk, icsk_backoff);

	if (retransmitted == c->retransmitted && retransmits == c->retransmits && backoff == c->backoff)
		return false;
	c->retransmitted = retransmitted;
	c->retransmits = retransmits;
	c->backoff = backoff;
	return true;
}

/*
 * A bulk transfer with losses makes thousands of fast retransmissions a second, and ten of them say as much. Of those
 * that follow each other within this time only the first is recorded; the next one after it tells how many there were.
 */
#define THIN_OUT_NS 100000000

static bool is_thinned_out(struct connection *c, u8 trigger, u64 now_ns)
{
	if (trigger != TRIGGER_FAST)
		return false;
	if (now_ns - c->thinned_ns < THIN_OUT_NS) {
		c->thinned++;
		return true;
	}
	c->thinned_ns = now_ns;
	return false;
}

/* Whether the RTO does not double (tcp_retransmit_timer): few packets in flight, and asked for by socket or sysctl. */
static bool is_linear(struct sock *sk)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	if (READ(sk, __sk_common.skc_state) != TCP_ESTABLISHED)
		return false;
	if (!BPF_CORE_READ_BITFIELD_PROBED(tp, thin_lto) &&
	    !READ(sk, __sk_common.skc_net.net, ipv4.sysctl_tcp_thin_linear_timeouts))
		return false;
	return READ(tp, packets_out) < THIN_STREAM_PACKETS &&
	       READ(icsk, icsk_retransmits) <= TCP_THIN_LINEAR_RETRIES;
}

/* The timer after this: after a timeout it backs off, once this is done; after anything else the RTO is started anew. */
static void fill_next_timer(struct event *e, struct sock *sk, int error)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;

	e->rto_jiffies = READ(icsk, icsk_rto);
	e->backoff = READ(icsk, icsk_backoff);
	if (e->trigger != TRIGGER_RTO || error > 0)
		return;
	if (is_linear(sk)) {
		e->backoff = 0;
		return;
	}
	e->backoff++;
	e->rto_jiffies = at_most_rto_max(icsk, e->rto_jiffies * 2);
}

static void record_data_retransmit(struct connection *c, struct sock *sk, struct sk_buff *skb, u8 trigger, int error)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	u64 now_ns = bpf_ktime_get_ns();
	struct event_with_details *e;

	if (!is_new_retransmission(c, icsk) || is_thinned_out(c, trigger, now_ns))
		return;
	if (trigger == TRIGGER_RTO) {
		note_trouble(c, sk);
		note_rules(c, sk, now_ns);
	}
	e = begin_with_details(c, EVENT_RETRANSMIT, now_ns);
	if (!e)
		return;
	e->event.state = READ(sk, __sk_common.skc_state);
	e->event.trigger = trigger;
	/* A timeout while the peer's window is shut is a probe of that window, and does not count. */
	e->event.attempt = trigger == TRIGGER_RTO ? c->retransmits : 0;
	e->event.retransmits = c->retransmits;
	e->event.probes_out = READ(icsk, icsk_probes_out);
	e->details.tcp_seq = READ((struct tcp_skb_cb *)&skb->cb, seq);
	e->details.tcp_ack = READ(tp, rcv_nxt);
	e->details.len = READ(skb, len);
	e->event.idle_jiffies = idle_jiffies(sk);
	e->details.elapsed_ms = elapsed_since_retransmission_ms(tp);
	fill_result(&e->event, error);
	e->event.cookie = cookie_of(sk);
	if (trigger == TRIGGER_FAST && c->thinned) {
		e->details.count = c->thinned + 1;
		c->thinned = 0;
	}
	fill_next_timer(&e->event, sk, error);
	submit(e);
}

/*
 * A segment was sent again, or was to be. error is what the transmit returned: a negative errno, or a positive verdict
 * of the queue (NET_XMIT_*).
 */
static void record_retransmit(struct sock *sk, struct sk_buff *skb, int error)
{
	u8 state = READ(sk, __sk_common.skc_state);
	struct connection *c;

	if (state == TCP_SYN_SENT) {
		record_syn_retransmit(sk, error);
		return;
	}
	c = connection_of(sk);
	if (c && state != TCP_SYN_RECV)
		record_data_retransmit(c, sk, skb, trigger_of(c, (struct inet_connection_sock *)sk), error);
}

/* A loss probe alone: tcp_send_loss_probe does without tcp_retransmit_skb, and so without those who hook that. */
static void record_loss_probe(struct sock *sk, struct sk_buff *skb, int error)
{
	struct connection *c = connection_of(sk);

	if (c && trigger_of(c, (struct inet_connection_sock *)sk) == TRIGGER_TLP)
		record_data_retransmit(c, sk, skb, TRIGGER_TLP, error);
}

/* req: its timer has been set up. */
static void learn_request_timer(struct request_sock *req)
{
	timer_functions.request = (u64)READ(req, rsk_timer.function);
}

/*
 * A timer that is running its handler is not pending, and is started again once the SYN-ACK is sent; a SYN that comes again
 * leaves it as it is until then (reqsk_timer_handler, tcp_check_req). With TCP Fast Open the timer is the socket's own.
 */
static u8 trigger_of_synack(struct tcp_request_sock *treq)
{
	if (READ(treq, tfo_listener))
		return TRIGGER_NONE;
	return READ(treq, req.req.rsk_timer.entry.pprev) ? TRIGGER_SYN : TRIGGER_RTO;
}

/* returned: tcp_rtx_synack is done, and not just about to be. */
static void record_synack_retransmit(struct request_sock *req, bool returned)
{
	struct tcp_request_sock *treq = (struct tcp_request_sock *)req;
	u64 pair = isn_pair(READ(treq, rcv_isn), READ(treq, snt_isn));
	struct connection *c = find_request(pair);
	/* Raised once this one is on its way: before that, the count is that of the others. */
	u8 attempt = READ(req, num_retrans) + !(returned && rtx_synack_counts());
	struct event_with_details *e;

	if (!timer_functions.request)
		learn_request_timer(req);
	if (!c || attempt <= c->synack_retries)
		return;
	c->synack_retries = attempt;
	note_trouble(c, NULL);
	e = begin_with_details(c, EVENT_SYNACK_RETRANSMIT, bpf_ktime_get_ns());
	if (!e)
		return;
	e->event.state = TCP_NEW_SYN_RECV;
	e->event.attempt = attempt;
	e->event.trigger = trigger_of_synack(treq);
	e->details.tcp_seq = c->isn;
	submit(e);
}

#endif
