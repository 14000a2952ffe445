package tracer_test

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tcptrace/tracer"
	"tcptrace/tracer/event"
)

// simultaneous is how far apart the mechanisms may see one event. Their programs run microseconds after each other; the
// bound is for an emulated CPU that loses its turn in between, and still tells one retry from the next. What was measured
// of such losses is added.
const simultaneous = 100 * time.Millisecond

// takes is how often traffic is made at most. It is made again only where the kernel may have left a program out, as it
// now and then does with kprobes, and says of others; what a mechanism never sees is a difference all the same.
const takes = 3

// TestMechanismsSeeTheSame has one tracer for each mechanism watch the same connections at the same time. What they saw
// must be equal but for the blind spots, which are those that the tracers themselves admit to.
func TestMechanismsSeeTheSame(t *testing.T) {
	observers := observe(t)
	todo := scripts
	for take := 1; len(todo) > 0; take++ {
		var again []script
		clock := startMetronome(t)
		scenes := makeTraffic(t, todo)
		clock.end(t)
		for i, scene := range scenes {
			t.Run("compare "+scene.name, func(t *testing.T) {
				switch d := compareAll(observers, scene, clock); {
				case d == nil:
				case slices.ContainsFunc(d.between, observer.mayHaveMissed) && take < takes:
					t.Log("a program may have been left out, so once more: ", d.text)
					again = append(again, todo[i])
				default:
					t.Errorf("%s\nsecond copies passed by: %d", d.text, passedBy(d.between))
				}
			})
		}
		todo = again
	}
	for _, o := range observers {
		o.expectNothingLost(t)
		o.expectEveryKind(t)
		o.expectBlindSpotsToBeListed(t)
	}
}

// A difference is what two observers disagree in, or one of them with itself.
type difference struct {
	between []observer
	text    string
}

func differ(between []observer, format string, args ...any) *difference {
	return &difference{between, fmt.Sprintf(format, args...)}
}

// compareAll compares what each two observers saw. Kprobes stand last, so that no other difference hides behind theirs.
func compareAll(observers []observer, scene scene, clock *metronome) *difference {
	seen := make([]map[side][]event.Event, len(observers))
	wait := patience
	for i, o := range observers {
		sides, err := o.sides(scene, wait)
		if err != nil {
			return err
		}
		seen[i] = sides
		wait = 2 * time.Second // it is all over: what the others have not read by then is not there
		for j := range i {
			if err := compare(o, seen[i], observers[j], seen[j], clock); err != nil {
				return err
			}
		}
	}
	return nil
}

// An observer watches by one mechanism alone.
type observer struct {
	*watcher
	mechanism tracer.Mechanism
}

func observe(t *testing.T) []observer {
	t.Helper()
	candidates := mechanisms(t)
	if candidates == nil {
		candidates = []tracer.Mechanism{tracer.Fentry, tracer.Tracepoint, tracer.Kprobe}
	}
	mustHaveAll := os.Getenv("TCPTRACE_KERNEL_TESTS") == "1"
	var all []observer
	for _, mechanism := range candidates {
		tr, err := tracer.Open(tracer.Options{
			Mechanisms: []tracer.Mechanism{mechanism}, Packets: true, NewOnly: true,
			RingBytes: 1 << 20, MaxConnections: 4096, Basis: basis,
		})
		var nothing *tracer.NothingError
		switch {
		case errors.Is(err, tracer.ErrPrivilege) && !mustHaveAll:
			t.Skip(err)
		case errors.As(err, &nothing) && !mustHaveAll:
			t.Logf("this kernel has no %s", mechanism)
			continue
		case err != nil:
			t.Fatalf("%s: %v", mechanism, err)
		}
		t.Cleanup(func() { tr.Close() })
		all = append(all, observer{newWatcher(tr), mechanism})
	}
	if len(all) < 2 {
		t.Skip("there is nothing to compare: one mechanism at most can be had")
	}
	return all
}

// A side is one end of one connection, by what is the same whoever looks.
type side struct {
	role      event.Role
	clientISN uint32 // 0 for a client that never got one, and then there is no other with that remote end
	remote    string
}

func sideOf(ev event.Event) side {
	s := side{ev.Role, ev.ISN, ev.Remote.String()}
	if ev.Role == event.RoleServer || ev.Role == event.RoleListener {
		s.clientISN = ev.PeerISN
	}
	return s
}

