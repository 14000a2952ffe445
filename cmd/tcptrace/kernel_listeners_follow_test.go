package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
	"tcptrace/tracer"
	"tcptrace/tracer/event"
	"tcptrace/tracer/host/counters"
	"tcptrace/tracer/sockdiag"
	"tcptrace/tracer/sockets"
)

// followedLine is what the tests look at of a trace of listeners.
type followedLine struct {
	Type, Kind, Local, Diagnosis string

	Count    uint64
	Lost     uint64
	Told     uint64
	Accepted uint64
	WaitedMS float64 `json:"waited_ms"`
	Owner    struct{ PID int }
	Refused  refusedLine
	Clients  []struct{ Addr string }
	Waited   *struct{ Count uint64 }
}

type followedLines []followedLine

func parseFollowed(t *testing.T, stream string) followedLines {
	t.Helper()
	var lines followedLines
	for text := range strings.Lines(stream) {
		var line followedLine
		acceptMust(t, json.Unmarshal([]byte(text), &line))
		lines = append(lines, line)
	}
	return lines
}

// standFor is how many things of a kind the lines stand for, those that were only counted among them.
func (lines followedLines) standFor(kind string) (n uint64) {
	for _, l := range lines {
		if (l.Type == typeEvent || l.Type == typeMore) && l.Kind == kind {
			n += max(1, l.Count)
		}
	}
	return n
}

func (lines followedLines) ofType(kind string) (all followedLines) {
	for _, l := range lines {
		if l.Type == kind {
			all = append(all, l)
		}
	}
	return all
}

func listenOverflows(t *testing.T, h *lab.Host) uint64 {
	t.Helper()
	values, err := readCounters(h.NetNS())
	acceptMust(t, err)
	return uint64(values[counters.Key{Group: "TcpExt", Name: "ListenOverflows"}])
}

// awaitOverflows waits until there are so many.
func awaitOverflows(t *testing.T, h *lab.Host, atLeast uint64) {
	t.Helper()
	for deadline := time.Now().Add(acceptPatience); listenOverflows(t, h) < atLeast; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d overflows; want %d", listenOverflows(t, h), atLeast)
		}
	}
}

// calm waits until nothing is refused any more: the port is closed to all, and what was on its way has come.
func calm(t *testing.T, p *acceptPair, port uint16) uint64 {
	t.Helper()
	p.drop(t, port, 0)
	last, since := listenOverflows(t, p.server), time.Now()
	for deadline := time.Now().Add(acceptPatience); time.Since(since) < 200*time.Millisecond; time.Sleep(5 * time.Millisecond) {
		if now := listenOverflows(t, p.server); now != last {
			last, since = now, time.Now()
		}
		if time.Now().After(deadline) {
			t.Fatal("overflows do not end though nothing comes through")
		}
	}
	return last
}

func (p *acceptPair) follow(t *testing.T, args ...string) *acceptProcess {
	t.Helper()
	process := acceptCommand{args: append([]string{"listeners", "--follow", "-o", "json", "--netns", acceptNetNS(p.server)}, args...)}.start(t)
	process.awaitTrace(t)
	return process
}

// onceMore plays a test again where it says what an event may have been hidden for: hardly twice in a row.
func onceMore(t *testing.T, play func() (missing string)) {
	t.Helper()
	missing := play()
	if missing != "" {
		t.Logf("once more: %s", missing)
		missing = play()
	}
	if missing != "" {
		t.Error(missing)
	}
}

// Two hundred clients come to a listener with a backlog of 8 that never accepts: each refusal that the kernel counts is an
// event, or counted by one, or told at the end to be in none.
func TestFollowAccountsForEveryOverflow(t *testing.T) {
	acceptKernel(t)
	byEachMechanism(t, func(t *testing.T) {
		onceMore(t, func() string { return overflowByCrowd(t, acceptService4(80).String(), false) })
	})
}

// A listener that is newer than the trace is known by what it is bound to, as others are.
func TestFollowMeetsNewListeners(t *testing.T) {
	acceptKernel(t)
	onceMore(t, func() string { return overflowByCrowd(t, "0.0.0.0:80", true) })
}

// byEachMechanism runs a test by the best mechanism for each event, and by those alone that the kernel has without functions'
// trampolines, unless only some are to be tried.
func byEachMechanism(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	mechanisms := []string{"", string(tracer.Tracepoint)}
	if _, err := os.Stat("/sys/bus/event_source/devices/kprobe"); err == nil {
		mechanisms = append(mechanisms, string(tracer.Kprobe))
	}
	if only := os.Getenv(tracer.MechanismsVariable); only != "" {
		mechanisms = []string{only}
	}
	for _, mechanism := range mechanisms {
		t.Run(cmp.Or(mechanism, "best"), func(t *testing.T) {
			t.Setenv(tracer.MechanismsVariable, mechanism)
			test(t)
		})
	}
}

