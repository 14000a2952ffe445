// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The index: every program, each of which only hands its arguments to a topic's handler.
 *
 * Programs are called <event>_<mechanism>. Which of them are used is decided in tracer/hooks.go, one row an event
 * and mechanism; each is loaded alone, so one that a kernel refuses costs only itself.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

#include "event.h"
#include "read.bpf.h"
#include "compat.bpf.h"
#include "socket.bpf.h"
#include "request.bpf.h"
#include "filter.bpf.h"
#include "emit.bpf.h"
#include "trouble.bpf.h"
#include "index.bpf.h"
#include "packet.bpf.h"
#include "options.bpf.h"
#include "mib.bpf.h"
#include "probe.bpf.h"
#include "close.bpf.h"
#include "connect.bpf.h"
#include "retransmit.bpf.h"
#include "listen.bpf.h"
#include "reset.bpf.h"
#include "ttl.bpf.h"
#include "overflow.bpf.h"
#include "synack.bpf.h"
#include "drop.bpf.h"
#include "icmp.bpf.h"
#include "state.bpf.h"
#include "task.bpf.h"
#include "frame.bpf.h"
#include "sockets.bpf.h"
#include "handshake.bpf.h"

/* The kernel gives some helpers only to programs under a licence that it is compatible with. */
char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Names the types that user space shares but no map does, so that they are generated for Go. */
struct exported {
	struct event_with_settings with_settings;
	struct event_with_details with_details;
	struct context context;
	struct event_with_traffic with_traffic;
	struct event_with_queue with_queue;
	struct event_with_packet with_packet;
	enum trigger trigger;
	enum event_kind kind;
	enum stage stage;
	enum action action;
	enum refusal refusal;
	enum role role;
	enum connection_flags connection_flags;
	enum event_flags event_flags;
	enum settings_flags settings_flags;
	enum filter_dimension filter_dimension;
	enum socket_flags socket_flags;
	enum direction direction;
	enum hook hook;
	enum drop_class drop_class;
	struct handshake handshake;
};

const struct exported *exported;

/* ---- connect ---- */

SEC("fentry/tcp_connect")
int BPF_PROG(connect_fentry, struct sock *sk)
{
	record_connect(sk);
	return 0;
}

SEC("kprobe/tcp_connect")
int BPF_KPROBE(connect_kprobe, struct sock *sk)
{
	record_connect(sk);
	return 0;
}

/*
 * connect and syn_received without function hooks. It answers nothing, so that every operation keeps its default;
 * 1 is what a program at this hook returns.
 */
SEC("sockops")
int handshake_sockops(struct bpf_sock_ops *ops)
{
	struct sock *sk = NULL;

	/* Of the nine calls that a connection makes with both ends here, six are about something else. */
	if (ops->op != BPF_SOCK_OPS_TCP_CONNECT_CB && ops->op != BPF_SOCK_OPS_TIMEOUT_INIT)
		return 1;
	/* A request is no full socket, and ops->sk hides it: read what the kernel holds behind ops. */
	bpf_probe_read_kernel(&sk, sizeof(sk), &((struct bpf_sock_ops_kern *)ops)->sk);
	if (!sk)
		return 1;
	/* tcp_conn_request asks for the SYN-ACK's timeout, just before it keeps the request. */
	if (ops->op == BPF_SOCK_OPS_TCP_CONNECT_CB)
		record_connect(sk);
	else if (READ(sk, __sk_common.skc_state) == TCP_NEW_SYN_RECV)
		record_syn_received(READ(sk, __sk_common.skc_listener), (struct request_sock *)sk);
	return 1;
}

/* ---- error ---- */

SEC("fexit/tcp_v4_connect")
int BPF_PROG(error_v4_fexit, struct sock *sk, void *address, int address_len, int result)
{
	record_connect_end(sk, address, result);
	return 0;
}

