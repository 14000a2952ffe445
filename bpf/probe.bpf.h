/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Probes of a connection on which nothing is under way: keepalive probes, their answers, and window probes.
 */
#ifndef TCPTRACE_PROBE_H
#define TCPTRACE_PROBE_H

/*
 * How many connections wait for the answer to a keepalive probe. While there are none, segments that arrive are not
 * looked at: this is read for each one that the host receives. That takes 44 ns with the kernel measuring it
 * (kernel.bpf_stats_enabled), half of which is the measuring; 51 ns while an answer is waited for.
 */
u64 unanswered_probes;

/* The last keepalive probe was answered, or nobody waits for that any more. */
static void settle_probe(struct connection *c)
{
	if (!c->probed)
		return;
	c->probed = 0;
	__sync_fetch_and_add(&unanswered_probes, -1);
}

static void await_answer(struct connection *c, u64 now_ns)
{
	c->probed_ns = now_ns;
	c->probed_jiffies = jiffies_now();
	if (c->probed || !(c->flags & FOLLOWED))
		return;
	c->probed = 1;
	__sync_fetch_and_add(&unanswered_probes, 1);
}

static void emit_answer(struct connection *c, struct sock *sk, u32 ack, u64 time_ns)
{
	struct event_with_details *e;

	settle_probe(c);
	e = begin_with_details(c, EVENT_KEEPALIVE_ANSWER, time_ns);
	if (!e)
		return;
	e->event.state = READ(sk, __sk_common.skc_state);
	e->details.tcp_ack = ack;
	e->event.cookie = cookie_of(sk);
	submit(e);
}

/*
 * A segment came in, for a socket of its own. It answers a probe if it acknowledges something that we sent, or nothing
 * new (the test is tcp_ack's); the peer has then been heard. Until tcp_ack is done, icsk_probes_out still counts the
 * probe, which spares most segments the search for their connection.
 */
static void record_answer(struct sock *sk, struct sk_buff *skb)
{
	struct tcp_skb_cb *header = (struct tcp_skb_cb *)&skb->cb;
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	struct connection *c;
	u32 ack, una;

	if (!unanswered_probes || !READ((struct inet_connection_sock *)sk, icsk_probes_out))
		return;
	c = connection_of(sk);
	if (!c || !c->probed)
		return;
	/* tcp_ack gets no RST, the tracepoint does. */
	if ((READ(header, tcp_flags) & (TCP_FLAG_ACK | TCP_FLAG_RST)) != TCP_FLAG_ACK)
		return;
	ack = READ(header, ack_seq);
	una = READ(tp, snd_una);
	if (ack - una > READ(tp, snd_nxt) - una)
		return;
	emit_answer(c, sk, ack, bpf_ktime_get_ns());
}

/*
 * Records the answer to the last probe if it went unseen: in CLOSE_WAIT, FIN_WAIT1 and FIN_WAIT2 where functions cannot be
 * hooked, or while a softirq was hidden. rcv_tstamp tells in which jiffy it came; the probe was sent only because that had
 * been long ago.
 */
static void recover_answer(struct connection *c, struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	u64 ago_ns, time_ns;
	u32 heard;

	if (!c->probed)
		return;
	heard = READ(tp, rcv_tstamp);
	if ((s32)(heard - c->probed_jiffies) < 0)
		return;
	ago_ns = ticks_per_second ? (u64)(jiffies_now() - heard) * (1000000000 / ticks_per_second) : 0;
	time_ns = bpf_ktime_get_ns() - ago_ns;
	if ((s64)(time_ns - c->probed_ns) < 0)
		time_ns = c->probed_ns;
	emit_answer(c, sk, READ(tp, snd_una), time_ns);
}

/* attempt: how many are unanswered with this one; error: what sending it returned, as for record_retransmit. */
static void record_keepalive_probe(struct connection *c, struct sock *sk, u8 attempt, int error)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	u64 now_ns = bpf_ktime_get_ns();
	struct event_with_details *e;

	recover_answer(c, sk);
	await_answer(c, now_ns);
	if (attempt > 1)
		note_trouble(c, sk);
	note_rules(c, sk, now_ns);
	e = begin_with_details(c, EVENT_KEEPALIVE_PROBE, now_ns);
	if (!e)
		return;
	e->event.state = READ(sk, __sk_common.skc_state);
	e->event.attempt = attempt;
	e->event.probes_out = attempt;
	e->details.tcp_seq = READ(tp, snd_una) - 1; /* tcp_xmit_probe_skb */
	e->details.tcp_ack = READ(tp, rcv_nxt);
	e->event.idle_jiffies = idle_jiffies(sk);
	fill_result(&e->event, error);
	e->event.cookie = cookie_of(sk);
	submit(e);
}

