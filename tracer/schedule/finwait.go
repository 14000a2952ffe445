package schedule

import "time"

// TimeWait is how long a connection stays in TIME_WAIT (TCP_TIMEWAIT_LEN), whatever tcp_fin_timeout is.
const TimeWait = 60 * time.Second

// FinWait2 is what rules the wait for the peer's FIN once the application has closed the socket. Its schedule counts
// from the entry into FIN_WAIT2, or from the close if that came later.
type FinWait2 struct {
	Linger2    time.Duration // TCP_LINGER2; 0 means FinTimeout, and less is an immediate end with a RST
	FinTimeout time.Duration // tcp_fin_timeout; 0 means 60 s
	RTO        time.Duration // icsk_rto: it never waits less than three and a half of them
	HZ         int           // ticks per second; 0: unknown, the bounds then hold for every usual one
}

// Wait is how long the kernel means to wait (tcp_fin_time).
func (f FinWait2) Wait() time.Duration {
	wait := f.Linger2
	if wait == 0 {
		wait = f.FinTimeout
	}
	if wait <= 0 {
		wait = TimeWait
	}
	rto := within(f.RTO, 0, rtoMax)
	return wholeTicks(max(min(wait, maxUserTimeout), 4*rto-rto/2), f.HZ)
}
