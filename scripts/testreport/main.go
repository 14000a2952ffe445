// Testreport reads `go test -json` and prints what people want to know: each package as it ends, the whole output of
// what failed, and at the end what was skipped and why.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	r := report{output: make(map[test][]string)}
	if err := r.read(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(2)
	}
	os.Exit(r.conclude(os.Stdout))
}

// test is a test, or a package when it has no name.
type test struct{ Package, Name string }

// line is one of test2json's (go doc test2json).
type line struct {
	Action  string
	Package string
	// ImportPath is that of what the compiler says, in place of Package.
	ImportPath string
	Test       string
	Elapsed    float64
	Output     string
}

type report struct {
	output                map[test][]string
	skipped               []string // a test and its reason
	passed, failed, skips int
}

func (r *report) read(in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			fmt.Fprintln(out, lines.Text()) // what is not test2json's is for people
			continue
		}
		r.add(l, out)
	}
	return lines.Err()
}

func (r *report) add(l line, out io.Writer) {
	key := test{l.Package, l.Test}
	switch l.Action {
	case "output":
		r.output[key] = append(r.output[key], l.Output)
	case "build-output":
		fmt.Fprint(out, l.Output)
	case "build-fail":
		r.failed++
	case "pass", "fail", "skip":
		r.end(key, l, out)
		delete(r.output, key)
	}
}

func (r *report) end(key test, l line, out io.Writer) {
	if key.Name == "" {
		r.endPackage(key, l, out)
		return
	}
	switch l.Action {
	case "pass":
		r.passed++
	case "fail":
		r.failed++
		fmt.Fprintf(out, "--- %s %s\n%s", key.Package, key.Name, strings.Join(r.output[key], ""))
	case "skip":
		r.skips++
		r.skipped = append(r.skipped, fmt.Sprintf("%s: %s", key.Name, reason(r.output[key])))
	}
}

func (r *report) endPackage(key test, l line, out io.Writer) {
	word := map[string]string{"pass": "ok", "fail": "FAIL", "skip": "--"}[l.Action]
	fmt.Fprintf(out, "%-4s %-40s %6.1fs\n", word, key.Package, l.Elapsed)
	// A package can fail without a test that does: by a panic, or in TestMain.
	if l.Action == "fail" {
		fmt.Fprint(out, strings.Join(r.output[key], ""))
		r.failed = max(r.failed, 1)
	}
}

// reason is what a test said before it was skipped.
func reason(output []string) string {
	var said []string
	for _, o := range output {
		text := strings.TrimSpace(o)
		if text == "" || strings.HasPrefix(text, "=== ") || strings.HasPrefix(text, "--- ") {
			continue
		}
		if _, after, ok := strings.Cut(text, ".go:"); ok { // drop file and line
			_, text, _ = strings.Cut(after, ": ")
		}
		said = append(said, text)
	}
	return strings.Join(said, " ")
}

// conclude prints the end and gives the exit status.
func (r *report) conclude(out io.Writer) int {
	slices.Sort(r.skipped)
	for _, s := range r.skipped {
		fmt.Fprintln(out, "skipped", s)
	}
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", r.passed, r.failed, r.skips)
	if r.failed > 0 || r.passed == 0 {
		return 1
	}
	return 0
}