/* When the window is probed next (tcp_probe0_when); the exponent is bounded so that a backoff need not be. */
static u32 window_probe_jiffies(struct inet_connection_sock *icsk, u8 backoff)
{
	const u8 backoff_max = 10; /* ilog2(TCP_RTO_MAX / TCP_RTO_MIN) + 1 */
	u32 wait = READ(icsk, icsk_rto);

	if (wait < ticks_per_second / TCP_RTO_MIN_PER_SECOND)
		wait = ticks_per_second / TCP_RTO_MIN_PER_SECOND;
	wait <<= backoff < backoff_max ? backoff : backoff_max;
	return at_most_rto_max(icsk, wait);
}

/*
 * Whether what waits fits into the peer's window. Where nothing is on its way then, sending fails on this host, for want
 * of a route or by a firewall: the kernel tries again on the timer that probes a shut window (tcp_check_probe_timer).
 */
static bool window_has_room(struct tcp_sock *tp)
{
	const u32 segment = 65535; /* none is longer */
	u32 unsent = READ(tp, write_seq) - READ(tp, snd_nxt);

	return unsent && READ(tp, snd_wnd) >= (unsent < segment ? unsent : segment);
}

/*
 * backoff: that of the timer after this probe. A probe has data when the window lets through some, though less than
 * the sender would like: what was to come next, and then it is no longer the window that is waited for, but its
 * acknowledgement.
 */
static void record_window_probe(struct connection *c, struct sock *sk, u8 attempt, u8 backoff, int error)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	u32 una = READ(tp, snd_una);
	u32 first = first_window_probe_jiffies(icsk);
	u64 now_ns = bpf_ktime_get_ns();
	struct event_with_details *e;

	if (attempt > 1)
		note_trouble(c, sk);
	note_rules(c, sk, now_ns);
	e = begin_with_details(c, EVENT_WINDOW_PROBE, now_ns);
	if (!e)
		return;
	e->event.state = READ(sk, __sk_common.skc_state);
	e->event.attempt = attempt;
	e->event.probes_out = attempt;
	e->details.tcp_ack = READ(tp, rcv_nxt);
	e->event.idle_jiffies = idle_jiffies(sk);
	fill_result(&e->event, error);
	e->event.cookie = cookie_of(sk);
	if (first)
		e->details.elapsed_jiffies = jiffies_now() - first;
	if (READ(tp, packets_out)) {
		e->details.tcp_seq = una;
		e->details.len = READ(tp, snd_nxt) - una;
		e->event.rto_jiffies = READ(icsk, icsk_rto);
	} else {
		e->details.tcp_seq = una - 1;
		e->event.backoff = backoff;
		e->event.rto_jiffies = window_probe_jiffies(icsk, backoff);
		if (window_has_room(tp))
			e->event.flags |= EVENT_KEPT_HERE;
	}
	submit(e);
}

/*
 * tcp_write_wakeup has sent a probe. Its callers count it, and back off, only then. Which of them it was can be told by
 * what there is to send: tcp_keepalive_timer calls it when there is nothing at all, tcp_probe_timer when there is
 * something, which may be under way now.
 */
static void record_wakeup(struct sock *sk, int error)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	struct connection *c = connection_of(sk);
	u8 attempt, backoff, most;

	if (!c || READ(sk, __sk_common.skc_state) == TCP_CLOSE)
		return;
	attempt = READ(icsk, icsk_probes_out) + 1;
	if (!READ(tp, packets_out) && READ(tp, write_seq) == READ(tp, snd_nxt)) {
		record_keepalive_probe(c, sk, attempt, error);
		return;
	}
	backoff = READ(icsk, icsk_backoff);
	most = READ(sk, __sk_common.skc_net.net, ipv4.sysctl_tcp_retries2);
	if (error <= 0 && backoff < most)
		backoff++;
	record_window_probe(c, sk, attempt, backoff, error);
}

/*
 * The functions of a TCP socket's timers, which nobody tells us where symbols are hidden: learnt from the first socket
 * that is kept, for they are the same in all. That of a request's timer is learnt from a request.
 */
struct timer_functions {
	u64 keepalive;
	u64 write;
	u64 request;
};

struct timer_functions timer_functions;

static u64 function_of(struct timer_list *timer)
{
	return (u64)READ(timer, function);
}

static void learn_timers(struct sock *sk)
{
	if (timer_functions.keepalive)
		return;
	timer_functions.write = function_of((void *)sk + write_timer_offset());
	timer_functions.keepalive = function_of((void *)sk + keepalive_timer_offset());
}

