package verdict

import (
	"cmp"
	"fmt"
	"time"
)

// The kernel's defaults where neither option nor sysctl is known (include/net/tcp.h).
const (
	keepaliveIdle     = 2 * time.Hour
	keepaliveInterval = 75 * time.Second
	keepaliveCount    = 9
	retries2          = 15
)

// keepaliveSettings are those that ruled the socket: its own, else its namespace's, else the kernel's defaults.
func (s *story) keepaliveSettings() (idle, interval time.Duration, probes int) {
	if o := s.options(); o != nil {
		idle, interval, probes = o.KeepaliveIdle, o.KeepaliveInterval, o.KeepaliveCount
	}
	if c := s.sysctls(); c != nil {
		idle = cmp.Or(idle, c.KeepaliveIdle)
		interval = cmp.Or(interval, c.KeepaliveInterval)
		probes = cmp.Or(probes, c.KeepaliveCount)
	}
	return cmp.Or(idle, keepaliveIdle), cmp.Or(interval, keepaliveInterval), cmp.Or(probes, keepaliveCount)
}

// setBy names where a keepalive setting of the socket came from.
func setBy(own bool, option, sysctl string) string {
	if own {
		return option
	}
	return sysctl
}

// describeKeepalive tells the settings with their present values and where to change them.
func (s *story) describeKeepalive() string {
	idle, interval, probes := s.keepaliveSettings()
	o := s.options()
	return fmt.Sprintf("%s is %s, %s is %s, %s is %d",
		setBy(o != nil && o.KeepaliveIdle > 0, "TCP_KEEPIDLE", "net.ipv4.tcp_keepalive_time"), duration(idle),
		setBy(o != nil && o.KeepaliveInterval > 0, "TCP_KEEPINTVL", "net.ipv4.tcp_keepalive_intvl"), duration(interval),
		setBy(o != nil && o.KeepaliveCount > 0, "TCP_KEEPCNT", "net.ipv4.tcp_keepalive_probes"), probes)
}

func (s *story) retries2() int {
	if c := s.sysctls(); c != nil && c.Retries2 > 0 {
		return c.Retries2
	}
	return retries2
}
