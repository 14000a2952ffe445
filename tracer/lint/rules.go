package lint

import (
	"fmt"
	"time"

	"tcptrace/tracer/timeline"
)

// rule is one warning.
type rule struct {
	id       string
	applies  func(*facts) bool
	sentence func(*facts) string
	advice   func(*facts) string
}

// say is advice that is the same for everybody.
func say(advice string) func(*facts) string { return func(*facts) string { return advice } }

func duration(d time.Duration) string { return timeline.FormatDuration(d) }

// What is worth a warning.
const (
	// slowToNotice is how late it is to notice a dead peer: whoever waits for it has given up.
	slowToNotice = 30 * time.Minute
	// shortOutage is what a connection should outlive: as long as a spanning tree, or a failover of a virtual machine,
	// commonly takes.
	shortOutage = 30 * time.Second
	// longHang is how long a program that waits for its data to be acknowledged should at most hang.
	longHang = 5 * time.Minute
)

// rules have a row for each warning, the worst first.
var rules = []rule{
	{
		id:      "zero_window_for_ever",
		applies: func(f *facts) bool { return f.Shut && f.UserTimeout == 0 },
		sentence: func(f *facts) string {
			return fmt.Sprintf("the peer's window is shut: as long as it answers the probes, which come at most %s apart, the connection never ends, whatever tcp_retries2 is",
				duration(f.RTOMax))
		},
		advice: say("find out why the peer's application does not read; TCP_USER_TIMEOUT bounds the wait"),
	},
	{
		id:      "user_timeout_at_zero_window",
		applies: func(f *facts) bool { return f.Shut && f.UserTimeout > 0 },
		sentence: func(f *facts) string {
			return fmt.Sprintf("TCP_USER_TIMEOUT %s ends the connection that long after the first window probe, even though the peer answers: a peer that is only slow to read counts as dead",
				duration(f.UserTimeout))
		},
		advice: say("set TCP_USER_TIMEOUT longer than the peer's application may pause"),
	},
	{
		id:      "retransmission_hangs",
		applies: func(f *facts) bool { return f.InFlight && f.UserTimeout == 0 && f.data.End().Offset >= longHang },
		sentence: func(f *facts) string {
			return fmt.Sprintf("without TCP_USER_TIMEOUT, data to a peer that is gone is given up only after %s (tcp_retries2 %d); keepalive does nothing in that time",
				duration(f.data.End().Offset), f.Retries2)
		},
		advice: say("set TCP_USER_TIMEOUT to what the application can wait, or net.ipv4.tcp_retries2 for the whole network namespace (8 is 1m42s, the least that RFC 1122 wants)"),
	},
	{
		id:      "user_timeout_below_outage",
		applies: func(f *facts) bool { return f.UserTimeout > 0 && f.UserTimeout < shortOutage },
		sentence: func(f *facts) string {
			return fmt.Sprintf("with TCP_USER_TIMEOUT %s unacknowledged data is sent for the last time after %s and given up after %s: the connection does not outlive an outage that long",
				duration(f.UserTimeout), duration(f.lastRetransmit()), duration(f.data.End().Offset))
		},
		advice: say(fmt.Sprintf("set TCP_USER_TIMEOUT to %s or more, if the application should outlive a failover on the way", duration(shortOutage))),
	},
	{
		id: "user_timeout_below_keepalive",
		applies: func(f *facts) bool {
			return f.probes() && f.UserTimeout > 0 && f.UserTimeout < f.KeepaliveIdle+f.KeepaliveInterval
		},
		sentence: func(f *facts) string {
			return fmt.Sprintf("TCP_USER_TIMEOUT %s is below TCP_KEEPIDLE %s and one TCP_KEEPINTVL %s: an idle connection ends after a single unanswered probe, and not before %s",
				duration(f.UserTimeout), duration(f.KeepaliveIdle), duration(f.KeepaliveInterval), duration(f.keepalive.End().Offset))
		},
		advice: say("to notice a dead peer sooner lower TCP_KEEPIDLE; to allow for lost probes set TCP_USER_TIMEOUT to TCP_KEEPIDLE and some TCP_KEEPINTVL more"),
	},
	{
		id: "keepalive_count_ignored",
		applies: func(f *facts) bool {
			return f.probes() && f.UserTimeout >= f.KeepaliveIdle+f.KeepaliveInterval && f.probesSent() != f.KeepaliveCount
		},
		sentence: func(f *facts) string {
			return fmt.Sprintf("TCP_KEEPCNT %d means nothing beside TCP_USER_TIMEOUT %s: an idle connection ends after %s and %d unanswered probes, not after %s and %d",
				f.KeepaliveCount, duration(f.UserTimeout), duration(f.keepalive.End().Offset), f.probesSent(), duration(f.byCount()), f.KeepaliveCount)
		},
		advice: func(f *facts) string {
			return fmt.Sprintf("set TCP_USER_TIMEOUT to %s to have as many probes as TCP_KEEPCNT says", duration(f.byCount()))
		},
	},
	{
		id:      "single_keepalive_probe",
		applies: func(f *facts) bool { return f.probes() && f.UserTimeout == 0 && f.KeepaliveCount == 1 },
		sentence: func(f *facts) string {
			return fmt.Sprintf("with TCP_KEEPCNT 1 a single lost probe, or lost answer, ends a healthy connection after %s", duration(f.keepalive.End().Offset))
		},
		advice: say("set TCP_KEEPCNT to 3 or more, and TCP_KEEPINTVL shorter"),
	},
	{
		id: "keepalive_off",
		applies: func(f *facts) bool {
			return !f.KeepAlive && !f.InFlight && !f.Shut && !f.Local && len(passed(f.Idle)) > 0
		},
		sentence: func(f *facts) string {
			return fmt.Sprintf("idle for %s without keepalive: this end would never learn that the peer is gone; forgotten by now, if it is on the way, by what remembers for %s",
				duration(f.Idle), list(passed(f.Idle)))
		},
		advice: say("set SO_KEEPALIVE, with TCP_KEEPIDLE " + safeIdle + ", or let the application exchange something that often"),
	},
	{
		id:      "keepalive_later_than_idle_limits",
		applies: func(f *facts) bool { return f.probes() && !f.Local && len(passed(f.KeepaliveIdle)) > 0 },
		sentence: func(f *facts) string {
			return fmt.Sprintf("the first keepalive probe comes after %s: too late to keep an idle connection in what remembers it for %s",
				duration(f.KeepaliveIdle), list(passed(f.KeepaliveIdle)))
		},
		advice: say("set TCP_KEEPIDLE to " + safeIdle + "; an HTTP proxy (60s is common) counts requests, and no probe puts it off"),
	},
	{
		id:      "dead_peer_noticed_late",
		applies: func(f *facts) bool { return f.probes() && f.keepalive.End().Offset >= slowToNotice },
		sentence: func(f *facts) string {
			return fmt.Sprintf("keepalive takes %s to notice that an idle peer is gone: %s until the first probe, then %s for each of %d",
				duration(f.keepalive.End().Offset), duration(f.KeepaliveIdle), duration(f.KeepaliveInterval), f.probesSent())
		},
		advice: say("set TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT on the socket; the sysctls net.ipv4.tcp_keepalive_* are for those that set none"),
	},
}