/* A socket whose timer is running, as it was before. */
struct running_timer {
	u64 timer; /* 0: none that matters */
	u64 sk;
	u32 segs_out;
	u32 rcv_tstamp;
	u8 is_keepalive;
	u8 pending; /* icsk_pending */
	u8 probes_out;
	u8 backoff; /* icsk_backoff */
	u8 unused[4];
};

/*
 * The timer that is running on this CPU, of which there is one at a time.
 *
 * Written: when it starts. Cleared: when it is done.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct running_timer);
} running_timers SEC(".maps");

static struct running_timer *this_cpus_timer(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&running_timers, &zero);
}

static void record_timer_start(struct timer_list *timer)
{
	u64 function = function_of(timer);
	bool is_keepalive = function == timer_functions.keepalive;
	struct running_timer *running;
	struct sock *sk;

	if (!is_keepalive && function != timer_functions.write)
		return;
	sk = (void *)timer - (is_keepalive ? keepalive_timer_offset() : write_timer_offset());
	running = this_cpus_timer();
	if (!running || !connection_of(sk))
		return;
	running->timer = (u64)timer;
	running->sk = (u64)sk;
	running->is_keepalive = is_keepalive;
	running->pending = READ((struct inet_connection_sock *)sk, icsk_pending);
	running->probes_out = READ((struct inet_connection_sock *)sk, icsk_probes_out);
	running->backoff = READ((struct inet_connection_sock *)sk, icsk_backoff);
	running->segs_out = READ((struct tcp_sock *)sk, segs_out);
	running->rcv_tstamp = READ((struct tcp_sock *)sk, rcv_tstamp);
}

/*
 * Whether that timer sent a probe without data. The next one is counted in icsk_probes_out, unless another CPU has taken
 * its answer already, between the timer's unlocking the socket and its end.
 */
static bool probe_was_sent(const struct running_timer *was, struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	u8 probes_out = READ((struct inet_connection_sock *)sk, icsk_probes_out);

	if (probes_out == (u8)(was->probes_out + 1))
		return true;
	return !probes_out && READ(tp, segs_out) != was->segs_out &&
	       READ(tp, rcv_tstamp) != was->rcv_tstamp;
}

/* From what idle time on keepalive sends probes (keepalive_time_when). */
static u32 keepalive_jiffies(struct sock *sk)
{
	u32 own = READ((struct tcp_sock *)sk, keepalive_time);

	return own ? own : (u32)READ(sk, __sk_common.skc_net.net, ipv4.sysctl_tcp_keepalive_time);
}

/*
 * Whether the keepalive timer sent a probe that this host's queue refused, and so did not count it. With nothing to send,
 * only an answer to the peer could be what raised segs_out otherwise, and then the peer has not been idle.
 */
static bool keepalive_was_refused(const struct running_timer *was, struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	return READ(tp, segs_out) == was->segs_out + 1 &&
	       READ((struct inet_connection_sock *)sk, icsk_probes_out) == was->probes_out &&
	       READ(tp, rcv_tstamp) == was->rcv_tstamp && idle_jiffies(sk) >= keepalive_jiffies(sk) &&
	       !READ(tp, packets_out) && READ(tp, write_seq) == READ(tp, snd_nxt);
}

/* What sending a window probe returned: one that this host's queue refused is counted, and yet the kernel does not back off. */
static int window_probe_result(const struct running_timer *was, struct sock *sk)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;
	u8 most = READ(sk, __sk_common.skc_net.net, ipv4.sysctl_tcp_retries2);

	if (READ(icsk, icsk_probes_out) != (u8)(was->probes_out + 1) || was->backoff >= most)
		return 0;
	return READ(icsk, icsk_backoff) == was->backoff ? NET_XMIT_DROP : 0;
}

static void record_timer_end(struct timer_list *timer)
{
	struct running_timer *running = this_cpus_timer();
	struct inet_connection_sock *icsk;
	struct connection *c;
	struct sock *sk;

	if (!running || running->timer != (u64)timer)
		return;
	running->timer = 0;
	sk = (struct sock *)running->sk;
	icsk = (struct inet_connection_sock *)sk;
	c = connection_of(sk);
	if (!c || READ(sk, __sk_common.skc_state) == TCP_CLOSE)
		return;
	if (running->is_keepalive) {
		if (probe_was_sent(running, sk))
			record_keepalive_probe(c, sk, running->probes_out + 1, 0);
		else if (keepalive_was_refused(running, sk))
			record_keepalive_probe(c, sk, running->probes_out + 1, NET_XMIT_DROP);
		return;
	}
	if (running->pending != ICSK_TIME_PROBE0)
		return;
	if (probe_was_sent(running, sk) || READ((struct tcp_sock *)sk, packets_out))
		record_window_probe(c, sk, running->probes_out + 1, READ(icsk, icsk_backoff), window_probe_result(running, sk));
}

#endif
