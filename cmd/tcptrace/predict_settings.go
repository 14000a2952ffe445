package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tcptrace/prober"
	"tcptrace/tracer/host"
	"tcptrace/tracer/timeline"
)

// What the kernel takes (net/ipv4/sysctl_net_ipv4.c, include/net/tcp.h).
const (
	maxSYNRetries     = 127         // MAX_TCP_SYNCNT, for linear timeouts as well
	maxRetries        = 255         // tcp_retries2, tcp_orphan_retries and tcp_synack_retries are u8
	leastRTOMax       = time.Second // TCP_RTO_MAX_MIN_SEC
	mostRTOMax        = 2 * time.Minute
	maxKeepaliveTime  = 32767 * time.Second // MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL
	maxKeepaliveCount = 127                 // MAX_TCP_KEEPCNT
	mostHZ            = 10000
	defaultRTOMax     = mostRTOMax // where the kernel has no such setting
	unknownHZWords    = "unknown (give --hz)"
)

// predictFlags are those of every prediction. What a prediction needs and is not given comes from the sysctls of the
// network namespace.
type predictFlags struct {
	outputFlags
	HZ    int
	NetNS string
}

func (f *predictFlags) addTo(cmd *cobra.Command) {
	f.outputFlags.addTo(cmd)
	cmd.Flags().Var(newValue(&f.HZ, "N", parseBetween("HZ", 1, mostHZ)), "hz", "ticks a second of the kernel's timers (default: this kernel's)")
	addNetNSFlag(cmd, &f.NetNS)
}

// ticks is HZ. Unknown stays 0: the bounds are then wider, which the output says.
func (f *predictFlags) ticks() int {
	if f.HZ != 0 {
		return f.HZ
	}
	hz, _ := host.HZ()
	return hz
}

// within runs read, which reads sysctls, in the namespace asked for.
func (f *predictFlags) within(read func() error) error {
	var ns *prober.NetNS
	if f.NetNS != "" {
		var err error
		if ns, err = prober.OpenNetNS(f.NetNS); err != nil {
			return usageErrorf("--netns: %w", err)
		}
		defer ns.Close()
	}
	if err := ns.Do(read); err != nil {
		return noTraceErrorf("%w", err)
	}
	return nil
}

// givenOrSysctl sets target to what was given, else to the sysctl of the calling thread's namespace, which counts in
// unit. It stays 0 on a kernel that does not have the sysctl, and so not what it sets either.
func givenOrSysctl[T ~int | ~int64](target, given *T, sysctl string, unit T) error {
	if given != nil {
		*target = *given
		return nil
	}
	n, err := host.TCPSysctl(sysctl)
	if errors.Is(err, host.ErrNoSysctl) {
		return nil
	}
	*target = T(n) * unit
	return err
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

// parseKeepaliveTime reads what TCP_KEEPIDLE and TCP_KEEPINTVL take.
func parseKeepaliveTime(text string) (time.Duration, error) {
	d, err := parseDuration(text)
	if err == nil && (d%time.Second != 0 || d > maxKeepaliveTime) {
		return 0, fmt.Errorf("the kernel takes whole seconds, at most %d", maxKeepaliveTime/time.Second)
	}
	return d, err
}

func (f *predictFlags) addRTOMax(cmd *cobra.Command, target **time.Duration, between string) {
	cmd.Flags().Var(newValue(target, "DUR", optional(parseRTOMax)), "rto-max", "the longest wait between "+between+" (default: tcp_rto_max_ms)")
}

func addUserTimeoutFlag(cmd *cobra.Command, target *time.Duration) {
	cmd.Flags().Var(newValue(target, "DUR", parseDuration), "user-timeout", "TCP_USER_TIMEOUT (default: none)")
}

// longestWait is what a setting of the longest wait means: 0 is that the kernel has no such setting.
func longestWait(rtoMax time.Duration) string {
	if rtoMax == 0 {
		rtoMax = defaultRTOMax
	}
	return "longest wait " + timeline.FormatDuration(rtoMax)
}

func hzWords(hz int) string {
	if hz == 0 {
		return "HZ " + unknownHZWords
	}
	return fmt.Sprintf("HZ %d", hz)
}
