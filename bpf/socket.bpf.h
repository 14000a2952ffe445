/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Connections: their identity, their owner, and a snapshot of the options and sysctls that rule them.
 */
#ifndef TCPTRACE_SOCKET_H
#define TCPTRACE_SOCKET_H

/* Who a socket belongs to; pid 0 is unknown. */
struct owner {
	u64 cgroup;
	u32 pid;
	u32 uid;
	char comm[COMM_LEN];
};

/* connection.flags */
enum connection_flags {
	FOLLOWED = 1, /* passed the filter; without it, kept only because it came by a cookie, and an accept may make it pass */
	ANNOUNCED = 2, /* its first event was emitted */
	CONNECTING = 4, /* connect() has not returned yet, so an error may still come out of it */
	VIA_LISTENER = 8, /* the owner is the listener's */
	PRE_EXISTING = 16, /* older than the trace */
	ENDED = 32, /* closed; kept because the RST of an abort is sent only then */
	COOKIE_SENT = 64, /* its SYN was answered by a SYN cookie */
	CLAIMED = 128, /* nobody followed it before its accept */
};

/* How far a simultaneous open has come. In one, a SYN-ACK follows a SYN that was taken already, and repeats nothing. */
enum crossing {
	CROSSING_NONE,
	CROSSING_AWAITS_SYNACK, /* established, though what brought that about has not been seen */
	CROSSING_DONE, /* the SYN-ACK came: any other is a repeated one */
};

/*
 * A connection's id is the time and CPU of its beginning, so a struct sock that connects again gets another, and
 * no kernel address leaves the kernel.
 *
 * What was recorded last is kept because most programs are attached twice. The kernel does not run a program that it
 * is running on that CPU already, so a softirq that comes in the middle of one would go unrecorded; of two copies, one
 * is always free. Whichever comes second finds here that nothing is left to do.
 *
 * A chain of calls has 512 bytes of stack, and this takes a third: functions that have one there are not inlined.
 */
struct connection {
	u64 id;
	u64 established_ns;
	u64 probed_ns; /* when the last keepalive probe was sent */
	u64 thinned_ns; /* when a fast retransmission was last recorded */
	u64 listener; /* of a request: the address of its listener's struct sock; 0 is unknown */
	u64 packet; /* struct sk_buff * of the last packet that was dropped, or ICMP error, until it is seen again */
	struct owner owner;
	u32 nth; /* records numbered so far, delivered or not */
	u32 netns;
	u32 isn;
	u32 peer_isn;
	u32 retransmitted; /* total_retrans at the last retransmission of data */
	u32 thinned; /* fast retransmissions that were not recorded since the last one that was */
	u32 options; /* digest of those that were recorded last: see options_of */
	u32 probed_jiffies; /* when the last keepalive probe was sent */
	u32 packets_untold; /* how many of such packets were not recorded, since the last one that was */
	u32 packets_second; /* the one in which packets_told of them were recorded */
	u8 local[16]; /* read by words: behind what keeps them aligned */
	u8 remote[16];
	u16 family;
	u16 local_port;
	u16 remote_port;
	u8 role;
	u8 flags;
	u8 state; /* after the last change that was recorded */
	u8 syns; /* handed to a device so far */
	u8 syn_retries; /* recorded so far */
	u8 synack_retries; /* recorded so far */
	u8 retransmits; /* icsk_retransmits, and */
	u8 backoff; /* icsk_backoff, at the last retransmission of data */
	u8 packets_told;
	u8 probed; /* the last keepalive probe has had no answer so far; no flag, as accept changes those without a lock */
	u8 troubled; /* see trouble.bpf.h; no flag for the same reason */
	u8 synack_duplicates; /* so far, at most 255 */
	u8 crossing; /* of a client: see enum crossing */
	u8 handshake_ttl; /* with which the SYN-ACK came, or the final ACK; 0: unknown */
	u8 reset_ttl; /* with which the last RST came */
	u8 accepted; /* recorded by the first copy of a program; no flag, either */
	u8 options_untold; /* nobody has been told of its options yet: it is older than the trace, or was claimed */
	u8 unused;
};

