package schedule

import "time"

// The kernel's limits (include/net/tcp.h, net/ipv4/tcp.c).
const (
	timeoutInit    = time.Second              // TCP_TIMEOUT_INIT
	rtoMin         = 200 * time.Millisecond   // TCP_RTO_MIN
	rtoMax         = 120 * time.Second        // TCP_RTO_MAX, and the most that tcp_rto_max_ms takes
	leastRTOMax    = time.Second              // the least that tcp_rto_max_ms takes
	maxSYNCount    = 127                      // MAX_TCP_SYNCNT, of tcp_syn_retries and tcp_syn_linear_timeouts alike
	maxCount       = 255                      // of sysctls in a byte, such as tcp_retries2
	maxUserTimeout = (1<<31 - 1) * clockGrain // TCP_USER_TIMEOUT is an int of milliseconds
	maxSent        = 1 << 30                  // of what a caller can say was sent: sums stay within an int
	clockGrain     = time.Millisecond         // of tcp_time_stamp_ts, by which elapsed time is measured
)

// longestWait is the RTO maximum within the kernel's limits, in whole ticks as icsk_rto_max is; 0 means its default.
func longestWait(d time.Duration, hz int) time.Duration {
	if d <= 0 || d > rtoMax {
		d = rtoMax
	}
	return wholeTicks(d, hz)
}

// wholeTicks is d rounded up to whole ticks, where the tick is known.
func wholeTicks(d time.Duration, hz int) time.Duration {
	if hz <= 0 {
		return d
	}
	return atHZ(ticks(d, hz), hz)
}

// within is n, or the nearest end of what the kernel takes.
func within[N int | time.Duration](n, least, most N) N { return min(max(n, least), most) }
