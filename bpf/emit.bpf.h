/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Records on their way to user space: begin, fill, submit; or count as lost.
 */
#ifndef TCPTRACE_EMIT_H
#define TCPTRACE_EMIT_H

/*
 * What happened, in the order in which it was reserved.
 *
 * Inserted: begin() and begin_with_settings().
 * Read by:  user space.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20); /* set at load */
} events SEC(".maps");

/*
 * Records that found no room, by kind.
 *
 * Written: when a reservation fails; and, as kind 0, when a connection finds no room in its map.
 * Read by: user space, per CPU.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EVENT_KINDS + 1);
	__type(key, u32);
	__type(value, u64);
} lost SEC(".maps");

#define LOST_CONNECTION 0
#define LOST_UNSEEN EVENT_KINDS /* changes of state that no program saw */

/* Whether anybody wants to know on top of which task things happened. */
volatile const bool with_context;

static void count_lost(u32 kind)
{
	u64 *count = bpf_map_lookup_elem(&lost, &kind);

	if (count)
		__sync_fetch_and_add(count, 1);
}

/*
 * Advances even when the record is lost, so that a gap in user space is a known gap. An accept, which has no lock of the
 * socket's, may get the same number as what a softirq records on another CPU at that very moment: 5.10 has no atomic
 * fetch. So gaps are found by counting the records, and not by looking for a number.
 */
static u32 next_nth(struct connection *c)
{
	__sync_fetch_and_add(&c->nth, 1);
	return c->nth;
}

static void fill_context(struct context *context)
{
	/* The one helper about the current task that every kernel gives to sockops programs too. */
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	__builtin_memset(context, 0, sizeof(*context));
	context->pid = READ(task, tgid);
	context->cpu = bpf_get_smp_processor_id();
	BPF_CORE_READ_STR_INTO(&context->comm, task, comm);
}

/* A connection without trouble says nothing: see trouble.bpf.h. */
volatile const bool only_troubled;

static bool is_untroubled(const struct connection *c)
{
	return only_troubled && !c->troubled;
}

/* No record is made of c now, whatever happens to it: that spares the time, and what else only records need. */
static bool is_silent(const struct connection *c)
{
	return !(c->flags & FOLLOWED) || is_untroubled(c);
}

static void fill(struct event *e, const struct connection *c, u8 kind, u32 nth, u64 now_ns)
{
	__builtin_memset(e, 0, sizeof(*e));
	e->time_ns = now_ns;
	e->connection = c->id;
	e->kind = kind;
	e->nth = nth;
	e->netns = c->netns;
	e->role = c->role;
	e->isn = c->isn;
	e->peer_isn = c->peer_isn;
	e->family = c->family;
	e->local_port = c->local_port;
	e->remote_port = c->remote_port;
	__builtin_memcpy(e->local, c->local, sizeof(e->local));
	__builtin_memcpy(e->remote, c->remote, sizeof(e->remote));
	e->owner_pid = c->owner.pid;
	e->owner_uid = c->owner.uid;
	e->owner_cgroup = c->owner.cgroup;
	__builtin_memcpy(e->owner_comm, c->owner.comm, COMM_LEN);
	if (c->flags & VIA_LISTENER)
		e->flags |= EVENT_VIA_LISTENER;
	if (c->flags & PRE_EXISTING)
		e->flags |= EVENT_PRE_EXISTING;
}

/*
 * A record of size bytes that begins with a filled struct event. NULL: not followed, not wanted, or lost and counted.
 *
 * The begin functions are inlined because the verifiers of 5.10 and 6.1 ask for it: they do not know that a record
 * which was checked here cannot be NULL when the caller checks it again, and miss its release on that path
 * ("Unreleased reference"). Inlined, the second check is no more.
 */
