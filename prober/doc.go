// Package prober makes TCP connections to be watched: it resolves a target, connects with the socket options asked
// for, says what user space saw of it, and names the socket by its cookie, so that a tracer can join its own events.
//
// It knows nothing of tracing, needs no privilege but for options that the kernel reserves, and can work in another
// network namespace ([NetNS]).
package prober
