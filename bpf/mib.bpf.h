/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The kernel's own counts of what listeners refuse (TcpExt of /proc/net/netstat). They are kept for each network
 * namespace and CPU, and a listener's packets are handled with softirqs disabled: what has been added on this CPU since
 * it was last looked at was added by the packet that has just been handled. Nothing else is exact. A listener's sk_drops
 * counts other drops too, and on all CPUs at once; and its queues may have changed again before anyone looks.
 */
#ifndef TCPTRACE_MIB_H
#define TCPTRACE_MIB_H

/* Numbers of these counters on the running kernel; 0 where they are not known. Their enum has no name to relocate by. */
volatile const u32 mib_listen_overflows; /* LINUX_MIB_LISTENOVERFLOWS, */
volatile const u32 mib_queue_full_drop; /* _TCPREQQFULLDROP, */
volatile const u32 mib_queue_full_cookies; /* _TCPREQQFULLDOCOOKIES, */
volatile const u32 mib_cookies_received; /* and _SYNCOOKIESRECV */

/* What a CPU keeps to itself. */
struct cpu_notes {
	u64 map; /* this map's and */
	u64 self; /* this element's address, to be read again as numbers */
	u64 offset; /* of this CPU's copy of anything that there is for each CPU; 0: not known yet */
	u64 request; /* the last request that was made, and */
	u64 final_ack; /* the last that was to become a child, by its isn_pair */
	u64 seen; /* what the first copy of a program has seen to: a struct sock *, and */
	u64 seen_as; /* what of it; see is_second_copy */
};

/* Written and read by: the functions below. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct cpu_notes);
} this_cpu SEC(".maps");

static struct cpu_notes *notes_of_this_cpu(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&this_cpu, &zero);
}

/* What a struct sock is seen as, beside its changes of state, which are less than this. */
#define SEEN_DESTROYED (1 << 16)

/*
 * Whether this is the second of two copies of a program, right behind the first: there is nothing left for it to do. That is
 * so nearly always, and spares the look-up of the connection. If anything came in between, or the first was skipped, it
 * says no, and the handler finds by the connection what is left to do.
 */
static bool is_second_copy(struct sock *sk, u64 seen_as)
{
	struct cpu_notes *notes = notes_of_this_cpu();

	if (!notes)
		return false;
	if (notes->seen == (u64)sk && notes->seen_as == seen_as) {
		notes->seen = 0;
		return true;
	}
	notes->seen = (u64)sk;
	notes->seen_as = seen_as;
	return false;
}

/*
 * What this CPU adds to the address of a per-CPU variable (__per_cpu_offset). That is no symbol that every kernel shows,
 * but an array for each CPU tells: where the kernel has its first element, and where this CPU finds it.
 */
static u64 this_cpus_offset(void)
{
	struct cpu_notes *notes = notes_of_this_cpu();
	u64 element = 0;

	if (!notes)
		return 0;
	if (notes->offset)
		return notes->offset;
	notes->map = (u64)&this_cpu;
	notes->self = (u64)notes;
	asm volatile("" ::: "memory"); /* read back from memory, they are plain numbers to the verifier */
	bpf_probe_read_kernel(&element, sizeof(element),
			      (void *)(notes->map + bpf_core_field_offset(struct bpf_array, pptrs)));
	notes->offset = notes->self - element;
	return notes->offset;
}

struct refusal_counts {
	u64 overflows; /* of accept queues */
	u64 queue_drops; /* of SYNs, by full SYN queues */
	u64 cookies; /* sent for the same reason */
	u64 cookies_received; /* valid ones */
	u32 known; /* they have been looked at on this CPU before */
	u32 cookies_known; /* and so has the last */
};

/* A namespace's address is used again. */
struct counted_key {
	u64 net;
	u64 cookie;
};

/*
 * The counts that have been looked at.
 *
 * Inserted: by the first look at a namespace. Deleted: LRU only.
 * Read by:  the next look, on the same CPU.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct counted_key);
	__type(value, struct refusal_counts);
} counted SEC(".maps");

static u64 read_mib(u64 statistics, u32 number)
{
	/* As if the one that is asked for were the first of them all. */
	return READ((struct linux_mib *)(statistics + number * sizeof(u64)), mibs[0]);
}

static u64 statistics_of(struct net *net)
{
	u64 offset = this_cpus_offset();

	if (!offset || !mib_listen_overflows || !net)
		return 0;
	/* By the helper it is a number to the verifier, to be added to. */
	return (u64)BPF_CORE_READ(net, mib.net_statistics) + offset;
}

static struct refusal_counts *counted_of(struct net *net)
{
	struct counted_key key = { .net = (u64)net, .cookie = net_cookie_of(net) };
	struct refusal_counts *counts = bpf_map_lookup_elem(&counted, &key);
	struct refusal_counts nothing = {};

	if (counts)
		return counts;
	bpf_map_update_elem(&counted, &key, &nothing, BPF_NOEXIST);
	return bpf_map_lookup_elem(&counted, &key);
}

/* What was added in between; all of it, if that cannot be said. */
static u64 added(u64 now, u64 before, bool known)
{
	return known && now >= before ? now - before : now;
}

/*
 * What net's listeners have refused on this CPU since the last look. Where there was none, it is what they have ever
 * refused, and known is 0. False: nothing.
 */
static bool take_refusals(struct net *net, struct refusal_counts *taken)
{
	u64 statistics = statistics_of(net);
	struct refusal_counts *before;
	u64 overflows, drops, cookies;

	if (!statistics)
		return false;
	before = counted_of(net);
	if (!before)
		return false;
	overflows = read_mib(statistics, mib_listen_overflows);
	drops = read_mib(statistics, mib_queue_full_drop);
	cookies = read_mib(statistics, mib_queue_full_cookies);
	taken->overflows = added(overflows, before->overflows, before->known);
	taken->queue_drops = added(drops, before->queue_drops, before->known);
	taken->cookies = added(cookies, before->cookies, before->known);
	taken->known = before->known;
	before->overflows = overflows;
	before->queue_drops = drops;
	before->cookies = cookies;
	before->known = 1;
	/* Of the SYN that is answered by a cookie; the cookie comes back to the same CPU, as a rule. */
	if (!before->cookies_known) {
		before->cookies_received = read_mib(statistics, mib_cookies_received);
		before->cookies_known = 1;
	}
	return taken->overflows || taken->queue_drops || taken->cookies;
}

/* Whether a valid SYN cookie has come to net on this CPU since the last look, or ever if there was none. */
static bool take_cookie(struct net *net)
{
	u64 statistics = statistics_of(net);
	struct refusal_counts *before;
	u64 received, taken;

	if (!statistics)
		return false;
	before = counted_of(net);
	if (!before)
		return false;
	received = read_mib(statistics, mib_cookies_received);
	taken = added(received, before->cookies_received, before->cookies_known);
	before->cookies_received = received;
	before->cookies_known = 1;
	return taken;
}

#endif
