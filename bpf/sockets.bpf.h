/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The sockets that exist now: one record each, by iterators. Nothing here is attached, and nothing reaches the ring
 * buffer: whoever reads an iterator's file gets the records.
 *
 * Two iterators see them. Open files lead to every socket that a process holds, in whatever network namespace, with its
 * owner; iter/tcp sees those of its opener's namespace, without owners, but also those that nobody holds: orphans,
 * connections that wait for an accept, and the mini-sockets of TIME_WAIT and of half-open requests.
 */
#ifndef TCPTRACE_SOCKETS_H
#define TCPTRACE_SOCKETS_H

/* socket_record.flags */
enum socket_flags {
	SOCKET_HAS_RETRANSMIT_TIMER = 1, /* retransmit_left_jiffies counts; pending says for what */
	SOCKET_HAS_KEEPALIVE_TIMER = 2, /* keepalive_left_jiffies counts */
	SOCKET_HAS_LIFETIME = 4, /* a mini-socket: lifetime_left_jiffies counts */
	SOCKET_ORPHAN = 8, /* closed by its application (SOCK_DEAD) */
	SOCKET_HELD = 16, /* a file stands for it: accepted, and not closed */
	SOCKET_RETRANSMITTED = 32, /* retransmitting_ms counts */
	SOCKET_PROBED = 64, /* probing_jiffies counts */
	SOCKET_RCVBUF_LOCKED = 128, /* by SO_RCVBUF */
	SOCKET_SNDBUF_LOCKED = 256, /* by SO_SNDBUF */
	SOCKET_THIN_LINEAR = 512, /* a thin stream's first retries do not back off */
	SOCKET_AUTOTUNED = 1024, /* tcp_moderate_rcvbuf */
	SOCKET_HAS_SETTINGS = 2048,
	SOCKET_HAS_LISTENING = 4096,
	SOCKET_HAS_WAITING = 8192, /* listening.oldest_jiffies counts */
	SOCKET_IPV6ONLY = 16384,
	SOCKET_REUSEPORT = 32768,
};

/* What only a listener has. */
struct listening {
	u32 accept_len; /* connections that nobody has accepted */
	u32 accept_max;
	u32 syn_len; /* half-open requests */
	u32 syn_young; /* of them, those whose SYN-ACK was not sent again */
	u32 fastopen_len;
	u32 fastopen_max;
	u32 drops;
	u32 oldest_jiffies; /* since the first of the accept queue became a connection */
	s32 device; /* that it is bound to, 0: none */
	u16 group; /* listeners in its SO_REUSEPORT group, itself among them; 0: it has none */
	u8 defer_accept; /* TCP_DEFER_ACCEPT, as the SYN-ACKs that it stands for */
	u8 unused;
};

/*
 * A socket at one moment: every time is relative to that. What is left of a timer is negative once it is overdue. Of a
 * mini-socket only what precedes retransmit_left_jiffies is filled, and lifetime_left_jiffies and retransmits; listening is
 * a listener's.
 */
struct socket_record {
	u64 sock; /* tells sockets apart, and leaves tcptrace no further than that */
	u64 listener; /* of a request, its listener's sock */
	u64 inode;
	u64 cookie;
	u64 time_ns;
	u64 bytes_sent;
	u64 bytes_acked;
	u64 bytes_received;
	struct owner owner;
	u32 netns;
	u32 uid; /* of the socket itself */
	u32 fd; /* its owner's */
	u32 flags;
	u16 family;
	u16 local_port;
	u16 remote_port;
	u8 state;
	u8 substate; /* of TIME_WAIT: that, or FIN_WAIT2 */
	u8 local[16];
	u8 remote[16];
	s32 retransmit_left_jiffies;
	s32 keepalive_left_jiffies;
	s32 lifetime_left_jiffies;
	u32 rto_jiffies;
	u32 retransmitting_ms; /* since the first retransmission; of a SYN, since the first SYN */
	u32 probing_jiffies; /* since the first window probe */
	u32 last_data_jiffies; /* since the peer's last data */
	u32 last_ack_jiffies; /* since the peer's last ACK */
	u32 last_sent_jiffies; /* since we sent data last */
	u32 packets_out;
	u32 snd_una;
	u32 snd_nxt;
	u32 write_seq;
	u32 rcv_nxt;
	u32 copied_seq;
	u32 snd_wnd;
	u32 srtt_us;
	u32 total_retrans;
	s32 linger2_jiffies;
	s32 error_soft;
	s32 rcvbuf;
	s32 sndbuf;
	s32 rmem;
	s32 wmem;
	s32 wmem_queued;
	s32 sysctl_rmem[3];
	s32 sysctl_wmem[3];
	u8 pending; /* ICSK_TIME_* */
	u8 retransmits;
	u8 probes_out;
	u8 backoff;
	u8 shutdown;
	u8 unused[7];
	struct listening listening;
	struct settings settings;
};

