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
	mode = BPF_CORE_READ(file, f_inode, i_mode);
	if ((mode & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	return socket ? BPF_CORE_READ(socket, sk) : NULL;
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
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if (family != AF_INET && family != AF_INET6)
		return NULL;
	if (is_tcp(sk))
		return sk;
	if (bpf_core_type_exists(struct mptcp_sock) && BPF_CORE_READ(sk, sk_protocol) == IPPROTO_MPTCP)
		return BPF_CORE_READ((struct mptcp_sock *)sk, first);
	return NULL;
}

/* The TCP socket behind a descriptor of the current task, or NULL. */
static struct sock *tcp_sock_of_fd(u32 fd)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files = BPF_CORE_READ(table, fd);
	struct file *file = NULL;

	if (fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), files + fd);
	return tcp_sock_behind(sock_of_file(file));
}

static void record_connect_call(struct syscall_enter *call)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct connect_call c = { .fd = call->args[0] };
	void *address = (void *)call->args[1];

	if (!owner_passes((struct task_struct *)bpf_get_current_task()))
		return;
	/* An IPv4 address is shorter, and may be the last thing on a page. */
	if (bpf_probe_read_user(&c.destination, sizeof(c.destination), address) &&
	    bpf_probe_read_user(&c.destination, IPV4_SOCKADDR_SIZE, address))
		return;
	if (c.destination.family != AF_INET && c.destination.family != AF_INET6)
		return;
	if (bpf_map_update_elem(&connect_calls, &thread, &c, BPF_ANY))
		count_lost(EVENT_ERROR);
}

static void record_connect_return(struct syscall_exit *call)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct connect_call *c = bpf_map_lookup_elem(&connect_calls, &thread);
	struct sock *sk;

	if (!c)
		return;
	if (c->sk) {
		record_connect_result((struct sock *)c->sk, call->ret);
	} else if (is_failure(call->ret)) {
		sk = tcp_sock_of_fd(c->fd);
		if (sk)
			handle_connect_result(sk, &c->destination, call->ret);
	}
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
	u32 parent_pid = BPF_CORE_READ(parent, tgid);
	u32 child_pid = BPF_CORE_READ(child, tgid);
	u8 yes = 1;

	if (parent_pid != child_pid && bpf_map_lookup_elem(&tasks, &parent_pid))
		bpf_map_update_elem(&tasks, &child_pid, &yes, BPF_ANY);
}

static void record_exit(struct task_struct *task)
{
	u32 pid = BPF_CORE_READ(task, tgid);

	if (BPF_CORE_READ(task, signal, live.counter) == 0)
		bpf_map_delete_elem(&tasks, &pid);
}

/* A socket that was there before us, with a task that holds it. */
static void remember_open_socket(struct task_struct *task, struct sock *sk)
{
	u64 key = (u64)sk;
	u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);
	struct connection c, *known = last_connection_of(sk);

	if (known && !known->owner.pid) {
		read_owner(&known->owner, task);
		return;
	}
	if (state == TCP_LISTEN) {
		/* Tasks come by their number: a fork that has not yet closed what it inherited comes after its parent. */
		if (!bpf_map_lookup_elem(&listeners, &key))
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
