// Package path finds how far a SYN gets: which routers it passes, and where it, or its answer, is lost.
//
// [Trace] makes ordinary connects whose packets may pass only so many routers: the one that has to drop such a SYN says so
// by ICMP, which the socket's error queue tells (IP_RECVERR). There are no raw sockets and no privilege, and firewalls and
// NAT see the SYN that an application would send. A [Route] collects the answers, and [Judge] says what they come to.
package path
