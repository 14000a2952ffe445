// Package layout keeps the imports of the project going one way.
package layout

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "tcptrace/"

// allowed says which of the project's packages each package may import, directly.
var allowed = map[string][]string{
	"cmd/tcptrace":         {"tracer", "tracer/event", "tracer/timeline", "tracer/schedule", "tracer/verdict", "tracer/host", "tracer/host/counters", "tracer/jsonline", "tracer/lint", "tracer/sockets", "tracer/sockdiag", "tracer/listeners", "prober", "prober/lab", "prober/path", "prober/scan"},
	"prober":               {"tracer/event"},
	"prober/lab":           {"prober", "tracer/event"},
	"prober/path":          {"prober", "tracer/event"},
	"prober/scan":          {"prober", "tracer/event"},
	"tracer":               {"tracer/event", "tracer/host", "tracer/sockets"},
	"tracer/event":         {"tracer/jsonline"},
	"tracer/jsonline":      {},
	"tracer/lint":          {"tracer/event", "tracer/schedule", "tracer/timeline"},
	"tracer/schedule":      {},
	"tracer/timeline":      {"tracer/event", "tracer/schedule"},
	"tracer/verdict":       {"tracer/event", "tracer/timeline", "tracer/schedule", "tracer/jsonline", "tracer/lint"},
	"tracer/host":          {"tracer/event"},
	"tracer/host/counters": {},
	"tracer/sockets":       {"tracer/event", "tracer/jsonline", "tracer/schedule", "tracer/timeline", "tracer/lint"},
	"tracer/sockdiag":      {"tracer/event", "tracer/sockets"},
	"tracer/listeners":     {"tracer/event", "tracer/jsonline", "tracer/lint", "tracer/sockets", "tracer/timeline"},
}

// pure are the packages of values: no files, no kernel, no clock of their own.
var pure = []string{"tracer/event", "tracer/jsonline", "tracer/lint", "tracer/listeners", "tracer/schedule", "tracer/sockets", "tracer/timeline", "tracer/verdict"}

// impure is what a pure package may not even import through another of the project's.
var impure = []string{"os", "syscall", "net", "golang.org/x/sys/unix", "github.com/cilium/ebpf"}

// pkg is what go list says of a package.
type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	command := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "./...")
	command.Dir = "../.."
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestImportsGoOneWay(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		if strings.HasPrefix(name, "scripts/") {
			continue // tools of the project, which nothing may import
		}
		may, known := allowed[name]
		if !known {
			t.Errorf("package %s has no place in the layout yet: say here what it may import", name)
		}
		for _, imported := range p.Imports {
			own, ok := strings.CutPrefix(imported, module)
			if ok && !slices.Contains(may, own) {
				t.Errorf("%s imports %s", name, own)
			}
		}
	}
}

func TestPurePackagesTouchNothing(t *testing.T) {
	for _, p := range packages(t) {
		if !slices.Contains(pure, strings.TrimPrefix(p.ImportPath, module)) {
			continue
		}
		for _, imported := range p.Imports {
			if slices.Contains(impure, imported) || strings.HasPrefix(imported, "github.com/cilium/ebpf/") {
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
		// Below the standard library everything comes to os in the end; modules would not.
		for _, dependency := range p.Deps {
			if strings.Contains(dependency, ".") && strings.Contains(dependency, "/") && !strings.HasPrefix(dependency, "vendor/") {
				t.Errorf("%s depends on module %s", p.ImportPath, dependency)
			}
		}
	}
}

func TestOnlyTheTracerKnowsBPF(t *testing.T) {
	for _, p := range packages(t) {
		if p.ImportPath == module+"prober/lab" {
			continue // a policy that forbids a connect is a BPF program, and one of the failures on demand
		}
		if !strings.HasPrefix(p.ImportPath, module+"prober") && p.ImportPath != module+"tracer/host" {
			continue
		}
		for _, dependency := range p.Deps {
			if strings.HasPrefix(dependency, "github.com/cilium/ebpf") {
				t.Errorf("%s depends on %s", p.ImportPath, dependency)
			}
		}
	}
}