/* Mini-sockets too: there may be very many. */
volatile const bool sockets_mini;

/* Listeners, and nothing else. */
volatile const bool sockets_listening;

/*
 * Where a record is put together, as it does not fit on the stack. The iterators of one collection are read one after
 * the other, so none finds it taken.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct socket_record);
} socket_scratch SEC(".maps");

/* sk_userlocks: SOCK_SNDBUF_LOCK and SOCK_RCVBUF_LOCK, include/uapi/linux/socket.h */
#define SNDBUF_LOCK 1
#define RCVBUF_LOCK 2

#define NS_PER_SECOND 1000000000ULL

/* By how much jiffies were ahead of CLOCK_MONOTONIC when they lagged least; 0: nobody has looked. */
s64 jiffies_ahead_ns;

/* How far jiffies are believed to lag: on a machine that lags for longer, they do not follow the clock. */
#define LONGEST_LAG_NS (NS_PER_SECOND / 2)

/*
 * What jiffies will be said to have been now. They follow the clock tick by tick (tick_do_update_jiffies64), but one CPU
 * moves them, and where that is held up they stand still, and then jump. What is left of a timer counts by the clock.
 */
static u64 jiffies_by_clock(u64 now_ns)
{
	u64 jiffies = bpf_jiffies64(), tick_ns, by_clock;
	s64 ahead_ns;

	if (!ticks_per_second)
		return jiffies;
	tick_ns = NS_PER_SECOND / ticks_per_second;
	ahead_ns = jiffies * tick_ns - bpf_ktime_get_ns(); /* read after them: never too far ahead */
	if (!jiffies_ahead_ns || ahead_ns > jiffies_ahead_ns)
		jiffies_ahead_ns = ahead_ns;
	by_clock = (now_ns + jiffies_ahead_ns) / tick_ns;
	return by_clock - jiffies < LONGEST_LAG_NS / tick_ns ? by_clock : jiffies;
}

static void read_identity(struct socket_record *r, struct sock *sk)
{
	struct connection c = {};

	read_tuple(&c, sk);
	r->family = c.family;
	r->local_port = c.local_port;
	r->remote_port = c.remote_port;
	__builtin_memcpy(r->local, c.local, sizeof(r->local));
	__builtin_memcpy(r->remote, c.remote, sizeof(r->remote));
	r->sock = (u64)sk;
	r->cookie = cookie_of(sk);
	r->netns = netns_of(sk);
	r->state = READ(sk, __sk_common.skc_state);
}

static void read_retransmit_timer(struct socket_record *r, struct sock *sk, u64 now_jiffies)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;

	r->pending = READ(icsk, icsk_pending);
	switch (r->pending) {
	case ICSK_TIME_RETRANS:
	case ICSK_TIME_PROBE0:
	case ICSK_TIME_LOSS_PROBE:
	case ICSK_TIME_REO_TIMEOUT:
		r->flags |= SOCKET_HAS_RETRANSMIT_TIMER;
		r->retransmit_left_jiffies = retransmit_expires_jiffies(sk) - now_jiffies;
	}
}

static void read_timers(struct socket_record *r, struct sock *sk, u64 now_jiffies)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	u32 first_retransmission = READ(tp, retrans_stamp);
	u32 first_probe = READ(icsk, icsk_probes_tstamp);

	read_retransmit_timer(r, sk, now_jiffies);
	if (keepalive_armed(sk)) {
		r->flags |= SOCKET_HAS_KEEPALIVE_TIMER;
		r->keepalive_left_jiffies = keepalive_expires_jiffies(sk) - now_jiffies;
	}
	if (first_retransmission) {
		r->flags |= SOCKET_RETRANSMITTED;
		if (stamps_are_us(tp))
			r->retransmitting_ms = ((u32)(r->time_ns / 1000) - first_retransmission) / 1000;
		else
			r->retransmitting_ms = (u32)(r->time_ns / 1000000) - first_retransmission;
	}
	if (first_probe) {
		r->flags |= SOCKET_PROBED;
		r->probing_jiffies = (u32)now_jiffies - first_probe;
	}
	r->last_data_jiffies = (u32)now_jiffies - READ(icsk, icsk_ack.lrcvtime);
	r->last_ack_jiffies = (u32)now_jiffies - READ(tp, rcv_tstamp);
	r->last_sent_jiffies = (u32)now_jiffies - READ(tp, lsndtime);
	r->rto_jiffies = READ(icsk, icsk_rto);
	r->retransmits = READ(icsk, icsk_retransmits);
	r->probes_out = READ(icsk, icsk_probes_out);
	r->backoff = READ(icsk, icsk_backoff);
	r->linger2_jiffies = READ(tp, linger2);
}

