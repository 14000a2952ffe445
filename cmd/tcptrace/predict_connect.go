package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tcptrace/prober"
	"tcptrace/tracer/event"
	"tcptrace/tracer/host"
	"tcptrace/tracer/schedule"
	"tcptrace/tracer/timeline"
)

// What the kernel takes (net/ipv4/sysctl_net_ipv4.c).
const (
	maxSYNRetries  = 127         // MAX_TCP_SYNCNT, for linear timeouts as well
	leastRTOMax    = time.Second // TCP_RTO_MAX_MIN_SEC
	mostRTOMax     = 2 * time.Minute
	mostHZ         = 10000
	defaultRTOMax  = mostRTOMax // where the kernel has no such setting
	unknownHZWords = "unknown (give --hz)"
)

// predictConnectFlags are the settings given by hand; the others are this namespace's. A nil pointer is not given.
type predictConnectFlags struct {
	outputFlags
	SYNRetries     *int
	LinearTimeouts *int
	UserTimeout    time.Duration
	RTOMax         *time.Duration
	HZ             int
	NetNS          string
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
			if flags.Format == formatJSON {
				return printScheduleJSON(a.stdout, syn)
			}
			printSchedule(a.stdout, flags.painter(a.stdout), syn)
			return nil
		},
	}
	flags.addTo(cmd)
	f := cmd.Flags()
	f.Var(newValue(&flags.SYNRetries, "N", optional(parseBetween("a count of retries", 1, maxSYNRetries))), "syn-retries", "TCP_SYNCNT (default: tcp_syn_retries)")
	f.Var(newValue(&flags.LinearTimeouts, "N", optional(parseBetween("a count of timeouts", 0, maxSYNRetries))), "linear-timeouts", "retries that wait no longer than the first (default: tcp_syn_linear_timeouts)")
	f.Var(newValue(&flags.UserTimeout, "DUR", parseDuration), "user-timeout", "TCP_USER_TIMEOUT (default: none)")
	f.Var(newValue(&flags.RTOMax, "DUR", optional(parseRTOMax)), "rto-max", "the longest wait between two SYNs (default: tcp_rto_max_ms)")
	f.Var(newValue(&flags.HZ, "N", parseBetween("HZ", 1, mostHZ)), "hz", "ticks a second of the kernel's timers (default: this kernel's)")
	addNetNSFlag(cmd, &flags.NetNS)
	return cmd
}

// optional tells a value that was given from one that was not.
func optional[T any](parse func(string) (T, error)) func(string) (*T, error) {
	return func(text string) (*T, error) {
		v, err := parse(text)
		return &v, err
	}
}

func parseRTOMax(text string) (time.Duration, error) {
	d, err := parseDuration(text)
	if err == nil && (d < leastRTOMax || d > mostRTOMax) {
		return 0, fmt.Errorf("the kernel takes %s to %s", timeline.FormatDuration(leastRTOMax), timeline.FormatDuration(mostRTOMax))
	}
	return d, err
}

// schedule completes what was given by the sysctls of the namespace asked for, and by this kernel's HZ.
func (f *predictConnectFlags) schedule() (schedule.SYN, error) {
	syn := schedule.SYN{UserTimeout: f.UserTimeout, HZ: f.HZ}
	if syn.HZ == 0 {
		// Unknown stays 0: the bounds are then wider, which the output says.
		syn.HZ, _ = host.HZ()
	}
	var ns *prober.NetNS
	if f.NetNS != "" {
		var err error
		if ns, err = prober.OpenNetNS(f.NetNS); err != nil {
			return syn, usageErrorf("--netns: %w", err)
		}
		defer ns.Close()
	}
	err := ns.Do(func() error {
		var rtoMax *int
		if f.RTOMax != nil {
			ms := int(*f.RTOMax / time.Millisecond)
			rtoMax = &ms
		}
		ms := 0
		err := errors.Join(
			givenOrSysctl(&syn.Retries, f.SYNRetries, "tcp_syn_retries"),
			givenOrSysctl(&syn.LinearTimeouts, f.LinearTimeouts, "tcp_syn_linear_timeouts"),
			givenOrSysctl(&ms, rtoMax, "tcp_rto_max_ms"),
		)
		syn.RTOMax = time.Duration(ms) * time.Millisecond
		return err
	})
	if err != nil {
		return syn, noTraceErrorf("%w", err)
	}
	return syn, nil
}

