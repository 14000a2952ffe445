package main

import (
	"errors"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagError puts what is wrong with a flag into one sentence that says what to do.
func flagError(cmd *cobra.Command, err error) error {
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		return unknownFlagError(cmd, unknown)
	}
	if missing, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return usageErrorf("--%s needs a value", missing.GetFlag().Name)
	}
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return usageErrorf("--%s %q: %w", invalid.GetFlag().Name, invalid.GetValue(), invalid.Unwrap())
	}
	return usageErrorf("%w", err)
}

func unknownFlagError(cmd *cobra.Command, unknown *pflag.NotExistError) error {
	name, path := "--"+unknown.GetSpecifiedName(), cmd.CommandPath()
	near := nearestFlag(cmd, unknown.GetSpecifiedName())
	if unknown.GetSpecifiedShortnames() != "" {
		name, near = name[1:], ""
	}
	if near != "" {
		return usageErrorf("%s is no flag of %s; did you mean --%s?", name, path, near)
	}
	return usageErrorf("%s is no flag of %s; `%s --help` lists them", name, path, path)
}

// nearestFlag is the flag of cmd whose name is nearest to name, and empty when none is near. Nobody who misspells means --help.
func nearestFlag(cmd *cobra.Command, name string) string {
	const far = 3
	best, distance := "", far
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" {
			return
		}
		d := levenshtein.ComputeDistance(name, f.Name)
		if strings.HasPrefix(f.Name, name) {
			d = 1
		}
		if d < distance {
			best, distance = f.Name, d
		}
	})
	return best
}
