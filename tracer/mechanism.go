package tracer

import (
	"fmt"
	"strings"
)

// Mechanism is a way of getting a program called by the kernel.
type Mechanism string

// The mechanisms, best first. Tracepoint stands for everything that a kernel without function hooks still has:
// tracepoints of all sorts, sockops, and programs of control groups.
const (
	Fentry     Mechanism = "fentry"
	Kprobe     Mechanism = "kprobe"
	Tracepoint Mechanism = "tracepoint"
)

// MechanismsVariable is the environment variable that restricts the choice of mechanisms, for tests.
const MechanismsVariable = "TCPTRACE_MECHANISMS"

// ParseMechanisms reads a comma-separated list, as [MechanismsVariable] holds it. The empty string is no
// restriction: nil.
func ParseMechanisms(list string) ([]Mechanism, error) {
	if list == "" {
		return nil, nil
	}
	var allowed []Mechanism
	for _, name := range strings.Split(list, ",") {
		switch m := Mechanism(strings.TrimSpace(name)); m {
		case Fentry, Kprobe, Tracepoint:
			allowed = append(allowed, m)
		default:
			return nil, fmt.Errorf("%s names no mechanism %q: use fentry, kprobe or tracepoint", MechanismsVariable, name)
		}
	}
	return allowed, nil
}
