/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Sockets by their two ends, for packets that have none: what is dropped on its way in, and what ICMP quotes.
 */
#ifndef TCPTRACE_INDEX_H
#define TCPTRACE_INDEX_H

/*
 * Both ends of a connection as that end sees them. IPv4 addresses stand in their IPv4-mapped form, as IPv6 sockets have
 * them.
 */
struct ends {
	u32 netns;
	u16 local_port;
	u16 remote_port;
	u8 local[16];
	u8 remote[16];
} __attribute__((aligned(8)));

#define INDEX_SETS 512 /* a power of two */
#define INDEX_WAYS 3

struct index_set {
	u64 hash[INDEX_WAYS]; /* 0: free */
	u64 sk[INDEX_WAYS]; /* struct sock * */
	u64 takers; /* how many look for a free place just now */
};

/*
 * The first 1,536 of them or so, each in the set that a hash of its ends names: to come and to go takes 25 ns here, in the
 * hash map 160. In 28 KiB, which the kernel still has in one piece: what is larger it puts together from pages.
 *
 * Inserted: once both ends are known. Deleted: when the connection is forgotten.
 * Read by:  drops and ICMP errors.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, INDEX_SETS);
	__type(key, u32);
	__type(value, struct index_set);
} near_sockets_by_ends SEC(".maps");

/* Those that found no place there. Inserted, deleted and read as they are. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536); /* set at load: as many as connections */
	__type(key, struct ends);
	__type(value, u64); /* struct sock * */
} sockets_by_ends SEC(".maps");

static void mapped_address(u8 *mapped, u16 family, const u8 *address)
{
	if (family == AF_INET6) {
		__builtin_memcpy(mapped, address, 16);
		return;
	}
	__builtin_memset(mapped, 0, 10);
	mapped[10] = 0xff;
	mapped[11] = 0xff;
	__builtin_memcpy(mapped + 12, address, 4);
}

static void ends_of(struct ends *ends, const struct connection *c)
{
	ends->netns = c->netns;
	ends->local_port = c->local_port;
	ends->remote_port = c->remote_port;
	mapped_address(ends->local, c->family, c->local);
	mapped_address(ends->remote, c->family, c->remote);
}

/* As good as the ends themselves: two that have the same one do not happen. Not 0, which none has either. */
static u64 hash_of(const struct ends *ends)
{
	const u64 multiplier = 0x9e3779b97f4a7c15; /* odd, and half of its bits are set: 2^64 by the golden ratio */
	u64 words[sizeof(*ends) / sizeof(u64)], hash = 0;

	__builtin_memcpy(words, ends, sizeof(words));
	for (u32 i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		hash = (hash ^ words[i]) * multiplier;
		hash ^= hash >> 32; /* a product carries upwards only */
	}
	return hash;
}

static struct index_set *index_set_of(u64 hash)
{
	u32 set = hash & (INDEX_SETS - 1);

	return bpf_map_lookup_elem(&near_sockets_by_ends, &set);
}

/* Where that hash is, or 0 the first time; INDEX_WAYS: nowhere. */
static u32 way_of(const struct index_set *set, u64 hash)
{
	u32 way;

	for (way = 0; way < INDEX_WAYS; way++) {
		if (set->hash[way] == hash)
			break;
	}
	return way;
}

/* Gives sk the place of an earlier socket with the same ends, or a free one; false: there is none. */
static bool take_place(struct index_set *set, u64 hash, u64 sk)
{
	u32 way = way_of(set, hash);

	if (way >= INDEX_WAYS)
		way = way_of(set, 0);
	if (way >= INDEX_WAYS)
		return false;
	set->sk[way] = sk;
	set->hash[way] = hash;
	return true;
}

/* The same; and false if somebody else is about to take one, for both might take the same. */
static bool insert_near(u64 hash, u64 sk)
{
	struct index_set *set = index_set_of(hash);
	bool taken = false;

	if (!set)
		return false;
	__sync_fetch_and_add(&set->takers, 1);
	if (*(volatile u64 *)&set->takers == 1) /* whoever comes later finds more */
		taken = take_place(set, hash, sk);
	__sync_fetch_and_add(&set->takers, -1);
	return taken;
}

/* False: another socket's place, or none. */
static bool delete_near(u64 hash, u64 sk)
{
	struct index_set *set = index_set_of(hash);
	u32 way;

	if (!set)
		return false;
	way = way_of(set, hash);
	if (way >= INDEX_WAYS || set->sk[way] != sk)
		return false;
	set->hash[way] = 0;
	return true;
}

static void insert_socket(const struct ends *ends, u64 sk)
{
	if (!insert_near(hash_of(ends), sk))
		bpf_map_update_elem(&sockets_by_ends, ends, &sk, BPF_ANY);
}

/* Another socket may have the same ends by now: those of a connection are free before its socket is. */
static void delete_socket(const struct ends *ends, u64 sk)
{
	u64 *found;

	if (delete_near(hash_of(ends), sk))
		return;
	found = bpf_map_lookup_elem(&sockets_by_ends, ends);
	if (found && *found == sk)
		bpf_map_delete_elem(&sockets_by_ends, ends);
}

/* 0: it is not near. A function of its own to the verifier, which would otherwise follow what comes of each place. */
__noinline u64 find_near(u64 hash)
{
	struct index_set *set = index_set_of(hash);
	u32 way;

	if (!set)
		return 0;
	way = way_of(set, hash);
	return way < INDEX_WAYS ? set->sk[way] : 0;
}

/* 0: none. */
static u64 socket_by_ends(const struct ends *ends)
{
	u64 near = find_near(hash_of(ends)), *found;

	if (near)
		return near;
	found = bpf_map_lookup_elem(&sockets_by_ends, ends);
	return found ? *found : 0;
}

#endif
