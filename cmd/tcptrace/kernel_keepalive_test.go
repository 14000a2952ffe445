package main

import (
	"encoding/json"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"tcptrace/prober/lab"
	"tcptrace/tracer/event"
	"tcptrace/tracer/schedule"
)

// heldCase is a connection that is held idle until the kernel ends it.
type heldCase struct {
	name     string
	remote   netip.AddrPort
	args     []string
	settings schedule.Keepalive
	cause    string
	endedBy  string
}

func TestKeepaliveShowsEachProbeAndTheDeath(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	p := newAcceptPair(t)
	const counted, timed, early = 81, 82, 83
	times := schedule.Keepalive{Idle: time.Second, Interval: time.Second, Count: 3, HZ: 250}
	withUserTimeout := func(d time.Duration) schedule.Keepalive {
		k := times
		k.UserTimeout = d
		return k
	}
	tests := []heldCase{
		{"by the count", acceptService4(counted), nil, times, "keepalive_timeout", "kernel"},
		{"by the count, IPv6", acceptService6(counted), nil, times, "keepalive_timeout", "kernel"},
		{"by the user timeout", acceptService4(timed), []string{"--user-timeout", "4500ms"}, withUserTimeout(4500 * time.Millisecond), "user_timeout", "user_timeout"},
		{"by a user timeout that is over early", acceptService6(early), []string{"--user-timeout", "500ms"}, withUserTimeout(500 * time.Millisecond), "user_timeout", "user_timeout"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := p.holdSilent(t, &test, test.remote)
			if seen := heldEvents(t, got); seen < test.events() {
				// There are kernels that hide what a softirq does on top of certain tasks: hardly twice in a row.
				t.Logf("%d of %d events were seen: once more", seen, test.events())
				got = p.holdSilent(t, &test, netip.AddrPortFrom(test.remote.Addr(), test.remote.Port()+100))
			}
			checkHeld(t, &test, got)
		})
	}
}

// holdSilent holds a connection to a service that falls silent once it is established.
func (p *acceptPair) holdSilent(t *testing.T, test *heldCase, remote netip.AddrPort) acceptResult {
	t.Helper()
	_, err := p.server.Echo(remote)
	acceptMust(t, err)
	args := append([]string{"keepalive", "-o", "json", "--netns", acceptNetNS(p.client), "--keepalive-idle", "1s", "--keepalive-interval", "1s",
		"--keepalive-count", "3"}, test.args...)
	held := acceptCommand{args: append(args, remote.String())}.start(t)
	held.awaitEvent(t, "established")
	_, err = p.server.DropInput(lab.Drop{Port: remote.Port(), Family: lab.FamilyOf(remote.Addr())})
	acceptMust(t, err)
	return held.wait(t)
}

// events is how many there are to see once the peer is silent: the probes and the close.
func (c *heldCase) events() int {
	n := 1
	for range c.settings.Probes() {
		n++
	}
	return n
}

// heldEvents counts those that were seen.
func heldEvents(t *testing.T, got acceptResult) int {
	t.Helper()
	lines := got.lines(t)
	conn := lines.only(t, typeVerdict).Conn
	answered := len(lines.events(conn, "keepalive_answer"))
	return len(lines.events(conn, "keepalive_probe", "close")) - answered
}

// checkHeld wants what was predicted to have happened.
func checkHeld(t *testing.T, test *heldCase, got acceptResult) {
	t.Helper()
	lines := got.lines(t)
	v := lines.only(t, typeVerdict)
	if v.Cause != test.cause || v.EndedBy != test.endedBy || v.Errno != "ETIMEDOUT" || got.status != exitFailed {
		t.Errorf("cause %s, ended by %s, errno %s, exit status %d; want %s, %s, ETIMEDOUT, 1: %s", v.Cause, v.EndedBy, v.Errno, got.status,
			test.cause, test.endedBy, v.Summary)
	}
	end := test.settings.End()
	var predicted outlookLine
	for text := range strings.Lines(got.stdout) {
		if strings.HasPrefix(text, `{"type":"prediction"`) {
			acceptMust(t, json.Unmarshal([]byte(text), &predicted))
		}
	}
	if predicted.GivesUpMS != milliseconds(end.Offset) || predicted.Rule != end.Rule.String() {
		t.Errorf("predicted: %+v; want the end after %v by %s", predicted, end.Offset, end.Rule)
	}
	closed := lines.events(v.Conn, "close")
	if len(closed) != 1 {
		t.Fatalf("%d closes", len(closed))
	}
	// The last segment of the peer may be the answer to one probe that preceded the firewall's rule.
	since := lines.events(v.Conn, "established")[0].OffsetMS
	if answers := lines.events(v.Conn, "keepalive_answer"); len(answers) > 0 {
		since = answers[len(answers)-1].OffsetMS
	}
	slack := milliseconds(timerSlack)
	if idle := closed[0].OffsetMS - since; idle < milliseconds(end.Earliest)-1 || idle > milliseconds(end.Latest)+slack {
		t.Errorf("dead %v ms after the peer's last segment; predicted %v to %v", idle, end.Earliest, end.Latest)
	}
	checkProbes(t, test.settings, lines.events(v.Conn, "keepalive_probe"), since)
}

