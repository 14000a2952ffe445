package verdict

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
)

// A scenario is a text file: what happened, in the words of the event kinds, and what the verdict has to be.
//
//	What the story is, for people.
//	-- facts --
//	hooks +icmp_error -syn_sent      what this kernel shows, beside the usual
//	lost icmp_error=2
//	untraced no CAP_BPF
//	running | interrupted
//	host route=ENETUNREACH ports=32768-60999/28232/28000 conntrack=8/8 somaxconn=128
//	probe a connected connect=12ms   user space's view; without an event line of that connection it is all there is
//	name www.example 192.0.2.1 ...   judge the name: every client, in the order of their letters
//	-- events --
//	a client 10.0.0.5:40000 192.0.2.10:443 isn=1 owner=curl[812] syn_retries=3
//	+0s    a connect                 offset, connection, kind, details
//	+1.02s a syn_retransmit lost     numbered by the kernel, but never delivered
//	-- verdict --
//	cause no_answer
//
// Every key of the verdict section must hold: cause, outcome, ended_by, errno, confidence, summary, evidence, syn_sent,
// connect, rtt, idle, bytes (sent/acked/received), retransmits, contributing exactly ("none" for an absent value); doubt,
// advice and act (of contributing) as a part of one of the sentences, "doubts none" that there is none. The connection
// judged is a, or the one that "judge" names, as soon as a close can be told, or so long "after" the last event.
type scenario struct {
	name   string
	facts  Facts
	probes map[string]*event.Probe
	target string // of a name
	answer event.Resolution
	conns  map[string]*end
	events []line
	want   [][2]string
	judged string
	settle time.Duration // how long after the last event the verdict is given; 0: as soon as a close is told

	matched []int // the rows that the latest judgement rested on
}

// end is how a connection is declared.
type end struct {
	id      event.ConnID
	ev      event.Event // what every event of it knows from the start
	options event.Options
	sysctls event.Sysctls
}

// line is one event as the kernel numbered it.
type line struct {
	conn string
	ev   event.Event
	lost bool
}

// usualHooks are the kinds that every kernel shows one way or another.
var usualHooks = []event.Kind{
	event.Connect, event.SYNSent, event.SYNReceived, event.SYNRetransmit, event.SYNACKRetransmit, event.Established,
	event.Accept, event.StateChange, event.OptionsChanged, event.Retransmit, event.KeepaliveProbe, event.KeepaliveAnswer,
	event.WindowProbe, event.ResetSent, event.ResetReceived, event.Error, event.Close,
}

func loadScenarios(t testing.TB) []*scenario {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	var all []*scenario
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sc, err := parseScenario(data)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		sc.name = strings.TrimSuffix(filepath.Base(path), ".txtar")
		all = append(all, sc)
	}
	return all
}

func parseScenario(data []byte) (*scenario, error) {
	sc := &scenario{probes: make(map[string]*event.Probe), conns: make(map[string]*end), judged: "a"}
	sc.facts = Facts{Traced: true, Hooks: make(map[event.Kind]string), Lost: make(map[event.Kind]uint64)}
	for _, kind := range usualHooks {
		sc.facts.Hooks[kind] = "tracepoint"
	}
	parsers := map[string]func([]string) error{"facts": sc.fact, "events": sc.event, "verdict": sc.expect}
	parse := func([]string) error { return nil } // what stands before the first section is for people
	for text := range strings.Lines(string(data)) {
		fields := strings.Fields(text)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if fields[0] == "--" {
			if parse = parsers[fields[1]]; parse == nil {
				return nil, fmt.Errorf("no section is called %q", fields[1])
			}
			continue
		}
		if err := parse(fields); err != nil {
			return nil, fmt.Errorf("%q: %w", strings.TrimSpace(text), err)
		}
	}
	sc.number()
	return sc, nil
}

