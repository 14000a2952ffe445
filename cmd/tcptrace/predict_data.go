package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tcptrace/tracer/event"
	"tcptrace/tracer/lint"
	"tcptrace/tracer/schedule"
	"tcptrace/tracer/timeline"
)

// lossFlags are the settings that rule data which is not acknowledged, or cannot be sent. A nil pointer is not given.
type lossFlags struct {
	predictFlags
	Retries2      *int
	UserTimeout   time.Duration
	RTO           time.Duration
	RTT           time.Duration
	RTOMax        *time.Duration
	Orphan        bool
	OrphanRetries *int
}

// rtoMin is what the kernel adds to the round trip time as long as that is steady (TCP_RTO_MIN): the shortest RTO.
const rtoMin = 200 * time.Millisecond

func (f *lossFlags) addTo(cmd *cobra.Command, between string) {
	f.predictFlags.addTo(cmd)
	flags := cmd.Flags()
	flags.Var(newValue(&f.Retries2, "N", optional(parseBetween("a count of retries", 0, maxRetries))), "retries2", "how persistent the kernel is (default: tcp_retries2)")
	addUserTimeoutFlag(cmd, &f.UserTimeout)
	flags.Var(newValue(&f.RTO, "DUR", parseDuration), "rto", "the first timeout, as ss -i shows it (default: from --rtt)")
	flags.Var(newValue(&f.RTT, "DUR", parseDuration), "rtt", "the round trip time: the first timeout is 200ms more (default: none)")
	f.addRTOMax(cmd, &f.RTOMax, between)
	flags.BoolVar(&f.Orphan, "orphan", false, "the application has closed the socket already")
	flags.Var(newValue(&f.OrphanRetries, "N", optional(parseBetween("a count of retries", 0, maxRetries))), "orphan-retries", "the retries of a closed socket (default: tcp_orphan_retries)")
	excludeEachOther(cmd, "rto", "rtt")
}

// firstRTO is the timeout of the first transmission.
func (f *lossFlags) firstRTO() time.Duration {
	if f.RTO != 0 {
		return f.RTO
	}
	return f.RTT + rtoMin
}

// lossSettings are lossFlags completed by sysctls.
type lossSettings struct {
	retries2, orphanRetries int
	rtoMax                  time.Duration
}

func (f *lossFlags) complete() (s lossSettings, err error) {
	err = f.within(func() error {
		return errors.Join(
			givenOrSysctl(&s.retries2, f.Retries2, "tcp_retries2", 1),
			givenOrSysctl(&s.orphanRetries, f.OrphanRetries, "tcp_orphan_retries", 1),
			givenOrSysctl(&s.rtoMax, f.RTOMax, "tcp_rto_max_ms", time.Millisecond),
		)
	})
	return s, err
}

// words are the settings as people read them.
func (f *lossFlags) words(s lossSettings, rto time.Duration) []string {
	persistence := fmt.Sprintf("tcp_retries2 %d", s.retries2)
	if f.Orphan {
		persistence = fmt.Sprintf("closed by the application, tcp_orphan_retries %d", s.orphanRetries)
	}
	return []string{
		persistence, "user timeout " + orNone(f.UserTimeout), "first timeout " + timeline.FormatDuration(rto), longestWait(s.rtoMax), hzWords(f.ticks()),
	}
}

func newPredictDataCommand(a *app) *cobra.Command {
	var flags lossFlags
	var thin bool
	cmd := &cobra.Command{
		Use:   "data",
		Short: "When unacknowledged data is sent again, and when the kernel gives up",
		Long: `When the kernel sends data again that nobody acknowledges, and when it gives up.

Times count from the first transmission. What is not given comes from the sysctls of this network namespace. Each time
is the earliest; "until" adds the most by which the kernel's timer wheel makes timers late. A tail loss probe, which may
precede the first timeout, is left out.`,
		Example: `  # with the settings of this host, to a peer 20ms away
  tcptrace predict data --rtt 20ms

  # how long does an outage last that TCP_USER_TIMEOUT survives?
  tcptrace predict data --user-timeout 30s

  # what happens to data that was written before close()?
  tcptrace predict data --orphan`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			s, err := flags.complete()
			if err != nil {
				return err
			}
			data := schedule.Data{Retries2: s.retries2, UserTimeout: flags.UserTimeout, RTO: flags.firstRTO(), RTOMax: s.rtoMax,
				Orphan: flags.Orphan, OrphanRetries: s.orphanRetries, ThinLinear: thin, HZ: flags.ticks()}
			p := predictData(data)
			p.settings = flags.words(s, data.RTO)
			return a.printPrediction(&flags.outputFlags, p)
		},
	}
	flags.addTo(cmd, "two retransmissions")
	cmd.Flags().BoolVar(&thin, "thin", false, "TCP_THIN_LINEAR_TIMEOUTS: the first waits of a thin stream do not double")
	return cmd
}

func predictData(data schedule.Data) *prediction {
	end := data.End()
	return &prediction{
		begins:   moment{words: "data", about: "sent for the first time", what: "data"},
		repeats:  moment{words: "data again", what: event.Retransmit.String()},
		steps:    data.Retransmits(),
		end:      &end,
		notes:    []string{dataRule(data, end), "Meanwhile keepalive is suspended: it is for idle connections."},
		warnings: dataWarnings(data),
	}
}

// dataWarnings are about settings of an application that still has its socket.
func dataWarnings(data schedule.Data) []lint.Warning {
	if data.Orphan {
		return nil
	}
	return lint.Check(lint.Settings{UserTimeout: data.UserTimeout, Retries2: data.Retries2, RTO: data.RTO, RTOMax: data.RTOMax, HZ: data.HZ, InFlight: true})
}

// dataRule says by which clause unacknowledged data ends a connection, and why then.
func dataRule(data schedule.Data, end schedule.End) string {
	after := timeline.FormatDuration(end.Offset)
	switch end.Rule {
	case schedule.RuleUserTimeout:
		return fmt.Sprintf("TCP_USER_TIMEOUT (%s) ends it after %s, and tcp_retries2 does not matter. It counts from the first retransmission, "+
			"not from when the data was sent, and the last wait is cut to fit.", timeline.FormatDuration(data.UserTimeout), after)
	case schedule.RuleOrphan:
		return fmt.Sprintf("tcp_orphan_retries (%d%s) ends it after %s: nobody has the socket any more, and nobody is told.",
			data.OrphanRetries, orphanDefault(data.OrphanRetries), after)
	case schedule.RuleCount:
		return "The retries are used up."
	}
	return fmt.Sprintf("tcp_retries2 (%d) ends it after %s. It is no count but a time, what so many waits would take that double from 200ms on, "+
		"whatever the real timeout, and it counts from the first retransmission.", data.Retries2, after)
}

// orphanDefault explains the sysctl's 0 (tcp_orphan_retries, net/ipv4/tcp_timer.c).
func orphanDefault(retries int) string {
	if retries == 0 {
		return ", which means 8"
	}
	return ""
}
