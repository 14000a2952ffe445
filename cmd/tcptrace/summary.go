package main

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/verdict"
)

// summary is what a whole trace comes to.
type summary struct {
	Kinds       map[event.Kind]uint64
	Causes      map[verdict.Cause]uint64
	Lost        uint64
	LostByKind  map[event.Kind]uint64
	Duration    time.Duration
	Interrupted bool
	ExitStatus  int

	Groups       []group // the largest first
	GroupsBeyond uint64  // verdicts beyond the groups that are kept

	// AnsweredProbes counts keepalive probes that were answered and not shown.
	AnsweredProbes uint64

	// How the probes of a target differ, when each was probed several times.
	BySYN        []share // by the number of SYNs it took
	ByAddress    []share
	BySourcePort []share // of those that failed or took more than one SYN
}

// group is verdicts that are alike.
type group struct {
	Cause       verdict.Cause
	Comm        string
	Remote      string
	NetNS       uint32
	Count       uint64
	First, Last time.Time     // when the first and the last of them began
	Median      time.Duration // of the time to connect, or else of the life; 0: of none is either known
}

// share is how the probes that have one thing in common went.
type share struct {
	Key       string
	Connected uint64
	Failed    uint64
}

// maxGroups bounds what a trace of days may remember.
const maxGroups = 1000

// tally counts what a session says. Its size is bounded, however long the trace.
type tally struct {
	began     time.Duration // CLOCK_MONOTONIC of the first event or probe
	kinds     [256]uint64   // by event.Kind
	causes    map[verdict.Cause]uint64
	lost      map[event.Kind]uint64
	failed    bool
	groups    map[groupKey]*groupTally
	beyond    uint64
	repeated  bool // a target was probed more than once
	verdicts  uint64
	syns      map[int]*share
	addresses map[netip.AddrPort]*share
	ports     map[uint16]*share
}

type groupKey struct {
	cause  verdict.Cause
	comm   string
	remote netip.AddrPort
	any    bool // whatever the remote port, which is 0 here
	netns  uint32
}

type groupTally struct {
	count       uint64
	first, last time.Time
	times       median
}

func newTally() *tally {
	return &tally{
		causes:    make(map[verdict.Cause]uint64),
		lost:      make(map[event.Kind]uint64),
		groups:    make(map[groupKey]*groupTally),
		syns:      make(map[int]*share),
		addresses: make(map[netip.AddrPort]*share),
		ports:     make(map[uint16]*share),
	}
}

func (t *tally) addEvent(ev *event.Event) {
	t.begin(ev.Mono)
	t.kinds[ev.Kind] += uint64(max(ev.Count, 1))
}

// countedKinds are the kinds that there were events of.
func (t *tally) countedKinds() map[event.Kind]uint64 {
	counted := make(map[event.Kind]uint64)
	for kind, n := range t.kinds {
		if n > 0 {
			counted[event.Kind(kind)] = n
		}
	}
	return counted
}

func (t *tally) addLost(l lost) { t.lost[l.Kind] += l.Count }

func (t *tally) addVerdict(v verdict.Verdict, about told) {
	t.verdicts++
	t.causes[v.Cause]++
	// Only what tcptrace probed itself decides its exit status; a name stands for the probes of its addresses.
	if probed := about.probe != nil || about.ofName; probed && about.final && v.Outcome == verdict.OutcomeFailed {
		t.failed = true
	}
	t.addGroup(v, about)
	if about.probe != nil {
		t.addProbe(v, about.probe)
	}
}

func (t *tally) begin(mono time.Duration) {
	if t.began == 0 || mono < t.began {
		t.began = mono
	}
}

func (t *tally) addGroup(v verdict.Verdict, about told) {
	if about.connection == nil && about.probe == nil {
		return // about a name: its addresses have been counted
	}
	key := groupKey{cause: v.Cause, comm: v.Owner.Comm, remote: v.Remote}
	if c := about.connection; c != nil {
		key.netns = c.NetNS
		if c.Role == event.RoleServer { // the ports of its clients are all different and say nothing
			key.remote, key.any = netip.AddrPortFrom(v.Remote.Addr(), 0), true
		}
	}
	g := t.groups[key]
	if g == nil {
		if len(t.groups) >= maxGroups {
			t.beyond++
			return
		}
		g = &groupTally{}
		t.groups[key] = g
	}
	g.count++
	if c := about.connection; c == nil || !c.PreExisting { // or else how long it lived is not known
		g.times.add(cmp.Or(v.Connect, v.Duration))
	}
	began := beganAt(about)
	if g.first.IsZero() || began.Before(g.first) {
		g.first = began
	}
	if began.After(g.last) {
		g.last = began
	}
}

