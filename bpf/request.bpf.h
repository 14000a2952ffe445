/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Handshakes that a listener answered, by the pair of initial sequence numbers: the request sock and its child are different
 * objects, and share only this.
 */
#ifndef TCPTRACE_REQUEST_H
#define TCPTRACE_REQUEST_H

#define NEAR_REQUESTS 128 /* a power of two */

struct near_request {
	u64 pair; /* 0: free */
	u64 takers; /* how many want the place just now */
	struct connection c;
};

/*
 * Some of them, each in the place that its pair names: most complete before the next one wants that. It takes a connection
 * 0.6 us less than an LRU map, which has them and their buckets where no cache does, and puts each into another place. In
 * 26 KiB, which the kernel still has in one piece.
 *
 * Inserted: when a request is made for a SYN.
 * Deleted:  by its child's ESTABLISHED; or by another, if it is a second old.
 * Read by:  SYN-ACK retransmissions, drops, ICMP errors, and the child.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NEAR_REQUESTS);
	__type(key, u32);
	__type(value, struct near_request);
} near_requests SEC(".maps");

/*
 * Those that found their place taken, or were there for a second.
 *
 * Inserted: as they are, or by who takes their place.
 * Deleted:  as they are; LRU evicts those that never complete, a SYN flood above all.
 * Read by:  as they are.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, struct connection);
} requests SEC(".maps");

static struct near_request *near_request_of(u64 pair)
{
	u32 place = (pair ^ pair >> 32) & (NEAR_REQUESTS - 1);

	return bpf_map_lookup_elem(&near_requests, &place);
}

static struct connection *find_request(u64 pair)
{
	struct near_request *near = near_request_of(pair);

	if (near && near->pair == pair)
		return &near->c;
	return bpf_map_lookup_elem(&requests, &pair);
}

/* The same of one that, if it is known, became so just now: it is not looked for where there was no need to put it. */
static bool is_request_known(u64 pair)
{
	struct near_request *near = near_request_of(pair);

	return near && near->pair && find_request(pair);
}

#define REQUEST_IS_LATE_NS 1000000000

/* Whether the place is free for a request that begins at now_ns, or was just made so. */
static bool makes_room(struct near_request *near, u64 now_ns)
{
	if (!near->pair)
		return true;
	if ((s64)(now_ns - began_ns(&near->c)) < REQUEST_IS_LATE_NS)
		return false;
	return !bpf_map_update_elem(&requests, &near->pair, &near->c, BPF_ANY);
}

/* False also if somebody else is about to take the place, for both might. */
static bool take_near_request(u64 pair, const struct connection *c)
{
	struct near_request *near = near_request_of(pair);
	bool taken = false;

	if (!near)
		return false;
	__sync_fetch_and_add(&near->takers, 1);
	if (*(volatile u64 *)&near->takers == 1 && makes_room(near, began_ns(c))) { /* whoever comes later finds more */
		near->c = *c;
		near->pair = pair;
		taken = true;
	}
	__sync_fetch_and_add(&near->takers, -1);
	return taken;
}

static void keep_request(u64 pair, const struct connection *c)
{
	if (!take_near_request(pair, c))
		bpf_map_update_elem(&requests, &pair, c, BPF_ANY);
}

static void forget_request(u64 pair)
{
	struct near_request *near = near_request_of(pair);

	if (near && near->pair == pair)
		near->pair = 0;
	else
		bpf_map_delete_elem(&requests, &pair);
}

#endif
