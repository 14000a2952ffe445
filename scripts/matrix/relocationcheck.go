package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// objects are the committed ones, by architecture.
var objects = map[string]string{
	amd64: "tracer/bpf_x86_bpfel.o",
	arm64: "tracer/bpf_arm64_bpfel.o",
}

// A relocationCheck is how the object of an architecture fits a kernel of it.
type relocationCheck struct {
	types    typesFile
	count    relocationCount
	failures []error
	took     time.Duration
}

// checkRelocations tries the committed objects on what kernels say of their types. Nothing is loaded, so that it can
// be done for any architecture.
func checkRelocations(module string, kernels []typesFile) ([]relocationCheck, error) {
	specs := make(map[string]*ebpf.CollectionSpec)
	for architecture, object := range objects {
		spec, err := ebpf.LoadCollectionSpec(filepath.Join(module, object))
		if err != nil {
			return nil, err
		}
		specs[architecture] = spec
	}
	var checks []relocationCheck
	for _, types := range kernels {
		start := time.Now()
		kernel, err := btf.LoadSpec(types.path)
		if err != nil {
			return nil, fmt.Errorf("read the types of %s: %w", types.release, err)
		}
		c := relocationCheck{types: types}
		c.count, c.failures = relocate(specs[types.architecture], kernel)
		c.took = time.Since(start)
		checks = append(checks, c)
	}
	return checks, nil
}

func (c *relocationCheck) result() string {
	if len(c.failures) > 0 {
		return "fail"
	}
	return "pass"
}

func (c *relocationCheck) passed() int { return c.count.found + c.count.dead }

func (c *relocationCheck) remark() string {
	if c.count.dead == 0 {
		return ""
	}
	return fmt.Sprintf("%d are of what this kernel has not got, and never reached", c.count.dead)
}

func (c *relocationCheck) describeFailures(out io.Writer) {
	if len(c.failures) == 0 {
		return
	}
	var lines []string
	for _, failure := range c.failures {
		lines = append(lines, failure.Error())
	}
	fmt.Fprintf(out, "\n%s: %s does not fit this kernel:\n%s\n", c.types.release, objects[c.types.architecture], strings.Join(lines, "\n"))
}
