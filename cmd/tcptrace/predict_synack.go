package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tcptrace/tracer"
	"tcptrace/tracer/event"
	"tcptrace/tracer/schedule"
	"tcptrace/tracer/timeline"
)

// predictSYNACKFlags are the settings given by hand. A nil pointer is not given.
type predictSYNACKFlags struct {
	predictFlags
	Retries  *int
	RTOMax   *time.Duration
	Deferred time.Duration
	Acked    bool
}

func newPredictSYNACKCommand(a *app) *cobra.Command {
	var flags predictSYNACKFlags
	cmd := &cobra.Command{
		Use:   "synack",
		Short: "When a server repeats a SYN-ACK, and when it forgets the half-open connection",
		Long: `When a server's kernel repeats a SYN-ACK that nobody acknowledges, and when it forgets the half-open connection.

What is not given comes from the sysctls of this network namespace. Each time is the earliest; "until" adds the most by
which the kernel's timer wheel makes timers late. A SYN that comes again has its SYN-ACK at once, on top of these; a
listener whose queue is more than half full makes fewer retries.`,
		Example: `  # with the settings of this host
  tcptrace predict synack

  # a listener that wants to see data first
  tcptrace predict synack --defer-accept 7s --acked`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			synack, err := flags.schedule()
			if err != nil {
				return err
			}
			return a.printPrediction(&flags.outputFlags, predictSYNACK(synack))
		},
	}
	flags.addTo(cmd)
	f := cmd.Flags()
	f.Var(newValue(&flags.Retries, "N", optional(parseBetween("a count of retries", 0, maxRetries))), "synack-retries", "TCP_SYNCNT of the listener (default: tcp_synack_retries)")
	f.Var(newValue(&flags.Deferred, "DUR", parseKeepaliveTime), "defer-accept", "TCP_DEFER_ACCEPT of the listener (default: none)")
	f.BoolVar(&flags.Acked, "acked", false, "with --defer-accept: the client has acknowledged the SYN-ACK, and sends nothing")
	flags.addRTOMax(cmd, &flags.RTOMax, "two SYN-ACKs")
	return cmd
}

func (f *predictSYNACKFlags) schedule() (schedule.SYNACK, error) {
	synack := schedule.SYNACK{Deferred: f.Deferred, Acked: f.Acked, HZ: f.ticks()}
	err := f.within(func() error {
		return errors.Join(
			givenOrSysctl(&synack.Retries, f.Retries, "tcp_synack_retries", 1),
			givenOrSysctl(&synack.RTOMax, f.RTOMax, "tcp_rto_max_ms", time.Millisecond),
		)
	})
	if f.RTOMax == nil && synack.RTOMax != defaultRTOMax && !tracer.SYNACKsHeedRTOMax() {
		synack.RTOMax = defaultRTOMax
	}
	return synack, err
}

func predictSYNACK(synack schedule.SYNACK) *prediction {
	end := synack.End()
	p := &prediction{
		settings: []string{fmt.Sprintf("SYN-ACK retries %d", synack.Retries)},
		begins:   moment{words: "SYN-ACK", about: "the answer to a SYN", what: event.SYNReceived.String()},
		repeats:  moment{words: "SYN-ACK again", what: event.SYNACKRetransmit.String()},
		steps:    synack.Retransmits(),
		end:      &end,
		ends:     moment{words: "forgotten", about: "silently"},
		notes: []string{"The retries are used up. Nobody is told: the application has not heard of the connection yet, and the client gets a RST " +
			"only when it sends something."},
	}
	if synack.Deferred != 0 {
		p.settings = append(p.settings, "deferred for "+timeline.FormatDuration(synack.Deferred))
		p.notes = append(p.notes, deferredNote)
	}
	p.settings = append(p.settings, longestWait(synack.RTOMax), hzWords(synack.HZ))
	return p
}

// deferredNote says what TCP_DEFER_ACCEPT adds once the client has acknowledged the SYN-ACK.
const deferredNote = "With TCP_DEFER_ACCEPT a client's bare ACK is ignored: the request waits in silence for data, and the SYN-ACK goes again only " +
	"towards the end, to provoke another ACK."
