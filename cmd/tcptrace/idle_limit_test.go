package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tcptrace/tracer/event"
)

func TestIdleTimesGrowByTheSameFactor(t *testing.T) {
	f := idleLimitFlags{Range: idleRange{time.Second, 16 * time.Second}, Steps: 5}
	want := []time.Duration{1 * time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second}
	if diff := cmp.Diff(want, f.times()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestIdleTimesAreWhatKeepaliveTakes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		least := rapid.IntRange(1, 32766).Draw(t, "least")
		most := rapid.IntRange(least+1, 32767).Draw(t, "most")
		f := idleLimitFlags{Range: idleRange{time.Duration(least) * time.Second, time.Duration(most) * time.Second}}
		f.Steps = rapid.IntRange(2, maxIdleSteps).Draw(t, "steps")
		times := f.times()
		if times[0] != f.Range.least || times[len(times)-1] != f.Range.most || len(times) > f.Steps {
			t.Fatalf("%v", times)
		}
		for i, at := range times {
			if at%time.Second != 0 || i > 0 && at <= times[i-1] {
				t.Fatalf("%v follows %v", at, times[max(i-1, 0)])
			}
		}
	})
}

func TestFateOfAnIdleConnection(t *testing.T) {
	const idle = 10 * time.Second
	tests := []struct {
		name  string
		sent  bool
		probe event.Probe
		want  fate
	}{
		{"held to the end", false, event.Probe{Connected: true, HeldFor: 17 * time.Second}, fateSurvived},
		{"no probe answered", false, event.Probe{Connected: true, HeldFor: 15 * time.Second, HoldErrno: event.ETIMEDOUT}, fateSilent},
		{"probe reset", false, event.Probe{Connected: true, HeldFor: idle, HoldErrno: event.ECONNRESET}, fateReset},
		{"closed by the peer", false, event.Probe{Connected: true, HeldFor: time.Second, PeerClosed: true}, fateClosed},
		{"unreachable", false, event.Probe{Connected: true, HeldFor: 15 * time.Second, HoldErrno: event.EHOSTUNREACH}, fateFailed},
		{"not connected", false, event.Probe{Errno: event.ECONNREFUSED}, fateUnreached},
		{"interrupted", false, event.Probe{Connected: true, HeldFor: time.Second, GaveUp: "interrupted"}, fateUnknown},
		{"data answered", true, event.Probe{Connected: true, HeldFor: idle, Expected: "x", ExpectMet: true}, fateSurvived},
		{"data acknowledged", true, event.Probe{Connected: true, HeldFor: idle}, fateSurvived},
		{"data unanswered", true, event.Probe{Connected: true, HeldFor: idle, Expected: "x", GaveUp: "timeout"}, fateSilent},
		{"data reset", true, event.Probe{Connected: true, HeldFor: idle, ExchangeErrno: event.ECONNRESET}, fateReset},
		{"closed before data", true, event.Probe{Connected: true, HeldFor: time.Second, PeerClosed: true}, fateClosed},
		{"closed instead of an answer", true, event.Probe{Connected: true, HeldFor: idle, PeerClosed: true, Expected: "x"}, fateClosed},
		{"connect unanswered", true, event.Probe{GaveUp: "timeout"}, fateUnreached},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := judgeIdle(idle, test.sent, &test.probe).fate; got != test.want {
				t.Errorf("%s; want %s", fateNames[got], fateNames[test.want])
			}
		})
	}
}

// trialsOf are trials with these fates, of 1, 2, 3... seconds.
func trialsOf(fates ...fate) idleLimit {
	var l idleLimit
	for i := len(fates) - 1; i >= 0; i-- { // whatever the order in which they end
		if fates[i] != fateUnknown {
			l.add(idleTrial{idle: time.Duration(i+1) * time.Second, fate: fates[i], probe: &event.Probe{Target: "192.0.2.10:443"}})
		}
	}
	return l
}

func TestIdleLimitIsBetweenTheLastSurvivorAndTheFirstLoss(t *testing.T) {
	times := []time.Duration{1 * time.Second, 2 * time.Second, 3 * time.Second, 4 * time.Second}
	const yes, no = fateSurvived, fateSilent
	tests := []struct {
		name  string
		fates []fate
		says  string
		clear bool
		mixed bool
	}{
		{"none known", []fate{0, 0, 0, 0}, "nothing is known yet", false, false},
		{"all survive", []fate{yes, yes, yes, yes}, "no idle limit up to 4s", true, false},
		{"limit", []fate{yes, yes, no, no}, "between 2s and 3s: after that nothing comes back", true, false},
		{"reset", []fate{yes, yes, fateReset, fateReset}, "between 2s and 3s: after that the answer is a RST", true, false},
		{"the last", []fate{yes, yes, yes, no}, "between 3s and 4s", true, false},
		{"one loss may be chance", []fate{yes, no, 0, 0}, "between 1s and 2s", false, false},
		{"two are enough", []fate{yes, no, no, 0}, "between 1s and 2s", true, false},
		{"a shorter one is not known yet", []fate{yes, 0, no, no}, "between 1s and 3s", false, false},
		{"none survives", []fate{no, no, 0, 0}, "below 1s", true, false},
		{"mixed", []fate{yes, no, yes, yes}, "below 2s", true, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := trialsOf(test.fates...)
			if _, headline := l.headline(); !strings.Contains(headline, test.says) {
				t.Errorf("%q; want %q", headline, test.says)
			}
			if l.isClear(times) != test.clear || l.isMixed() != test.mixed {
				t.Errorf("clear %t, mixed %t", l.isClear(times), l.isMixed())
			}
		})
	}
}

