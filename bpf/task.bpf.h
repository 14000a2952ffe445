/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Tasks: what their system calls and files tell of sockets, and which of them a command's children are.
 */
#ifndef TCPTRACE_TASK_H
#define TCPTRACE_TASK_H

static struct sock *sock_of_file(struct file *file)
{
	u16 mode;
	struct socket *socket;

	if (!file)
		return NULL;
	mode = READ(file, f_inode, i_mode);
	if ((mode & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = READ(file, private_data);
	return socket ? READ(socket, sk) : NULL;
}

/*
 * The TCP socket that sk is, or stands for: an MPTCP socket, which Go's listeners are unless told otherwise, does its
 * work by a first one of plain TCP. NULL for any other kind.
 */
static struct sock *tcp_sock_behind(struct sock *sk)
{
	u16 family;

	if (!sk)
		return NULL;
	family = READ(sk, __sk_common.skc_family);
	if (family != AF_INET && family != AF_INET6)
		return NULL;
	if (is_tcp(sk))
		return sk;
	if (bpf_core_type_exists(struct mptcp_sock) && READ(sk, sk_protocol) == IPPROTO_MPTCP)
		return READ((struct mptcp_sock *)sk, first);
	return NULL;
}

/* The TCP socket behind a descriptor of the current task, or NULL. */
static struct sock *tcp_sock_of_fd(u32 fd)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct fdtable *table = READ(task, files, fdt);
	struct file **files = READ(table, fd);
	struct file *file = NULL;

	if (fd >= READ(table, max_fds))
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), files + fd);
	return tcp_sock_behind(sock_of_file(file));
}

static void record_connect_call(struct syscall_enter *call)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct connect_call c = { .address = call->args[1], .fd = call->args[0] };

	if (!owner_passes((struct task_struct *)bpf_get_current_task()))
		return;
	if (bpf_map_update_elem(&connect_calls, &thread, &c, BPF_ANY))
		count_lost(EVENT_ERROR);
}

/* False: there is no TCP socket's address, or none any more. */
static bool read_destination(struct sockaddr_inet *destination, u64 address)
{
	/* An IPv4 address is shorter, and may be the last thing on a page. */
	if (bpf_probe_read_user(destination, sizeof(*destination), (void *)address) &&
	    bpf_probe_read_user(destination, IPV4_SOCKADDR_SIZE, (void *)address))
		return false;
	return destination->family == AF_INET || destination->family == AF_INET6;
}

/*
 * connect() failed before the socket went to SYN_SENT. What it was to connect to is read only now, from where it still is:
 * nearly all calls succeed, and to read it when they start takes 60 ns.
 */
static void record_connect_failure(const struct connect_call *c, int result)
{
	struct sockaddr_inet destination = {};
	struct sock *sk = tcp_sock_of_fd(c->fd);

	if (sk && read_destination(&destination, c->address))
		handle_connect_result(sk, &destination, result);
}

static void record_connect_return(struct syscall_exit *call)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct connect_call *c = bpf_map_lookup_elem(&connect_calls, &thread);

	if (!c)
		return;
	if (c->sk)
		record_connect_result((struct sock *)c->sk, call->ret);
	else if (is_failure(call->ret))
		record_connect_failure(c, call->ret);
	bpf_map_delete_elem(&connect_calls, &thread);
}

static void record_accept_return(struct syscall_exit *call)
{
	if (call->ret >= 0)
		record_accept(tcp_sock_of_fd(call->ret));
}

static void record_setsockopt_call(struct syscall_enter *call)
{
	u64 thread = bpf_get_current_pid_tgid();
	u64 sk = (u64)tcp_sock_of_fd(call->args[0]);

	if (sk && connection_of((struct sock *)sk))
		bpf_map_update_elem(&option_calls, &thread, &sk, BPF_ANY);
}

static void record_setsockopt_return(void)
{
	u64 thread = bpf_get_current_pid_tgid();
	u64 *sk = bpf_map_lookup_elem(&option_calls, &thread);

	if (!sk)
		return;
	record_options((struct sock *)*sk);
	bpf_map_delete_elem(&option_calls, &thread);
}

static void record_fork(struct task_struct *parent, struct task_struct *child)
{
	u32 parent_pid = READ(parent, tgid);
	u32 child_pid = READ(child, tgid);
	u8 yes = 1;

	if (parent_pid != child_pid && bpf_map_lookup_elem(&tasks, &parent_pid))
		bpf_map_update_elem(&tasks, &child_pid, &yes, BPF_ANY);
}

static void record_exit(struct task_struct *task)
{
	u32 pid = READ(task, tgid);

	if (READ(task, signal, live.counter) == 0)
		bpf_map_delete_elem(&tasks, &pid);
}

/* A socket that was there before us, with a task that holds it. */
static void remember_open_socket(struct task_struct *task, struct sock *sk)
{
	u64 key = (u64)sk;
	u8 state = READ(sk, __sk_common.skc_state);
	struct connection c, *known = last_connection_of(sk);
	struct listener *listener;

	if (known && !known->owner.pid) {
		read_owner(&known->owner, task);
		return;
	}
	if (state == TCP_LISTEN) {
		listener = bpf_map_lookup_elem(&listeners, &key);
		/* Tasks come by their number: a fork that has not yet closed what it inherited comes after its parent. */
		if (!listener || !listener->owner.pid)
			record_listen(sk, task);
		return;
	}
	if (state == TCP_CLOSE)
		return;
	if (!owner_passes(task))
		return;
	begin_connection(&c, sk, state == TCP_SYN_SENT ? ROLE_CLIENT : ROLE_UNKNOWN, bpf_ktime_get_ns());
	read_owner(&c.owner, task);
	if (!tuple_passes(&c))
		return;
	c.flags = FOLLOWED | ANNOUNCED | PRE_EXISTING;
	c.options = options_of(sk);
	c.options_untold = 1;
	learn_timers(sk);
	index_connection(&c, sk);
	if (bpf_map_update_elem(&connections, &key, &c, BPF_NOEXIST) && !last_connection_of(sk))
		count_lost(LOST_CONNECTION);
}

static void record_open_file(struct task_struct *task, struct file *file)
{
	struct sock *sk;

	if (!task || !file)
		return;
	sk = tcp_sock_behind(sock_of_file(file));
	if (sk)
		remember_open_socket(task, sk);
}

#endif
