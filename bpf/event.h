/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What crosses the ring buffer. This is the only place where the wire format is written: Go's side of it is
 * generated from here.
 *
 * Every byte of a record is written, ports are in host order, addresses are in network order (IPv4 in the first
 * four bytes), and units are in the names. There are no unions.
 */
#ifndef TCPTRACE_EVENT_H
#define TCPTRACE_EVENT_H

#define COMM_LEN 16
#define IFNAME_LEN 16

/* The same numbers as the kinds of tracer/event; a test compares the two. */
enum event_kind {
	EVENT_CONNECT = 1,
	EVENT_SYN_SENT,
	EVENT_SYN_RECEIVED,
	EVENT_SYN_RETRANSMIT,
	EVENT_SYNACK_RETRANSMIT,
	EVENT_SYNACK_DUPLICATE,
	EVENT_ESTABLISHED,
	EVENT_ACCEPT,
	EVENT_STATE,
	EVENT_OPTIONS_CHANGED,
	EVENT_RETRANSMIT,
	EVENT_KEEPALIVE_PROBE,
	EVENT_KEEPALIVE_ANSWER,
	EVENT_WINDOW_PROBE,
	EVENT_RESET_SENT,
	EVENT_RESET_RECEIVED,
	EVENT_ICMP_ERROR,
	EVENT_ACCEPT_QUEUE_FULL,
	EVENT_SYN_QUEUE_FULL,
	EVENT_SYNACK_TIMEOUT,
	EVENT_DROP,
	EVENT_ERROR,
	EVENT_CLOSE,
	EVENT_KINDS,
};

/* What made the kernel send data again: event.trigger. */
enum trigger {
	TRIGGER_NONE,
	TRIGGER_RTO, /* the retransmission timer, or that of a SYN-ACK */
	TRIGGER_FAST, /* what the peer acknowledged, and what it did not */
	TRIGGER_TLP, /* a tail loss probe */
	TRIGGER_SYN, /* of a SYN-ACK: its SYN came again */
	TRIGGER_TIMER, /* of options: a timer goes by them that nobody had been told of */
};

/* At which packet of the handshake a listener had no room: queue.stage. */
enum stage {
	STAGE_NONE,
	STAGE_SYN,
	STAGE_ACK, /* the final ACK, or what follows it */
};

/* What a listener did with a SYN for which its SYN queue had no room: queue.action. */
enum action {
	ACTION_NONE,
	ACTION_COOKIE,
	ACTION_DROP,
};

enum role {
	ROLE_UNKNOWN,
	ROLE_CLIENT,
	ROLE_SERVER,
	ROLE_LISTENER,
};

/* event.flags */
enum event_flags {
	EVENT_VIA_LISTENER = 1, /* the owner is still the listener's: not accepted yet */
	EVENT_PRE_EXISTING = 2, /* the connection is older than the trace */
	EVENT_BY_COOKIE = 4, /* the handshake was completed by a SYN cookie: there was no request */
	EVENT_HAS_REASON = 8, /* reason is one of the kernel's, even when it is 0 */
	EVENT_HAS_SETTINGS = 16,
	EVENT_HAS_TRAFFIC = 32,
	EVENT_HAS_DETAILS = 64,
	EVENT_HAS_QUEUE = 128, /* and details */
	EVENT_HAS_PACKET = 256, /* and details */
	EVENT_HAS_CONTEXT = 512,
	EVENT_KEPT_HERE = 1024, /* what waits fits into the peer's window, and yet nothing is on its way */
	EVENT_LOCAL_CONGESTION = 2048, /* the queue of this host refused it (NET_XMIT_*), which is what error says */
};

/*
 * What every record begins with. flags say what follows: nothing, or struct settings, struct traffic or struct details, and
 * after the last struct queue or struct packet; and behind all that, struct context. A healthy connection makes a dozen
 * records, and the ring has room for as many more as these are shorter.
 */
struct event {
	__u64 time_ns; /* CLOCK_MONOTONIC, taken at the hook */
	__u64 connection; /* see struct connection */
	__u64 cookie;
	__u64 owner_cgroup;
	__u32 nth;
	__u32 netns;
	__u32 isn;
	__u32 peer_isn;
	__u32 rto_jiffies;
	__u32 idle_jiffies; /* since the peer's last segment */
	__u32 error; /* positive errno */
	__u32 owner_pid;
	__u32 owner_uid;
	__u16 family;
	__u16 local_port;
	__u16 remote_port;
	__u16 flags;
	__u8 kind;
	__u8 role;
	__u8 state;
	__u8 old_state;
	__u8 attempt;
	__u8 backoff;
	__u8 retransmits;
	__u8 probes_out;
	__u8 trigger;
	__u8 ttl; /* or hop limit, of what came from the peer; 0: unknown */
	__u8 unused[2];
	__u8 local[16];
	__u8 remote[16];
	char owner_comm[COMM_LEN];
};