// sides are the events of a scene in the order in which the kernel numbered them.
func (o observer) sides(scene scene, wait time.Duration) (map[side][]event.Event, *difference) {
	events, over := o.await(scene.namespace, wait, scene.over)
	if !over {
		return nil, differ([]observer{o}, "%s does not see the end of it:\n%s", o.mechanism, describe(events))
	}
	all := make(map[side][]event.Event)
	for _, own := range connections(events) {
		slices.SortFunc(own, func(a, b event.Event) int { return int(a.Nth) - int(b.Nth) })
		for i, ev := range own {
			if int(ev.Nth) != i+1 || ev.Kind == event.Close && ev.Total != ev.Nth {
				return nil, differ([]observer{o}, "%s: the numbers of these have gaps:\n%s", o.mechanism, describe(own))
			}
		}
		resetFirst(own)
		key := sideOf(own[0])
		if all[key] != nil {
			return nil, differ([]observer{o}, "%s sees two connections where there is one:\n%s%s", o.mechanism, describe(all[key]), describe(own))
		}
		all[key] = own
	}
	return all, nil
}

// resetFirst puts a RST's being dropped behind its being sent. tcp_send_active_reset calls its tracepoint only when it is
// done; what hooks the function is called before.
func resetFirst(own []event.Event) {
	for i := 1; i < len(own); i++ {
		dropped, sent := own[i-1], own[i]
		if dropped.Kind == event.Drop && strings.Contains(dropped.TCPFlags, "RST") && sent.Kind == event.ResetSent {
			own[i-1], own[i] = sent, dropped
		}
	}
}

// compare expects of either what the other would have seen of it.
func compare(a observer, byA map[side][]event.Event, b observer, byB map[side][]event.Event, clock *metronome) *difference {
	keys := maps.Clone(byA)
	maps.Copy(keys, byB)
	for key := range keys {
		seenA, seenB := b.couldSee(a.couldSee(byA[key])), a.couldSee(b.couldSee(byB[key]))
		if isThinnedOut(seenA) && isThinnedOut(seenB) {
			seenA, seenB = withoutDrops(seenA), withoutDrops(seenB)
		}
		if standsForSeveral(seenA) && standsForSeveral(seenB) {
			seenA, seenB = withoutFastRetransmits(seenA), withoutFastRetransmits(seenB)
		}
		if diff := cmp.Diff(withoutTimes(seenA), withoutTimes(seenB), equality); diff != "" {
			return differ([]observer{a, b}, "what %s (-) and %s (+) saw of %v:\n%s\n%[1]s:\n%[5]s%[2]s:\n%[6]s", a.mechanism, b.mechanism, key, diff,
				describe(byA[key]), describe(byB[key]))
		}
		for i := range seenA {
			first, last := min(seenA[i].Mono, seenB[i].Mono), max(seenA[i].Mono, seenB[i].Mono)
			apart := max(last-first, (seenA[i].Waited - seenB[i].Waited).Abs(),
				(seenA[i].Idle - seenB[i].Idle).Abs(), (seenA[i].Elapsed - seenB[i].Elapsed).Abs())
			if apart > simultaneous+clock.paused(first-simultaneous, last) {
				return differ([]observer{a, b}, "%s and %s saw %s of %v %s apart", a.mechanism, b.mechanism, seenA[i].Kind, key, apart)
			}
		}
	}
	return nil
}

// isThinnedOut says whether so much of it was dropped that not all of that was told. Which of it was, depends on the
// microsecond at which each tracer's second begins.
func isThinnedOut(events []event.Event) bool {
	const perSecond = 8
	return len(events)-len(withoutDrops(events)) >= perSecond
}

// standsForSeveral says whether not each fast retransmission was told, which depends on the microsecond as well.
func standsForSeveral(events []event.Event) bool {
	return slices.ContainsFunc(events, func(ev event.Event) bool { return ev.Trigger == "fast" && ev.Count > 1 })
}

func withoutFastRetransmits(events []event.Event) []event.Event {
	return slices.DeleteFunc(slices.Clone(events), func(ev event.Event) bool { return ev.Trigger == "fast" })
}

