// Package sockets says of TCP sockets that exist now what becomes of them: which timer fires next and what it does, when
// the kernel gives up if the peer stays silent, by which rule, and what is wrong with them already.
//
// It is pure: a [Socket] is a value, taken at one moment, and every time in it is relative to that.
package sockets
