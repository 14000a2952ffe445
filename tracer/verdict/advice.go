package verdict

import (
	"fmt"
	"time"
)

// keepaliveNow tells the present settings, as far as they are known.
func (s *story) keepaliveNow() []string {
	if o := s.options(); s.traced() && o != nil && !o.KeepAlive {
		return []string{"SO_KEEPALIVE is off on this socket"}
	}
	if known := s.keepaliveKnown(); known != "" {
		return []string{"at present " + known}
	}
	return nil
}

func (s *story) keepaliveAdvice() []string {
	return append([]string{
		"the peer is gone, or something on the way forgot the idle connection: keep it busy more often than that forgets " +
			"(TCP_KEEPIDLE)",
		"see whether the way has a limit on idle time: " + s.findLimit(),
	}, s.keepaliveNow()...)
}

func (s *story) userTimeoutAdvice() []string {
	limit := s.userTimeout()
	gone := "the peer, or the way to it, is gone; "
	switch s.pending.timer {
	case keepaliveTimer:
		idle, interval, probes := s.keepaliveSettings()
		whole := idle + time.Duration(probes)*interval
		return append([]string{
			gone + fmt.Sprintf("for the count to mean anything, leave TCP_USER_TIMEOUT (%s) at 0: "+
				"the connection then lives %s without an answer", duration(limit), duration(whole)),
		}, s.keepaliveNow()...)
	case windowTimer:
		return []string{fmt.Sprintf("the peer's application does not read: on the peer, ss -tnpi shows whose Recv-Q is full; "+
			"a window shut for longer than TCP_USER_TIMEOUT (%s) ends the connection even if the peer answers", duration(limit))}
	}
	return []string{gone + fmt.Sprintf("TCP_USER_TIMEOUT (%s) is what an outage on the way may last; "+
		"without it sysctl net.ipv4.tcp_retries2 (%d) decides", duration(limit), s.retries2())}
}

func (s *story) retransmissionAdvice() []string {
	return []string{fmt.Sprintf("the peer, or the way to it, is gone; sysctl net.ipv4.tcp_retries2 (%d) "+
		"and TCP_USER_TIMEOUT (not set) decide how long the kernel tries", s.retries2())}
}

// idleAdvice is for a way, or a peer, that forgets idle connections.
func idleAdvice(s *story) []string {
	return append([]string{
		"find the limit: " + s.findLimit(),
		"keep it busy more often than that: SO_KEEPALIVE with TCP_KEEPIDLE below the limit",
	}, s.keepaliveNow()...)
}

func (s *story) findLimit() string {
	return fmt.Sprintf("tcptrace keepalive --find-idle-limit 30s..15m %s", s.remote())
}
