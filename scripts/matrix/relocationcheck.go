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

// objects are the committed ones.
var objects = []object{
	{amd64, "tracer/bpf_x86_bpfel.o", ""},
	{amd64, "tracer/bpf_loads_x86_bpfel.o", "bpf_rdonly_cast"},
	{arm64, "tracer/bpf_arm64_bpfel.o", ""},
	{arm64, "tracer/bpf_loads_arm64_bpfel.o", "bpf_rdonly_cast"},
}

// An object is for kernels of an architecture that have a function, which is empty for all of them.
type object struct{ architecture, path, needs string }

func (o *object) isFor(architecture string, kernel *btf.Spec) bool {
	var function *btf.Func
	return o.architecture == architecture && (o.needs == "" || kernel.TypeByName(o.needs, &function) == nil)
}

// A relocationCheck is how an object fits a kernel.
type relocationCheck struct {
	types    typesFile
	object   string
	count    relocationCount
	failures []error
	took     time.Duration
}

// checkRelocations tries the committed objects on what kernels say of their types. Nothing is loaded, so that it can
// be done for any architecture.
func checkRelocations(module string, kernels []typesFile) ([]relocationCheck, error) {
	specs := make(map[string]*ebpf.CollectionSpec)
	for _, o := range objects {
		spec, err := ebpf.LoadCollectionSpec(filepath.Join(module, o.path))
		if err != nil {
			return nil, err
		}
		specs[o.path] = spec
	}
	var checks []relocationCheck
	for _, types := range kernels {
		kernel, err := btf.LoadSpec(types.path)
		if err != nil {
			return nil, fmt.Errorf("read the types of %s: %w", types.release, err)
		}
		for _, o := range objects {
			if !o.isFor(types.architecture, kernel) {
				continue
			}
			start := time.Now()
			c := relocationCheck{types: types, object: o.path}
			c.count, c.failures = relocate(specs[o.path], kernel)
			c.took = time.Since(start)
			checks = append(checks, c)
		}
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
		return c.object
	}
	return fmt.Sprintf("%s: %d are of what this kernel has not got, and never reached", c.object, c.count.dead)
}

func (c *relocationCheck) describeFailures(out io.Writer) {
	if len(c.failures) == 0 {
		return
	}
	var lines []string
	for _, failure := range c.failures {
		lines = append(lines, failure.Error())
	}
	fmt.Fprintf(out, "\n%s: %s does not fit this kernel:\n%s\n", c.types.release, c.object, strings.Join(lines, "\n"))
}
