/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Every difference between the kernels we run on, each with its cause. Nobody else knows of them, and nothing here
 * asks for a version: the running kernel's BTF says what exists, because point releases change it.
 */
#ifndef TCPTRACE_COMPAT_H
#define TCPTRACE_COMPAT_H

/* CONFIG_HZ; 0 where it could not be known. */
volatile const u32 ticks_per_second;

/* tcp_syn_linear_timeouts came with 6.5; without it the SYN timer doubles from the first retry on. */
static bool has_linear_timeouts(void)
{
	return bpf_core_field_exists(struct netns_ipv4, sysctl_tcp_syn_linear_timeouts);
}

static u8 linear_timeouts(struct net *net)
{
	if (!has_linear_timeouts())
		return 0;
	return READ(net, ipv4.sysctl_tcp_syn_linear_timeouts);
}

/* TCP_RTO_MAX_MS and tcp_rto_max_ms came with 6.15; 0 means that TCP_RTO_MAX (120 s) is a constant. */
static u32 option_rto_max_jiffies(struct inet_connection_sock *icsk)
{
	if (!bpf_core_field_exists(icsk->icsk_rto_max))
		return 0;
	return READ(icsk, icsk_rto_max);
}

/* The most that an RTO of this socket may be. */
static u32 rto_max_jiffies(struct inet_connection_sock *icsk)
{
	u32 option = option_rto_max_jiffies(icsk);

	return option ? option : TCP_RTO_MAX_SECONDS * ticks_per_second;
}

static u32 at_most_rto_max(struct inet_connection_sock *icsk, u32 rto)
{
	u32 most = rto_max_jiffies(icsk);

	return most && rto > most ? most : rto;
}

static u32 sysctl_rto_max_ms(struct net *net)
{
	if (!bpf_core_field_exists(struct netns_ipv4, sysctl_tcp_rto_max_ms))
		return 0;
	return READ(net, ipv4.sysctl_tcp_rto_max_ms);
}

/*
 * Whether the waits between SYN-ACKs are at most the listener's RTO maximum (tcp_reqsk_timeout), and not 120 s. That came
 * with 6.19, as did the place of the retransmission timer; functions that are inlined leave no trace of their own.
 */
static bool synacks_heed_rto_max(void)
{
	return bpf_core_field_exists(struct sock, tcp_retransmit_timer);
}

/*
 * How many timeouts there were since the first SYN. total_rto (6.7) is what tcp_retransmit_timer compares with the
 * linear timeouts; kernels without it have no linear timeouts to compare with.
 */
static u32 timeouts_so_far(struct tcp_sock *tp)
{
	if (bpf_core_field_exists(tp->total_rto))
		return READ(tp, total_rto);
	return READ(tp, inet_conn.icsk_retransmits);
}

/* retrans_stamp is in microseconds since 6.7 where a route asks for TCP timestamps of that grain, else in milliseconds. */
static bool stamps_are_us(struct tcp_sock *tp)
{
	if (!bpf_core_field_exists(tp->tcp_usec_ts))
		return false;
	return BPF_CORE_READ_BITFIELD_PROBED(tp, tcp_usec_ts);
}

/* What the kernel holds against its limit of time (retransmits_timed_out). */
static u32 elapsed_since_retransmission_ms(struct tcp_sock *tp)
{
	u32 stamp = READ(tp, retrans_stamp);
	u64 now_us = READ(tp, tcp_mstamp);
	s32 elapsed;

	if (!stamp)
		return 0;
	if (stamps_are_us(tp))
		return ((u32)now_us - stamp) / 1000;
	elapsed = (u32)(now_us / 1000) - stamp;
	return elapsed > 0 ? elapsed : 0; /* what is paced has the time at which it may leave */
}

/* icsk_probes_tstamp came with 5.11; without it TCP_USER_TIMEOUT cannot end a closed window that is being answered. */
static u32 first_window_probe_jiffies(struct inet_connection_sock *icsk)
{
	if (!bpf_core_field_exists(icsk->icsk_probes_tstamp))
		return 0;
	return READ(icsk, icsk_probes_tstamp);
}

/*
 * Where a socket's keepalive timer is. It went from struct sock to struct inet_connection_sock with 6.19, and in the
 * middle of 6.1 and 6.12; sk_timer is still there afterwards, for others.
 */
static u64 keepalive_timer_offset(void)
{
	if (bpf_core_field_exists(struct inet_connection_sock, icsk_keepalive_timer))
		return bpf_core_field_offset(struct inet_connection_sock, icsk_keepalive_timer);
	return bpf_core_field_offset(struct sock, sk_timer);
}

/* And its timer of retransmissions and window probes, which went the other way with 6.19. */
static u64 write_timer_offset(void)
{
	if (bpf_core_field_exists(struct sock, tcp_retransmit_timer))
		return bpf_core_field_offset(struct sock, tcp_retransmit_timer);
	return bpf_core_field_offset(struct inet_connection_sock, icsk_retransmit_timer);
}

/* When the retransmission timer is due. icsk_timeout said so until it went (6.16), as the timer itself does since. */
static u64 retransmit_expires_jiffies(struct sock *sk)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;
	struct timer_list *timer = (struct timer_list *)((u64)sk + write_timer_offset());

	if (bpf_core_field_exists(icsk->icsk_timeout))
		return READ(icsk, icsk_timeout);
	return READ(timer, expires);
}

/* The keepalive timer is that of FIN_WAIT2, too. */
static struct timer_list *keepalive_timer(struct sock *sk)
{
	return (struct timer_list *)((u64)sk + keepalive_timer_offset());
}

static bool keepalive_armed(struct sock *sk)
{
	return READ(keepalive_timer(sk), entry.pprev);
}

static u64 keepalive_expires_jiffies(struct sock *sk)
{
	return READ(keepalive_timer(sk), expires);
}

/*
 * What tells a network namespace from an earlier one at the same address. Since 5.12 each has its cookie from the start;
 * before that it was an atomic64_t, and 0 until somebody asked for it, so that the address alone must do.
 */
static u64 net_cookie_of(struct net *net)
{
	if (!bpf_core_field_exists(struct net, net_cookie))
		return 0;
	return READ(net, net_cookie);
}

/*
 * Who counts a repeated SYN-ACK in num_retrans: tcp_rtx_synack itself, at its end, since its wrapper inet_rtx_syn_ack
 * is gone (6.17); the wrapper before that. The pointer to it went from struct request_sock_ops in the same series.
 */
static bool rtx_synack_counts(void)
{
	return !bpf_core_field_exists(struct request_sock_ops, rtx_syn_ack);
}

#endif
