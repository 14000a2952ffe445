// Package lab makes TCP failures on demand, in throw-away network namespaces.
//
// A [Lab] is one failure: what it does, and the cause that a tracer should find. [Build] sets it up in a [Network]: two or
// more [Host]s joined by veth pairs, with one thing broken. Nobody connects yet: that is up to whoever asked, from within the
// client of the [Scene].
//
// The namespaces have no name. Only file descriptors of this process keep them, and devices, routes, rules and sockets
// live in them, so everything goes when the process goes, by SIGKILL too. The namespace that this process started in, its
// sysctls and its firewall are never touched. Two labs need more than namespaces, say so ([Lab.Needs]), and cannot be had
// everywhere ([NotHereError]): denied-by-policy hangs a BPF program on this process's cgroup, which goes with the process,
// too, and is about nobody else's connects; conntrack-full changes a setting of the whole machine, and does so only on one
// that exists for tests ([DisposableMachine]). All of it needs CAP_SYS_ADMIN and CAP_NET_ADMIN, and no other program.
package lab
