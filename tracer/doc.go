// Package tracer sees what the kernel does to TCP connections, and says it in the words of package event.
//
// # The tour
//
// This is the way of the data, and a good order to read the code in:
//
//	kernel hook -> SEC program (one line) -> topic handler -> emit -> ring buffer
//	  -> decode -> event.Event -> timeline.Tracker -> renderer (at once)
//	                                    \-> verdict.Of(connection, facts) -> renderer (at the end)
//
// bpf/tcptrace.bpf.c is the index of all programs. Each only hands its arguments to the handler of a topic: connect,
// retransmit, probe, options, listen, reset, ttl, state, close, task. They know connections (socket.bpf.h), which are followed
// (filter.bpf.h), and how a record is made (emit.bpf.h). What crosses the ring buffer is written in event.h and
// nowhere else; the differences between kernels are in compat.bpf.h and nowhere else.
//
// hooks.go is the table of events and the ways to see each: fentry and fexit, then kprobes, then what a kernel with
// neither can still tell. attach.go takes the first way that holds, and keeps the refusals as sentences; load.go loads what
// it will need on all CPUs. decode.go
// makes events of records; there, and nowhere else, numbers become durations, addresses and names.
//
// The packages below are pure, values in and values out, with no clock, files or kernel:
//
//   - event: the vocabulary
//   - timeline: events become connections, with offsets, attempts and due times
//   - schedule: the kernel's timers, predicted
//   - verdict: why a connection went as it did
//   - sockets: what becomes of connections that exist now
//
// iterate.go is another way in: [OpenSockets] lists the sockets that exist, each a record of bpf/sockets.bpf.h, and nothing of
// it goes through the ring buffer. Package sockdiag lists them without privilege.
//
// handshakes.go is a trace for who makes connects by the ten thousand: [OpenHandshakes] has one program, and a record for each
// answer, of bpf/handshake.bpf.h. Nobody is waked for it.
//
// Package host reads what concerns the whole host: sysctls, cgroups, clocks.
//
// # Adding an event kind
//
// A value in bpf/event.h and one in event/kind.go; a handler and its SEC lines; a row in hooks.go. The tests of this
// package, which need no privilege, name the place that was forgotten.
package tracer
