package main

import (
	"context"

	"github.com/spf13/cobra"

	"tcptrace/prober"
)

// within runs fn until --duration is over. interrupted tells, at the end, whether something else ended it: the user,
// or a reader of the output who went away.
func (f *traceFlags) within(ctx context.Context, fn func(ctx context.Context, interrupted func() bool) error) error {
	interrupted := func() bool { return ctx.Err() != nil }
	if f.Duration == 0 {
		return fn(ctx, interrupted)
	}
	bounded, cancel := context.WithTimeout(ctx, f.Duration)
	defer cancel()
	return fn(bounded, interrupted)
}

// family is what -4 and -6 leave.
func (f *traceFlags) family() prober.Family {
	switch {
	case f.Only4:
		return prober.IPv4
	case f.Only6:
		return prober.IPv6
	}
	return prober.AnyFamily
}

// someArguments wants at least one argument; what names it in the sentence.
func someArguments(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usageErrorf("%s needs %s; `%s --help` shows how", cmd.CommandPath(), what, cmd.CommandPath())
		}
		return nil
	}
}
