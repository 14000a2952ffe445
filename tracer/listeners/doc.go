// Package listeners says of listening TCP sockets how full their queues are, which setting bounds them, what they have
// refused, and what is wrong with them; and adds up what a trace sees of them while it is followed.
//
// It is pure: a [Listener] is a value, taken at one moment, and every time in it is relative to that.
package listeners
