package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tcptrace/prober"
)

// maxSend bounds --send: enough for every request that one types, and no accident with a large file.
const maxSend = 1 << 20

// addSocketFlags gives cmd the flags for how a probe's socket is set up. o.Validate has the last word on what they
// say together.
func addSocketFlags(cmd *cobra.Command, o *prober.Options) {
	flags := cmd.Flags()
	flags.Var(newValue(&o.Source, "ADDR", parseAddr), "source", "connect from that address")
	flags.Var(newValue(&o.SourcePort, "PORT", parsePort), "source-port", "connect from that port")
	flags.Var(newValue(&o.Interface, "NAME", nonEmpty("an interface")), "interface", "connect by that interface only (SO_BINDTODEVICE)")
	flags.Var(newValue(&o.SYNRetries, "N", parseBetween("a count of retries", 1, maxSYNRetries)), "syn-retries", "TCP_SYNCNT (default: tcp_syn_retries)")
	flags.Var(newValue(&o.UserTimeout, "DUR", parseDuration), "user-timeout", "TCP_USER_TIMEOUT (default: none)")
	flags.Var(newValue(&o.KeepaliveIdle, "DUR", parseDuration), "keepalive-idle", "TCP_KEEPIDLE, with SO_KEEPALIVE")
	flags.Var(newValue(&o.KeepaliveInterval, "DUR", parseDuration), "keepalive-interval", "TCP_KEEPINTVL, with SO_KEEPALIVE")
	flags.Var(newValue(&o.KeepaliveCount, "N", parseBetween("a count of probes", 1, math.MaxInt8)), "keepalive-count", "TCP_KEEPCNT, with SO_KEEPALIVE")
	flags.Var(newValue(&o.Linger, "DUR", optional(parseDurationOrZero)), "linger", "SO_LINGER; 0 closes by a reset")
	flags.Var(&markValue{o}, "mark", "SO_MARK (needs CAP_NET_ADMIN)")
	flags.BoolVar(&o.FastOpen, "fastopen", false, "TCP Fast Open (TCP_FASTOPEN_CONNECT)")
	flags.Var(newValue(&o.Send, "STRING|@FILE", readSend), "send", "send STRING, or what is in FILE, once connected")
	flags.Var(newValue(&o.Expect, "STRING", parseExpect), "expect", "wait for STRING from the peer once connected")
}

// markValue is --mark: 0 is a mark like any other, so being given is kept apart.
type markValue struct{ options *prober.Options }

func (m *markValue) String() string { return "" }

func (m *markValue) Type() string { return "N" }

func (m *markValue) Set(text string) error {
	mark, err := parseUint32("a mark")(text)
	if err != nil {
		return err
	}
	m.options.Mark, m.options.MarkSet = mark, true
	return nil
}

// readSend takes what to send as it stands, or from a file when an @ precedes its name.
func readSend(text string) ([]byte, error) {
	name, ok := strings.CutPrefix(text, "@")
	if !ok {
		return []byte(text), nil
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, withoutPath(err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxSend+1))
	if err != nil {
		return nil, withoutPath(err)
	}
	if len(data) > maxSend {
		return nil, fmt.Errorf("the file has more than %d bytes", maxSend)
	}
	return data, nil
}

func parseExpect(text string) ([]byte, error) {
	if text == "" {
		return nil, fmt.Errorf("an empty text always comes: say what to wait for")
	}
	return []byte(text), nil
}

// repeatFlags are --count and --interval of commands that probe. One probe, once, is the default.
type repeatFlags struct {
	Count    int
	Interval time.Duration // between the beginnings of two
}

func (f *repeatFlags) addTo(cmd *cobra.Command) {
	f.Count, f.Interval = 1, time.Second
	cmd.Flags().Var(newValue(&f.Count, "N", parseBetween("a count", 1, math.MaxInt32)), "count", "connect N times and sum up (default 1)")
	cmd.Flags().Var(newValue(&f.Interval, "DUR", parseDurationOrZero), "interval", "begin the next connect DUR after the last (default 1s)")
}
