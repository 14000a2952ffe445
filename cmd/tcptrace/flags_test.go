package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/cobra"

	"tcptrace/prober"
	"tcptrace/tracer/event"
	"tcptrace/tracer/verdict"
)

// parsed gives args to a command with the flags that add adds. Its error is what the user would read.
func parsed(add func(*cobra.Command), args ...string) error {
	cmd := &cobra.Command{Use: "tcptrace", SilenceErrors: true, SilenceUsage: true, Run: func(*cobra.Command, []string) {}}
	cmd.SetFlagErrorFunc(flagError)
	add(cmd)
	cmd.SetArgs(args)
	return cmd.Execute()
}

func TestFilterFlags(t *testing.T) {
	uid := uint32(0)
	tests := []struct {
		args string
		want filterFlags
	}{
		{"", filterFlags{}},
		{"-p 1,22 --pid 333", filterFlags{PIDs: []int{1, 22, 333}}},
		{"--comm curl --uid 0", filterFlags{Comm: "curl", UID: &uid}},
		{"-P 443 --lport 1 --rport 65535", filterFlags{Port: 443, LocalPort: 1, RemotePort: 65535}},
		{"--addr 192.0.2.77/24", filterFlags{Addr: netip.MustParsePrefix("192.0.2.0/24")}},
		{"--addr 2001:db8::1", filterFlags{Addr: netip.MustParsePrefix("2001:db8::1/128")}},
		{"--kind syn_retransmit,close --kind drop", filterFlags{Kinds: []event.Kind{event.SYNRetransmit, event.Close, event.Drop}}},
		{"--cause no_answer,refused", filterFlags{Causes: []verdict.Cause{verdict.NoAnswer, verdict.Refused}}},
		{"--problems -c 3 --max-events 100/s --packets", filterFlags{Problems: true, Count: 3, MaxEvents: 100, Packets: true}},
		{"--max-events 7", filterFlags{MaxEvents: 7}},
		{"--netns blue --cgroup /system.slice --container 0123456789ab", filterFlags{NetNS: "blue", Cgroup: "/system.slice", Container: "0123456789ab"}},
	}
	for _, test := range tests {
		var got filterFlags
		if err := parsed(got.addTo, strings.Fields(test.args)...); err != nil {
			t.Errorf("%q: %v", test.args, err)
			continue
		}
		if diff := cmp.Diff(test.want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.args, diff)
		}
	}
}

func TestBadFilterIsOneSentence(t *testing.T) {
	tests := []struct{ args, want string }{
		{"-p 0", `--pid "0": a process id is a number from 1 to 2147483647`},
		{"-p 1,x", `--pid "1,x": a process id is a number from 1 to 2147483647`},
		{"--port 65536", `--port "65536": a port is a number from 1 to 65535`},
		{"--lport 0", `--lport "0": a port is a number from 1 to 65535`},
		{"--uid root", `--uid "root": a user id is a number from 0 to 4294967295`},
		{"--comm a-name-of-sixteen", `--comm "a-name-of-sixteen": the kernel keeps 15 bytes of a process name; say "a-name-of-sixte"`},
		{"--addr 192.0.2.0/33", `--addr "192.0.2.0/33": write a network, such as 192.0.2.0/24 or 2001:db8::/32, or one address`},
		{"--kind syn_retransmitt", `--kind "syn_retransmitt": there is no event kind "syn_retransmitt"; did you mean syn_retransmit?`},
		{"--kind unknown", `--kind "unknown": there is no event kind "unknown"; there are ` + strings.Join(names(event.Kinds()), ", ")},
		{"--cause no_anser", `--cause "no_anser": there is no cause "no_anser"; did you mean no_answer?`},
		{"--container xyz", `--container "xyz": a container id is 8 to 64 digits of 0-9 and a-f`},
		{"-c 0", `--count "0": a count is a number from 1 on`},
		{"--max-events 0/s", `--max-events "0/s": a rate, such as 100/s, is a number from 1 to 2147483647`},
		{"--cgroup=", `--cgroup "": a cgroup cannot be empty`},
	}
	for _, test := range tests {
		var f filterFlags
		err := parsed(f.addTo, strings.Fields(test.args)...)
		var stderr strings.Builder
		if status := report(&stderr, err); status != exitUsage || stderr.String() != "tcptrace: "+test.want+"\n" {
			t.Errorf("%q: exit status %d\n got %q\nwant %q", test.args, status, stderr.String(), test.want)
		}
	}
}

func TestSocketFlagsFillOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "request")
	if err := os.WriteFile(file, []byte("PING\r\n\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	zero := time.Duration(0)
	tests := []struct {
		args []string
		want prober.Options
	}{
		{nil, prober.Options{}},
		{[]string{"--source", "10.0.0.5", "--source-port", "4000", "--interface", "eth0"},
			prober.Options{Source: client4.Addr(), SourcePort: 4000, Interface: "eth0"}},
		{[]string{"--syn-retries", "3", "--user-timeout", "2500ms"}, prober.Options{SYNRetries: 3, UserTimeout: 2500 * time.Millisecond}},
		{[]string{"--keepalive-idle", "10s", "--keepalive-interval", "2s", "--keepalive-count", "5"},
			prober.Options{KeepaliveIdle: 10 * time.Second, KeepaliveInterval: 2 * time.Second, KeepaliveCount: 5}},
		{[]string{"--linger", "0", "--mark", "0x10", "--fastopen"}, prober.Options{Linger: &zero, Mark: 16, MarkSet: true, FastOpen: true}},
		{[]string{"--mark", "0"}, prober.Options{MarkSet: true}},
		{[]string{"--send", "@" + file, "--expect", "PONG"}, prober.Options{Send: []byte("PING\r\n\x00"), Expect: []byte("PONG")}},
		{[]string{"--send", "hello"}, prober.Options{Send: []byte("hello")}},
	}
	for _, test := range tests {
		var got prober.Options
		add := func(cmd *cobra.Command) { addSocketFlags(cmd, &got) }
		if err := parsed(add, test.args...); err != nil {
			t.Errorf("%q: %v", test.args, err)
			continue
		}
		if err := got.Validate(); err != nil {
			t.Errorf("%q: %v", test.args, err)
		}
		if diff := cmp.Diff(test.want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.args, diff)
		}
	}
}

func TestBadSocketFlagIsOneSentence(t *testing.T) {
	large := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(large, make([]byte, maxSend+1), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"--source", "example.com"}, `--source "example.com": write an IP address, such as 192.0.2.1 or 2001:db8::1`},
		{[]string{"--source-port", "-1"}, `--source-port "-1": a port is a number from 1 to 65535`},
		{[]string{"--syn-retries", "128"}, `--syn-retries "128": a count of retries is a number from 1 to 127`},
		{[]string{"--keepalive-count", "0"}, `--keepalive-count "0": a count of probes is a number from 1 to 127`},
		{[]string{"--linger", "3"}, `--linger "3": a time needs a unit, such as 3s or 3ms`},
		{[]string{"--mark", "-1"}, `--mark "-1": a mark is a number from 0 to 4294967295`},
		{[]string{"--send", "@/no/such/file"}, `--send "@/no/such/file": no such file or directory`},
		{[]string{"--send", "@" + large}, `--send "@` + large + `": the file has more than 1048576 bytes`},
		{[]string{"--expect", ""}, `--expect "": an empty text always comes: say what to wait for`},
		{[]string{"--interface"}, `--interface needs a value`},
	}
	for _, test := range tests {
		var o prober.Options
		err := parsed(func(cmd *cobra.Command) { addSocketFlags(cmd, &o) }, test.args...)
		var stderr strings.Builder
		if status := report(&stderr, err); status != exitUsage || stderr.String() != "tcptrace: "+test.want+"\n" {
			t.Errorf("%q: exit status %d\n got %q\nwant %q", test.args, status, stderr.String(), test.want)
		}
	}
}

