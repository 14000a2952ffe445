// Package schedule predicts the kernel's TCP timers: when each retransmission is due, and when the kernel gives up
// and by which rule.
//
// It is pure: it computes from the settings it is given, reads no clock and no file, and is exact about what it
// does not know. Every prediction has two times. The nominal one is that of exact timers; the latest one adds what
// the timer wheel may add at each step (see [WheelDelay]). What the timer softirq itself waits for a CPU comes on
// top of both. Where the kernel compares times it reads them in whole milliseconds, so a time limit can take effect
// up to a millisecond before the nominal time.
package schedule