/*
 * The connections we follow, by address of their struct sock.
 *
 * Inserted: connect, the child of a handshake, the first event of an older socket, and the iterator at start.
 * Deleted:  by tcp_destroy_sock; a socket that connects again overwrites its last connection.
 * Read by:  every hook.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536); /* set at load; preallocated, as kprobes may not allocate */
	__type(key, u64);
	__type(value, struct connection);
} connections SEC(".maps");

#define NEAR_ISN_SETS 512 /* a power of two */
#define ISN_SETS 16384 /* too */
#define ISN_WAYS 4

struct isn_set {
	u64 sk[ISN_WAYS]; /* struct sock *, which may be another's by now; 0: none */
	u32 isn[ISN_WAYS];
	u32 next; /* which of them is the oldest, but for multiples of ISN_WAYS */
	u8 settled[ISN_WAYS]; /* 1: nobody will miss it, as the connection is established */
};

/*
 * Initial sequence numbers of the connects we follow, to recognise the other end when it is on this host, and their
 * packets. Each is found in the set that its low bits name, which are as good as random; an LRU map would take 150 ns for
 * one more, this takes 20. In 28 KiB: 0.9 MiB would be in nobody's cache, and take 0.3 us.
 *
 * Inserted: at connect, in place of the oldest of its set: of some 2,048 connects before.
 * Deleted:  never: the other end may look after the connect has failed.
 * Read by:  new requests, resets that answer a SYN, drops and ICMP errors.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NEAR_ISN_SETS);
	__type(key, u32);
	__type(value, struct isn_set);
} near_initial_sequences SEC(".maps");

/*
 * Those that had to give way there while their connect had not been answered, or after it had failed.
 *
 * Inserted: by who takes that place, in place of the oldest of its set: of some 65,536 such before. Deleted and read as they are.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ISN_SETS);
	__type(key, u32);
	__type(value, struct isn_set);
} initial_sequences SEC(".maps");

static struct isn_set *near_isn_set_of(u32 isn)
{
	u32 set = isn & (NEAR_ISN_SETS - 1);

	return bpf_map_lookup_elem(&near_initial_sequences, &set);
}

static struct isn_set *isn_set_of(u32 isn)
{
	u32 set = isn & (ISN_SETS - 1);

	return bpf_map_lookup_elem(&initial_sequences, &set);
}

static void put_isn(struct isn_set *set, u32 way, u32 isn, u64 sk)
{
	set->sk[way] = sk;
	set->isn[way] = isn;
	set->settled[way] = 0;
}

static void remember_long(u32 isn, u64 sk)
{
	struct isn_set *set = isn_set_of(isn);

	if (set)
		put_isn(set, set->next++ & (ISN_WAYS - 1), isn, sk);
}

static void remember_isn(u32 isn, struct sock *sk)
{
	struct isn_set *set = near_isn_set_of(isn);
	u32 way;

	if (!set)
		return;
	way = set->next++ & (ISN_WAYS - 1);
	if (set->sk[way] && !set->settled[way])
		remember_long(set->isn[way], set->sk[way]);
	put_isn(set, way, isn, (u64)sk);
}

/* The connect is answered: what may still be looked for by its number comes soon. */
static void settle_isn(u32 isn)
{
	struct isn_set *set = near_isn_set_of(isn);

	if (!set)
		return;
	for (u32 way = 0; way < ISN_WAYS; way++) {
		if (set->isn[way] == isn)
			set->settled[way] = 1;
	}
}

/* 0: it is not there. */
static u64 sock_in(const struct isn_set *set, u32 isn)
{
	if (!set)
		return 0;
	for (u32 way = 0; way < ISN_WAYS; way++) {
		if (set->isn[way] == isn && set->sk[way])
			return set->sk[way];
	}
	return 0;
}

/* A function of its own to the verifier, which would otherwise follow what comes of each place that it may be found in. */
__noinline u64 find_isn(u32 isn)
{
	u64 sk = sock_in(near_isn_set_of(isn), isn);

	return sk ? sk : sock_in(isn_set_of(isn), isn);
}

/* The socket whose connect began with that number, when it was last seen; NULL: none that we follow. */
static struct sock *sock_by_isn(u32 isn)
{
	return (struct sock *)find_isn(isn);
}

