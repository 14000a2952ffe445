/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The few kernel types we read, cut by hand. Offsets do not matter here: every access is relocated against the
 * running kernel's BTF, so a struct lists only the fields that we name.
 */
#ifndef TCPTRACE_KERNEL_H
#define TCPTRACE_KERNEL_H

#include <linux/bpf.h>

/* Makes bpf_tracing.h use the kernel's names of registers, those of struct pt_regs below. */
#define __VMLINUX_H__

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;
typedef _Bool bool;

#define NULL ((void *)0)
#define true 1
#define false 0

#define AF_INET 2
#define AF_INET6 10
#define ETH_P_IP 0x0800
#define IPPROTO_ICMP 1
#define IPPROTO_TCP 6
#define IPPROTO_ICMPV6 58
#define IPPROTO_MPTCP 262

#define EINTR 4
#define ENOBUFS 105
#define EISCONN 106
#define EALREADY 114
#define EINPROGRESS 115
#define ERESTARTSYS 512

/* What a queue or a filter says of a packet that it does not take (include/linux/netdevice.h). */
#define NET_XMIT_DROP 1

#define S_IFMT 00170000
#define S_IFSOCK 0140000

/* RTCF_LOCAL (include/uapi/linux/in_route.h), and RTF_LOCAL of IPv6 (ipv6_route.h): the route leads to this host. */
#define ROUTE_LOCAL 0x80000000

/* include/linux/skbuff.h: what is left of _skb_refdst is the route, referenced or not. */
#define SKB_DST_NOREF 1UL

/* include/uapi/linux/icmp.h */
enum {
	ICMP_DEST_UNREACH = 3,
	ICMP_SOURCE_QUENCH = 4,
	ICMP_TIME_EXCEEDED = 11,
	ICMP_PARAMETERPROB = 12,
};

#define ICMP_FRAG_NEEDED 4

/* include/uapi/linux/icmpv6.h: errors are the types below 128. */
#define ICMPV6_PKT_TOOBIG 2
#define ICMPV6_INFOMSG_MASK 0x80

/* include/net/tcp_states.h */
enum {
	TCP_STATE_UNKNOWN, /* ours */
	TCP_ESTABLISHED,
	TCP_SYN_SENT,
	TCP_SYN_RECV,
	TCP_FIN_WAIT1,
	TCP_FIN_WAIT2,
	TCP_TIME_WAIT,
	TCP_CLOSE,
	TCP_CLOSE_WAIT,
	TCP_LAST_ACK,
	TCP_LISTEN,
	TCP_CLOSING,
	TCP_NEW_SYN_RECV,
};

/* include/net/inet_connection_sock.h: values of icsk_pending */
enum {
	ICSK_TIME_NONE, /* ours */
	ICSK_TIME_RETRANS = 1,
	ICSK_TIME_PROBE0 = 3,
	ICSK_TIME_LOSS_PROBE = 5,
	ICSK_TIME_REO_TIMEOUT = 6,
};

/* include/uapi/linux/tcp.h: values of icsk_ca_state */
enum {
	TCP_CA_Open,
	TCP_CA_Disorder,
	TCP_CA_CWR,
	TCP_CA_Recovery,
	TCP_CA_Loss,
};

/* include/net/tcp.h, where the unit is HZ */
#define TCP_RTO_MAX_SECONDS 120
#define TCP_RTO_MIN_PER_SECOND 5
#define TCP_THIN_LINEAR_RETRIES 6
#define THIN_STREAM_PACKETS 4 /* tcp_stream_is_thin */

/* include/net/sock.h; their numbers come from the running kernel. */
enum sock_flags {
	SOCK_DEAD = 0,
	SOCK_DONE = 1,
	SOCK_KEEPOPEN = 3,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long di, si, dx, cx, r8, r9, ax, sp, ip, bp, orig_ax;
};
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
	u64 regs[31];
	u64 sp;
	u64 pc;
};
struct pt_regs {
	struct user_pt_regs user_regs;
};
#endif

struct ns_common {
	unsigned int inum;
};

struct netns_ipv4 {
	int sysctl_tcp_wmem[3];
	int sysctl_tcp_rmem[3];
	u8 sysctl_tcp_moderate_rcvbuf;
	u8 sysctl_tcp_thin_linear_timeouts;
	int sysctl_tcp_keepalive_time;
	int sysctl_tcp_keepalive_intvl;
	u8 sysctl_tcp_keepalive_probes;
	u8 sysctl_tcp_syn_retries;
	u8 sysctl_tcp_synack_retries;
	u8 sysctl_tcp_syncookies;
	u8 sysctl_tcp_retries1;
	u8 sysctl_tcp_retries2;
	u8 sysctl_tcp_orphan_retries;
	u8 sysctl_tcp_abort_on_overflow;
	u8 sysctl_tcp_syn_linear_timeouts; /* 6.5 */
	int sysctl_tcp_fin_timeout;
	int sysctl_tcp_rto_max_ms; /* 6.15 */
};

