package lint

import (
	"cmp"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/schedule"
)

// facts are settings with nothing left to default, and what follows from them.
type facts struct {
	Settings
	keepalive schedule.Keepalive
	data      schedule.Data
}

// The kernel's defaults (include/net/tcp.h).
const (
	defaultIdle     = 2 * time.Hour
	defaultInterval = 75 * time.Second
	defaultCount    = 9
	defaultRetries2 = 15
	defaultRTOMax   = 2 * time.Minute
)

// The most that the kernel takes: of milliseconds in an int, and of counts in a byte.
const (
	longest   = (1<<31 - 1) * time.Millisecond
	mostCount = 255
)

func factsOf(s Settings) *facts {
	s.KeepaliveIdle = min(positiveOr(s.KeepaliveIdle, defaultIdle), longest)
	s.KeepaliveInterval = min(positiveOr(s.KeepaliveInterval, defaultInterval), longest)
	s.KeepaliveCount = min(positiveOr(s.KeepaliveCount, defaultCount), mostCount)
	s.Retries2 = min(positiveOr(s.Retries2, defaultRetries2), mostCount)
	s.RTOMax = min(positiveOr(s.RTOMax, defaultRTOMax), defaultRTOMax)
	s.UserTimeout = min(max(s.UserTimeout, 0), longest)
	return &facts{
		Settings: s,
		keepalive: schedule.Keepalive{
			Idle: s.KeepaliveIdle, Interval: s.KeepaliveInterval, Count: s.KeepaliveCount, UserTimeout: s.UserTimeout, HZ: s.HZ,
		},
		data: schedule.Data{Retries2: s.Retries2, UserTimeout: s.UserTimeout, RTO: s.RTO, RTOMax: s.RTOMax, HZ: s.HZ},
	}
}

func positiveOr[N cmp.Ordered](n, otherwise N) N {
	var zero N
	if n > zero {
		return n
	}
	return otherwise
}

// probes says whether keepalive is on, and the state one in which the connection can be idle.
func (f *facts) probes() bool {
	switch f.State {
	case event.StateUnknown, event.StateEstablished, event.StateFinWait2, event.StateCloseWait:
		return f.KeepAlive
	}
	return false
}

// probesSent is how many keepalive probes an idle connection has before it ends.
func (f *facts) probesSent() int { return f.keepalive.After(0, 0).Total }

// byCount is when the same keepalive would end without the user timeout.
func (f *facts) byCount() time.Duration {
	keepalive := f.keepalive
	keepalive.UserTimeout = 0
	return keepalive.End().Offset
}

// lastRetransmit is when data is sent for the last time before the kernel gives up.
func (f *facts) lastRetransmit() time.Duration {
	var last time.Duration
	for step := range f.data.Retransmits() {
		last = step.Offset
	}
	return last
}
