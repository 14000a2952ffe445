package schedule

import "time"

// usualHZ are the tick rates that kernel/Kconfig.hz offers.
var usualHZ = [...]int{100, 250, 300, 1000}

// The geometry of the timer wheel (kernel/time/timer.c): each level has 64 buckets, and a bucket of one level is
// eight times as wide as one of the level below.
const (
	wheelLevelShift = 3
	wheelLevelSize  = 64
	wheelLevels     = 9
)

// WheelDelay is the most by which the timer wheel fires a timer armed for d late: the rounding of d up to whole
// ticks, and then of the expiry up to the next bucket of its level (calc_wheel_index and calc_index,
// kernel/time/timer.c). A timer never fires early. hz is the kernel's ticks per second; 0 means unknown, and the
// result then holds for every usual HZ. The delay is about an eighth of d at worst.
//
// It assumes that the CPU keeps up with its ticks: a timer softirq that is itself held up comes on top.
func WheelDelay(d time.Duration, hz int) time.Duration {
	if hz <= 0 {
		return worstOfUsualHZ(func(hz int) time.Duration { return WheelDelay(d, hz) })
	}
	n := ticks(d, hz)
	return atHZ(n+bucket(n), hz) - max(d, 0)
}

// clampDelay is the most by which a timer is late that was armed for what remained until a deadline, remaining at
// most away. Here the time that remained is a difference of two clock readings in milliseconds, and it may have
// been any shorter one, so a whole tick can be lost in rounding.
func clampDelay(remaining time.Duration, hz int) time.Duration {
	if hz <= 0 {
		return worstOfUsualHZ(func(hz int) time.Duration { return clampDelay(remaining, hz) })
	}
	return clockGrain + atHZ(1+bucket(ticks(remaining+clockGrain, hz)), hz)
}

func worstOfUsualHZ(delay func(hz int) time.Duration) time.Duration {
	var worst time.Duration
	for _, hz := range usualHZ {
		worst = max(worst, delay(hz))
	}
	return worst
}

// ticks is d in ticks, rounded up as msecs_to_jiffies does.
func ticks(d time.Duration, hz int) int64 {
	if d <= 0 {
		return 0
	}
	whole, rest := int64(d/time.Second), int64(d%time.Second)
	return whole*int64(hz) + (rest*int64(hz)+int64(time.Second)-1)/int64(time.Second)
}

// atHZ is n ticks as a time, rounded up to the nanosecond.
func atHZ(n int64, hz int) time.Duration {
	whole, rest := n/int64(hz), n%int64(hz)
	return time.Duration(whole)*time.Second + time.Duration((rest*int64(time.Second)+int64(hz)-1)/int64(hz))
}

// bucket is the width in ticks of the wheel's bucket that takes a timer n ticks away (LVL_START, LVL_GRAN).
func bucket(n int64) int64 {
	level := 0
	for level < wheelLevels-1 && n >= (wheelLevelSize-1)<<(level*wheelLevelShift) {
		level++
	}
	return 1 << (level * wheelLevelShift)
}

// jiffy is the shortest that one tick can be: that of HZ, or of the fastest usual HZ where it is unknown.
func jiffy(hz int) time.Duration {
	if hz <= 0 {
		hz = usualHZ[len(usualHZ)-1]
	}
	return atHZ(1, hz)
}

// longestJiffy is the longest that one tick can be: that of HZ, or of the slowest usual HZ where it is unknown.
func longestJiffy(hz int) time.Duration {
	if hz <= 0 {
		hz = usualHZ[0]
	}
	return atHZ(1, hz)
}
