package main

// bpftraceArgs runs bpftrace with tracefs in sight, as tcptrace has it for itself: not every machine has it mounted. It has
// as much room for what it has not said yet, in pages for each CPU: with the 64 of its default it lost a third of the events,
// which then cost it nothing.
func bpftraceArgs() []string {
	const mounted = `[ -e /sys/kernel/tracing/events ] || mount -t tracefs none /sys/kernel/tracing; ` +
		`BPFTRACE_PERF_RB_PAGES=8192 exec bpftrace -e "$0"`
	return []string{"unshare", "--mount", "sh", "-c", mounted, bpftraceScript}
}

// bpftraceScript prints with bpftrace what `tcptrace watch` says of a connection's life, from the hooks that tcptrace has
// where functions cannot be hooked: each change of state, accept, failed connects, and what goes wrong. The first line
// says that it is attached.
const bpftraceScript = `
BEGIN { printf("attached\n"); }

tracepoint:sock:inet_sock_set_state /args->protocol == 6/ {
	printf("%llu %p %d %s state %s:%d %s:%d %d %d\n", nsecs, args->skaddr, pid, comm,
		ntop(args->family, args->saddr), args->sport, ntop(args->family, args->daddr), args->dport,
		args->oldstate, args->newstate);
}

tracepoint:syscalls:sys_exit_accept, tracepoint:syscalls:sys_exit_accept4 /args->ret >= 0/ {
	printf("%llu %d %s accept %d\n", nsecs, pid, comm, args->ret);
}

tracepoint:syscalls:sys_exit_connect /args->ret < 0 && args->ret != -115/ {
	printf("%llu %d %s connect error %d\n", nsecs, pid, comm, args->ret);
}

tracepoint:tcp:tcp_retransmit_skb, tracepoint:tcp:tcp_send_reset, tracepoint:tcp:tcp_receive_reset,
tracepoint:tcp:tcp_retransmit_synack {
	printf("%llu %p %s\n", nsecs, args->skaddr, probe);
}

tracepoint:tcp:tcp_destroy_sock {
	printf("%llu %p %s %d %d\n", nsecs, args->skaddr, probe, args->sport, args->dport);
}
`