// later says that the listener begins after the trace.
func overflowByCrowd(t *testing.T, bind string, later bool) (missing string) {
	t.Helper()
	const backlog, clients = 8, 200
	p := newAcceptPair(t)
	service := acceptService4(80)
	if !later {
		acceptListening{bind: bind, backlog: backlog}.listen(t, p.server)
	}
	follow := p.follow(t, "--lport", "80")
	if later {
		acceptListening{bind: bind, backlog: backlog}.listen(t, p.server)
	}
	before := listenOverflows(t, p.server)
	acceptCrowd(t, p.client, service, clients)
	awaitOverflows(t, p.server, before+clients-2*(backlog+1))
	want := calm(t, p, 80) - before
	lines := parseFollowed(t, follow.interrupt(t).stdout)
	if missing := unaccounted(t, lines, want); missing != "" {
		return missing
	}
	accounts := lines.ofType(typeListener)
	if len(accounts) != 1 {
		return fmt.Sprintf("accounts %+v; want one", accounts)
	}
	a := accounts[0]
	if a.Local != bind || a.Owner.PID != os.Getpid() || a.Accepted != 0 {
		t.Errorf("the account %+v; want that of %s, process %d, which accepted nothing", a, bind, os.Getpid())
	}
	if len(a.Clients) != 1 || a.Clients[0].Addr != acceptClient4.Addr().String() {
		t.Errorf("the clients were %+v; want %s", a.Clients, acceptClient4.Addr())
	}
	if !strings.Contains(a.Diagnosis, "accepted nothing") {
		t.Errorf("it says %q", a.Diagnosis)
	}
	return ""
}

// unaccounted compares events and totals with what the kernel counted.
func unaccounted(t *testing.T, lines followedLines, want uint64) (missing string) {
	t.Helper()
	end := lines[len(lines)-1]
	if end.Type != typeSummary || end.Lost != 0 {
		t.Fatalf("the last line is %+v; want a summary, and nothing lost", end)
	}
	total := end.Refused.SYNs + end.Refused.FinalACKs
	var byAccount uint64
	for _, a := range lines.ofType(typeListener) {
		byAccount += a.Refused.SYNs + a.Refused.FinalACKs
	}
	told, untold := lines.standFor("accept_queue_full"), end.Refused.UntoldOverflows
	if total != want || byAccount != want || told+untold != want {
		return fmt.Sprintf("ListenOverflows grew by %d: %d in all, %d by listener, %d by events and %d in none",
			want, total, byAccount, told, untold)
	}
	return ""
}

// A flood is counted to the last SYN, told in few events, and costs less than a CPU.
func TestFollowSurvivesAFlood(t *testing.T) {
	acceptKernel(t)
	onceMore(t, func() string { return overflowByFlood(t) })
}

func overflowByFlood(t *testing.T) (missing string) {
	t.Helper()
	const backlog, rate, syns = 8, 20000, 20000
	p := newAcceptPair(t)
	service := acceptService4(80)
	acceptListening{bind: service.String(), backlog: backlog}.listen(t, p.server)
	acceptCrowd(t, p.client, service, backlog+1)
	follow := p.follow(t, "--lport", "80")
	before := listenOverflows(t, p.server)
	sent, err := p.client.Flood(t.Context(), lab.Flood{From: acceptClient4.Addr(), To: service, Rate: rate, SYNs: syns})
	acceptMust(t, err)
	awaitOverflows(t, p.server, before+uint64(sent)/2) // a busy host drops what its queue of packets has no room for
	want := calm(t, p, 80) - before
	result := follow.interrupt(t)
	lines := parseFollowed(t, result.stdout)
	state := follow.cmd.ProcessState
	if spent := state.UserTime() + state.SystemTime(); spent > result.took {
		t.Errorf("it took %s of CPU time in %s", spent, result.took)
	}
	var cpus unix.CPUSet
	acceptMust(t, unix.SchedGetaffinity(0, &cpus))
	const aSecondOnEachCPU = 256
	seconds := int(result.took/time.Second) + 2 // of the clock, begun or ended within
	if events := len(lines.ofType(typeEvent)); events > seconds*cpus.Count()*aSecondOnEachCPU {
		t.Errorf("%d events in %s", events, result.took)
	}
	return unaccounted(t, lines, want)
}

// What is accepted is told with the time that it waited.
func TestFollowTellsForHowLongConnectionsWaited(t *testing.T) {
	acceptKernel(t)
	onceMore(t, func() string { return waitsInQueue(t) })
}

func waitsInQueue(t *testing.T) (missing string) {
	t.Helper()
	const clients, wait = 3, 300 * time.Millisecond
	p := newAcceptPair(t)
	queue, err := p.server.ListenQueue(acceptService4(80), 16)
	acceptMust(t, err)
	follow := p.follow(t, "--lport", "80")
	began := time.Now()
	acceptCrowd(t, p.client, acceptService4(80), clients)
	awaitQueued(t, p.server, clients)
	time.Sleep(wait)
	for range clients {
		acceptMust(t, queue.Accept())
	}
	longest := time.Since(began)
	lines := parseFollowed(t, follow.interrupt(t).stdout)
	accepts := 0
	for _, l := range lines.ofType(typeEvent) {
		if l.Kind != "accept" {
			continue
		}
		accepts++
		if waited := time.Duration(l.WaitedMS * float64(time.Millisecond)); waited < wait || waited > longest {
			t.Errorf("waited for %s; want %s to %s", waited, wait, longest)
		}
	}
	accounts := lines.ofType(typeListener)
	told := len(accounts) == 1 && accounts[0].Accepted == clients && accounts[0].Waited != nil && accounts[0].Waited.Count == clients
	if accepts != clients || !told {
		return fmt.Sprintf("%d accepts told, accounts %+v; want %d", accepts, accounts, clients)
	}
	return ""
}

// awaitQueued waits until so many connections wait to be accepted by h's only listener.
func awaitQueued(t *testing.T, h *lab.Host, n int) {
	t.Helper()
	for deadline := time.Now().Add(acceptPatience); ; time.Sleep(time.Millisecond) {
		queued := 0
		acceptMust(t, h.Do(func() error {
			return sockdiag.ListStates(func(s *sockets.Socket) { queued += s.Listening.Accept.Len }, event.StateListen)
		}))
		if queued == n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d connections wait to be accepted; want %d", queued, n)
		}
	}
}