/* include/net/snmp.h: one for each CPU, and the pointer to them is that of no CPU. */
struct linux_mib {
	unsigned long mibs[1];
};

struct netns_mib {
	struct linux_mib *net_statistics;
};

struct net {
	struct ns_common ns;
	u64 net_cookie; /* 5.12 */
	struct netns_mib mib;
	struct netns_ipv4 ipv4;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct in6_addr {
	union {
		__u8 u6_addr8[16];
	} in6_u;
};

typedef struct {
	s64 counter;
} atomic64_t;

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	atomic_t refs;
} refcount_t;

typedef struct {
	unsigned int val;
} kuid_t;

struct hlist_node {
	struct hlist_node **pprev;
};

struct timer_list {
	struct hlist_node entry;
	unsigned long expires;
	void (*function)(struct timer_list *);
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	unsigned char skc_reuseport : 1;
	unsigned char skc_ipv6only : 1;
	int skc_bound_dev_if;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
	unsigned long skc_flags;
	struct sock *skc_listener;
};

struct sock_reuseport {
	u16 num_socks;
};

struct sock {
	struct sock_common __sk_common;
	struct {
		atomic_t rmem_alloc;
	} sk_backlog;
	int sk_rcvbuf;
	int sk_sndbuf;
	int sk_wmem_queued;
	refcount_t sk_wmem_alloc;
	u8 sk_userlocks : 4; /* a byte of its own since 6.12 */
	u8 sk_shutdown;
	u16 sk_protocol;
	int sk_err;
	int sk_err_soft;
	__u32 sk_mark;
	kuid_t sk_uid;
	struct socket *sk_socket;
	struct timer_list sk_timer;
	struct timer_list tcp_retransmit_timer; /* 6.19 */
	atomic_t sk_drops;
	u32 sk_ack_backlog;
	u32 sk_max_ack_backlog;
	struct sock_reuseport *sk_reuseport_cb;
};

struct ipv6_pinfo {
	u8 mcast_hops; /* until 6.7 nine bits of a signed number */
};

struct inet_sock {
	struct sock sk;
	struct ipv6_pinfo *pinet6;
	__be16 inet_sport;
	__be32 inet_saddr;
	__u8 mc_ttl;
};

struct fastopen_queue {
	int qlen;
	int max_qlen;
};

struct request_sock_queue {
	u8 rskq_defer_accept;
	atomic_t qlen;
	atomic_t young;
	struct fastopen_queue fastopenq;
	struct request_sock *rskq_accept_head;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	struct request_sock_queue icsk_accept_queue;
	unsigned long icsk_timeout; /* until 6.15 */
	struct timer_list icsk_retransmit_timer; /* until 6.18 */
	struct timer_list icsk_keepalive_timer; /* 6.19, and late 6.1 and 6.12 */
	__u32 icsk_rto;
	u32 icsk_rto_max; /* 6.15 */
	u32 icsk_probes_tstamp; /* 5.11, and late 5.10 */
	__u8 icsk_ca_state : 5;
	__u8 icsk_pending;
	__u8 icsk_retransmits;
	__u8 icsk_backoff;
	__u8 icsk_syn_retries;
	__u8 icsk_probes_out;
	u32 icsk_user_timeout;
	struct {
		__u32 lrcvtime;
	} icsk_ack;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	u32 rcv_nxt;
	u32 copied_seq;
	u32 snd_una;
	u32 snd_nxt;
	u32 snd_wnd;
	u32 write_seq;
	u32 packets_out;
	u32 segs_out;
	u64 bytes_sent;
	u64 bytes_retrans;
	u64 bytes_acked;
	u64 bytes_received;
	u64 tcp_mstamp;
	u32 srtt_us; /* times 8 */
	u32 rcv_tstamp;
	u32 lsndtime;
	u32 retrans_stamp;
	u32 total_retrans;
	int linger2;
	u16 total_rto; /* 6.7 */
	u8 thin_lto : 1;
	u8 tcp_usec_ts : 1; /* 6.7 */
	unsigned int keepalive_time;
	unsigned int keepalive_intvl;
	u8 keepalive_probes;
	struct {
		u64 time; /* us */
	} rcvq_space;
};

