package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tcptrace/prober/lab"
	"tcptrace/tracer/verdict"
)

// withoutLab are the causes that no lab can reproduce, with why.
var withoutLab = map[verdict.Cause]string{
	verdict.Unexplained: "a way to fail that can be made on demand would get a rule",
}

func TestEveryCauseHasAParagraph(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "### What each verdict means\n")
	section, _, _ = strings.Cut(section, "\n### ")
	var told []string
	for paragraph := range strings.SplitSeq(section, "\n\n") {
		paragraph = strings.TrimSpace(paragraph)
		if heading, _, ok := strings.Cut(paragraph, ": "); ok && strings.HasPrefix(paragraph, "`") {
			told = append(told, strings.Split(strings.Trim(heading, "`"), "`, `")...)
		}
	}
	var causes []string
	for _, m := range verdict.Causes() {
		causes = append(causes, string(m.Cause))
	}
	if !slices.Equal(told, causes) {
		t.Errorf("the README tells of\n%q, the causes are\n%q", told, causes)
	}
}

func TestEveryCauseHasAScenario(t *testing.T) {
	paths, err := filepath.Glob("../../tracer/verdict/testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	expected := make(map[string]bool)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if cause, ok := strings.CutPrefix(line, "cause "); ok {
				expected[strings.TrimSpace(cause)] = true
			}
		}
	}
	for _, m := range verdict.Causes() {
		if !expected[string(m.Cause)] {
			t.Errorf("no scenario expects %s", m.Cause)
		}
	}
}

func TestEveryCauseHasALab(t *testing.T) {
	expected := make(map[string]bool)
	for _, l := range lab.Labs() {
		expected[l.Expect] = true
		if !verdict.Cause(l.Expect).Known() {
			t.Errorf("lab %s expects %s, which is no cause", l.Name, l.Expect)
		}
	}
	for _, m := range verdict.Causes() {
		if why := withoutLab[m.Cause]; expected[string(m.Cause)] == (why != "") {
			t.Errorf("%s: a lab: %v, a reason to have none: %q", m.Cause, expected[string(m.Cause)], why)
		}
	}
}
