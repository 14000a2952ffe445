package verdict

import (
	"fmt"
	"slices"
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
	if here := s.lookHere(); here != nil {
		return here
	}
	return slices.Concat([]string{
		"the peer is gone, or something on the way forgot the idle connection: keep it busy more often than that forgets " +
			"(TCP_KEEPIDLE)",
		"see whether the way has a limit on idle time: " + s.findLimit(),
	}, s.warnings("single_keepalive_probe", "keepalive_later_than_idle_limits", "dead_peer_noticed_late"), s.keepaliveNow())
}

// userTimeoutAdvice tells what the timeout does beside the other settings. Package lint says it with the numbers of what
// would be instead, where there is something wrong with it.
func (s *story) userTimeoutAdvice() []string {
	limit := duration(s.userTimeout())
	if here := s.hereAdvice(); here != nil {
		return here
	}
	gone := s.gone()
	switch s.pending.timer {
	case keepaliveTimer:
		if warned := s.warnings("user_timeout_below_keepalive", "keepalive_count_ignored"); warned != nil {
			return slices.Concat([]string{gone}, warned, s.keepaliveNow())
		}
		idle, interval, probes := s.keepaliveSettings()
		return append([]string{
			gone + fmt.Sprintf("; without TCP_USER_TIMEOUT (%s) the connection lives %s without an answer",
				limit, duration(idle+time.Duration(probes)*interval)),
		}, s.keepaliveNow()...)
	case windowTimer:
		reads := "the peer's application does not read: on the peer, ss -tnpi shows whose Recv-Q is full"
		if warned := s.warnings("user_timeout_at_zero_window"); warned != nil {
			return append([]string{reads}, warned...)
		}
		return []string{reads + fmt.Sprintf("; a window shut for longer than TCP_USER_TIMEOUT (%s) ends the connection even if the peer answers", limit)}
	}
	return append([]string{gone + fmt.Sprintf("; TCP_USER_TIMEOUT (%s) is what an outage on the way may last; "+
		"without it sysctl net.ipv4.tcp_retries2 (%d) decides", limit, s.retries2())}, s.warnings("user_timeout_below_outage")...)
}

func (s *story) retransmissionAdvice() []string {
	if here := s.hereAdvice(); here != nil {
		return here
	}
	if warned := s.warnings("retransmission_hangs"); warned != nil {
		return append([]string{s.gone()}, warned...)
	}
	limit := "not set"
	if s.options() == nil {
		limit = "not known"
	}
	return []string{s.gone() + fmt.Sprintf("; sysctl net.ipv4.tcp_retries2 (%d) "+
		"and TCP_USER_TIMEOUT (%s) decide how long the kernel tries", s.retries2(), limit)}
}

// gone says what may be, and where to look first if the way leads through a tunnel.
func (s *story) gone() string {
	const gone = "the peer, or the way to it, is gone"
	if s.link().Tunnel == "" {
		return gone
	}
	return gone + fmt.Sprintf(" (it leads through the tunnel %s: %s)", s.link().Name, s.lookAtTunnel())
}

// idleAdvice is for a way, or a peer, that forgets idle connections.
func idleAdvice(s *story) []string {
	busy := s.warnings("keepalive_off", "keepalive_later_than_idle_limits")
	if busy == nil {
		busy = []string{"keep it busy more often than that: SO_KEEPALIVE with TCP_KEEPIDLE below the limit"}
	}
	return slices.Concat([]string{"find the limit: " + s.findLimit()}, busy, s.keepaliveNow())
}

func (s *story) findLimit() string {
	return fmt.Sprintf("tcptrace keepalive --find-idle-limit 30s..15m %s", s.remote())
}