struct mptcp_sock {
	struct sock *first;
};

struct request_sock_ops {
	void *rtx_syn_ack; /* until 6.16 */
};

struct request_sock {
	struct sock_common __req_common;
	struct sock *sk;
	u8 num_retrans;
	u8 num_timeout : 7;
	struct timer_list rsk_timer;
};

struct inet_timewait_sock {
	struct sock_common __tw_common;
	unsigned char tw_substate;
	struct timer_list tw_timer;
};

struct inet_request_sock {
	struct request_sock req;
	u16 acked : 1;
};

struct tcp_request_sock {
	struct inet_request_sock req;
	bool tfo_listener;
	u32 rcv_isn;
	u32 snt_isn;
};

struct socket {
	struct sock *sk;
};

struct inode {
	unsigned short i_mode;
	unsigned long i_ino;
};

struct socket_alloc {
	struct socket socket;
	struct inode vfs_inode;
};

struct file {
	struct inode *f_inode;
	void *private_data;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct kernfs_node {
	u64 id;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct cred {
	kuid_t uid;
};

struct signal_struct {
	atomic_t live;
};

struct task_struct {
	int pid;
	int tgid;
	char comm[16];
	struct task_struct *group_leader;
	struct files_struct *files;
	struct css_set *cgroups;
	const struct cred *real_cred;
	const struct cred *cred;
	struct signal_struct *signal;
};

struct net_device {
	char name[16];
	possible_net_t nd_net;
};

/* include/net/dst.h, route.h and ip6_fib.h: the route that a packet takes. */
struct dst_entry {
	struct net_device *dev;
};

struct rtable {
	struct dst_entry dst;
	unsigned int rt_flags;
	u8 rt_gw_family; /* 0: the destination is on the link */
	__be32 rt_gw4;
	struct in6_addr rt_gw6;
};

struct rt6_info {
	struct dst_entry dst;
	struct in6_addr rt6i_gateway;
	u32 rt6i_flags;
};

/* What sk_buff.cb holds within TCP. */
struct tcp_skb_cb {
	__u32 seq;
	u8 tcp_flags; /* since 6.15 the lower half of a u16 */
	__u32 ack_seq;
};

struct sk_buff {
	struct sock *sk;
	struct net_device *dev;
	unsigned int len;
	char cb[48];
	unsigned long _skb_refdst;
	__u8 pkt_type : 3;
	unsigned int tail; /* what is behind it is not at head */
	unsigned char *head;
	unsigned char *data;
	__u16 transport_header;
	__u16 network_header;
};

struct bpf_sock_ops_kern {
	struct sock *sk;
	u8 op;
};

/* An array for each CPU: what its elements are at, less a CPU's own offset. */
struct bpf_array {
	void *pptrs[1];
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	u32 fd;
	struct file *file;
};

#pragma clang attribute pop

/* Headers as they are on the wire: fixed by RFC, so never relocated. */
struct ipv4_header {
	u8 version_ihl;
	u8 tos;
	__be16 length;
	__be16 id;
	__be16 fragment;
	u8 ttl;
	u8 protocol;
	__be16 checksum;
	u8 source[4];
	u8 destination[4];
};

struct ipv6_header {
	__be32 version_class_flow;
	__be16 payload_length;
	u8 next_header;
	u8 hop_limit;
	u8 source[16];
	u8 destination[16];
};

struct tcp_header {
	__be16 source;
	__be16 destination;
	__be32 seq;
	__be32 ack_seq;
	u8 data_offset;
	u8 flags;
	__be16 window;
};

#define TCP_FLAG_SYN 0x02
#define TCP_FLAG_RST 0x04
#define TCP_FLAG_ACK 0x10

/* sk_buff.pkt_type (linux/if_packet.h) */
#define PACKET_OTHERHOST 3
#define PACKET_OUTGOING 4

/* ICMP and ICMPv6 begin alike. */
struct icmp_header {
	u8 type;
	u8 code;
	__be16 checksum;
	__be16 unused;
	__be16 mtu; /* of ICMP's fragmentation needed; ICMPv6 has 32 bits for it */
};

/* Arguments of the syscall tracepoints: struct trace_entry (8 bytes), the number, then these. */
struct syscall_enter {
	u64 entry;
	s64 nr;
	u64 args[6];
};

struct syscall_exit {
	u64 entry;
	s64 nr;
	s64 ret;
};

#define IPV4_SOCKADDR_SIZE 8 /* as much of it as is used */

struct sockaddr_inet {
	u16 family;
	__be16 port;
	u8 v4[4]; /* or IPv6's flow label */
	u8 v6[16];
};

#endif