func TestIdleReport(t *testing.T) {
	trials := &idleTrials{remote: server4, times: []time.Duration{1 * time.Second, 2 * time.Second, 3 * time.Second}}
	for name, format := range map[string]format{"idle-limit": formatText, "idle-limit.json": formatJSON} {
		t.Run(name, func(t *testing.T) {
			out := new(sinkBuffer)
			a := &app{stdout: newOutput(out, func() {}), stderr: new(sinkBuffer)}
			for _, last := range []idleTrial{
				{fate: fateSurvived},
				{fate: fateSilent, errno: event.ETIMEDOUT},
				{fate: fateReset, errno: event.ECONNRESET},
				{fate: fateReset, errno: event.ECONNRESET, held: 2500 * time.Millisecond},
				{fate: fateClosed, held: 2500 * time.Millisecond},
				{fate: fateFailed, errno: event.EHOSTUNREACH},
				{fate: fateUnreached, errno: event.ECONNREFUSED},
			} {
				report := newIdleReport(a, &outputFlags{Format: format}, false, trials)
				l := trialsOf(fateSurvived, fateSurvived)
				last.idle, last.probe = 3*time.Second, &event.Probe{Target: "192.0.2.10:443", Remote: server4, Local: client4}
				l.add(last)
				for _, trial := range l.trials {
					trial.probe = last.probe
					report.tell(trial)
				}
				report.conclude(l)
			}
			a.stdout.Flush()
			checkGolden(t, name, out.Bytes())
		})
	}
}

func TestProgressIsOnlyForTerminals(t *testing.T) {
	stderr := new(sinkBuffer)
	p := newProgress(stderr)
	p.show("1 of %d", 2)
	p.clear()
	if stderr.Len() != 0 {
		t.Errorf("%q", stderr)
	}
	p.out = stderr
	p.show("1 of %d\x1b", 2)
	p.clear()
	if got := stderr.String(); got != "\r1 of 2\\x1b\x1b[K\r\x1b[K" {
		t.Errorf("%q", got)
	}
}

// heldStory is a name of which the second address connects and is held until it dies.
func heldStory(errnos ...event.Errno) *story {
	m := tracedMeta(aboutProbes)
	m.Held, m.Hooks, m.Costs, m.Untraced = true, nil, nil, "this needs CAP_BPF: run it as root"
	s := newStory(m)
	var o outlook
	o.Idle, o.Interval, o.Count, o.UserTimeout, o.HZ = 2*time.Second, 3*time.Second, 3, 8*time.Second, 250
	s.handleOutlook(o)
	s.handleResolution(&event.Resolution{Target: "dual:443", Name: "dual", Addresses: []netip.Addr{server6.Addr(), server4.Addr()}}, uptime)
	for i, remote := range []netip.AddrPort{server6, server4}[:len(errnos)] {
		p := &event.Probe{Target: "dual:443", Remote: remote, Local: client4, Run: 1, Started: began, StartedMono: uptime, Lifetime: 9 * time.Second, Errno: errnos[i]}
		if errnos[i] == 0 {
			p.Connected, p.HeldFor, p.HoldErrno, p.WriteErrno = true, 8*time.Second, event.ETIMEDOUT, event.EPIPE
		}
		s.handleProbe(p)
	}
	return s
}

func TestOfAHeldNameTheAddressThatConnectsDecides(t *testing.T) {
	s := heldStory(event.ECONNREFUSED, 0)
	s.finish(uptime+10*time.Second, false)
	if got := strings.Count(s.json.String(), `"type":"verdict"`); got != 2 {
		t.Errorf("%d verdicts; want those of the two addresses, and none of the name", got)
	}
	text, _ := s.replayed(t)
	if diff := cmp.Diff(s.text.String(), text); diff != "" {
		t.Errorf("the replay reads differently (-live +replay):\n%s", diff)
	}
	if !strings.Contains(text, "keepalive probes 2s, 5s after its last segment, dead at 8s with ETIMEDOUT") {
		t.Errorf("the prediction is not told:\n%s", text)
	}
}

func TestOfAHeldNameThatConnectsNowhereTheNameFails(t *testing.T) {
	s := heldStory(event.ECONNREFUSED, event.ECONNREFUSED)
	sum := s.finish(uptime+10*time.Second, false)
	if got := strings.Count(s.json.String(), `"type":"verdict"`); got != 3 || sum.ExitStatus != exitFailed {
		t.Errorf("%d verdicts, exit status %d; want those of both addresses and of the name, and %d", got, sum.ExitStatus, exitFailed)
	}
}

func TestOutlookKeepsItsSettings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var o outlook
		o.Idle = time.Duration(rapid.IntRange(1, 32767).Draw(t, "idle")) * time.Second
		o.Interval = time.Duration(rapid.IntRange(1, 32767).Draw(t, "interval")) * time.Second
		o.Count = rapid.IntRange(1, 127).Draw(t, "count")
		o.UserTimeout = time.Duration(rapid.IntRange(0, 1<<31-1).Draw(t, "timeout")) * time.Millisecond
		o.HZ, o.Retries2, o.RTOMax, o.Local = 250, 15, 2*time.Minute, rapid.Bool().Draw(t, "local")
		out := new(sinkBuffer)
		newJSONRenderer(out, false).Outlook(o)
		parsed, err := parseLine(out.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(o, parsed, cmp.AllowUnexported(outlook{})); diff != "" {
			t.Fatalf("(-written +read):\n%s", diff)
		}
	})
}
