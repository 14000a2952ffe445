// Package host reads what rules TCP outside any one socket: the sysctls of a network namespace and the kernel's clocks.
// It needs no privilege.
//
// Predictions about a socket that is being traced never come from here but from the socket itself; this is for
// questions asked without one.
package host
