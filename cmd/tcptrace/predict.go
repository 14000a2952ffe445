package main

import (
	"github.com/spf13/cobra"
)

func newPredictCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "predict",
		Short: "The kernel's schedule, computed from its settings",
		Example: `  # SYNs, and when the kernel gives up
  tcptrace predict connect`,
		Args: cobra.ArbitraryArgs, // so that RunE says what an unknown command might have been
		RunE: unknownCommandError,
	}
	cmd.AddCommand(newPredictConnectCommand(a))
	return cmd
}
