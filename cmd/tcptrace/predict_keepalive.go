package main

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/spf13/cobra"

	"tcptrace/tracer/event"
	"tcptrace/tracer/lint"
	"tcptrace/tracer/schedule"
	"tcptrace/tracer/timeline"
)

// keepaliveFlags are the settings of an idle connection that are given by hand. A nil pointer is not given.
type keepaliveFlags struct {
	Idle        *time.Duration
	Interval    *time.Duration
	Count       *int
	UserTimeout time.Duration
}

// keepaliveSettings is what becomes of a connection while nothing is sent on it, and what else its lints look at.
type keepaliveSettings struct {
	schedule.Keepalive
	Retries2 int
	RTOMax   time.Duration // 0: the kernel has no such setting
	Local    bool          // both ends are on this host: there is nothing in between
}

func newPredictKeepaliveCommand(a *app) *cobra.Command {
	var flags predictFlags
	var given keepaliveFlags
	cmd := &cobra.Command{
		Use:   "keepalive",
		Short: "When an idle connection is probed, and when the kernel gives up on a peer that is gone",
		Long: `When the kernel probes an idle connection with SO_KEEPALIVE, and when it gives up on a peer that does not answer.

Times count from the last segment that the peer sent, data or acknowledgement. What is not given comes from the
sysctls of this network namespace. Each time is the earliest; "until" adds the most by which the kernel's timer wheel
makes timers late.`,
		Example: `  # with the settings of this host: who sets SO_KEEPALIVE and nothing else waits for two hours
  tcptrace predict keepalive

  # what a user timeout does to the count
  tcptrace predict keepalive --keepalive-idle 2s --keepalive-interval 3s --keepalive-count 3 --user-timeout 8s`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			var settings keepaliveSettings
			err := flags.within(func() (err error) {
				settings, err = given.complete(flags.ticks())
				return err
			})
			if err != nil {
				return err
			}
			return a.printPrediction(&flags.outputFlags, predictKeepalive(settings))
		},
	}
	flags.addTo(cmd)
	f := cmd.Flags()
	f.Var(newValue(&given.Idle, "DUR", optional(parseKeepaliveTime)), "keepalive-idle", "TCP_KEEPIDLE (default: tcp_keepalive_time)")
	f.Var(newValue(&given.Interval, "DUR", optional(parseKeepaliveTime)), "keepalive-interval", "TCP_KEEPINTVL (default: tcp_keepalive_intvl)")
	f.Var(newValue(&given.Count, "N", optional(parseBetween("a count of probes", 1, maxKeepaliveCount))), "keepalive-count", "TCP_KEEPCNT (default: tcp_keepalive_probes)")
	addUserTimeoutFlag(cmd, &given.UserTimeout)
	return cmd
}

// complete fills in what was not given from the sysctls of the calling thread's namespace.
func (f *keepaliveFlags) complete(hz int) (keepaliveSettings, error) {
	s := keepaliveSettings{Keepalive: schedule.Keepalive{UserTimeout: f.UserTimeout, HZ: hz}}
	err := errors.Join(
		givenOrSysctl(&s.Idle, f.Idle, "tcp_keepalive_time", time.Second),
		givenOrSysctl(&s.Interval, f.Interval, "tcp_keepalive_intvl", time.Second),
		givenOrSysctl(&s.Count, f.Count, "tcp_keepalive_probes", 1),
		givenOrSysctl(&s.Retries2, nil, "tcp_retries2", 1),
		givenOrSysctl(&s.RTOMax, nil, "tcp_rto_max_ms", time.Millisecond),
	)
	return s, err
}

func predictKeepalive(s keepaliveSettings) *prediction {
	end := s.End()
	return &prediction{
		settings: []string{
			"TCP_KEEPIDLE " + timeline.FormatDuration(s.Idle), "TCP_KEEPINTVL " + timeline.FormatDuration(s.Interval),
			fmt.Sprintf("TCP_KEEPCNT %d", s.Count), "user timeout " + orNone(s.UserTimeout), hzWords(s.HZ),
		},
		begins:   moment{words: "last segment", about: "from the peer: data, or an acknowledgement", what: "last_segment"},
		repeats:  moment{words: "probe", what: event.KeepaliveProbe.String()},
		steps:    s.Probes(),
		end:      &end,
		notes:    append(stated(s.rule(end), s.chatter(), s.afterAnswer()), "With data in flight no probe is sent and this does not hold: see tcptrace predict data."),
		warnings: s.warnings(),
	}
}

// rule says by which clause an idle connection ends, and why then.
func (s keepaliveSettings) rule(end schedule.End) string {
	if end.Rule == schedule.RuleUserTimeout {
		return fmt.Sprintf("TCP_USER_TIMEOUT (%s) ends it after %s, and TCP_KEEPCNT (%d) is ignored with it: the kernel looks at the time "+
			"only when a probe is due, and never before one was sent.",
			timeline.FormatDuration(s.UserTimeout), timeline.FormatDuration(end.Offset), s.Count)
	}
	return fmt.Sprintf("TCP_KEEPCNT (%d) ends it after %s: one probe every %s from %s on, and one more interval for the last answer.",
		s.Count, timeline.FormatDuration(end.Offset), timeline.FormatDuration(s.Interval), timeline.FormatDuration(s.Idle))
}

// chatter says what keepalive costs with a peer that answers. The timer waits an interval after a probe, and then what
// is left of the idle time since the answer (tcp_keepalive_timer).
func (s keepaliveSettings) chatter() string {
	period := s.period()
	return fmt.Sprintf("A peer that answers is probed every %s while nothing is sent: %s.", timeline.FormatDuration(period), perHour(period))
}

// afterAnswer says what is different when the last segment answered a probe and the interval is longer than the idle
// time: the timer that the probe set still runs. It is empty where nothing is different.
func (s keepaliveSettings) afterAnswer() string {
	if s.Interval <= s.Idle {
		return ""
	}
	later := s.Keepalive
	later.Idle = s.Interval
	return fmt.Sprintf("If that last segment answered a probe, the next one comes an interval later, not the idle time, and the end is %s after it.",
		timeline.FormatDuration(later.End().Offset))
}

func (s keepaliveSettings) period() time.Duration { return max(s.Idle, s.Interval) }

// perHour is how often in an hour something happens that happens every period; by the day where it is rare.
func perHour(period time.Duration) string {
	hourly := float64(time.Hour) / float64(period)
	if hourly < 1 {
		return fmt.Sprintf("%.0f a day", 24*hourly)
	}
	return thousands(uint64(math.Round(hourly))) + " an hour"
}

// thousands writes a number with a comma before every three digits.
func thousands(n uint64) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}

func (s keepaliveSettings) warnings() []lint.Warning {
	return lint.Check(lint.Settings{
		Local:             s.Local,
		KeepAlive:         true,
		KeepaliveIdle:     s.Idle,
		KeepaliveInterval: s.Interval,
		KeepaliveCount:    s.Count,
		UserTimeout:       s.UserTimeout,
		Retries2:          s.Retries2,
		RTOMax:            s.RTOMax,
		HZ:                s.HZ,
	})
}
