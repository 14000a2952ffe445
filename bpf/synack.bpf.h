/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * SYN-ACKs that come to nothing: a request that expires, and what an established client hears again.
 */
#ifndef TCPTRACE_SYNACK_H
#define TCPTRACE_SYNACK_H

static u8 timeouts_of_request(struct request_sock *req)
{
	return BPF_CORE_READ_BITFIELD_PROBED(req, num_timeout);
}

/* A request whose timer is running, as it was before. */
struct running_request {
	u64 timer; /* 0: none that matters */
	u64 listener;
	u64 pair;
	u8 timeouts;
	u8 retrans;
	u8 acked;
	u8 unused[5];
};

/*
 * The request whose timer is running on this CPU, of which there is one at a time.
 *
 * Written: when it starts. Cleared: when it is done.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct running_request);
} running_requests SEC(".maps");

static struct running_request *this_cpus_request(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&running_requests, &zero);
}

static struct request_sock *request_of_timer(struct timer_list *timer)
{
	return (void *)timer - bpf_core_field_offset(struct request_sock, rsk_timer);
}

/*
 * reqsk_timer_handler begins. Without its listener a request is dropped too, or becomes another listener's
 * (inet_reqsk_clone): neither has to do with the client.
 */
static void record_request_timer_start(struct timer_list *timer)
{
	struct request_sock *req = request_of_timer(timer);
	struct running_request *running = this_cpus_request();
	struct sock *listener = READ(req, __req_common.skc_listener);

	if (!running)
		return;
	running->timer = 0;
	if (!listener || READ(listener, __sk_common.skc_state) != TCP_LISTEN)
		return;
	running->timer = (u64)timer;
	running->listener = (u64)listener;
	running->pair = pair_of_request(req);
	running->timeouts = timeouts_of_request(req);
	running->retrans = READ(req, num_retrans);
	running->acked = BPF_CORE_READ_BITFIELD_PROBED((struct inet_request_sock *)req, acked);
}

/*
 * Whether the handler has dropped it. A timeout that is not the last is counted, and the timer is started again. Once
 * dropped, a request's place in memory may be another's already.
 */
static bool has_expired(const struct running_request *was, struct request_sock *req)
{
	if (pair_of_request(req) != was->pair)
		return true;
	return !READ(req, rsk_timer.entry.pprev) && timeouts_of_request(req) == was->timeouts;
}

/* acked: the final ACK had come, but found no room in the accept queue, or was put off by TCP_DEFER_ACCEPT. */
static void emit_synack_timeout(struct connection *c, const struct running_request *was)
{
	struct sock *listener = (struct sock *)was->listener;
	struct event_with_queue *e;

	note_trouble(c, NULL);
	e = begin_with_queue(c, EVENT_SYNACK_TIMEOUT, bpf_ktime_get_ns());
	if (!e)
		return;
	e->event.state = TCP_CLOSE;
	e->event.old_state = TCP_NEW_SYN_RECV;
	e->event.attempt = was->retrans;
	__builtin_memset(&e->queue, 0, sizeof(e->queue));
	if (was->acked) {
		e->queue.stage = STAGE_ACK;
		e->queue.len = READ(listener, sk_ack_backlog);
		e->queue.max = READ(listener, sk_max_ack_backlog);
	}
	submit(e);
}

/* And is done. timer: NULL where the hook does not tell. */
static void record_request_timer_end(struct timer_list *timer)
{
	struct running_request *running = this_cpus_request();
	struct connection *c;

	if (!running || !running->timer || (timer && (u64)timer != running->timer))
		return;
	timer = (struct timer_list *)running->timer;
	running->timer = 0;
	if (!has_expired(running, request_of_timer(timer)))
		return;
	c = find_request(running->pair);
	if (!c)
		return;
	emit_synack_timeout(c, running);
	forget_request(running->pair);
}

/* Any timer starts: is it a request's? */
static void record_any_timer_start(struct timer_list *timer)
{
	if (timer_functions.request && function_of(timer) == timer_functions.request)
		record_request_timer_start(timer);
}

/*
 * Whether a SYN-ACK is the one that each side of a simultaneous open sends for the other's SYN. It completes the handshake,
 * and is dropped then like one that comes too late.
 */
static bool is_first_of_crossing(struct connection *c, struct sock *sk)
{
	bool first = c->crossing == CROSSING_AWAITS_SYNACK;

	if (READ(sk, __sk_common.skc_state) == TCP_SYN_RECV)
		first = true;
	if (first)
		c->crossing = CROSSING_DONE;
	return first;
}

/*
 * A segment came in for sk, or is being dropped by it. One that repeats the SYN-ACK says that the server is still waiting
 * for the handshake's last packet, while the client has long been established by it.
 */
static void record_synack_duplicate(struct sock *sk, struct sk_buff *skb)
{
	const u8 flags = TCP_FLAG_SYN | TCP_FLAG_ACK;
	struct tcp_skb_cb *cb = (struct tcp_skb_cb *)&skb->cb;
	struct connection *c;
	struct event_with_details *e;
	u32 seq;

	if ((READ(cb, tcp_flags) & flags) != flags)
		return;
	c = connection_of(sk);
	if (!c || c->role != ROLE_CLIENT || READ(sk, __sk_common.skc_state) == TCP_SYN_SENT)
		return;
	seq = READ(cb, seq);
	if (c->peer_isn && seq != c->peer_isn)
		return;
	if (is_first_of_crossing(c, sk))
		return;
	if (c->synack_duplicates != (u8)~0)
		c->synack_duplicates++;
	note_trouble(c, sk);
	e = begin_with_details(c, EVENT_SYNACK_DUPLICATE, bpf_ktime_get_ns());
	if (!e)
		return;
	e->event.state = READ(sk, __sk_common.skc_state);
	e->event.attempt = c->synack_duplicates;
	e->details.tcp_seq = seq;
	e->details.tcp_ack = READ((struct tcp_sock *)sk, rcv_nxt);
	e->event.cookie = cookie_of(sk);
	submit(e);
}

#endif