func TestCommonFlags(t *testing.T) {
	var f sessionFlags
	var repeat repeatFlags
	add := func(cmd *cobra.Command) {
		f.output.addTo(cmd)
		f.detail.addTo(cmd)
		f.trace.addTo(cmd)
		repeat.addTo(cmd)
	}
	if err := parsed(add); err != nil {
		t.Fatal(err)
	}
	if f.output != (outputFlags{formatText, colorAuto}) || repeat != (repeatFlags{1, time.Second}) {
		t.Errorf("the defaults are %+v, %+v", f.output, repeat)
	}
	args := "-o json --color never -v --timeout 300ms --duration 1m -6 --netns blue --record f.json --require-trace --count 5 --interval 0"
	if err := parsed(add, strings.Fields(args)...); err != nil {
		t.Fatal(err)
	}
	want := sessionFlags{
		output: outputFlags{formatJSON, colorNever},
		detail: detailFlags{Verbose: true},
		trace: traceFlags{Timeout: 300 * time.Millisecond, Duration: time.Minute, Only6: true, NetNS: "blue", Record: "f.json",
			RequireTrace: true},
	}
	if diff := cmp.Diff(want, f, cmp.AllowUnexported(sessionFlags{}), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if repeat != (repeatFlags{5, 0}) {
		t.Errorf("repeat is %+v", repeat)
	}
	for both, want := range map[string]string{
		"-4 -6": "tcptrace: --ipv4 and --ipv6 exclude each other\n",
		"-q -v": "tcptrace: --quiet and --verbose exclude each other\n",
	} {
		var stderr strings.Builder
		if status := report(&stderr, parsed(add, strings.Fields(both)...)); status != exitUsage || stderr.String() != want {
			t.Errorf("%s: exit status %d, %q", both, status, stderr.String())
		}
	}
}

func TestColourIsForTerminalsOnly(t *testing.T) {
	tests := []struct {
		mode              colorMode
		terminal          bool
		noColor, terminfo string
		want              bool
	}{
		{colorAuto, true, "", "xterm", true},
		{colorAuto, false, "", "xterm", false},
		{colorAuto, true, "1", "xterm", false},
		{colorAuto, true, "", "dumb", false},
		{colorAlways, false, "1", "dumb", true},
		{colorNever, true, "", "xterm", false},
	}
	for _, test := range tests {
		t.Setenv("NO_COLOR", test.noColor)
		t.Setenv("TERM", test.terminfo)
		if got := test.mode.enabled(test.terminal); got != test.want {
			t.Errorf("%+v: %t", test, got)
		}
	}
}

func TestProblemsAreWhatNobodyWanted(t *testing.T) {
	contributing := []verdict.Contribution{{Cause: verdict.ConnectedAfterRetries}}
	tests := []struct {
		verdict verdict.Verdict
		want    bool
	}{
		{verdict.Verdict{Outcome: verdict.OutcomeConnected, Cause: verdict.Connected}, false},
		{verdict.Verdict{Outcome: verdict.OutcomeClosed, Cause: verdict.ClosedByPeer}, false},
		{verdict.Verdict{Outcome: verdict.OutcomeClosed, Cause: verdict.ClosedByPeer, Contributing: contributing}, true},
		{verdict.Verdict{Outcome: verdict.OutcomeConnected, Cause: verdict.ConnectedAfterRetries}, true},
		{verdict.Verdict{Outcome: verdict.OutcomeFailed, Cause: verdict.Refused}, true},
		{verdict.Verdict{Outcome: verdict.OutcomeOpen, Cause: verdict.StillOpen}, false},
	}
	for _, test := range tests {
		if got := isProblem(test.verdict); got != test.want {
			t.Errorf("%s (%s): %t", test.verdict.Cause, test.verdict.Outcome, got)
		}
	}
	for _, cause := range orderly {
		if !slices.ContainsFunc(verdict.Causes(), func(m verdict.Meaning) bool { return m.Cause == cause }) {
			t.Errorf("there is no cause %s", cause)
		}
	}
}
