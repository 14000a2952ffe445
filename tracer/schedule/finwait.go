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
	return wholeTicks(max(min(wait, maxUserTimeout), f.leastTimeWait()), f.HZ)
}

// End is when the connection is gone, if the peer's FIN never comes. Nobody is told.
//
// A wait of more than a minute does not last as long as it says: the kernel keeps the full socket for what it is beyond
// the minute, and then the small one of TIME_WAIT for as long again, instead of for the minute (tcp_close,
// tcp_keepalive_timer).
func (f FinWait2) End() End {
	if f.Linger2 < 0 {
		return End{Reset: true}
	}
	wait := f.Wait()
	if beyond := wait - TimeWait; beyond > 0 {
		small := max(beyond, f.leastTimeWait())
		offset := beyond + small
		return End{Offset: offset, Earliest: offset, Latest: offset + WheelDelay(beyond, f.HZ) + WheelDelay(small, f.HZ)}
	}
	return End{Offset: wait, Earliest: wait, Latest: wait + WheelDelay(wait, f.HZ)}
}

// leastTimeWait is the shortest that either wait is: three and a half times the RTO.
func (f FinWait2) leastTimeWait() time.Duration {
	rto := within(f.RTO, 0, rtoMax)
	return 4*rto - rto/2
}
