package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tcptrace/tracer/event"
	"tcptrace/tracer/schedule"
)

// predictConnectFlags are the settings given by hand. A nil pointer is not given.
type predictConnectFlags struct {
	predictFlags
	SYNRetries     *int
	LinearTimeouts *int
	UserTimeout    time.Duration
	RTOMax         *time.Duration
}

func newPredictConnectCommand(a *app) *cobra.Command {
	var flags predictConnectFlags
	cmd := &cobra.Command{
		Use:   "connect",
		Short: "When an unanswered SYN is sent again, and when the kernel gives up",
		Long: `When an unanswered SYN is sent again, and when the kernel gives up.

What is not given comes from the sysctls of this network namespace. Each time is the earliest; "until" adds the
most by which the kernel's timer wheel makes timers late.`,
		Example: `  # with the settings of this host
  tcptrace predict connect

  # what would two retries, or a user timeout of 5 seconds, do?
  tcptrace predict connect --syn-retries 2
  tcptrace predict connect --user-timeout 5s

  # a kernel before 6.5 had no linear timeouts
  tcptrace predict connect --syn-retries 6 --linear-timeouts 0`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			syn, err := flags.schedule()
			if err != nil {
				return err
			}
			return a.printPrediction(&flags.outputFlags, predictConnect(syn))
		},
	}
	flags.addTo(cmd)
	f := cmd.Flags()
	f.Var(newValue(&flags.SYNRetries, "N", optional(parseBetween("a count of retries", 1, maxSYNRetries))), "syn-retries", "TCP_SYNCNT (default: tcp_syn_retries)")
	f.Var(newValue(&flags.LinearTimeouts, "N", optional(parseBetween("a count of timeouts", 0, maxSYNRetries))), "linear-timeouts", "retries that wait no longer than the first (default: tcp_syn_linear_timeouts)")
	addUserTimeoutFlag(cmd, &flags.UserTimeout)
	flags.addRTOMax(cmd, &flags.RTOMax, "two SYNs")
	return cmd
}

// schedule completes what was given by the sysctls of the namespace asked for, and by this kernel's HZ.
func (f *predictConnectFlags) schedule() (schedule.SYN, error) {
	syn := schedule.SYN{UserTimeout: f.UserTimeout, HZ: f.ticks()}
	err := f.within(func() error {
		return errors.Join(
			givenOrSysctl(&syn.Retries, f.SYNRetries, "tcp_syn_retries", 1),
			givenOrSysctl(&syn.LinearTimeouts, f.LinearTimeouts, "tcp_syn_linear_timeouts", 1),
			givenOrSysctl(&syn.RTOMax, f.RTOMax, "tcp_rto_max_ms", time.Millisecond),
		)
	})
	return syn, err
}

func predictConnect(syn schedule.SYN) *prediction {
	end := syn.End()
	return &prediction{
		settings: []string{
			fmt.Sprintf("SYN retries %d", syn.Retries), fmt.Sprintf("linear timeouts %d", syn.LinearTimeouts),
			"user timeout " + orNone(syn.UserTimeout), longestWait(syn.RTOMax), hzWords(syn.HZ),
		},
		begins:  moment{words: "SYN", about: "now", what: event.Connect.String()},
		repeats: moment{words: "SYN again", what: event.SYNRetransmit.String()},
		steps:   syn.Retransmits(),
		end:     &end,
		notes:   []string{connectRules[end.Rule]},
	}
}

// connectRules say why a schedule of unanswered SYNs ends when it does.
var connectRules = map[schedule.Rule]string{
	schedule.RuleCount: "The retries are used up: the linear timeouts come on top of the SYN retries.",
	schedule.RuleTimeModel: "It ends by time, before the retries are used up: the kernel's limit is what the SYN retries would take without " +
		"the linear timeouts.",
	schedule.RuleUserTimeout: "TCP_USER_TIMEOUT ends it: whatever the manual says, it holds for SYNs too, but is looked at only when a retry is due.",
}