func (sc *scenario) fact(words []string) error {
	rest := words[1:]
	switch words[0] {
	case "hooks":
		return sc.hooks(rest)
	case "lost":
		for _, word := range rest {
			name, n, _ := strings.Cut(word, "=")
			kind, err := event.ParseKind(name)
			if err != nil {
				return err
			}
			sc.facts.Lost[kind], err = strconv.ParseUint(n, 10, 64)
			if err != nil {
				return err
			}
		}
	case "partial": // a kind, and what the hook misses of it
		kind, err := event.ParseKind(rest[0])
		if err != nil {
			return err
		}
		sc.facts.Costs = map[event.Kind]string{kind: strings.Join(rest[1:], " ")}
	case "untraced":
		sc.facts.Traced, sc.facts.WhyUntraced = false, strings.Join(rest, " ")
	case "host": // what the host said when it was asked
		sc.facts.Host = &Host{}
		return set(rest, hostKeys(sc.facts.Host))
	case "running":
		sc.facts.Running = true
	case "interrupted":
		sc.facts.Running, sc.facts.Interrupted = true, true
	case "name":
		sc.target, sc.answer.Target = rest[0], rest[0]
		for _, word := range rest[1:] {
			addr, err := netip.ParseAddr(word)
			if err != nil {
				sc.answer.Err = strings.Join(rest[1:], " ")
				break
			}
			sc.answer.Addresses = append(sc.answer.Addresses, addr)
		}
	case "probe":
		p := &event.Probe{Target: "target"}
		sc.probes[rest[0]] = p
		return set(rest[1:], probeKeys(p))
	default:
		return fmt.Errorf("no fact is called %q", words[0])
	}
	return nil
}

func (sc *scenario) hooks(words []string) error {
	for _, word := range words {
		kind, err := event.ParseKind(word[1:])
		if err != nil {
			return err
		}
		if word[0] == '+' {
			sc.facts.Hooks[kind] = "tracepoint"
		} else {
			delete(sc.facts.Hooks, kind)
		}
	}
	return nil
}

func (sc *scenario) event(words []string) error {
	if !strings.HasPrefix(words[0], "+") {
		return sc.declare(words)
	}
	at, err := time.ParseDuration(words[0][1:])
	if err != nil {
		return err
	}
	conn := sc.conns[words[1]]
	if conn == nil {
		return fmt.Errorf("connection %s is not declared", words[1])
	}
	kind, err := event.ParseKind(words[2])
	if err != nil {
		return err
	}
	l := line{conn: words[1], ev: conn.ev}
	l.ev.Kind, l.ev.Mono = kind, 1000*time.Second+at
	if slices.Contains([]event.Kind{event.Connect, event.Established, event.Error}, kind) { // as the kernel side does
		l.ev.Options, l.ev.Sysctls = &conn.options, &conn.sysctls
	}
	details := slices.DeleteFunc(words[3:], func(word string) bool {
		l.lost = l.lost || word == "lost"
		return word == "lost"
	})
	if kind == event.OptionsChanged { // as the connection's were, but for what the line says
		changed := conn.options
		l.ev.Options, l.ev.Sysctls = &changed, &conn.sysctls
		sc.events = append(sc.events, l)
		return set(details, optionKeys(&changed))
	}
	sc.events = append(sc.events, l)
	return set(details, eventKeys(&sc.events[len(sc.events)-1].ev))
}

// declare reads "a client LOCAL REMOTE details".
func (sc *scenario) declare(words []string) error {
	c := &end{id: event.ConnID(100 + len(sc.conns))}
	c.sysctls = event.Sysctls{
		SYNRetries: 6, SYNLinearTimeouts: 0, SYNACKRetries: 5, Retries2: 15,
		KeepaliveIdle: 2 * time.Hour, KeepaliveInterval: 75 * time.Second, KeepaliveCount: 9,
	}
	sc.conns[words[0]] = c
	var err error
	if c.ev.Role, err = event.ParseRole(words[1]); err != nil {
		return err
	}
	if c.ev.Local, err = netip.ParseAddrPort(words[2]); err != nil {
		return err
	}
	if c.ev.Remote, err = netip.ParseAddrPort(words[3]); err != nil {
		return err
	}
	c.ev.Conn = c.id
	keys := eventKeys(&c.ev)
	keys["syn_retries"] = number(&c.sysctls.SYNRetries)
	keys["linear"] = number(&c.sysctls.SYNLinearTimeouts)
	keys["retries2"] = number(&c.sysctls.Retries2)
	keys["abort_on_overflow"] = flag(&c.sysctls.AbortOnOverflow)
	maps.Copy(keys, optionKeys(&c.options))
	return set(words[4:], keys)
}

// number gives every record its number within its connection, and each close the total, as the kernel side does.
func (sc *scenario) number() {
	nth := make(map[string]uint32)
	for i := range sc.events {
		l := &sc.events[i]
		nth[l.conn]++
		l.ev.Nth = nth[l.conn]
		if l.ev.Kind == event.Close && l.ev.Total == 0 {
			l.ev.Total = l.ev.Nth
		}
	}
}