static void read_progress(struct socket_record *r, struct tcp_sock *tp)
{
	r->packets_out = READ(tp, packets_out);
	r->snd_una = READ(tp, snd_una);
	r->snd_nxt = READ(tp, snd_nxt);
	r->write_seq = READ(tp, write_seq);
	r->rcv_nxt = READ(tp, rcv_nxt);
	r->copied_seq = READ(tp, copied_seq);
	r->snd_wnd = READ(tp, snd_wnd);
	r->srtt_us = READ(tp, srtt_us) >> 3;
	r->total_retrans = READ(tp, total_retrans);
	r->bytes_sent = READ(tp, bytes_sent);
	r->bytes_acked = READ(tp, bytes_acked);
	r->bytes_received = READ(tp, bytes_received);
}

static void read_buffers(struct socket_record *r, struct sock *sk)
{
	struct net *net = READ(sk, __sk_common.skc_net.net);
	u8 locks = BPF_CORE_READ_BITFIELD_PROBED(sk, sk_userlocks);

	r->rcvbuf = READ(sk, sk_rcvbuf);
	r->sndbuf = READ(sk, sk_sndbuf);
	r->rmem = READ(sk, sk_backlog.rmem_alloc.counter);
	/* It starts at 1, so that it counts references too (sk_wmem_alloc_get). */
	r->wmem = READ(sk, sk_wmem_alloc.refs.counter) - 1;
	r->wmem_queued = READ(sk, sk_wmem_queued);
	BPF_CORE_READ_INTO(&r->sysctl_rmem, net, ipv4.sysctl_tcp_rmem);
	BPF_CORE_READ_INTO(&r->sysctl_wmem, net, ipv4.sysctl_tcp_wmem);
	if (locks & RCVBUF_LOCK)
		r->flags |= SOCKET_RCVBUF_LOCKED;
	if (locks & SNDBUF_LOCK)
		r->flags |= SOCKET_SNDBUF_LOCKED;
	if (READ(net, ipv4.sysctl_tcp_moderate_rcvbuf))
		r->flags |= SOCKET_AUTOTUNED;
	if (BPF_CORE_READ_BITFIELD_PROBED((struct tcp_sock *)sk, thin_lto) ||
	    READ(net, ipv4.sysctl_tcp_thin_linear_timeouts))
		r->flags |= SOCKET_THIN_LINEAR;
}

static void read_holder(struct socket_record *r, struct sock *sk)
{
	struct socket *socket = READ(sk, sk_socket);

	r->uid = READ(sk, sk_uid.val);
	r->error_soft = READ(sk, sk_err_soft);
	r->shutdown = READ(sk, sk_shutdown);
	if (sock_flag(sk, bpf_core_enum_value(enum sock_flags, SOCK_DEAD)))
		r->flags |= SOCKET_ORPHAN;
	if (!socket)
		return;
	r->flags |= SOCKET_HELD;
	/* SOCK_INODE: a socket is the first thing of its struct socket_alloc. */
	r->inode = READ((struct socket_alloc *)socket, vfs_inode.i_ino);
}

/*
 * The first of the accept queue has waited for as long as it exists: lsndtime is when (tcp_create_openreq_child), as it has
 * sent nothing yet.
 */
static void read_oldest(struct socket_record *r, struct sock *sk, u64 now_jiffies)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;
	struct request_sock *first = READ(icsk, icsk_accept_queue.rskq_accept_head);
	struct sock *child = first ? READ(first, sk) : NULL;

	if (!child)
		return;
	r->listening.oldest_jiffies = (u32)now_jiffies - READ((struct tcp_sock *)child, lsndtime);
	r->flags |= SOCKET_HAS_WAITING;
}

static void read_queues(struct listening *l, struct sock *sk)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;
	struct sock_reuseport *group = READ(sk, sk_reuseport_cb);

	l->accept_len = queued(sk);
	l->accept_max = queue_max(sk);
	l->syn_len = half_open(sk);
	l->syn_young = READ(icsk, icsk_accept_queue.young.counter);
	l->fastopen_len = READ(icsk, icsk_accept_queue.fastopenq.qlen);
	l->fastopen_max = READ(icsk, icsk_accept_queue.fastopenq.max_qlen);
	l->defer_accept = READ(icsk, icsk_accept_queue.rskq_defer_accept);
	l->drops = drops_of(sk);
	l->device = READ(sk, __sk_common.skc_bound_dev_if);
	if (group)
		l->group = READ(group, num_socks);
}