struct listener {
	struct owner owner;
	u64 id; /* as a connection's */
	u32 netns;
	u32 drops; /* sk_drops, as far as they are explained */
	u16 port;
	u16 slot; /* see listeners_by_port */
	u8 passes; /* the filter, as far as it is about owners */
	u8 unused[3];
};

/*
 * Listeners, by address of their struct sock.
 *
 * Inserted: at LISTEN, by the iterator at start, and by the first refusal of an older one.
 * Deleted:  by tcp_destroy_sock.
 * Read by:  new requests, and refusals.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, u64);
	__type(value, struct listener);
} listeners SEC(".maps");

/* The connection of sk, even when it has just ended. */
static struct connection *last_connection_of(struct sock *sk)
{
	u64 key = (u64)sk;

	return bpf_map_lookup_elem(&connections, &key);
}

static struct connection *connection_of(struct sock *sk)
{
	struct connection *c = last_connection_of(sk);

	return c && !(c->flags & ENDED) ? c : NULL;
}

static u32 jiffies_now(void)
{
	return bpf_jiffies64();
}

/* How long the peer has sent nothing, neither data nor an acknowledgement: keepalive_time_elapsed of the kernel. */
static u32 idle_jiffies(struct sock *sk)
{
	u32 now = jiffies_now();
	u32 since_data = now - READ((struct inet_connection_sock *)sk, icsk_ack.lrcvtime);
	u32 since_ack = now - READ((struct tcp_sock *)sk, rcv_tstamp);

	return since_data < since_ack ? since_data : since_ack;
}

/* What a transmit returned, as an errno: 0, that errno negated, or one of the queue's NET_XMIT_*. */
static u32 errno_of_send(int result)
{
	if (result > 0)
		return ENOBUFS; /* as net_xmit_errno() says to applications */
	return -result;
}

/* e: of what was sent, or was to be. */
static void fill_result(struct event *e, int result)
{
	e->error = errno_of_send(result);
	if (result > 0)
		e->flags |= EVENT_LOCAL_CONGESTION;
}

static bool is_tcp(struct sock *sk)
{
	return READ(sk, sk_protocol) == IPPROTO_TCP;
}

static u64 new_connection_id(u64 now_ns)
{
	return now_ns << 8 | (bpf_get_smp_processor_id() & 0xff);
}

/* When c began, by its id. */
static u64 began_ns(const struct connection *c)
{
	return c->id >> 8;
}

static u64 isn_pair(u32 client_isn, u32 server_isn)
{
	return (u64)client_isn << 32 | server_isn;
}

static struct cgroup *default_cgroup(struct task_struct *task)
{
	return READ(task, cgroups, dfl_cgrp);
}

static u32 uid_of(struct task_struct *task)
{
	return READ(task, cred, uid.val);
}

/*
 * The process's name, not that of the thread that happened to call: it is what people look for. Older kernels leave the
 * rest of a longer, older name behind the terminator.
 */
static void read_comm(char *comm, struct task_struct *task)
{
	struct task_struct *leader = READ(task, group_leader);

	__builtin_memset(comm, 0, COMM_LEN);
	bpf_core_read_str(comm, COMM_LEN, &leader->comm);
}

static void read_owner(struct owner *owner, struct task_struct *task)
{
	owner->cgroup = READ(default_cgroup(task), kn, id);
	owner->pid = READ(task, tgid);
	owner->uid = uid_of(task);
	read_comm(owner->comm, task);
}

static void read_tuple(struct connection *c, struct sock *sk)
{
	struct sock_common *common = &sk->__sk_common;
	u16 local_port = READ(common, skc_num);
	u16 remote_port = bpf_ntohs(READ(common, skc_dport));

	c->family = READ(common, skc_family);
	/* 0 before it is known, and again at CLOSE: what was known stays. */
	if (local_port)
		c->local_port = local_port;
	if (remote_port)
		c->remote_port = remote_port;
	if (c->family == AF_INET6) {
		BPF_CORE_READ_INTO(&c->local, common, skc_v6_rcv_saddr.in6_u.u6_addr8);
		BPF_CORE_READ_INTO(&c->remote, common, skc_v6_daddr.in6_u.u6_addr8);
		return;
	}
	*(u32 *)c->local = READ(common, skc_rcv_saddr);
	*(u32 *)c->remote = READ(common, skc_daddr);
}

