// Package lint finds settings of a connection that do not do what whoever made them is likely to expect: of keepalive,
// TCP_USER_TIMEOUT and retransmission. Every warning has the numbers in it, from [schedule], and what to set instead.
//
// It is pure: it judges the settings it is given.
package lint
