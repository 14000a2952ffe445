package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// newRootCommand is the whole command line.
func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "tcptrace",
		Short: "Why did this TCP connection not work, and what did the kernel do about it, when?",
		Long: `Tcptrace answers one question: why did this TCP connection not work, and what did the kernel do about it, when?

Every statement is an event that the kernel reported, a prediction computed from the kernel's own settings, or
marked as a doubt.`,
		Example: `  # why does this connection time out?
  sudo tcptrace connect 192.0.2.10:443

  # which connections of this host are in trouble?
  sudo tcptrace watch --problems

  # what does that look like? a failure in throw-away network namespaces
  sudo tcptrace lab no-answer

  # when does the kernel repeat an unanswered SYN, and when does it give up?
  tcptrace predict connect`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs, // so that RunE says what an unknown command might have been
		RunE: func(cmd *cobra.Command, args []string) error {
			return unknownCommandError(cmd, args)
		},
	}
	root.SetHelpFunc(printHelp)
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(newHelpCommand())
	root.AddCommand(
		newConnectCommand(a),
		newKeepaliveCommand(a),
		newWatchCommand(a),
		newSocketsCommand(a),
		newListenersCommand(a),
		newPathCommand(a),
		newCountersCommand(a),
		newDoctorCommand(a),
		newHeldCommand(),
		newLabCommand(a),
		newSelftestCommand(a),
		newScanCommand(a),
		newPredictCommand(a),
		newReplayCommand(a),
		newVersionCommand(a),
	)
	return root
}

// unknownCommandError names the commands that the user may have meant by args[0].
func unknownCommandError(cmd *cobra.Command, args []string) error {
	path := cmd.CommandPath()
	if len(args) == 0 {
		return usageErrorf("say which command of %s; `%s --help` lists them", path, path)
	}
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return usageErrorf("%q is no command of %s; did you mean `%s %s`?", args[0], path, path, strings.Join(near, "` or `"+path+" "))
	}
	return usageErrorf("%q is no command of %s; `%s --help` lists them", args[0], path, path)
}
