package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"tcptrace/tracer/event"
	"tcptrace/tracer/lint"
	"tcptrace/tracer/schedule"
	"tcptrace/tracer/timeline"
)

func newPredictZeroWindowCommand(a *app) *cobra.Command {
	var flags lossFlags
	var answered bool
	cmd := &cobra.Command{
		Use:   "zero-window",
		Short: "When a peer whose window is shut is probed, and when the kernel gives up",
		Long: `When the kernel probes a peer that has shut its receive window while data waits to be sent, and when it gives up.

Times count from when the data could not be sent. What is not given comes from the sysctls of this network namespace.
Each time is the earliest; "until" adds the most by which the kernel's timer wheel makes timers late.`,
		Example: `  # the peer is gone
  tcptrace predict zero-window

  # its application hangs, but its kernel answers
  tcptrace predict zero-window --answered
  tcptrace predict zero-window --answered --user-timeout 30s`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			s, err := flags.complete()
			if err != nil {
				return err
			}
			window := schedule.ZeroWindow{Retries2: s.retries2, UserTimeout: flags.UserTimeout, RTO: flags.firstRTO(), RTOMax: s.rtoMax,
				Answered: answered, RTT: flags.RTT, Orphan: flags.Orphan, OrphanRetries: s.orphanRetries, HZ: flags.ticks()}
			p := predictZeroWindow(window)
			p.settings = flags.words(s, window.RTO)
			return a.printPrediction(&flags.outputFlags, p)
		},
	}
	flags.addTo(cmd, "two probes")
	cmd.Flags().BoolVar(&answered, "answered", false, "the peer answers each probe, and its window stays shut")
	return cmd
}

func predictZeroWindow(window schedule.ZeroWindow) *prediction {
	p := &prediction{
		begins:  moment{words: "window shut", about: "data waits, and nothing is in flight", what: "window_shut"},
		repeats: moment{words: "probe", what: event.WindowProbe.String()},
		steps:   window.Probes(),
	}
	if end, ends := window.End(); ends {
		p.end = &end
	}
	p.notes = []string{zeroWindowRule(window, p.end)}
	if window.Answered && !window.Orphan {
		p.warnings = lint.Check(lint.Settings{UserTimeout: window.UserTimeout, Retries2: window.Retries2, RTO: window.RTO, RTOMax: window.RTOMax,
			HZ: window.HZ, Shut: true})
	}
	return p
}

// zeroWindowRule says by which clause a shut window ends a connection, and why then. A nil end is none.
func zeroWindowRule(window schedule.ZeroWindow, end *schedule.End) string {
	if end == nil {
		return "It never ends: each answer starts the count anew. TCP_USER_TIMEOUT would end it, or the application."
	}
	after, userTimeout := timeline.FormatDuration(end.Offset), timeline.FormatDuration(window.UserTimeout)
	switch {
	case end.Rule == schedule.RuleUserTimeout && window.Answered:
		return fmt.Sprintf("TCP_USER_TIMEOUT (%s) ends it after %s although the peer answers: it counts from the first probe on, until the "+
			"window opens.", userTimeout, after)
	case end.Rule == schedule.RuleUserTimeout:
		return fmt.Sprintf("TCP_USER_TIMEOUT (%s) ends it after %s: it counts from the first probe.", userTimeout, after)
	case end.Rule == schedule.RuleOrphan:
		return fmt.Sprintf("tcp_orphan_retries (%d%s) ends it after %s: nobody has the socket any more, and nobody is told.",
			window.OrphanRetries, orphanDefault(window.OrphanRetries), after)
	}
	return fmt.Sprintf("tcp_retries2 (%d) ends it after %s: here it is a count, of probes in a row without an answer.", window.Retries2, after)
}