// remoteText is the remote end as the summary says it, empty where it is not known.
func (k groupKey) remoteText() string {
	switch {
	case !k.remote.IsValid():
		return ""
	case k.any:
		return k.remote.Addr().String()
	}
	return k.remote.String()
}

func beganAt(about told) time.Time {
	if about.connection != nil && len(about.connection.Events) > 0 {
		return about.connection.Events[0].Time
	}
	if about.probe != nil {
		return about.probe.Started
	}
	return time.Time{}
}

func (t *tally) addProbe(v verdict.Verdict, p *event.Probe) {
	t.begin(p.StartedMono)
	t.repeated = t.repeated || p.Run > 1
	connected := v.Outcome == verdict.OutcomeConnected
	addShare(t.syns, v.SYNSent, connected)
	addShare(t.addresses, p.Remote, connected)
	if port := p.Local.Port(); port != 0 && (!connected || v.SYNSent > 1) {
		addShare(t.ports, port, connected)
	}
}

func addShare[K comparable](shares map[K]*share, key K, connected bool) {
	s := shares[key]
	if s == nil {
		s = &share{}
		shares[key] = s
	}
	if connected {
		s.Connected++
	} else {
		s.Failed++
	}
}

func (t *tally) summary(now time.Duration, interrupted bool) *summary {
	s := &summary{
		Kinds:        t.countedKinds(),
		Causes:       t.causes,
		LostByKind:   t.lost,
		Interrupted:  interrupted,
		Groups:       t.sortedGroups(),
		GroupsBeyond: t.beyond,
	}
	for _, n := range t.lost {
		s.Lost += n
	}
	if t.began != 0 {
		s.Duration = now - t.began
	}
	if t.failed {
		s.ExitStatus = exitFailed
	}
	if t.repeated {
		s.BySYN = sortedShares(t.syns, cmp.Compare, strconv.Itoa)
		s.ByAddress = sortedShares(t.addresses, netip.AddrPort.Compare, netip.AddrPort.String)
		s.BySourcePort = sortedShares(t.ports, cmp.Compare, func(port uint16) string { return strconv.Itoa(int(port)) })
	}
	return s
}

func (t *tally) sortedGroups() []group {
	groups := make([]group, 0, len(t.groups))
	for key, g := range t.groups {
		groups = append(groups, group{key.cause, key.comm, key.remoteText(), key.netns, g.count, g.first, g.last, g.times.value()})
	}
	slices.SortFunc(groups, func(a, b group) int {
		return cmp.Or(-cmp.Compare(a.Count, b.Count), a.First.Compare(b.First), cmp.Compare(a.Cause, b.Cause),
			cmp.Compare(a.Remote, b.Remote), cmp.Compare(a.Comm, b.Comm), cmp.Compare(a.NetNS, b.NetNS))
	})
	return groups
}

func sortedShares[K comparable](shares map[K]*share, compare func(a, b K) int, name func(K) string) []share {
	sorted := make([]share, 0, len(shares))
	for _, key := range slices.SortedFunc(maps.Keys(shares), compare) {
		s := *shares[key]
		s.Key = name(key)
		sorted = append(sorted, s)
	}
	return sorted
}

// median estimates the middle of many durations from a bounded number of them, evenly spread over all: when there
// is no more room, every second one goes, and from then on only every second one is taken. The zero value is
// empty.
type median struct {
	kept   []time.Duration
	stride int // only each so-many-th is taken; 0 means 1
	skip   int // so many are still to be passed over
}

// maxKept bounds the memory of one median.
const maxKept = 1024

func (m *median) add(d time.Duration) {
	if m.skip > 0 {
		m.skip--
		return
	}
	if len(m.kept) == maxKept {
		half := m.kept[:0]
		for i := 0; i < maxKept; i += 2 {
			half = append(half, m.kept[i])
		}
		m.kept = half
		m.stride = 2 * max(m.stride, 1)
	}
	m.kept = append(m.kept, d)
	m.skip = max(m.stride, 1) - 1
}

// value is the lower middle, and 0 when there is nothing.
func (m *median) value() time.Duration {
	if len(m.kept) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(m.kept))
	return sorted[(len(sorted)-1)/2]
}
