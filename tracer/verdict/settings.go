package verdict

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"tcptrace/tracer/event"
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

// keepaliveKnown are the settings that are known, with where to change them.
func (s *story) keepaliveKnown() string {
	var own event.Options
	if o := s.options(); o != nil {
		own = *o
	}
	var namespace event.Sysctls
	if c := s.sysctls(); c != nil {
		namespace = *c
	}
	var known []string
	add := func(own, shared, option, sysctl string) {
		switch {
		case own != "":
			known = append(known, option+" is "+own)
		case shared != "":
			known = append(known, "net.ipv4."+sysctl+" is "+shared)
		}
	}
	add(setting(own.KeepaliveIdle), setting(namespace.KeepaliveIdle), "TCP_KEEPIDLE", "tcp_keepalive_time")
	add(setting(own.KeepaliveInterval), setting(namespace.KeepaliveInterval), "TCP_KEEPINTVL", "tcp_keepalive_intvl")
	add(numeral(own.KeepaliveCount), numeral(namespace.KeepaliveCount), "TCP_KEEPCNT", "tcp_keepalive_probes")
	return strings.Join(known, ", ")
}

// setting and numeral write what is set, and nothing for what is not.
func setting(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return duration(d)
}

func numeral(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func (s *story) retries2() int {
	if c := s.sysctls(); c != nil && c.Retries2 > 0 {
		return c.Retries2
	}
	return retries2
}
