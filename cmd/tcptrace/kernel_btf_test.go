package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tcptrace/tracer"
)

// onlyByFentry says whether the tests forbid every mechanism that a kernel without BTF of its own has.
func onlyByFentry(t *testing.T) bool {
	t.Helper()
	allowed, err := tracer.ParseMechanisms(os.Getenv(tracer.MechanismsVariable))
	acceptMust(t, err)
	return slices.Equal(allowed, []tracer.Mechanism{tracer.Fentry})
}

// The kernel that runs the test has BTF, which the command cannot see: so it takes no type's number from it.
func TestTypesFromAFileStandInForTheKernelsOwn(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	types := filepath.Join(acceptPublicDir(t), "kernel.btf")
	acceptMust(t, acceptCopy("/sys/kernel/btf/vmlinux", types))
	got := acceptCommand{args: []string{"lab", "refused", "-o", "json", "--btf", types}, thread: hideTypes}.run(t)
	if onlyByFentry(t) {
		const nothing = "this kernel lets no program see its TCP connections"
		if got.status != 3 || !strings.Contains(got.stderr, nothing) {
			t.Errorf("exit status %d and %q; want 3 and %q", got.status, got.stderr, nothing)
		}
		return
	}
	if got.status != 0 {
		t.Fatalf("exit status %d: %s", got.status, got.stderr)
	}
	lines := got.lines(t)
	if v := lines.only(t, typeVerdict); v.Cause != "refused" || v.Confidence != "certain" {
		t.Errorf("the verdict is %s (%s), want refused (certain)", v.Cause, v.Confidence)
	}
	var kinds []string
	for _, ev := range lines.of(typeEvent) {
		kinds = append(kinds, ev.Kind)
	}
	for _, want := range []string{"connect", "reset_sent", "reset_received", "close"} {
		if !slices.Contains(kinds, want) {
			t.Errorf("no %s is among the events: %q", want, kinds)
		}
	}
}

func TestKernelWithoutTypesIsToldHowToGiveThem(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	got := acceptCommand{args: []string{"lab", "refused"}, thread: hideTypes}.run(t)
	if got.status != 3 || strings.Count(got.stderr, "\n") != 1 || !strings.Contains(got.stderr, "--btf FILE") {
		t.Errorf("exit status %d and %q; want 3 and one sentence that names --btf FILE", got.status, got.stderr)
	}
}