func withoutDrops(events []event.Event) []event.Event {
	return slices.DeleteFunc(slices.Clone(events), func(ev event.Event) bool { return ev.Kind == event.Drop })
}

// equality is that of values: addresses too, and nothing is nothing.
var equality = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}), cmpopts.EquateEmpty()}

// withoutTimes leaves what must be the same: not the times, which have their own bound, nor what each tracer numbers for
// itself, nor the CPU, from which a process may be moved between two programs.
func withoutTimes(events []event.Event) []event.Event {
	bare := slices.Clone(events)
	for i := range bare {
		ev := &bare[i]
		ev.Time, ev.Mono, ev.Waited, ev.Idle, ev.Elapsed = time.Time{}, 0, 0, 0, 0
		ev.Conn, ev.Nth, ev.Total = 0, 0, 0
		ev.Context.CPU = 0
	}
	return bare
}

// A blindSpot is what a mechanism cannot see on kernels where its hook for that kind admits to it.
type blindSpot struct {
	mechanism tracer.Mechanism
	kind      event.Kind
	admission string // in Hook.Partial
	hides     func(event.Event) bool
	blanks    func(*event.Event)
}

// blindSpots are all exceptions from "the mechanisms see the same".
var blindSpots = []blindSpot{
	{ // The functions that send RSTs get the reason in different places, or, before 6.12, not at all.
		tracer.Fentry, event.ResetSent, "the kernel's reason for a RST is not known", nil, blankReason,
	},
	{
		tracer.Kprobe, event.ResetSent, "the kernel's reason for a RST is not known", nil, blankReason,
	},
	{ // tcp_v4_send_reset of 5.10 and 6.1 calls the tracepoint only where there is a full socket.
		tracer.Tracepoint, event.ResetSent, "a RST that answers a segment for no socket is not seen", hasNoSocket, nil,
	},
	{
		tracer.Tracepoint, event.ResetSent, "the kernel's reason for the others is not known", nil, blankReason,
	},
	{ // Until 6.16 __tcp_retransmit_skb calls the tracepoint only when it has sent something.
		tracer.Tracepoint, event.SYNRetransmit, "a SYN retry that this host itself refused to send is not seen", isRefusedRetry, nil,
	},
	{ // And so do retransmissions of data,
		tracer.Tracepoint, event.Retransmit, "a retransmission that this host itself refused to send is not seen", isRefusedRetransmission, nil,
	},
	{ // which has those who hook functions miss the loss probes among them.
		tracer.Fentry, event.Retransmit, "a loss probe that this host itself refused to send is not seen", isRefusedLossProbe, nil,
	},
	{
		tracer.Kprobe, event.Retransmit, "a loss probe that this host itself refused to send is not seen", isRefusedLossProbe, nil,
	},
	{ // A timer that is done leaves nothing that tells what sending the probe returned.
		tracer.Tracepoint, event.KeepaliveProbe, "whether this host itself refused to send a keepalive probe is not known", nil, blankErrno,
	},
	{ // sys_exit_connect is not where sendto(MSG_FASTOPEN) returns.
		tracer.Tracepoint, event.Error, "made through io_uring or by a Fast Open send", isToFastOpenPort, nil,
	},
}

func blankReason(ev *event.Event) { ev.Reason = "" }

func hasNoSocket(ev event.Event) bool { return ev.Kind == event.ResetSent && ev.ISN == 0 }

func isRefusedRetry(ev event.Event) bool { return ev.Kind == event.SYNRetransmit && ev.Errno != 0 }

func isToFastOpenPort(ev event.Event) bool { return ev.Remote.Port() == fastOpenPort }

func isRefusedRetransmission(ev event.Event) bool {
	return ev.Kind == event.Retransmit && ev.Errno != 0
}

func isRefusedLossProbe(ev event.Event) bool {
	return isRefusedRetransmission(ev) && ev.Trigger == "tlp"
}

func blankErrno(ev *event.Event) { ev.Errno = 0 }

