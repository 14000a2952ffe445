package schedule

import "time"

// retransmitUserTimeout is TCP_USER_TIMEOUT as retransmissions have it: read in milliseconds, and never less than a
// tick away (tcp_clamp_rto_to_user_timeout).
func retransmitUserTimeout(d time.Duration) userTimeout {
	return userTimeout{Duration: d, ticks: 1, grain: clockGrain, delay: clampDelay}
}

// probeUserTimeout is TCP_USER_TIMEOUT as window probes have it: in ticks, and never less than two of them away
// (tcp_clamp_probe0_to_user_timeout).
func probeUserTimeout(d time.Duration, hz int) userTimeout {
	u := userTimeout{Duration: wholeTicks(d, hz), ticks: 2, delay: WheelDelay}
	if hz <= 0 {
		u.slack = longestJiffy(hz)
	}
	return u
}
