/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Which connections are followed. Dimensions are combined with and, the values of one dimension with or; a
 * dimension that is not asked for costs nothing, as the verifier sees a constant.
 */
#ifndef TCPTRACE_FILTER_H
#define TCPTRACE_FILTER_H

enum filter_dimension {
	FILTER_TASK = 1,
	FILTER_COMM = 2,
	FILTER_UID = 4,
	FILTER_CGROUP = 8,
	FILTER_NETNS = 16,
	FILTER_PORT = 32,
	FILTER_LOCAL_PORT = 64,
	FILTER_REMOTE_PORT = 128,
	FILTER_ADDRESS = 256,
};

#define FILTER_OWNER (FILTER_TASK | FILTER_COMM | FILTER_UID | FILTER_CGROUP)

volatile const u32 filter_dimensions;

/* AF_INET or AF_INET6; 0 for both. */
volatile const u16 filter_family;

/* The other end of a followed connect is followed too, whoever owns it. */
volatile const bool follow_peers;

/* More levels than systemd or Kubernetes make of a hierarchy. */
#define CGROUP_DEPTH 16

/*
 * The sets that a filter compares with. All are filled before the first program is attached, but tasks, which
 * sched_process_fork and sched_process_exit keep when a command's children are followed.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, u32);
	__type(value, u8);
} tasks SEC(".maps");

struct comm_key {
	char comm[COMM_LEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct comm_key);
	__type(value, u8);
} comms SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, u8);
} uids SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u64);
	__type(value, u8);
} cgroups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, u8);
} namespaces SEC(".maps");

/* port_key.dimension is one of the FILTER_*_PORT. */
struct port_key {
	u16 dimension;
	u16 port;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct port_key);
	__type(value, u8);
} ports SEC(".maps");

/* IPv4 networks stand in their IPv4-mapped form, so one trie holds both families. */
struct network_key {
	u32 prefix_bits;
	u8 address[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 256);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct network_key);
	__type(value, u8);
} networks SEC(".maps");

static bool under_cgroup(struct task_struct *task)
{
	struct cgroup_subsys_state *css = &default_cgroup(task)->self;

	for (int i = 0; i < CGROUP_DEPTH && css; i++) {
		u64 id = READ(css, cgroup, kn, id);

		if (bpf_map_lookup_elem(&cgroups, &id))
			return true;
		css = READ(css, parent);
	}
	return false;
}

/*
 * Whether what this task owns is followed, as far as that is about owners. It reads no more of the task than is asked for:
 * of those who do not pass nothing else is needed.
 */
static bool owner_passes(struct task_struct *task)
{
	if (filter_dimensions & FILTER_TASK) {
		u32 pid = READ(task, tgid);

		if (!bpf_map_lookup_elem(&tasks, &pid))
			return false;
	}
	if (filter_dimensions & FILTER_UID) {
		u32 uid = uid_of(task);

		if (!bpf_map_lookup_elem(&uids, &uid))
			return false;
	}
	if (filter_dimensions & FILTER_COMM) {
		struct comm_key key;

		read_comm(key.comm, task);
		if (!bpf_map_lookup_elem(&comms, &key))
			return false;
	}
	return !(filter_dimensions & FILTER_CGROUP) || under_cgroup(task);
}

static bool port_in(u16 dimension, u16 port)
{
	struct port_key key = { .dimension = dimension, .port = port };

	return bpf_map_lookup_elem(&ports, &key);
}

static bool address_in(u16 family, const u8 *address)
{
	struct network_key key = { .prefix_bits = 128 };

	if (family == AF_INET6) {
		__builtin_memcpy(key.address, address, 16);
	} else {
		key.address[10] = 0xff;
		key.address[11] = 0xff;
		__builtin_memcpy(key.address + 12, address, 4);
	}
	return bpf_map_lookup_elem(&networks, &key);
}

/* A v6 socket that talks to an IPv4 address (::ffff:a.b.c.d) counts as IPv4: that is what is on the wire. */
static bool family_passes(const struct connection *c)
{
	const u32 *words = (const u32 *)c->remote;
	bool v4 = c->family == AF_INET || (!words[0] && !words[1] && words[2] == bpf_htonl(0xffff));

	return v4 == (filter_family == AF_INET);
}

static bool ports_pass(u16 local_port, u16 remote_port)
{
	if (filter_dimensions & FILTER_PORT && !port_in(FILTER_PORT, local_port) && !port_in(FILTER_PORT, remote_port))
		return false;
	if (filter_dimensions & FILTER_LOCAL_PORT && !port_in(FILTER_LOCAL_PORT, local_port))
		return false;
	return !(filter_dimensions & FILTER_REMOTE_PORT) || port_in(FILTER_REMOTE_PORT, remote_port);
}

/* What of tuple_passes a socket can tell, or a request, before anything is known of it as a connection. */
static bool has_ports_that_pass(struct sock *sk)
{
	struct sock_common *common = &sk->__sk_common;

	if (!(filter_dimensions & (FILTER_PORT | FILTER_LOCAL_PORT | FILTER_REMOTE_PORT)))
		return true;
	return ports_pass(READ(common, skc_num), bpf_ntohs(READ(common, skc_dport)));
}

static bool tuple_passes(const struct connection *c)
{
	if (filter_family && !family_passes(c))
		return false;
	if (filter_dimensions & FILTER_NETNS && !bpf_map_lookup_elem(&namespaces, &c->netns))
		return false;
	if (!ports_pass(c->local_port, c->remote_port))
		return false;
	if (filter_dimensions & FILTER_ADDRESS && !address_in(c->family, c->local) &&
	    !address_in(c->family, c->remote))
		return false;
	return true;
}

#endif