// checkProbes wants the unanswered probes at the times that were predicted, and no others.
func checkProbes(t *testing.T, settings schedule.Keepalive, probes acceptLines, since float64) {
	t.Helper()
	steps := make(map[int]schedule.Step)
	for step := range settings.Probes() {
		steps[step.Attempt] = step
	}
	for _, probe := range probes {
		if probe.OffsetMS < since {
			continue // it was answered
		}
		step, ok := steps[probe.Attempt]
		if !ok {
			t.Errorf("probe %d is one too many", probe.Attempt)
			continue
		}
		delete(steps, probe.Attempt)
		if at := probe.OffsetMS - since; at < milliseconds(step.Offset)-1 || at > milliseconds(step.Latest+timerSlack) {
			t.Errorf("probe %d came %v ms after the last segment; predicted %v to %v", probe.Attempt, at, step.Offset, step.Latest)
		}
		if probe.PredictedOffsetMS == nil || probe.LateMS > milliseconds(timerSlack) {
			t.Errorf("probe %d was due at %v, late by %v ms", probe.Attempt, probe.PredictedOffsetMS, probe.LateMS)
		}
	}
	if len(steps) > 0 {
		t.Errorf("%d probes were due and not seen: %v", len(steps), steps)
	}
}

func TestKeepaliveOfAPeerThatAnswersEndsAsAsked(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	p := newAcceptPair(t)
	const port = 80
	_, err := p.server.Echo(acceptService4(port))
	acceptMust(t, err)
	for _, test := range []struct {
		name string
		args []string
		end  func(*testing.T, *acceptProcess)
	}{
		{"by its duration", []string{"--duration", "2500ms"}, nil},
		{"by ^C", nil, func(t *testing.T, held *acceptProcess) {
			held.awaitEvent(t, "keepalive_answer")
			held.signal(t, os.Interrupt)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"keepalive", "-o", "json", "--netns", acceptNetNS(p.client), "--keepalive-idle", "1s", "--keepalive-interval", "1s",
				"--send", "PING", "--expect", "PING"}, test.args...)
			held := acceptCommand{args: append(args, acceptService4(port).String())}.start(t)
			if test.end != nil {
				test.end(t, held)
			}
			got := held.wait(t)
			lines := got.lines(t)
			v := lines.only(t, typeVerdict)
			if v.Cause != "still_open" || v.Outcome != "open" || got.status != exitOK || got.stderr != "" {
				t.Errorf("cause %s, outcome %s, exit status %d, %q; want still_open, open, 0 and nothing: %s", v.Cause, v.Outcome, got.status, got.stderr, v.Summary)
			}
			probes, answers := lines.events(v.Conn, "keepalive_probe"), lines.events(v.Conn, "keepalive_answer")
			if len(probes) == 0 || len(answers) == 0 {
				t.Errorf("%d probes, %d answers", len(probes), len(answers))
			}
		})
	}
}

