package main

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestWatchShowsWhatItsFiltersAskFor(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	p := newAcceptPair(t)
	const served, refused = 80, 81
	served4, served6, refused4 := acceptService4(served), acceptService6(served), acceptService4(refused)
	hangUp(t, p.server, served4)
	hangUp(t, p.server, served6)
	const comm = "filtered"
	// Of three connections, the second is another program's.
	connects := []struct {
		to   netip.AddrPort
		name string
	}{{served4, "tcptrace"}, {refused4, comm}, {served6, "tcptrace"}}

	everything := []netip.AddrPort{served4, served6, refused4}
	tests := []struct {
		flags string
		want  []netip.AddrPort
		kinds []string // of the events; nil: it does not matter
	}{
		{"", everything, nil},
		{"--comm " + comm, []netip.AddrPort{refused4}, nil},
		{"--uid 65534", everything, nil},
		{"--uid 65533", nil, []string{}},
		{"--port 81", []netip.AddrPort{refused4}, nil},
		{"--rport 80", []netip.AddrPort{served4, served6}, nil},
		{"--lport 80", nil, nil},
		{"-4", []netip.AddrPort{served4, refused4}, nil},
		{"-6", []netip.AddrPort{served6}, nil},
		{"--addr 2001:db8::/32", []netip.AddrPort{served6}, nil},
		{"--problems", []netip.AddrPort{refused4}, nil},
		{"--cause refused", []netip.AddrPort{refused4}, nil},
		{"--kind close,established", everything, []string{"close", "established"}},
		{fmt.Sprint("-p ", os.Getpid()), nil, []string{}},
	}
	var watches []*acceptProcess
	for _, test := range tests {
		args := append([]string{"watch", "-o", "json", "--netns", acceptNetNS(p.client)}, strings.Fields(test.flags)...)
		watches = append(watches, acceptCommand{args: args}.start(t))
	}
	for _, watch := range watches {
		watch.awaitTrace(t)
	}
	for _, c := range connects {
		acceptCommand{path: acceptProgram(t, c.name), as: "tcptrace", args: []string{"connect", "-q", c.to.String()},
			uid: acceptNobody, host: p.client}.run(t)
	}
	for i, test := range tests {
		t.Run("watch "+test.flags, func(t *testing.T) {
			lines := watches[i].interrupt(t).lines(t)
			got := slices.SortedFunc(maps.Keys(lines.verdictsByRemote(t)), netip.AddrPort.Compare)
			want := slices.SortedFunc(slices.Values(test.want), netip.AddrPort.Compare)
			if diff := cmp.Diff(fmt.Sprint(want), fmt.Sprint(got)); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s", diff)
			}
			if test.kinds == nil {
				return
			}
			var kinds []string
			for _, ev := range lines.of(typeEvent) {
				kinds = append(kinds, ev.Kind)
			}
			slices.Sort(kinds)
			if diff := cmp.Diff(strings.Join(test.kinds, " "), strings.Join(slices.Compact(kinds), " ")); diff != "" {
				t.Errorf("kinds of events (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWatchOfAProcessThatRuns(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	p := newAcceptPair(t)
	watch := acceptCommand{args: []string{"watch", "-o", "json", "--netns", acceptNetNS(p.client), "-p", fmt.Sprint(os.Getpid())}}.start(t)
	watch.awaitTrace(t)
	acceptCommand{args: []string{"connect", "-q", acceptService4(81).String()}, uid: acceptNobody, host: p.client}.run(t)
	if err := p.client.Do(func() error { return connectOnce(acceptService4(82)) }); err != unix.ECONNREFUSED {
		t.Fatalf("connect: %v; want %v", err, unix.ECONNREFUSED)
	}
	v := watch.interrupt(t).lines(t).only(t, typeVerdict)
	if v.Remote != acceptService4(82) || v.Cause != "refused" || v.Owner.PID != os.Getpid() {
		t.Errorf("%+v; want only the connect of this process", v)
	}
}

func TestProblemsAreSilentOnHealthyTraffic(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	p := newAcceptPair(t)
	served, refused := acceptService4(80).String(), acceptService4(81).String()
	hangUp(t, p.server, acceptService4(80))
	program := acceptProgram(t, "tcptrace")
	for _, test := range []struct{ name, to, want string }{
		{"healthy", served, ""},
		{"refused", refused, "refused: "},
	} {
		got := acceptCommand{host: p.client, args: []string{"watch", "-q", "--problems", "--", "sh", "-c", "$0 connect -q $1 >&2", program, test.to}}.run(t)
		if verdicts := verdictBlocks(got.stdout); (verdicts == "") != (test.want == "") || !strings.Contains(verdicts, test.want) {
			t.Errorf("%s: it said %q; want %q in it", test.name, got.stdout, test.want)
		}
	}
}

func TestWatchEndsAfterSoManyVerdicts(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	p := newAcceptPair(t)
	const wanted = 2
	watch := acceptCommand{args: []string{"watch", "-o", "json", "-c", "2", "--netns", acceptNetNS(p.client)}}.start(t)
	watch.awaitTrace(t)
	// All at once: more than are wanted are ready to be judged together.
	acceptMust(t, p.client.Do(func() error {
		for range 2 * wanted {
			if err := connectOnce(acceptService4(81)); err != unix.ECONNREFUSED {
				return fmt.Errorf("connect: %w; want %w", err, unix.ECONNREFUSED)
			}
		}
		return nil
	}))
	got := watch.wait(t)
	if verdicts := got.lines(t).of(typeVerdict); len(verdicts) != wanted || got.status != exitOK {
		t.Errorf("exit status %d after %d verdicts; want 0 after %d", got.status, len(verdicts), wanted)
	}
}

func TestConnectionsDuringTheStartAreJudgedRight(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	p := newAcceptPair(t)
	watch := acceptCommand{args: []string{"watch", "-o", "json", "--netns", acceptNetNS(p.client)}}.start(t)
	// Hooks are attached one by one: what begins between two of them must not be judged by what the others missed.
	connect := acceptCommand{args: []string{"connect", "-q", acceptService4(81).String()}, uid: acceptNobody, host: p.client}
	for out := ""; out == ""; out, _ = watch.output(0) {
		connect.run(t)
	}
	connect.run(t) // that one at least is seen whole
	verdicts := watch.interrupt(t).lines(t).of(typeVerdict)
	if len(verdicts) == 0 {
		t.Error("there is no verdict")
	}
	for _, v := range verdicts {
		if v.Cause != "refused" {
			t.Errorf("%s (%s), doubts %q; want refused", v.Cause, v.Summary, v.Doubts)
		}
	}
}

func TestWatchEndsAfterItsDuration(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	got := tcptraceRun(t, "watch", "-o", "json", "--port", "1", "--duration", "300ms")
	if sum := got.lines(t).only(t, typeSummary); got.status != exitOK || sum.Interrupted || got.took < 300*time.Millisecond || got.took > acceptPatience/4 {
		t.Errorf("exit status %d after %v, %+v", got.status, got.took, sum)
	}
}
