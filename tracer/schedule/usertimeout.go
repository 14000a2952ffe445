package schedule

import "time"

// retransmitUserTimeout is TCP_USER_TIMEOUT as retransmissions have it: read in milliseconds, and never less than a
// tick away (tcp_clamp_rto_to_user_timeout).
func retransmitUserTimeout(d time.Duration, hz int) userTimeout {
	return userTimeout{Duration: d, least: jiffy(hz), grain: clockGrain, delay: clampDelay}
}

// probeUserTimeout is TCP_USER_TIMEOUT as window probes have it: read in ticks, and never less than two of them away
// (tcp_clamp_probe0_to_user_timeout).
func probeUserTimeout(d time.Duration, hz int) userTimeout {
	return userTimeout{Duration: wholeTicks(d, hz), least: 2 * jiffy(hz), delay: WheelDelay}
}
