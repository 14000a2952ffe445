package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A failure is a step, or a test of it, that did not do what it should.
type failure struct {
	step *stepResult
	log  string // file
	test string // empty: the step itself
	why  string
}

// name is what failed, as people look for it.
func (f failure) name() string { return strings.TrimSpace(f.step.step.Name + " " + f.test) }

var (
	failedTest  = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	skippedTest = regexp.MustCompile(`(?m)^\s*--- SKIP: (\S+)`)
	passedTest  = regexp.MustCompile(`(?m)^\s*--- PASS: (\S+)`)
)

// failures are what went wrong in the steps that were begun. In a guest a test that is skipped has failed: there is
// nothing that it could lack.
func (b *boot) failures() []failure {
	var all []failure
	for i := range b.steps {
		s := &b.steps[i]
		before := len(all)
		for _, found := range failedTest.FindAllSubmatch(s.output, -1) {
			all = append(all, failure{s, b.outputOf(i), string(found[1]), "failed"})
		}
		for _, found := range skippedTest.FindAllSubmatch(s.output, -1) {
			all = append(all, failure{s, b.outputOf(i), string(found[1]), "skipped"})
		}
		if s.ended && s.status != 0 && len(all) == before {
			all = append(all, failure{s, b.outputOf(i), "", fmt.Sprintf("exit status %d", s.status)})
		}
	}
	return all
}

// passed counts tests, and steps that are no tests.
func (b *boot) passed() int {
	n := 0
	for _, s := range b.steps {
		tests := len(passedTest.FindAll(s.output, -1))
		n += tests
		if tests == 0 && s.ended && s.status == 0 {
			n++
		}
	}
	return n
}

// A hookLine is a line of `tcptrace doctor -o json`.
type hookLine struct {
	Kind, Mechanism, Partial, Missing string
	Refused                           []string
}

// A labLine is a line of `tcptrace selftest -o json`. The first has the hooks.
type labLine struct {
	Name     string
	Degraded bool
	Hooks    []hookLine
}

// hooks are those of a mechanism, as selftest had them; empty: as the doctor says that they are taken when left to themselves.
func (b *boot) hooks(mechanism string) []hookLine {
	if mechanism == "" {
		return said[hookLine](b, "hook", doctorStep, mechanism)
	}
	var hooks []hookLine
	for _, l := range said[labLine](b, "lab", selftestStep, mechanism) {
		hooks = append(hooks, l.Hooks...)
	}
	return hooks
}

// degradedLabs are those whose verdict, by that mechanism, was right and had doubts.
func (b *boot) degradedLabs(mechanism string) []string {
	var names []string
	for _, l := range said[labLine](b, "lab", selftestStep, mechanism) {
		if l.Degraded {
			names = append(names, l.Name)
		}
	}
	return names
}

// said are the lines of JSON of a type that a command printed in its step with that mechanism.
func said[line any](b *boot, typ, name, mechanism string) []line {
	var all []line
	for _, s := range b.steps {
		if s.step.Name != name || s.step.Mechanism != mechanism {
			continue
		}
		for text := range bytes.Lines(s.output) {
			var is struct{ Type string }
			var l line
			if json.Unmarshal(text, &is) == nil && is.Type == typ && json.Unmarshal(text, &l) == nil {
				all = append(all, l)
			}
		}
	}
	return all
}

// result is the word for the table.
func (b *boot) result() string {
	switch {
	case b.err != nil:
		return "not run"
	case len(b.failures()) > 0:
		return "fail"
	case !b.done:
		return "died"
	case len(b.degradedLabs(b.guest.mechanism)) > 0 || slices.ContainsFunc(b.hooks(b.guest.mechanism), hookLine.isLess):
		return "degraded"
	}
	return "pass"
}

func (h hookLine) isLess() bool { return h.Mechanism == "" || h.Partial != "" }

// taken says which mechanism a hook got.
func (h hookLine) taken() string {
	switch {
	case h.Mechanism == "":
		return "-"
	case h.Partial != "":
		return h.Mechanism + "*"
	}
	return h.Mechanism
}

// lessened lists what a mechanism sees in part, or not at all.
func lessened(hooks []hookLine) string {
	var partly, missing []string
	for _, h := range hooks {
		if h.Mechanism == "" {
			missing = append(missing, h.Kind)
		} else if h.Partial != "" {
			partly = append(partly, h.Kind)
		}
	}
	var parts []string
	if len(missing) > 0 {
		parts = append(parts, "not seen: "+strings.Join(missing, " "))
	}
	if len(partly) > 0 {
		parts = append(parts, "in part: "+strings.Join(partly, " "))
	}
	return strings.Join(parts, "; ")
}

// testOutput is what a failed test said, as far as `go test -v` lets it be told from its neighbours'.
func testOutput(f failure) string {
	if f.test == "" {
		return lastLines(f.step.output, 40)
	}
	var told []string
	telling := false
	top, _, _ := strings.Cut(f.test, "/")
	for line := range strings.Lines(string(f.step.output)) {
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(trimmed, "=== ") || strings.HasPrefix(trimmed, "--- "):
			name := strings.Fields(trimmed)[2]
			root, _, _ := strings.Cut(name, "/")
			telling = name == f.test || root == top && strings.HasPrefix(trimmed, "--- FAIL")
			if telling && strings.HasPrefix(trimmed, "--- ") {
				told = append(told, strings.TrimRight(line, "\n"))
			}
		case telling:
			told = append(told, strings.TrimRight(line, "\n"))
		}
	}
	return strings.Join(told[:min(len(told), 60)], "\n")
}