/* What is not to be said of a change of state, nor of a connection's beginning and end. */
struct details {
	__u64 waited_ns;
	__u32 tcp_seq;
	__u32 tcp_ack;
	__u32 len;
	__u32 elapsed_ms; /* since the first retransmission of what is sent again, or since the first SYN */
	__u32 elapsed_jiffies; /* since the first window probe */
	__u32 count; /* how many this one stands for; 0 means 1 */
	__u32 reason;
	__u8 unused[4];
	char ifname[IFNAME_LEN];
};

struct event_with_details {
	struct event event;
	struct details details;
};

/* On top of which task it happened. */
struct context {
	__u32 pid;
	__u16 cpu; /* the kernel has at most 8192 (NR_CPUS) */
	__u8 unused[2];
	char comm[COMM_LEN];
};

/* settings.flags */
enum settings_flags {
	SETTINGS_KEEPALIVE = 1, /* SO_KEEPALIVE */
	SETTINGS_HAS_LINEAR_TIMEOUTS = 2, /* the kernel has tcp_syn_linear_timeouts */
	SETTINGS_ABORT_ON_OVERFLOW = 4,
	SETTINGS_SYNACK_RTO_MAX = 8, /* the kernel's RTO maximum is that of SYN-ACKs too */
};

/* What rules a socket's life, read from that very socket and its own network namespace. 0 of an option: not set. */
struct settings {
	__u32 option_user_timeout_ms;
	__u32 option_keepalive_idle_jiffies;
	__u32 option_keepalive_interval_jiffies;
	__u32 option_rto_max_jiffies;
	__s32 option_linger2_jiffies; /* negative: an orphan in FIN_WAIT2 is reset at once */
	__u32 option_mark;
	__u32 option_device; /* that the socket is bound to, by its number */
	__u32 sysctl_rto_max_ms;
	__u32 sysctl_keepalive_idle_jiffies;
	__u32 sysctl_keepalive_interval_jiffies;
	__u32 sysctl_fin_timeout_jiffies;
	__u8 option_syn_retries;
	__u8 option_keepalive_count;
	__u8 sysctl_syn_retries;
	__u8 sysctl_syn_linear_timeouts;
	__u8 sysctl_synack_retries;
	__u8 sysctl_retries1;
	__u8 sysctl_retries2;
	__u8 sysctl_orphan_retries;
	__u8 sysctl_keepalive_count;
	__u8 sysctl_syncookies;
	__u8 flags;
	__u8 unused[1];
};

struct event_with_settings {
	struct event event;
	struct settings settings;
};

/* What a connection carried. Bytes are of data: SYN and FIN do not count. */
struct traffic {
	__u64 bytes_sent; /* with retransmissions */
	__u64 bytes_acked;
	__u64 bytes_received;
	__u32 retransmitted_segments;
	__u32 unacked_bytes; /* sent, not acknowledged */
	__u32 unsent_bytes; /* written by the application, not sent */
	__u32 unread_bytes; /* received, not read by the application */
	__u32 send_window_bytes; /* what the peer last granted */
	__u8 unused[4];
};

struct event_with_traffic {
	struct event event;
	struct traffic traffic;
};

/* The queue of a listener that an event is about: 0 of 0 where the listener is not known. */
struct queue {
	__u32 len;
	__u32 max;
	__u8 stage;
	__u8 action;
	__u8 ambiguous; /* several listeners share the port, and this may be another's */
	__u8 unused[5];
};

struct event_with_queue {
	struct event event;
	struct details details;
	struct queue queue;
};

/* Which way a packet was going: packet.direction. */
enum direction {
	DIRECTION_UNKNOWN,
	DIRECTION_IN, /* to this host */
	DIRECTION_OUT, /* from this host */
	DIRECTION_FORWARD, /* through a network namespace of this host */
};

/* How far a packet had come, by netfilter's hooks: packet.hook. */
enum hook {
	HOOK_UNKNOWN,
	HOOK_PREROUTING,
	HOOK_INPUT,
	HOOK_FORWARD,
	HOOK_OUTPUT,
	HOOK_POSTROUTING,
};

/* A packet that was dropped, an ICMP error, or what a RST answered, of which there are the flags only. */
struct packet {
	__u64 location; /* an address within the function that dropped it */
	__u32 mtu; /* of an ICMP error: what would have passed; 0 when it does not say */
	__u16 address_family;
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 tcp_flags; /* as in the TCP header */
	__u8 direction;
	__u8 hook;
	__u8 unused[5];
	__u8 address[16]; /* who sent the ICMP error; of a packet on its way out, the next hop */
};

struct event_with_packet {
	struct event event;
	struct details details;
	struct packet packet;
};

/* How a connect was answered, where only that is asked for: a record of its own, see handshake.bpf.h. */
struct handshake {
	__u64 began_ns; /* CLOCK_MONOTONIC: connect(), just before the first SYN */
	__u64 ended_ns; /* the answer */
	__u32 syns; /* sent so far: the answer came after that many */
	__u32 error; /* positive errno of the answer; 0: it was a SYN-ACK */
	__u16 family;
	__u16 remote_port;
	__u8 unused[4];
	__u8 remote[16];
};

#endif