static __always_inline struct event *begin_sized(struct connection *c, u8 kind, u64 now_ns, u64 size)
{
	struct event *e;
	u32 nth;

	if (is_silent(c))
		return NULL;
	nth = next_nth(c);
	e = bpf_ringbuf_reserve(&events, with_context ? size + sizeof(struct context) : size, 0);
	if (!e) {
		count_lost(kind);
		return NULL;
	}
	fill(e, c, kind, nth, now_ns);
	if (with_context) {
		e->flags |= EVENT_HAS_CONTEXT;
		fill_context((void *)e + size);
	}
	return e;
}

static __always_inline struct event *begin(struct connection *c, u8 kind, u64 now_ns)
{
	return begin_sized(c, kind, now_ns, sizeof(struct event));
}

static __always_inline struct event_with_settings *begin_with_settings(struct connection *c, u8 kind, u64 now_ns, struct sock *sk)
{
	struct event_with_settings *e;

	e = (struct event_with_settings *)begin_sized(c, kind, now_ns, sizeof(*e));
	if (!e) {
		if (!is_untroubled(c)) /* that may be told of later, with the options of then */
			c->options = options_of(sk); /* they are known to be lost */
		return NULL;
	}
	e->event.flags |= EVENT_HAS_SETTINGS;
	e->event.cookie = cookie_of(sk);
	read_settings(&e->settings, sk);
	c->options = options_digest(&e->settings);
	c->options_untold = 0;
	return e;
}

/* The same of a request, which has no settings but its listener's. */
static __always_inline struct event_with_settings *begin_with_listener(struct connection *c, u8 kind, u64 now_ns, struct sock *listening)
{
	struct event_with_settings *e = begin_with_settings(c, kind, now_ns, listening);

	if (e)
		e->event.cookie = 0; /* the listener has one of its own */
	return e;
}

static __always_inline struct event_with_traffic *begin_with_traffic(struct connection *c, u8 kind, u64 now_ns)
{
	struct event_with_traffic *e;

	e = (struct event_with_traffic *)begin_sized(c, kind, now_ns, sizeof(*e));
	if (e)
		e->event.flags |= EVENT_HAS_TRAFFIC;
	return e;
}

/* The same with struct details, and with as much behind it as makes size. */
static __always_inline struct event_with_details *begin_detailed(struct connection *c, u8 kind, u64 now_ns, u64 size)
{
	struct event_with_details *e = (struct event_with_details *)begin_sized(c, kind, now_ns, size);

	if (!e)
		return NULL;
	__builtin_memset(&e->details, 0, sizeof(e->details));
	e->event.flags |= EVENT_HAS_DETAILS;
	return e;
}

static __always_inline struct event_with_details *begin_with_details(struct connection *c, u8 kind, u64 now_ns)
{
	return begin_detailed(c, kind, now_ns, sizeof(struct event_with_details));
}

/* What queue says, the caller writes. */
static __always_inline struct event_with_queue *begin_with_queue(struct connection *c, u8 kind, u64 now_ns)
{
	struct event_with_queue *e = (struct event_with_queue *)begin_detailed(c, kind, now_ns, sizeof(*e));

	if (e)
		e->event.flags |= EVENT_HAS_QUEUE;
	return e;
}

/* When user space was last woken. By the clock, not in jiffies: these stand still when it is a CPU's turn to count them that
 * the hypervisor has left without one. */
u64 woken_ns;

#define WAKE_EVERY_NS 4000000

/*
 * User space is woken once in a while only, and takes what follows when it has rested (tracer/wait.go): to wake a thread
 * costs whom we trace more than a record does. The record's own time will do to tell when: to ask for the time takes as
 * long as to look up a connection (25 ns). record begins with a struct event.
 */
static void submit(void *record)
{
	u64 time_ns = ((struct event *)record)->time_ns;
	s64 since_ns = time_ns - woken_ns;
	u64 flags = BPF_RB_NO_WAKEUP;

	if (since_ns >= WAKE_EVERY_NS) {
		woken_ns = time_ns;
		flags = BPF_RB_FORCE_WAKEUP; /* without being asked to, the ring wakes nobody who has left something unread */
	}
	bpf_ringbuf_submit(record, flags);
}

#endif
