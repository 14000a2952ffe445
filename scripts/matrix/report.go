package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// conclude prints what failed, the tables and the closing line, and gives the exit status.
func conclude(out io.Writer, boots []boot, checks []relocationCheck) int {
	for _, c := range checks {
		c.describeFailures(out)
	}
	for _, b := range boots {
		describeFailures(out, b)
	}
	printHooks(out, boots)
	fmt.Fprintln(out)
	printResults(out, boots, checks)
	printFailures(out, boots)
	passed, failed := 0, 0
	for _, c := range checks { // each is one, however many relocations it tried
		if len(c.failures) == 0 {
			passed++
		}
		failed += len(c.failures)
	}
	for _, b := range boots {
		passed += b.passed()
		failed += len(b.failures())
		if b.err != nil || !b.done {
			failed++
		}
	}
	fmt.Fprintf(out, "\n%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		return 1
	}
	return 0
}

// describeFailures tells a guest that died from tests that failed.
func describeFailures(out io.Writer, b boot) {
	if b.err != nil {
		fmt.Fprintf(out, "\n%s could not be run: %v\n", b.guest.name(), b.err)
		return
	}
	for _, f := range b.failures() {
		fmt.Fprintf(out, "\n%s: %s %s (all of it: %s)\n%s\n", b.guest.name(), f.name(), f.why, f.log, testOutput(f))
	}
	if b.done {
		return
	}
	at := "before its first step"
	for _, s := range slices.Backward(b.steps) {
		if len(s.output) > 0 || s.ended {
			at = "in or after " + s.step.Name
			break
		}
	}
	fmt.Fprintf(out, "\n%s: the guest %s, %s, after %s. Its console (%s) ends with:\n", b.guest.name(), b.death(), at,
		b.took.Round(time.Second), b.console())
	console, err := os.ReadFile(b.console())
	if err != nil {
		fmt.Fprintln(out, err)
		return
	}
	fmt.Fprintln(out, lastLines(console, 40))
}

// printFailures says once more, in short, what failed: who keeps only the end of a long output has it there.
func printFailures(out io.Writer, boots []boot) {
	const columns = 240
	for _, b := range boots {
		for _, f := range b.failures() {
			fmt.Fprintf(out, "\n%s: %s %s\n", b.guest.name(), f.name(), f.why)
			for _, line := range inShort(strings.Split(testOutput(f), "\n")) {
				fmt.Fprintln(out, "  "+strings.ToValidUTF8(line[:min(len(line), columns)], ""))
			}
		}
		switch {
		case b.err != nil:
			fmt.Fprintf(out, "\n%s could not be run: %v\n", b.guest.name(), b.err)
		case !b.done:
			fmt.Fprintf(out, "\n%s: the guest %s\n", b.guest.name(), b.death())
		}
	}
}

var beginsMessage = regexp.MustCompile(`^\s+\w+\.go:\d+: `)

// inShort gives of each message of a test how it begins, which is what went wrong, and not the many lines that may follow; of
// what has no messages, the end.
func inShort(told []string) []string {
	const ofEach, most = 6, 30
	var short []string
	last := 0 // the line before which the message is told
	for i, line := range told {
		if beginsMessage.MatchString(line) {
			last = i + ofEach
		}
		if i < last {
			short = append(short, line)
		}
	}
	if len(short) == 0 {
		return told[max(0, len(told)-ofEach):]
	}
	return short[:min(len(short), most)]
}

// death is how a guest ended that did not come to its end.
func (b *boot) death() string {
	if b.hung {
		return "hung"
	}
	return "died"
}

// printHooks prints which mechanism each hook takes when none is forced, kernel by kernel.
func printHooks(out io.Writer, boots []boot) {
	var kernels []string
	var kinds []string
	taken := make(map[[2]string]string)
	for _, b := range boots {
		hooks := b.hooks("")
		if len(hooks) == 0 {
			continue
		}
		kernels = append(kernels, b.guest.image.release)
		for _, h := range hooks {
			if !slices.Contains(kinds, h.Kind) {
				kinds = append(kinds, h.Kind)
			}
			taken[[2]string{h.Kind, b.guest.image.release}] = h.taken()
		}
	}
	if len(kernels) == 0 {
		return
	}
	fmt.Fprint(out, "\nThe mechanism that each hook takes by itself (* sees less than another would; - is not seen):\n\n")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "event\t%s\n", strings.Join(kernels, "\t"))
	for _, kind := range kinds {
		fmt.Fprint(w, kind)
		for _, kernel := range kernels {
			fmt.Fprintf(w, "\t%s", taken[[2]string{kind, kernel}])
		}
		fmt.Fprintln(w)
	}
	w.Flush()
}

func printResults(out io.Writer, boots []boot, checks []relocationCheck) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "kernel\tmechanism\tresult\thooks\tpassed\tfailed\ttime\tremarks")
	for _, b := range boots {
		hooks := b.hooks(b.guest.mechanism)
		seen := 0
		for _, h := range hooks {
			if h.Mechanism != "" {
				seen++
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d/%d\t%d\t%d\t%s\t%s\n", b.guest.image.release, cmp.Or(b.guest.mechanism, "best"), b.result(), seen, len(hooks),
			b.passed(), len(b.failures()), b.took.Round(time.Second), strings.Join(b.remarks(hooks), "; "))
	}
	for _, c := range checks {
		fmt.Fprintf(w, "%s\trelocations\t%s\t\t%d\t%d\t%s\t%s\n", c.types.release, c.result(), c.passed(), len(c.failures),
			c.took.Round(time.Second/10), c.remark())
	}
	w.Flush()
}

func (b *boot) remarks(hooks []hookLine) []string {
	var all []string
	if b.retried {
		all = append(all, "second boot: the first died")
	}
	if less := lessened(hooks); less != "" {
		all = append(all, less)
	}
	if labs := b.degradedLabs(b.guest.mechanism); len(labs) > 0 {
		all = append(all, "verdicts with doubts: "+strings.Join(labs, " "))
	}
	return all
}