SEC("fexit/tcp_v6_connect")
int BPF_PROG(error_v6_fexit, struct sock *sk, void *address, int address_len, int result)
{
	record_connect_end(sk, address, result);
	return 0;
}

SEC("kprobe/tcp_v4_connect")
int BPF_KPROBE(error_v4_kprobe, struct sock *sk, void *address)
{
	enter_frame(ctx, sk, address);
	return 0;
}

SEC("kretprobe/tcp_v4_connect")
int BPF_KRETPROBE(error_v4_kretprobe, int result)
{
	struct frame frame;

	if (leave_frame(ctx, &frame))
		record_connect_end((struct sock *)frame.sk, (void *)frame.other, result);
	return 0;
}

SEC("kprobe/tcp_v6_connect")
int BPF_KPROBE(error_v6_kprobe, struct sock *sk, void *address)
{
	enter_frame(ctx, sk, address);
	return 0;
}

SEC("kretprobe/tcp_v6_connect")
int BPF_KRETPROBE(error_v6_kretprobe, int result)
{
	struct frame frame;

	if (leave_frame(ctx, &frame))
		record_connect_end((struct sock *)frame.sk, (void *)frame.other, result);
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_connect")
int error_enter_tracepoint(struct syscall_enter *call)
{
	record_connect_call(call);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_connect")
int error_exit_tracepoint(struct syscall_exit *call)
{
	record_connect_return(call);
	return 0;
}

/* ---- syn_sent ---- */

SEC("tp_btf/net_dev_start_xmit")
int BPF_PROG(syn_sent_tracepoint, struct sk_buff *skb, struct net_device *dev)
{
	record_syn_sent(skb, dev);
	return 0;
}

SEC("fentry/dev_hard_start_xmit")
int BPF_PROG(syn_sent_fentry, struct sk_buff *skb, struct net_device *dev)
{
	record_syn_sent(skb, dev);
	return 0;
}

SEC("kprobe/dev_hard_start_xmit")
int BPF_KPROBE(syn_sent_kprobe, struct sk_buff *skb, struct net_device *dev)
{
	record_syn_sent(skb, dev);
	return 0;
}

/* ---- syn_retransmit, retransmit ---- */

SEC("fexit/tcp_retransmit_skb")
int BPF_PROG(retransmit_fexit, struct sock *sk, struct sk_buff *skb, int segs, int result)
{
	record_retransmit(sk, skb, result);
	return 0;
}

SEC("kprobe/tcp_retransmit_skb")
int BPF_KPROBE(retransmit_kprobe, struct sock *sk, struct sk_buff *skb)
{
	enter_frame(ctx, sk, skb);
	return 0;
}

SEC("kretprobe/tcp_retransmit_skb")
int BPF_KRETPROBE(retransmit_kretprobe, int result)
{
	struct frame frame;

	if (leave_frame(ctx, &frame))
		record_retransmit((struct sock *)frame.sk, (struct sk_buff *)frame.other, result);
	return 0;
}

/* Since 6.17 the tracepoint also fires for what could not be sent, and says so. */
SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(retransmit_tracepoint_result, struct sock *sk, struct sk_buff *skb, int result)
{
	record_retransmit(sk, skb, result);
	return 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(retransmit_tracepoint, struct sock *sk, struct sk_buff *skb)
{
	record_retransmit(sk, skb, 0);
	return 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(loss_probe_tracepoint_result, struct sock *sk, struct sk_buff *skb, int result)
{
	record_loss_probe(sk, skb, result);
	return 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(loss_probe_tracepoint, struct sock *sk, struct sk_buff *skb)
{
	record_loss_probe(sk, skb, 0);
	return 0;
}

/* ---- keepalive_probe, window_probe ---- */

SEC("fexit/tcp_write_wakeup")
int BPF_PROG(probe_fexit, struct sock *sk, int mib, int result)
{
	record_wakeup(sk, result);
	return 0;
}

SEC("kprobe/tcp_write_wakeup")
int BPF_KPROBE(probe_kprobe, struct sock *sk)
{
	enter_frame(ctx, sk, NULL);
	return 0;
}

SEC("kretprobe/tcp_write_wakeup")
int BPF_KRETPROBE(probe_kretprobe, int result)
{
	struct frame frame;

	if (leave_frame(ctx, &frame))
		record_wakeup((struct sock *)frame.sk, result);
	return 0;
}

SEC("tp_btf/timer_expire_entry")
int BPF_PROG(probe_entry_tracepoint, struct timer_list *timer)
{
	record_timer_start(timer);
	return 0;
}

SEC("tp_btf/timer_expire_exit")
int BPF_PROG(probe_exit_tracepoint, struct timer_list *timer)
{
	record_timer_end(timer);
	return 0;
}

/* ---- keepalive_answer ---- */

SEC("fentry/tcp_ack")
int BPF_PROG(answer_fentry, struct sock *sk, struct sk_buff *skb)
{
	record_answer(sk, skb);
	return 0;
}

SEC("kprobe/tcp_ack")
int BPF_KPROBE(answer_kprobe, struct sock *sk, struct sk_buff *skb)
{
	record_answer(sk, skb);
	return 0;
}

/* Called for each segment, like tcp_ack, but as long as the connection is established. */
SEC("tp_btf/tcp_probe")
int BPF_PROG(answer_tracepoint, struct sock *sk, struct sk_buff *skb)
{
	record_answer(sk, skb);
	return 0;
}

/* ---- options_changed ---- */

/* Later arguments, and the result, are not asked for: one of them is a struct, which takes several places. */
SEC("fexit/tcp_setsockopt")
int BPF_PROG(options_fexit, struct sock *sk)
{
	record_options(sk);
	return 0;
}

SEC("fentry/tcp_set_keepalive")
int BPF_PROG(options_keepalive_fentry, struct sock *sk, int on)
{
	record_keepalive_option(sk, on);
	return 0;
}

SEC("kprobe/tcp_setsockopt")
int BPF_KPROBE(options_kprobe, struct sock *sk)
{
	enter_frame(ctx, sk, NULL);
	return 0;
}

SEC("kretprobe/tcp_setsockopt")
int BPF_KRETPROBE(options_kretprobe)
{
	struct frame frame;

	if (leave_frame(ctx, &frame))
		record_options((struct sock *)frame.sk);
	return 0;
}

SEC("kprobe/tcp_set_keepalive")
int BPF_KPROBE(options_keepalive_kprobe, struct sock *sk, int on)
{
	record_keepalive_option(sk, on);
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_setsockopt")
int options_enter_tracepoint(struct syscall_enter *call)
{
	record_setsockopt_call(call);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_setsockopt")
int options_exit_tracepoint(struct syscall_exit *call)
{
	record_setsockopt_return();
	return 0;
}

/* ---- syn_received, synack_retransmit, accept ---- */

SEC("fentry/inet_csk_reqsk_queue_hash_add")
int BPF_PROG(syn_received_fentry, struct sock *sk, struct request_sock *req)
{
	record_syn_received(sk, req);
	return 0;
}

SEC("kprobe/inet_csk_reqsk_queue_hash_add")
int BPF_KPROBE(syn_received_kprobe, struct sock *sk, struct request_sock *req)
{
	record_syn_received(sk, req);
	return 0;
}

SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(synack_retransmit_tracepoint, struct sock *sk, struct request_sock *req)
{
	record_synack_retransmit(req, false);
	return 0;
}

SEC("fexit/tcp_rtx_synack")
int BPF_PROG(synack_retransmit_fexit, struct sock *sk, struct request_sock *req, int result)
{
	if (!result)
		record_synack_retransmit(req, true);
	return 0;
}

SEC("kprobe/tcp_rtx_synack")
int BPF_KPROBE(synack_retransmit_kprobe, struct sock *sk, struct request_sock *req)
{
	enter_frame(ctx, sk, req);
	return 0;
}

SEC("kretprobe/tcp_rtx_synack")
int BPF_KRETPROBE(synack_retransmit_kretprobe, int result)
{
	struct frame frame;

	if (leave_frame(ctx, &frame) && !result)
		record_synack_retransmit((struct request_sock *)frame.other, true);
	return 0;
}

SEC("fexit/inet_csk_accept")
int BPF_PROG(accept_fexit, struct sock *sk, void *arg, struct sock *child)
{
	record_accept(child);
	return 0;
}

/* Until 6.9 its flags, error and kern were arguments of their own. */
SEC("fexit/inet_csk_accept")
int BPF_PROG(accept_fexit_4args, struct sock *sk, int flags, int *err, bool kern, struct sock *child)
{
	record_accept(child);
	return 0;
}

SEC("kretprobe/inet_csk_accept")
int BPF_KRETPROBE(accept_kretprobe, struct sock *child)
{
	record_accept(child);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_accept")
int accept_tracepoint(struct syscall_exit *call)
{
	record_accept_return(call);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_accept4")
int accept4_tracepoint(struct syscall_exit *call)
{
	record_accept_return(call);
	return 0;
}

/* ---- accept_queue_full, syn_queue_full ---- */

SEC("fentry/tcp_conn_request")
int BPF_PROG(conn_request_fentry, void *ops, void *af_ops, struct sock *sk)
{
	enter_listener(sk);
	return 0;
}

SEC("fexit/tcp_conn_request")
int BPF_PROG(conn_request_fexit, void *ops, void *af_ops, struct sock *sk, struct sk_buff *skb)
{
	record_conn_request(sk, skb);
	return 0;
}

SEC("kprobe/tcp_conn_request")
int BPF_KPROBE(conn_request_kprobe, void *ops, void *af_ops, struct sock *sk, struct sk_buff *skb)
{
	enter_listener(sk);
	enter_frame(ctx, sk, skb);
	return 0;
}

SEC("kretprobe/tcp_conn_request")
int BPF_KRETPROBE(conn_request_kretprobe)
{
	struct frame frame;

	if (leave_frame(ctx, &frame))
		record_conn_request((struct sock *)frame.sk, (struct sk_buff *)frame.other);
	return 0;
}

SEC("fentry/tcp_check_req")
int BPF_PROG(check_req_fentry, struct sock *sk, struct sk_buff *skb, struct request_sock *req)
{
	enter_final_ack(sk, req);
	return 0;
}

SEC("fexit/tcp_check_req")
int BPF_PROG(check_req_fexit, struct sock *sk, struct sk_buff *skb)
{
	record_final_ack(sk, skb);
	return 0;
}

SEC("kprobe/tcp_check_req")
int BPF_KPROBE(check_req_kprobe, struct sock *sk, struct sk_buff *skb, struct request_sock *req)
{
	enter_final_ack(sk, req);
	enter_frame(ctx, sk, skb);
	return 0;
}

SEC("kretprobe/tcp_check_req")
int BPF_KRETPROBE(check_req_kretprobe)
{
	struct frame frame;

	if (leave_frame(ctx, &frame))
		record_final_ack((struct sock *)frame.sk, (struct sk_buff *)frame.other);
	return 0;
}

/* The child of a SYN cookie. */
SEC("fentry/tcp_get_cookie_sock")
int BPF_PROG(cookie_sock_fentry, struct sock *sk, struct sk_buff *skb, struct request_sock *req)
{
	enter_final_ack(sk, req);
	return 0;
}

SEC("fexit/tcp_get_cookie_sock")
int BPF_PROG(cookie_sock_fexit, struct sock *sk, struct sk_buff *skb)
{
	record_final_ack(sk, skb);
	return 0;
}

SEC("kprobe/tcp_get_cookie_sock")
int BPF_KPROBE(cookie_sock_kprobe, struct sock *sk, struct sk_buff *skb, struct request_sock *req)
{
	enter_final_ack(sk, req);
	enter_frame(ctx, sk, skb);
	return 0;
}

SEC("kretprobe/tcp_get_cookie_sock")
int BPF_KRETPROBE(cookie_sock_kretprobe)
{
	struct frame frame;

	if (leave_frame(ctx, &frame))
		record_final_ack((struct sock *)frame.sk, (struct sk_buff *)frame.other);
	return 0;
}

SEC("tp_btf/consume_skb")
int BPF_PROG(refused_syn_tracepoint, struct sk_buff *skb)
{
	record_consumed(skb);
	return 0;
}

SEC("tp_btf/kfree_skb")
int BPF_PROG(refused_ack_tracepoint, struct sk_buff *skb)
{
	record_dropped(skb);
	return 0;
}

/* ---- synack_timeout ---- */

SEC("fentry/reqsk_timer_handler")
int BPF_PROG(synack_timeout_fentry, struct timer_list *timer)
{
	record_request_timer_start(timer);
	return 0;
}

SEC("fexit/reqsk_timer_handler")
int BPF_PROG(synack_timeout_fexit, struct timer_list *timer)
{
	record_request_timer_end(timer);
	return 0;
}

SEC("kprobe/reqsk_timer_handler")
int BPF_KPROBE(synack_timeout_kprobe, struct timer_list *timer)
{
	record_request_timer_start(timer);
	return 0;
}

SEC("kretprobe/reqsk_timer_handler")
int BPF_KRETPROBE(synack_timeout_kretprobe)
{
	record_request_timer_end(NULL);
	return 0;
}

SEC("tp_btf/timer_expire_entry")
int BPF_PROG(synack_timeout_entry_tracepoint, struct timer_list *timer)
{
	record_any_timer_start(timer);
	return 0;
}

SEC("tp_btf/timer_expire_exit")
int BPF_PROG(synack_timeout_exit_tracepoint, struct timer_list *timer)
{
	record_request_timer_end(timer);
	return 0;
}

/* ---- synack_duplicate ---- */

/* Since 6.12 with the socket that drops it. */
SEC("tp_btf/kfree_skb")
int BPF_PROG(synack_duplicate_tracepoint_sock, struct sk_buff *skb, void *location, u32 reason, struct sock *sk)
{
	if (sk)
		record_synack_duplicate(sk, skb);
	return 0;
}

/* Called for what the fast path does not take. */
SEC("fentry/tcp_validate_incoming")
int BPF_PROG(synack_duplicate_fentry, struct sock *sk, struct sk_buff *skb)
{
	record_synack_duplicate(sk, skb);
	return 0;
}

SEC("kprobe/tcp_validate_incoming")
int BPF_KPROBE(synack_duplicate_kprobe, struct sock *sk, struct sk_buff *skb)
{
	record_synack_duplicate(sk, skb);
	return 0;
}

/* Called for each segment, as long as the connection is established. */
SEC("tp_btf/tcp_probe")
int BPF_PROG(synack_duplicate_tracepoint, struct sock *sk, struct sk_buff *skb)
{
	record_synack_duplicate(sk, skb);
	return 0;
}

/* ---- established, state, close ---- */

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state_tracepoint, struct sock *sk, int old_state, int state)
{
	record_state_twice(sk, old_state, state);
	return 0;
}

SEC("fentry/tcp_set_state")
int BPF_PROG(state_fentry, struct sock *sk, int state)
{
	record_state(sk, READ(sk, __sk_common.skc_state), state);
	return 0;
}

SEC("kprobe/tcp_set_state")
int BPF_KPROBE(state_kprobe, struct sock *sk, int state)
{
	record_state(sk, READ(sk, __sk_common.skc_state), state);
	return 0;
}

/* tcp_set_state is not how a socket comes to LISTEN. */
SEC("fentry/inet_csk_listen_start")
int BPF_PROG(listen_fentry, struct sock *sk)
{
	if (is_tcp(sk))
		record_state(sk, TCP_CLOSE, TCP_LISTEN);
	return 0;
}

SEC("kprobe/inet_csk_listen_start")
int BPF_KPROBE(listen_kprobe, struct sock *sk)
{
	if (is_tcp(sk))
		record_state(sk, TCP_CLOSE, TCP_LISTEN);
	return 0;
}

/* ---- reset_sent, reset_received ---- */

/* Since 6.12 with the reason, and for every RST. */
SEC("tp_btf/tcp_send_reset")
int BPF_PROG(reset_sent_tracepoint_reason, struct sock *sk, struct sk_buff *skb, u32 reason)
{
	record_reset_sent(sk, skb, true, reason);
	return 0;
}

/* Before that only for those that have a full socket. */
SEC("tp_btf/tcp_send_reset")
int BPF_PROG(reset_sent_tracepoint, struct sock *sk, struct sk_buff *skb)
{
	record_reset_sent(sk, skb, false, 0);
	return 0;
}

SEC("fentry/tcp_v4_send_reset")
int BPF_PROG(reset_sent_v4_fentry, struct sock *sk, struct sk_buff *skb)
{
	record_reset_sent(sk, skb, false, 0);
	return 0;
}

SEC("fentry/tcp_v6_send_reset")
int BPF_PROG(reset_sent_v6_fentry, struct sock *sk, struct sk_buff *skb)
{
	record_reset_sent(sk, skb, false, 0);
	return 0;
}

SEC("fentry/tcp_send_active_reset")
int BPF_PROG(reset_sent_active_fentry, struct sock *sk)
{
	record_reset_sent(sk, NULL, false, 0);
	return 0;
}

SEC("kprobe/tcp_v4_send_reset")
int BPF_KPROBE(reset_sent_v4_kprobe, struct sock *sk, struct sk_buff *skb)
{
	record_reset_sent(sk, skb, false, 0);
	return 0;
}

SEC("kprobe/tcp_v6_send_reset")
int BPF_KPROBE(reset_sent_v6_kprobe, struct sock *sk, struct sk_buff *skb)
{
	record_reset_sent(sk, skb, false, 0);
	return 0;
}

SEC("kprobe/tcp_send_active_reset")
int BPF_KPROBE(reset_sent_active_kprobe, struct sock *sk)
{
	record_reset_sent(sk, NULL, false, 0);
	return 0;
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(reset_received_tracepoint, struct sock *sk)
{
	record_reset_received(sk);
	return 0;
}

SEC("fentry/tcp_reset")
int BPF_PROG(reset_received_fentry, struct sock *sk)
{
	record_reset_received(sk);
	return 0;
}

SEC("kprobe/tcp_reset")
int BPF_KPROBE(reset_received_kprobe, struct sock *sk)
{
	record_reset_received(sk);
	return 0;
}

/* ---- what established and reset_received say beside themselves ---- */

/* Its result lets the packet through. */
SEC("cgroup_skb/ingress")
int ttl_cgroup(struct __sk_buff *skb)
{
	record_arrival(skb);
	return 1;
}

/* Until 5.10 without the RST. */
SEC("fentry/tcp_reset")
int BPF_PROG(ttl_reset_fentry, struct sock *sk, struct sk_buff *skb)
{
	record_ttl(sk, skb, TCP_FLAG_RST);
	return 0;
}

SEC("fentry/tcp_finish_connect")
int BPF_PROG(ttl_synack_fentry, struct sock *sk, struct sk_buff *skb)
{
	record_ttl(sk, skb, TCP_FLAG_SYN | TCP_FLAG_ACK);
	return 0;
}

SEC("kprobe/tcp_reset")
int BPF_KPROBE(ttl_reset_kprobe, struct sock *sk, struct sk_buff *skb)
{
	record_ttl(sk, skb, TCP_FLAG_RST);
	return 0;
}

SEC("kprobe/tcp_finish_connect")
int BPF_KPROBE(ttl_synack_kprobe, struct sock *sk, struct sk_buff *skb)
{
	record_ttl(sk, skb, TCP_FLAG_SYN | TCP_FLAG_ACK);
	return 0;
}

/* ---- drop ---- */

/* Since 6.10 with the socket that was to receive it. */
SEC("tp_btf/kfree_skb")
int BPF_PROG(drop_tracepoint_receiver, struct sk_buff *skb, void *location, u32 reason, struct sock *receiver)
{
	struct freed freed = { skb, receiver, (u64)location, reason, true };

	record_drop(&freed);
	return 0;
}

/* Since 5.17 with the reason. */
SEC("tp_btf/kfree_skb")
int BPF_PROG(drop_tracepoint_reason, struct sk_buff *skb, void *location, u32 reason)
{
	struct freed freed = { skb, NULL, (u64)location, reason, true };

	record_drop(&freed);
	return 0;
}

SEC("tp_btf/kfree_skb")
int BPF_PROG(drop_tracepoint, struct sk_buff *skb, void *location)
{
	struct freed freed = { skb, NULL, (u64)location };

	record_drop(&freed);
	return 0;
}

/* ---- icmp_error ---- */

SEC("fentry/tcp_v4_err")
int BPF_PROG(icmp_error_v4_fentry, struct sk_buff *skb)
{
	record_icmp_error(skb);
	return 0;
}

SEC("fentry/tcp_v6_err")
int BPF_PROG(icmp_error_v6_fentry, struct sk_buff *skb)
{
	record_icmp_error(skb);
	return 0;
}

SEC("kprobe/tcp_v4_err")
int BPF_KPROBE(icmp_error_v4_kprobe, struct sk_buff *skb)
{
	record_icmp_error(skb);
	return 0;
}

SEC("kprobe/tcp_v6_err")
int BPF_KPROBE(icmp_error_v6_kprobe, struct sk_buff *skb)
{
	record_icmp_error(skb);
	return 0;
}

SEC("tp_btf/consume_skb")
int BPF_PROG(icmp_error_consumed_tracepoint, struct sk_buff *skb)
{
	record_consumed_icmp(skb);
	return 0;
}

SEC("tp_btf/kfree_skb")
int BPF_PROG(icmp_error_freed_tracepoint, struct sk_buff *skb, void *location)
{
	record_freed_icmp(skb, (u64)location);
	return 0;
}

/* ---- housekeeping: no events of their own ---- */

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(destroy_tracepoint, struct sock *sk)
{
	record_destroy(sk);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(fork_tracepoint, struct task_struct *parent, struct task_struct *child)
{
	record_fork(parent, child);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(exit_tracepoint, struct task_struct *task)
{
	record_exit(task);
	return 0;
}

SEC("iter/task_file")
int open_files_iterator(struct bpf_iter__task_file *ctx)
{
	record_open_file(ctx->task, ctx->file);
	return 0;
}

/* ---- handshakes: of one process, alone ---- */

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(handshakes_tracepoint, struct sock *sk, int old_state, int state)
{
	record_handshake(sk, old_state, state);
	return 0;
}

SEC("fentry/tcp_set_state")
int BPF_PROG(handshakes_fentry, struct sock *sk, int state)
{
	record_handshake(sk, READ(sk, __sk_common.skc_state), state);
	return 0;
}

SEC("kprobe/tcp_set_state")
int BPF_KPROBE(handshakes_kprobe, struct sock *sk, int state)
{
	record_handshake(sk, READ(sk, __sk_common.skc_state), state);
	return 0;
}

/* ---- sockets: the records of those that exist now ---- */

SEC("iter/task_file")
int sockets_held_iterator(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;

	if (task && file)
		dump_open_file(ctx->meta->seq, task, ctx->fd, file);
	return 0;
}

SEC("iter/tcp")
int sockets_iterator(struct bpf_iter__tcp *ctx)
{
	struct sock_common *sk = ctx->sk_common;

	if (sk)
		dump_socket(ctx->meta->seq, sk);
	return 0;
}
