/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Every difference between the kernels we run on, each with its cause. Nobody else knows of them, and nothing here
 * asks for a version: the running kernel's BTF says what exists, because point releases change it.
 */
#ifndef TCPTRACE_COMPAT_H
#define TCPTRACE_COMPAT_H

/* tcp_syn_linear_timeouts came with 6.5; without it the SYN timer doubles from the first retry on. */
static bool has_linear_timeouts(void)
{
	return bpf_core_field_exists(struct netns_ipv4, sysctl_tcp_syn_linear_timeouts);
}

static u8 linear_timeouts(struct net *net)
{
	if (!has_linear_timeouts())
		return 0;
	return BPF_CORE_READ(net, ipv4.sysctl_tcp_syn_linear_timeouts);
}

/* TCP_RTO_MAX_MS and tcp_rto_max_ms came with 6.15; 0 means that TCP_RTO_MAX (120 s) is a constant. */
static u32 option_rto_max_jiffies(struct inet_connection_sock *icsk)
{
	if (!bpf_core_field_exists(icsk->icsk_rto_max))
		return 0;
	return BPF_CORE_READ(icsk, icsk_rto_max);
}

static u32 sysctl_rto_max_ms(struct net *net)
{
	if (!bpf_core_field_exists(struct netns_ipv4, sysctl_tcp_rto_max_ms))
		return 0;
	return BPF_CORE_READ(net, ipv4.sysctl_tcp_rto_max_ms);
}

/*
 * How many timeouts there were since the first SYN. total_rto (6.7) is what tcp_retransmit_timer compares with the
 * linear timeouts; kernels without it have no linear timeouts to compare with.
 */
static u32 timeouts_so_far(struct tcp_sock *tp)
{
	if (bpf_core_field_exists(tp->total_rto))
		return BPF_CORE_READ(tp, total_rto);
	return BPF_CORE_READ(tp, inet_conn.icsk_retransmits);
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
