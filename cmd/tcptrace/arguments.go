package main

import "github.com/spf13/cobra"

// noArguments refuses what follows a command that takes only flags.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageErrorf("%q follows %s, which takes no arguments", args[0], cmd.CommandPath())
	}
	return nil
}

// oneArgument wants exactly one argument; what names it in the sentence.
func oneArgument(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return usageErrorf("%s is missing; `%s --help` shows how", what, cmd.CommandPath())
		case len(args) > 1:
			return usageErrorf("%q follows %s, which is all that %s takes", args[1], what, cmd.CommandPath())
		}
		return nil
	}
}
