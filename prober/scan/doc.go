// Package scan makes tens of thousands of TCP connects at once, and measures them right.
//
// A [Scan] spreads its targets over a few locked threads, each with a table of file descriptors, non-blocking sockets and an epoll
// instance of its own: no goroutine and no timer for a target. Everything is timed from a target's own connect(), answers
// are taken every few connects, and what stands in this host's way (descriptors, ports, memory) is an outcome of its own,
// [LocalError], never a target's failure.
//
// It needs no privilege and knows nothing of tracing.
package scan
