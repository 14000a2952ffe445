package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"tcptrace/tracer"
)

// build is what this program was made of. Empty means that the build did not say.
type build struct {
	Type     string `json:"type"`
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"` // built from a work tree with changes
	Go       string `json:"go"`
	Platform string `json:"platform"`
	Object   string `json:"bpf_object"` // SHA-256 of the embedded BPF object
}

const typeVersion = "version"

// thisBuild reads what the Go linker wrote into the program.
func thisBuild() build {
	b := build{Type: typeVersion, Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Object: tracer.ObjectHash()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Version = cmp.Or(info.Main.Version, b.Version)
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			b.Commit = setting.Value
		case "vcs.modified":
			b.Modified = setting.Value == "true"
		}
	}
	return b
}

func newVersionCommand(a *app) *cobra.Command {
	var flags outputFlags
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Say which build of tcptrace this is",
		Args:    noArguments,
		Example: "  tcptrace version\n  tcptrace version -o json",
		RunE: func(*cobra.Command, []string) error {
			return printVersion(a.stdout, thisBuild(), flags.Format)
		},
	}
	flags.addTo(cmd)
	return cmd
}

func printVersion(out *output, b build, f format) error {
	if f == formatJSON {
		return json.NewEncoder(out).Encode(b)
	}
	commit := cmp.Or(b.Commit, "unknown")
	if b.Modified {
		commit += ", with changes"
	}
	fmt.Fprintf(out, "tcptrace %s\ncommit   %s\ngo       %s %s\nbpf      %s\n", b.Version, commit, b.Go, b.Platform, b.Object)
	return nil
}
