package main

import (
	"slices"
	"strings"
	"testing"
)

// A test that compares mechanisms would find one of them where one is forced, and be skipped.
func TestComparisonOfMechanismsIsRunOnceAndUnforced(t *testing.T) {
	const test = "TestMechanismsSeeTheSame"
	for _, run := range []string{"", "Mechanisms", test + "/compare"} {
		s := settings{kernels: list{"6.1"}, mechanisms: list{"fentry", "kprobe"}, suites: list{"tracer"}, run: run}
		runs := 0
		for _, guest := range s.guests([]kernelImage{{line: "6.1", architecture: amd64}}) {
			for _, step := range guest.steps {
				if step.Name != "tracer" {
					continue
				}
				if slices.Contains(step.Args, "-test.run=^"+test+"$") {
					runs++
					if step.Mechanism != "" || slices.ContainsFunc(step.Env, func(v string) bool { return strings.HasPrefix(v, "TCPTRACE_MECHANISMS=") }) {
						t.Errorf("-run %q: it is run with %s forced", run, step.Mechanism)
					}
				} else if !slices.ContainsFunc(step.Args, func(arg string) bool { return strings.HasPrefix(arg, "-test.skip=") && strings.Contains(arg, test) }) {
					t.Errorf("-run %q: a step with %s does not leave it out: %v", run, step.Mechanism, step.Args)
				}
			}
		}
		if runs != 1 {
			t.Errorf("-run %q: it is run %d times, want once", run, runs)
		}
	}
}