// givenOrSysctl sets target to what was given, else to the sysctl of the calling thread's namespace. It stays 0 on a
// kernel that does not have the sysctl, and so not what it sets either.
func givenOrSysctl(target, given *int, sysctl string) error {
	if given != nil {
		*target = *given
		return nil
	}
	n, err := host.TCPSysctl(sysctl)
	if errors.Is(err, host.ErrNoSysctl) {
		return nil
	}
	*target = n
	return err
}

func printSchedule(out *output, p painter, syn schedule.SYN) {
	fmt.Fprintln(out, p.paint(faint, describeSettings(syn)))
	fmt.Fprintf(out, "  %9s  %-14s  %s\n", formatOffset(0), "SYN", "now")
	end, total := syn.End(), 0
	for range syn.Retransmits() {
		total++
	}
	for step := range syn.Retransmits() {
		fmt.Fprintf(out, "  %9s  %-14s  %-9s  %s\n", formatOffset(step.Offset), "SYN again",
			fmt.Sprintf("%d of %d", step.Attempt, total), "until "+formatOffset(step.Latest))
	}
	fmt.Fprintf(out, "  %9s  %-14s  %-9s  %s\n", formatOffset(end.Offset), "gives up", "ETIMEDOUT", "until "+formatOffset(end.Latest))
	fmt.Fprintf(out, "%s\n", ruleSentences[end.Rule])
	if end.Earliest < end.Offset {
		fmt.Fprintf(out, "Late timers can reach that limit one retry sooner: from %s on.\n", formatOffset(end.Earliest))
	}
}

// ruleSentences say why a schedule of unanswered SYNs ends when it does.
var ruleSentences = map[schedule.Rule]string{
	schedule.RuleCount: "The retries are used up: the linear timeouts come on top of the SYN retries.",
	schedule.RuleTimeModel: "It ends by time, before the retries are used up: the kernel's limit is what the SYN retries would take without\n" +
		"the linear timeouts.",
	schedule.RuleUserTimeout: "TCP_USER_TIMEOUT ends it: whatever the manual says, it holds for SYNs too, but is looked at only when a retry is due.",
}

func describeSettings(syn schedule.SYN) string {
	userTimeout := "none"
	if syn.UserTimeout != 0 {
		userTimeout = timeline.FormatDuration(syn.UserTimeout)
	}
	rtoMax := defaultRTOMax
	if syn.RTOMax != 0 {
		rtoMax = syn.RTOMax
	}
	hz := unknownHZWords
	if syn.HZ != 0 {
		hz = fmt.Sprint(syn.HZ)
	}
	return fmt.Sprintf("SYN retries %d, linear timeouts %d, user timeout %s, longest wait %s, HZ %s",
		syn.Retries, syn.LinearTimeouts, userTimeout, timeline.FormatDuration(rtoMax), hz)
}

// stepLine and endLine are the lines of a schedule in JSON.
type stepLine struct {
	Type     string  `json:"type"`
	Attempt  int     `json:"attempt"` // 0 is the first SYN
	OffsetMS float64 `json:"offset_ms"`
	LatestMS float64 `json:"latest_ms"`
	What     string  `json:"what"`
}

type endLine struct {
	Type       string  `json:"type"`
	OffsetMS   float64 `json:"offset_ms"`
	LatestMS   float64 `json:"latest_ms"`
	EarliestMS float64 `json:"earliest_ms"`
	Errno      string  `json:"errno"`
	Rule       string  `json:"rule"`
}

func printScheduleJSON(out *output, syn schedule.SYN) error {
	lines := json.NewEncoder(out)
	if err := lines.Encode(stepLine{Type: "step", What: event.Connect.String()}); err != nil {
		return err
	}
	for step := range syn.Retransmits() {
		line := stepLine{"step", step.Attempt, milliseconds(step.Offset), milliseconds(step.Latest), event.SYNRetransmit.String()}
		if err := lines.Encode(line); err != nil {
			return err
		}
	}
	end := syn.End()
	return lines.Encode(endLine{"end", milliseconds(end.Offset), milliseconds(end.Latest), milliseconds(end.Earliest), event.ETIMEDOUT.String(), end.Rule.String()})
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// formatOffset writes a time from the beginning of a connection, as +1.021s.
func formatOffset(d time.Duration) string { return fmt.Sprintf("%+.3fs", d.Seconds()) }
