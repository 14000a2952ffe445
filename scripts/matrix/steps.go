package main

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// Names of the steps that are no package's tests.
const (
	doctorStep   = "doctor"
	selftestStep = "selftest"
)

// guests are all boots: each kernel with each mechanism. What does not depend on the mechanism is done in the first one
// of each kernel; these come first, as they take the longest, and the newest kernels first of all, whose verifiers do most. A
// kernel of another architecture only shows that its object works, by whichever mechanism is best.
func (s *settings) guests(images []kernelImage) []guest {
	var all []guest
	for i, mechanism := range s.mechanisms {
		for _, image := range slices.Backward(images) {
			if image.architecture == amd64 {
				all = append(all, guest{image, mechanism, s.cpusOf(image), s.steps(mechanism, i == 0)})
			} else if i == 0 {
				all = append(all, guest{image, "", s.cpusOf(image), []step{commandStep(doctorStep, ""), commandStep(selftestStep, "")}})
			}
		}
	}
	return all
}

// cpusOf is how many CPUs a guest has. To tell an emulated CPU of a change in memory takes until the host gives it time, and
// the other one waits for that, for seconds on a busy host: too long for tests of timers. So what goes on at the same time on
// two of them is for the guest to show that has no such tests, beside the machine that this runs on.
func (s *settings) cpusOf(image kernelImage) int {
	switch {
	case s.cpus > 0:
		return s.cpus
	case image.architecture != amd64:
		return 2
	}
	return 1
}

func (s *settings) steps(mechanism string, first bool) []step {
	var steps []step
	if s.run == "" {
		if first {
			steps = append(steps, commandStep(doctorStep, "")) // what it takes when nothing is forced
		}
		steps = append(steps, commandStep(selftestStep, mechanism)) // which says what hooks it has
	}
	for _, suite := range s.chosenSuites() {
		if suite.byMechanism || first {
			steps = append(steps, s.testStep(suite, mechanism, s.run, s.skipped(suite, first)...))
		}
		if first && suite.together != "" && s.wants(suite.together) {
			steps = append(steps, s.testStep(suite, "", "^"+suite.together+"$"))
		}
	}
	return steps
}

// skipped are the tests of a suite that a step with a mechanism leaves out.
func (s *settings) skipped(suite suite, first bool) []string {
	tests := []string{testsForMachines}
	if suite.once != "" && !first && s.run == "" {
		tests = append(tests, suite.once)
	}
	if suite.together != "" {
		tests = append(tests, "^"+suite.together+"$")
	}
	return tests
}

// wants says whether the expression for the tests to run matches that one.
func (s *settings) wants(test string) bool {
	expression, _, _ := strings.Cut(s.run, "/")
	matches, err := regexp.MatchString(expression, test)
	return matches && err == nil
}

// commandStep runs a command of tcptrace; its own exit status says whether all is well.
func commandStep(name, mechanism string) step {
	return step{Name: name, Mechanism: mechanism, Args: []string{commandPath, name, "-o", "json"}, Dir: "/",
		Env: environment(mechanism), Timeout: 4 * time.Minute}
}

// testsAtATime is how many parallel tests of a suite run at once. Most of their time they wait for timers.
// But a kprobe is passed by while another runs on that CPU, which happens when there is more to do than one thing.
func testsAtATime(mechanism string) string {
	if mechanism == "kprobe" {
		return "1"
	}
	return "6"
}

func (s *settings) testStep(suite suite, mechanism, run string, skip ...string) step {
	args := []string{suite.binary(), "-test.v", "-test.short", "-test.timeout=0", "-test.parallel=" + testsAtATime(mechanism)}
	if run != "" {
		args = append(args, "-test.run="+run)
	}
	if len(skip) > 0 {
		args = append(args, "-test.skip="+strings.Join(skip, "|"))
	}
	return step{Name: suite.pkg, Mechanism: mechanism, Args: args, Dir: suite.dir(), Env: environment(mechanism), Timeout: 10 * time.Minute}
}

// environment makes tests that could be skipped fail, lets labs change settings of the whole guest, and restricts the
// mechanisms.
func environment(mechanism string) []string {
	env := []string{"TCPTRACE_KERNEL_TESTS=1", "TCPTRACE_DISPOSABLE_MACHINE=1"}
	if mechanism != "" {
		env = append(env, "TCPTRACE_MECHANISMS="+mechanism)
	}
	return env
}