// unshown are admissions that the traffic does not bring about.
var unshown = []string{
	"what happens on a CPU in the middle of another probe is not seen",
	"connections accepted through io_uring keep their listener's owner",
	"an option other than SO_KEEPALIVE that a 32-bit program sets is noticed only at the next probe or timeout",
	"an option that is set through io_uring, or by a 32-bit program, is noticed only at the next probe or timeout",
	"an answer to a keepalive probe is noticed only at the next probe or at the end", // and then with its own time
	"which of several listeners on one port was full is concluded from their counters",
	"a repeated SYN-ACK is not seen once the client has sent its FIN",
	"data that was dropped for want of memory or window is not seen",
	"what TCP itself refuses (checksum, MD5, memory, window, a full backlog) is not seen",
	"a window probe that was put off because the application was using the socket is not seen",
}

func (o observer) hook(kind event.Kind) tracer.Hook {
	for _, h := range o.tracer.Hooks() {
		if h.Kind == kind {
			return h
		}
	}
	return tracer.Hook{}
}

func (o observer) has(spot blindSpot) bool {
	return spot.mechanism == o.mechanism && strings.Contains(o.hook(spot.kind).Partial, spot.admission)
}

// couldSee is what o would have seen of these.
func (o observer) couldSee(events []event.Event) []event.Event {
	visible := slices.Clone(events)
	for _, spot := range blindSpots {
		if !o.has(spot) {
			continue
		}
		if spot.hides != nil {
			visible = slices.DeleteFunc(visible, spot.hides)
		}
		for i := range visible {
			if spot.blanks != nil && visible[i].Kind == spot.kind {
				spot.blanks(&visible[i])
			}
		}
	}
	return visible
}

// expectBlindSpotsToBeListed checks that what o admits to is an exception here, and one that o really makes: an admission
// that is no longer true would put doubts into verdicts.
func (o observer) expectBlindSpotsToBeListed(t *testing.T) {
	t.Helper()
	for _, h := range o.tracer.Hooks() {
		listed := slices.ContainsFunc(blindSpots, func(spot blindSpot) bool { return spot.kind == h.Kind && o.has(spot) })
		known := slices.ContainsFunc(unshown, func(admission string) bool { return strings.Contains(h.Partial, admission) })
		if h.Partial != "" && !listed && !known {
			t.Errorf("%s does not see all of %s (%s), and nothing here shows it", o.mechanism, h.Kind, h.Partial)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, events := range o.events {
		if diff := cmp.Diff(o.couldSee(events), events, equality); diff != "" {
			t.Errorf("%s sees more than it admits (+):\n%s", o.mechanism, diff)
		}
	}
}

// expectEveryKind keeps the traffic complete: a hook whose event it does not bring about is not compared.
func (o observer) expectEveryKind(t *testing.T) {
	t.Helper()
	seen := make(map[event.Kind]bool)
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, events := range o.events {
		for _, ev := range events {
			seen[ev.Kind] = true
		}
	}
	for _, h := range o.tracer.Hooks() {
		if h.Mechanism == "" {
			t.Errorf("%s cannot see %s: %s", o.mechanism, h.Kind, strings.Join(h.Refused, "; "))
		} else if !seen[h.Kind] {
			t.Errorf("%s saw no %s: the traffic should have one", o.mechanism, h.Kind)
		}
	}
}

// mayHaveMissed says whether the kernel may have left out a program of o. Of kprobes it does not always tell. Linux 7.3 leaves
// out the second copy of a tracepoint's program as well, now and then, on a CPU that is slow enough to be taken from both.
func (o observer) mayHaveMissed() bool {
	lost, err := o.tracer.Lost()
	return o.mechanism == tracer.Kprobe || err == nil && slices.ContainsFunc(lost, isMiss) || o.tracer.SecondCopiesPassedBy() > 0
}

// passedBy is how often each of them had a second copy left out.
func passedBy(observers []observer) (all []uint64) {
	for _, o := range observers {
		all = append(all, o.tracer.SecondCopiesPassedBy())
	}
	return all
}

// isMiss tells events that no hook saw, and the ends of connections that were missed with them.
func isMiss(l tracer.Lost) bool { return l.Kind == event.KindUnknown || l.Kind == event.Close }

// expectNothingLost allows for nothing that the tracer itself could have prevented.
func (o observer) expectNothingLost(t *testing.T) {
	t.Helper()
	lost, err := o.tracer.Lost()
	if err != nil {
		t.Error(err)
	}
	for _, l := range lost {
		if !isMiss(l) {
			t.Errorf("%s lost %v", o.mechanism, l)
		}
	}
}
