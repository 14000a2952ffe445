/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Options set on a connection that lives: from then on its timers go by others than it began with.
 */
#ifndef TCPTRACE_OPTIONS_H
#define TCPTRACE_OPTIONS_H

static void tell_options(struct connection *c, struct sock *sk, u64 now_ns, u8 trigger)
{
	struct event_with_settings *e = begin_with_settings(c, EVENT_OPTIONS_CHANGED, now_ns, sk);

	if (!e)
		return;
	e->event.state = READ(sk, __sk_common.skc_state);
	e->event.trigger = trigger;
	submit(e);
}

/* Records that an option is no longer what it was when the last were recorded, if that is so. */
static void note_options(struct connection *c, struct sock *sk, u64 now_ns)
{
	if (options_of(sk) != c->options)
		tell_options(c, sk, now_ns, TRIGGER_NONE);
}

/* The same when a timer goes by them, which is when those matter that nobody has been told of. */
static void note_rules(struct connection *c, struct sock *sk, u64 now_ns)
{
	if (c->options_untold)
		tell_options(c, sk, now_ns, TRIGGER_TIMER);
	else
		note_options(c, sk, now_ns);
}

/* Only what was announced has options to compare with: those set before connect() are its own from the start. */
static struct connection *with_known_options(struct sock *sk)
{
	struct connection *c = sk ? connection_of(sk) : NULL;

	return c && c->flags & ANNOUNCED ? c : NULL;
}

/* After a setsockopt() that may have concerned a connection. */
static void record_options(struct sock *sk)
{
	struct connection *c = with_known_options(sk);

	if (c)
		note_options(c, sk, bpf_ktime_get_ns());
}

/*
 * SO_KEEPALIVE is being set. The flag itself follows only when tcp_set_keepalive has returned, so that here it is what
 * is being asked for that counts.
 */
static void record_keepalive_option(struct sock *sk, bool on)
{
	struct connection *c = with_known_options(sk);
	struct event_with_settings *e;
	struct settings asked = {};

	if (!c)
		return;
	read_options(&asked, sk);
	asked.flags = on ? SETTINGS_KEEPALIVE : 0;
	if (options_digest(&asked) == c->options)
		return;
	e = begin_with_settings(c, EVENT_OPTIONS_CHANGED, bpf_ktime_get_ns(), sk);
	if (!e)
		return;
	e->event.state = READ(sk, __sk_common.skc_state);
	e->settings.flags = (e->settings.flags & ~SETTINGS_KEEPALIVE) | asked.flags;
	submit(e);
	c->options = options_digest(&asked);
}

/*
 * Sockets whose options are being set, by thread.
 *
 * Inserted: when setsockopt() starts. Deleted: when it returns; LRU for threads that never do.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, u64); /* struct sock * */
} option_calls SEC(".maps");

#endif
