package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
)

func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Say how a command is used",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommandError(cmd.Root(), args)
			}
			return about.Help()
		},
	}
}

// printHelp says how a command is used. It ends with the examples: they are what people look for, and the end is what stays
// on the screen.
//
// It is no template: the linker cannot know which methods package text/template will call, and then leaves out none of
// any type, which made the program a sixth larger.
func printHelp(cmd *cobra.Command, _ []string) {
	out := cmd.OutOrStdout()
	if about := cmp.Or(cmd.Long, cmd.Short); about != "" {
		fmt.Fprintf(out, "%s\n\n", trimEnd(about))
	}
	printUsage(out, cmd)
	if flags := cmd.LocalFlags(); flags.HasAvailableFlags() {
		fmt.Fprintf(out, "\n\nFlags:\n%s", trimEnd(flags.FlagUsages()))
	}
	if cmd.HasExample() {
		fmt.Fprintf(out, "\n\nExamples:\n%s", trimEnd(cmd.Example))
	}
	fmt.Fprintln(out)
}

// printUsage prints the forms of a command line, and what commands there are.
func printUsage(out io.Writer, cmd *cobra.Command) {
	var forms []string
	if cmd.Runnable() {
		forms = append(forms, cmd.UseLine())
	}
	if cmd.HasAvailableSubCommands() {
		forms = append(forms, cmd.CommandPath()+" COMMAND")
	}
	fmt.Fprintf(out, "Usage:\n  %s", strings.Join(forms, "\n  "))
	if !cmd.HasAvailableSubCommands() {
		return
	}
	fmt.Fprint(out, "\n\nCommands:")
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			fmt.Fprintf(out, "\n  %-*s %s", sub.NamePadding(), sub.Name(), sub.Short)
		}
	}
}

func trimEnd(text string) string { return strings.TrimRightFunc(text, unicode.IsSpace) }