func TestIdleLimitOfARouterThatForgets(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	const remembers = 3 * time.Second
	for _, test := range []struct {
		name string
		then lab.Forget
		args []string
		fate fate
	}{
		{"silently", lab.ForgetSilently, nil, fateSilent},
		{"silently, asked by data", lab.ForgetSilently, []string{"--send", "PING", "--expect", "PING", "--timeout", "2s"}, fateSilent},
		{"with a reset", lab.ForgetWithReset, nil, fateReset},
		{"with a reset, asked by data", lab.ForgetWithReset, []string{"--send", "PING"}, fateReset},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			client, service := acceptForgetfulRouter(t, remembers, test.then)
			// It needs no privilege at all.
			args := append([]string{"keepalive", "-o", "json", "--find-idle-limit", "1s..5s", "--steps", "3"}, test.args...)
			got := acceptCommand{args: append(args, service.String()), host: client, uid: acceptNobody}.run(t)
			limit := lastLine[idleLimitLine](t, got.stdout)
			if limit.SurvivedMS == nil || limit.LostMS == nil || *limit.SurvivedMS != 2000 || *limit.LostMS != 5000 {
				t.Fatalf("%+v: %s%s", limit, got.stdout, got.stderr)
			}
			if limit.Fate != fateNames[test.fate] || limit.Mixed || got.status != exitOK || got.stderr != "" {
				t.Errorf("fate %s, mixed %t, exit status %d, %q; want %s:\n%s", limit.Fate, limit.Mixed, got.status, got.stderr, fateNames[test.fate], got.stdout)
			}
		})
	}
}

// acceptForgetfulRouter is a client behind a router that forgets idle connections, and an echo service beyond it.
func acceptForgetfulRouter(t *testing.T, after time.Duration, then lab.Forget) (client *lab.Host, service netip.AddrPort) {
	t.Helper()
	p := &acceptPair{network: new(lab.Network)}
	t.Cleanup(func() { acceptMust(t, p.network.Close()) })
	client, router, server := p.addHost(t, "client"), p.addHost(t, "router"), p.addHost(t, "server")
	near, far := netip.MustParsePrefix("198.51.100.1/24"), netip.MustParsePrefix("198.51.100.10/24")
	p.join(t, lab.End{Host: client, Addrs: []netip.Prefix{acceptClient4}}, lab.End{Host: router, Addrs: []netip.Prefix{acceptServer4}})
	p.join(t, lab.End{Host: router, Addrs: []netip.Prefix{near}}, lab.End{Host: server, Addrs: []netip.Prefix{far}})
	acceptMust(t, router.Forward())
	anywhere := netip.MustParsePrefix("0.0.0.0/0")
	acceptMust(t, client.AddRoute(anywhere, acceptServer4.Addr()))
	acceptMust(t, server.AddRoute(anywhere, near.Addr()))
	service = netip.AddrPortFrom(far.Addr(), 80)
	_, err := server.Echo(service)
	acceptMust(t, err)
	_, err = router.ForgetIdle(after, then)
	acceptMust(t, err)
	return client, service
}

func lastLine[T any](t *testing.T, stream string) T {
	t.Helper()
	stream = strings.TrimSuffix(stream, "\n")
	var line T
	if err := json.Unmarshal([]byte(stream[strings.LastIndexByte(stream, '\n')+1:]), &line); err != nil {
		t.Fatalf("%v: %s", err, stream)
	}
	return line
}

func TestIdleLimitOfAPeerThatClosesIsThePeers(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	p := newAcceptPair(t)
	const port = 80
	hangUp(t, p.server, acceptService4(port))
	got := acceptCommand{args: []string{"keepalive", "-o", "json", "--find-idle-limit", "1s..2s", "--steps", "2", acceptService4(port).String()}, host: p.client}.run(t)
	if limit := lastLine[idleLimitLine](t, got.stdout); limit.Fate != fateNames[fateClosed] || !strings.Contains(limit.Summary, "the peer itself closes") || got.status != exitOK {
		t.Errorf("exit status %d: %+v", got.status, limit)
	}
}

func TestIdleLimitOfNobodyFails(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	p := newAcceptPair(t)
	service := acceptService4(80).String()
	got := acceptCommand{args: []string{"keepalive", "--find-idle-limit", "1s..2s", service}, host: p.client}.run(t)
	want := "tcptrace: " + service + " cannot be reached: " + event.ECONNREFUSED.String() + "; tcptrace connect " + service + " says why\n"
	if got.status != exitFailed || got.stderr != want || got.stdout != "" {
		t.Errorf("exit status %d, %q, %q; want 1, nothing, %q", got.status, got.stdout, got.stderr, want)
	}
}