static void read_listening(struct socket_record *r, struct sock *sk, u64 now_jiffies)
{
	r->flags |= SOCKET_HAS_LISTENING;
	read_queues(&r->listening, sk);
	read_oldest(r, sk, now_jiffies);
	if (BPF_CORE_READ_BITFIELD_PROBED(sk, __sk_common.skc_ipv6only))
		r->flags |= SOCKET_IPV6ONLY;
	if (BPF_CORE_READ_BITFIELD_PROBED(sk, __sk_common.skc_reuseport))
		r->flags |= SOCKET_REUSEPORT;
}

static void read_full_socket(struct socket_record *r, struct sock *sk, u64 now_jiffies)
{
	read_timers(r, sk, now_jiffies);
	read_progress(r, (struct tcp_sock *)sk);
	read_buffers(r, sk);
	read_holder(r, sk);
	read_settings(&r->settings, sk);
	r->flags |= SOCKET_HAS_SETTINGS;
	if (r->state == TCP_LISTEN)
		read_listening(r, sk, now_jiffies);
}

static void read_time_wait(struct socket_record *r, struct inet_timewait_sock *tw, u64 now_jiffies)
{
	r->flags |= SOCKET_HAS_LIFETIME;
	r->substate = READ(tw, tw_substate);
	r->lifetime_left_jiffies = READ(tw, tw_timer.expires) - now_jiffies;
}

static void read_request(struct socket_record *r, struct request_sock *req, u64 now_jiffies)
{
	r->flags |= SOCKET_HAS_LIFETIME;
	r->listener = (u64)READ(req, __req_common.skc_listener);
	r->retransmits = READ(req, num_retrans);
	r->backoff = timeouts_of_request(req);
	r->lifetime_left_jiffies = READ(req, rsk_timer.expires) - now_jiffies;
}

/* Whether the part of the filter that is about the two ends lets it pass. A listener has one end only: it always does. */
static bool record_passes(const struct socket_record *r)
{
	struct connection c = {};

	if (r->state == TCP_LISTEN)
		return true;
	c.family = r->family;
	c.netns = r->netns;
	c.local_port = r->local_port;
	c.remote_port = r->remote_port;
	__builtin_memcpy(c.local, r->local, sizeof(c.local));
	__builtin_memcpy(c.remote, r->remote, sizeof(c.remote));
	return tuple_passes(&c);
}

/* A record of sk so far as every kind of it has it. NULL: nobody wants it. */
static struct socket_record *begin_socket(struct sock *sk)
{
	u32 zero = 0;
	struct socket_record *r = bpf_map_lookup_elem(&socket_scratch, &zero);

	if (!r)
		return NULL;
	__builtin_memset(r, 0, sizeof(*r));
	r->time_ns = bpf_ktime_get_ns();
	read_identity(r, sk);
	if (r->state == TCP_CLOSE || !record_passes(r))
		return NULL;
	return r;
}

static void dump_open_file(struct seq_file *seq, struct task_struct *task, u32 fd, struct file *file)
{
	struct sock *sk = tcp_sock_behind(sock_of_file(file));
	struct socket_record *r;

	if (!sk)
		return;
	if (sockets_listening && READ(sk, __sk_common.skc_state) != TCP_LISTEN)
		return;
	r = begin_socket(sk);
	if (!r)
		return;
	r->fd = fd;
	read_owner(&r->owner, task);
	if (!owner_passes(task))
		return;
	read_full_socket(r, sk, jiffies_by_clock(r->time_ns));
	bpf_seq_write(seq, r, sizeof(*r));
}

static void dump_socket(struct seq_file *seq, struct sock_common *common)
{
	struct sock *sk = (struct sock *)common;
	u8 state = READ(common, skc_state);
	bool mini = state == TCP_TIME_WAIT || state == TCP_NEW_SYN_RECV;
	struct socket_record *r;

	if (mini && !sockets_mini)
		return;
	if (sockets_listening && state != TCP_LISTEN)
		return;
	r = begin_socket(sk);
	if (!r)
		return;
	if (state == TCP_TIME_WAIT)
		read_time_wait(r, (struct inet_timewait_sock *)sk, jiffies_by_clock(r->time_ns));
	else if (state == TCP_NEW_SYN_RECV)
		read_request(r, (struct request_sock *)sk, jiffies_by_clock(r->time_ns));
	else
		read_full_socket(r, sk, jiffies_by_clock(r->time_ns));
	bpf_seq_write(seq, r, sizeof(*r));
}

#endif
