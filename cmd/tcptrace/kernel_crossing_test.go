package main

import (
	"slices"
	"testing"
)

// The SYN-ACKs of a simultaneous open repeat nothing, though each finds a SYN that was taken already.
func TestCrossedSYNACKsAreNoRepeatedOnes(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	lines := tcptraceRun(t, "lab", "simultaneous-open", "-o", "json").lines(t)
	for _, l := range lines.of(typeEvent) {
		if l.Kind == "synack_duplicate" {
			t.Errorf("%s at %.3f ms has its SYN-ACK repeated", l.Local, l.OffsetMS)
		}
	}
	crossed := func(l acceptLine) bool { return l.Type == typeEvent && l.Kind == "state" && l.Role == "client" }
	if !slices.ContainsFunc(lines, crossed) {
		t.Errorf("no change of state of a client: %+v", lines)
	}
}
