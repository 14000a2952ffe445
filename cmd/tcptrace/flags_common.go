package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// format is the value of --output.
type format string

const (
	formatText format = "text"
	formatJSON format = "json"
)

func parseFormat(text string) (format, error) {
	switch f := format(text); f {
	case formatText, formatJSON:
		return f, nil
	}
	return "", fmt.Errorf("say text or json")
}

// outputFlags say how to show what was seen. Every command has them.
type outputFlags struct {
	Format format
	Color  colorMode
}

// addTo gives cmd these flags and their defaults.
func (f *outputFlags) addTo(cmd *cobra.Command) {
	f.Format, f.Color = formatText, colorAuto
	cmd.Flags().VarP(newValue(&f.Format, "text|json", parseFormat), "output", "o", "text for people (the default), or json: one object a line")
	cmd.Flags().Var(newValue(&f.Color, "WHEN", parseColorMode), "color", "auto (the default: on a terminal, unless NO_COLOR is set), always or never")
}

// painter is how this command colours its standard output.
func (f *outputFlags) painter(out *output) painter {
	return painter{colour: f.Format == formatText && f.Color.enabled(out.isTerminal())}
}

// detailFlags say how much of a trace to print.
type detailFlags struct {
	Quiet   bool
	Verbose bool
}

func (f *detailFlags) addTo(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&f.Quiet, "quiet", "q", false, "print only the verdicts")
	cmd.Flags().BoolVarP(&f.Verbose, "verbose", "v", false, "print socket details at each event")
	excludeEachOther(cmd, "quiet", "verbose")
}

// traceFlags are those of every command that traces. Their zero value asks for nothing.
type traceFlags struct {
	Timeout      time.Duration // give up on one connection after this; 0: the kernel decides
	Duration     time.Duration // end the command after this; 0: when it is done
	Only4        bool
	Only6        bool
	NetNS        string // name, path or PID; empty: this one
	Record       string // file; empty: no recording
	RequireTrace bool
}

func (f *traceFlags) addTo(cmd *cobra.Command) {
	cmd.Flags().Var(newValue(&f.Timeout, "DUR", parseDuration), "timeout", "give up on one connection after DUR (default: when the kernel does)")
	f.addScopeTo(cmd)
}

// addScopeTo gives cmd all of them but --timeout, which commands that do not wait for one connection lack.
func (f *traceFlags) addScopeTo(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Var(newValue(&f.Duration, "DUR", parseDuration), "duration", "end the whole command after DUR")
	flags.BoolVarP(&f.Only4, "ipv4", "4", false, "only IPv4")
	flags.BoolVarP(&f.Only6, "ipv6", "6", false, "only IPv6")
	addNetNSFlag(cmd, &f.NetNS)
	flags.Var(newValue(&f.Record, "FILE", nonEmpty("a file name")), "record", "also write the JSON stream to FILE, whatever is printed")
	flags.BoolVar(&f.RequireTrace, "require-trace", false, "exit 3 instead of giving an answer without the kernel's events")
	excludeEachOther(cmd, "ipv4", "ipv6")
}

func addNetNSFlag(cmd *cobra.Command, netns *string) {
	cmd.Flags().Var(newValue(netns, "NAME|PATH|PID", nonEmpty("a network namespace")), "netns", "work in that network namespace")
}

// excludeEachOther refuses two flags that make no sense together, in a sentence that cobra's own check lacks.
func excludeEachOther(cmd *cobra.Command, a, b string) {
	next := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed(a) && cmd.Flags().Changed(b) {
			return usageErrorf("--%s and --%s exclude each other", a, b)
		}
		if next != nil {
			return next(cmd, args)
		}
		return nil
	}
}
