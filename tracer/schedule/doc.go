// Package schedule predicts the kernel's TCP timers: when each retransmission or probe is due, and when the kernel
// gives up and by which rule.
//
// Each type is what rules one timer: [SYN] and [SYNACK] in a handshake, [Data] with something in flight, [ZeroWindow]
// with something to send and no room for it, [Keepalive] with neither, and [FinWait2] after close.
//
// It is pure: it computes from the settings it is given, reads no clock and no file, and is exact about what it
// does not know. Every prediction has two times. The nominal one is that of exact timers; the latest one adds what
// the timer wheel may add at each step (see [WheelDelay]). What the timer softirq itself waits for a CPU comes on
// top of both. Where the kernel compares times it reads them in whole milliseconds or ticks, so a time limit can take
// effect up to that much before the nominal time.
package schedule