func (sc *scenario) expect(words []string) error {
	switch words[0] {
	case "judge":
		sc.judged = words[1]
		return nil
	case "after":
		return set([]string{"after=" + words[1]}, setters{"after": span(&sc.settle)})
	}
	sc.want = append(sc.want, [2]string{words[0], strings.Join(words[1:], " ")})
	return nil
}

// track runs the story through a tracker as the kernel would tell it, and gives what else is known then.
func (sc *scenario) track() (*timeline.Tracker, Facts) {
	tracker := timeline.New(timeline.Config{HZ: 250})
	facts := sc.facts
	facts.Lost = make(map[event.Kind]uint64)
	for kind, n := range sc.facts.Lost {
		facts.Lost[kind] = n
	}
	var last time.Duration
	for _, l := range sc.events {
		last = max(last, l.ev.Mono)
		if l.lost {
			facts.Lost[l.ev.Kind]++
			continue
		}
		ev := l.ev
		tracker.Add(&ev)
	}
	tracker.Settled(last + cmp.Or(sc.settle, 61*time.Millisecond))
	return tracker, facts
}

// of is what is known of one connection.
func (sc *scenario) of(letter string, tracker *timeline.Tracker, facts Facts) (*timeline.Connection, Facts) {
	facts.Probe = sc.probes[letter]
	if declared := sc.conns[letter]; declared != nil {
		return tracker.Connection(declared.id), facts
	}
	return nil, facts
}

func (sc *scenario) judge() Verdict {
	tracker, facts := sc.track()
	of := func(letter string) Verdict {
		c, f := sc.of(letter, tracker, facts)
		sc.matched = append(sc.matched, slices.IndexFunc(rules, func(r rule) bool { return r.match(tell(c, f)) }))
		return Of(c, f)
	}
	if sc.target == "" {
		return of(sc.judged)
	}
	var addresses []Verdict
	for _, letter := range sc.letters() {
		addresses = append(addresses, of(letter))
	}
	return OfName(sc.target, sc.answer, addresses)
}

// letters are the clients, traced or only probed.
func (sc *scenario) letters() []string {
	var letters []string
	for letter := range sc.probes {
		letters = append(letters, letter)
	}
	for letter, c := range sc.conns {
		if c.ev.Role == event.RoleClient {
			letters = append(letters, letter)
		}
	}
	slices.Sort(letters)
	return slices.Compact(letters)
}

func TestVerdictScenarios(t *testing.T) {
	for _, sc := range loadScenarios(t) {
		t.Run(sc.name, func(t *testing.T) {
			got := sc.judge()
			if len(sc.want) == 0 {
				t.Fatal("the scenario expects nothing")
			}
			for _, want := range sc.want {
				if err := holds(got, want[0], want[1]); err != nil {
					t.Error(err)
				}
			}
			if t.Failed() {
				t.Logf("summary  %s\ndoubts   %s\nadvice   %s\nverdict  %+v", got.Summary, strings.Join(got.Doubts, "\n         "),
					strings.Join(got.Advice, "\n         "), got)
			}
		})
	}
}

func holds(v Verdict, key, want string) error {
	exact := map[string]string{
		"cause": string(v.Cause), "outcome": string(v.Outcome), "ended_by": string(v.EndedBy), "errno": v.Errno.String(),
		"confidence": string(v.Confidence), "summary": v.Summary, "syn_sent": strconv.Itoa(v.SYNSent),
		"evidence": strings.Trim(fmt.Sprint(v.Evidence), "[]"), "connect": v.Connect.String(), "rtt": v.HandshakeRTT.String(),
		"doubts": strings.Join(v.Doubts, "; "), "target": v.Target, "idle": v.IdleBeforeEnd.String(),
		"bytes":       fmt.Sprintf("%d/%d/%d", v.BytesSent, v.BytesAcked, v.BytesReceived),
		"retransmits": strconv.Itoa(v.Retransmits),
	}
	var contributing, acts []string
	for _, c := range v.Contributing {
		contributing = append(contributing, string(c.Cause))
		acts = append(acts, c.Summary)
	}
	exact["contributing"] = strings.Join(contributing, " ")
	parts := map[string][]string{"doubt": v.Doubts, "advice": v.Advice, "act": acts}
	if got, ok := exact[key]; ok {
		if got == want || got == "" && want == "none" {
			return nil
		}
		return fmt.Errorf("%s: got %q, want %q", key, got, want)
	}
	list, ok := parts[key]
	if !ok {
		return fmt.Errorf("no expectation is called %q", key)
	}
	if !slices.ContainsFunc(list, func(s string) bool { return strings.Contains(s, want) }) {
		return fmt.Errorf("no %s says %q", key, want)
	}
	return nil
}