static u32 netns_of(struct sock *sk)
{
	return READ(sk, __sk_common.skc_net.net, ns.inum);
}

static u64 cookie_of(struct sock *sk)
{
	return READ(sk, __sk_common.skc_cookie.counter);
}

static bool sock_flag(struct sock *sk, u32 flag)
{
	return READ(sk, __sk_common.skc_flags) >> flag & 1;
}

static void read_options(struct settings *s, struct sock *sk)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	s->option_user_timeout_ms = READ(icsk, icsk_user_timeout);
	s->option_keepalive_idle_jiffies = READ(tp, keepalive_time);
	s->option_keepalive_interval_jiffies = READ(tp, keepalive_intvl);
	s->option_keepalive_count = READ(tp, keepalive_probes);
	s->option_rto_max_jiffies = option_rto_max_jiffies(icsk);
	s->option_linger2_jiffies = READ(tp, linger2);
	s->option_syn_retries = READ(icsk, icsk_syn_retries);
	s->option_mark = READ(sk, sk_mark);
	s->option_device = READ(sk, __sk_common.skc_bound_dev_if);
	if (sock_flag(sk, bpf_core_enum_value(enum sock_flags, SOCK_KEEPOPEN)))
		s->flags |= SETTINGS_KEEPALIVE;
}

static void read_sysctls(struct settings *s, struct net *net)
{
	s->sysctl_rto_max_ms = sysctl_rto_max_ms(net);
	s->sysctl_keepalive_idle_jiffies = READ(net, ipv4.sysctl_tcp_keepalive_time);
	s->sysctl_keepalive_interval_jiffies = READ(net, ipv4.sysctl_tcp_keepalive_intvl);
	s->sysctl_keepalive_count = READ(net, ipv4.sysctl_tcp_keepalive_probes);
	s->sysctl_fin_timeout_jiffies = READ(net, ipv4.sysctl_tcp_fin_timeout);
	s->sysctl_syn_retries = READ(net, ipv4.sysctl_tcp_syn_retries);
	s->sysctl_synack_retries = READ(net, ipv4.sysctl_tcp_synack_retries);
	s->sysctl_retries1 = READ(net, ipv4.sysctl_tcp_retries1);
	s->sysctl_retries2 = READ(net, ipv4.sysctl_tcp_retries2);
	s->sysctl_orphan_retries = READ(net, ipv4.sysctl_tcp_orphan_retries);
	s->sysctl_syncookies = READ(net, ipv4.sysctl_tcp_syncookies);
	s->sysctl_syn_linear_timeouts = linear_timeouts(net);

	if (has_linear_timeouts())
		s->flags |= SETTINGS_HAS_LINEAR_TIMEOUTS;
	if (READ(net, ipv4.sysctl_tcp_abort_on_overflow))
		s->flags |= SETTINGS_ABORT_ON_OVERFLOW;
	if (synacks_heed_rto_max())
		s->flags |= SETTINGS_SYNACK_RTO_MAX;
}

static void read_settings(struct settings *s, struct sock *sk)
{
	__builtin_memset(s, 0, sizeof(*s));
	read_options(s, sk);
	read_sysctls(s, READ(sk, __sk_common.skc_net.net));
}

static u32 options_digest(const struct settings *s)
{
	const u32 multiplier = 0x01000193; /* FNV's, which spreads each over all bits */
	u32 digest = s->option_user_timeout_ms;

	digest = digest * multiplier ^ s->option_keepalive_idle_jiffies;
	digest = digest * multiplier ^ s->option_keepalive_interval_jiffies;
	digest = digest * multiplier ^ s->option_keepalive_count;
	digest = digest * multiplier ^ s->option_rto_max_jiffies;
	digest = digest * multiplier ^ s->option_syn_retries;
	digest = digest * multiplier ^ s->option_linger2_jiffies;
	return digest * multiplier ^ (s->flags & SETTINGS_KEEPALIVE);
}

/* Tells whether an option was changed; sysctls may be, at any time, without anybody's noticing. */
static u32 options_of(struct sock *sk)
{
	struct settings s = {};

	read_options(&s, sk);
	return options_digest(&s);
}

#endif
