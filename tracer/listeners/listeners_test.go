package listeners

import (
	"encoding/json"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tcptrace/tracer/event"
	"tcptrace/tracer/sockets"
)

// listening is a listener of which iterators tell all.
func listening(local string, set func(*Listener)) *Listener {
	l := &Listener{
		Socket: sockets.Socket{
			ID: 1, NetNS: 9, Local: netip.MustParseAddrPort(local), State: event.StateListen,
			Owner:     event.Owner{PID: 7, Comm: "api"},
			Listening: &sockets.Listening{Accept: event.Queue{Max: 128}, Whole: true},
		},
		Limits:  sockets.Limits{SoMaxConn: 4096, MaxSYNBacklog: 1024, SYNCookies: 1, HasSYNCookies: true},
		HasSYNs: true,
	}
	if set != nil {
		set(l)
	}
	return l
}

func TestBacklogIsBoundByTheSmaller(t *testing.T) {
	for _, test := range []struct {
		backlog, somaxconn int
		want               Bound
	}{
		{128, 4096, BoundListen}, {4096, 4096, BoundSoMaxConn}, {4096, 128, BoundEarlier}, {128, 0, BoundUnknown}, {0, 4096, BoundListen},
	} {
		l := listening("192.0.2.1:80", func(l *Listener) {
			l.Listening.Accept.Max, l.Limits.SoMaxConn = test.backlog, test.somaxconn
		})
		if got := l.BoundBy(); got != test.want {
			t.Errorf("a backlog of %d with somaxconn %d is bound by %q; want %q", test.backlog, test.somaxconn, got, test.want)
		}
	}
}

func TestSYNQueueIsBoundByTCPMaxSYNBacklogOnlyWithoutCookies(t *testing.T) {
	for _, test := range []struct {
		cookies int
		known   bool
		most    int // tcp_max_syn_backlog
		want    int
	}{
		{1, true, 64, 128}, {2, true, 64, 128}, {0, true, 64, 48}, {0, false, 64, 128}, {0, true, 1024, 128}, {0, true, 0, 128},
	} {
		l := listening("192.0.2.1:80", func(l *Listener) {
			l.Limits.SYNCookies, l.Limits.HasSYNCookies, l.Limits.MaxSYNBacklog = test.cookies, test.known, test.most
		})
		if got := l.SYN().Max; got != test.want {
			t.Errorf("with tcp_syncookies %d (known: %t) and tcp_max_syn_backlog %d the SYN queue holds %d; want %d",
				test.cookies, test.known, test.most, got, test.want)
		}
	}
}

func TestDeferAcceptInSeconds(t *testing.T) {
	for synacks, want := range map[int]time.Duration{
		0: 0, 1: time.Second, 2: 3 * time.Second, 3: 7 * time.Second, 7: 127 * time.Second, 8: 247 * time.Second,
	} {
		l := listening("192.0.2.1:80", func(l *Listener) { l.Listening.Deferred = synacks })
		if got := l.DeferAccept(); got != want {
			t.Errorf("%d SYN-ACKs stand for %s; want %s", synacks, got, want)
		}
	}
}

func TestListenersTakeWhatTheyAreBoundTo(t *testing.T) {
	only6 := func(l *Listener) { l.Listening.IPv6Only = true }
	for _, test := range []struct {
		bound          string
		set            func(*Listener)
		to             string
		takes, exactly bool
	}{
		{"192.0.2.1:80", nil, "192.0.2.1:80", true, true},
		{"192.0.2.1:80", nil, "192.0.2.1:81", false, false},
		{"192.0.2.1:80", nil, "192.0.2.2:80", false, false},
		{"0.0.0.0:80", nil, "192.0.2.1:80", true, false},
		{"0.0.0.0:80", nil, "[2001:db8::1]:80", false, false},
		{"[::]:80", nil, "192.0.2.1:80", true, false},
		{"[::]:80", nil, "[2001:db8::1]:80", true, false},
		{"[::]:80", only6, "192.0.2.1:80", false, false},
		{"[::]:80", only6, "[2001:db8::1]:80", true, false},
	} {
		l := listening(test.bound, test.set)
		if takes, exactly := l.Takes(9, netip.MustParseAddrPort(test.to)); takes != test.takes || exactly != test.exactly {
			t.Errorf("%s takes %s: %t, %t; want %t, %t", test.bound, test.to, takes, exactly, test.takes, test.exactly)
		}
		if takes, _ := l.Takes(8, netip.MustParseAddrPort(test.to)); takes {
			t.Errorf("%s takes %s in another namespace", test.bound, test.to)
		}
	}
}

func TestEachTroubleHasItsWarning(t *testing.T) {
	const s = time.Second
	for _, test := range []struct {
		name string
		set  func(*Listener)
		want []string
	}{
		{"idle", nil, nil},
		{"half", func(l *Listener) { l.Listening.Accept.Len = 64 }, nil},
		{"more than half", func(l *Listener) { l.Listening.Accept.Len = 65 }, []string{AcceptQueueFilling}},
		{"as long as the backlog", func(l *Listener) { l.Listening.Accept.Len = 128 }, []string{AcceptQueueFilling}},
		{"one more", func(l *Listener) { l.Listening.Accept.Len = 129 }, []string{AcceptQueueFull}},
		{"a backlog of 0", func(l *Listener) { l.Listening.Accept.Max = 0 }, nil},
		{"waiting", func(l *Listener) { l.Listening.Accept.Len, l.Waiting, l.HasWaiting = 1, 2*s, true }, []string{Waiting}},
		{"waiting briefly", func(l *Listener) { l.Listening.Accept.Len, l.Waiting, l.HasWaiting = 1, s/2, true }, nil},
		{"SYNs", func(l *Listener) { l.Listening.SYNs = 97 }, []string{SYNQueueFilling}},
		{"too many SYNs", func(l *Listener) { l.Listening.SYNs = 129 }, []string{SYNQueueFull}},
		{"SYNs of nobody knows whom", func(l *Listener) { l.Listening.SYNs, l.HasSYNs = 129, false }, nil},
		{"drops", func(l *Listener) { l.Drops = 1 }, []string{Dropped}},
		{"drops now", func(l *Listener) { l.Drops, l.Recent = 3, &Recent{Over: s, Drops: 1} }, []string{Dropping}},
		{"drops before", func(l *Listener) { l.Drops, l.Recent = 3, &Recent{Over: s} }, []string{Dropped}},
		{"capped", func(l *Listener) { l.Limits.SoMaxConn = 128 }, []string{CappedLow}},
		{"capped by the default", func(l *Listener) { l.Listening.Accept.Max = 4096 }, nil},
		{
			"no cookies", func(l *Listener) { l.Limits.SYNCookies, l.Limits.MaxSYNBacklog = 0, 128 },
			[]string{Reserved},
		},
	} {
		l := listening("192.0.2.1:80", test.set)
		l.Judge()
		var got []string
		for _, w := range l.Warnings {
			got = append(got, w.ID)
			if w.Sentence == "" {
				t.Errorf("%s: %s says nothing", test.name, w.ID)
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: warnings (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestWorstListenerComesFirst(t *testing.T) {
	all := []*Listener{
		listening("192.0.2.1:4", nil),
		listening("192.0.2.1:3", func(l *Listener) { l.Listening.Accept.Len = 10 }),
		listening("192.0.2.1:2", func(l *Listener) { l.Drops = 1 }),
		listening("192.0.2.1:1", func(l *Listener) { l.Listening.Accept.Len = 129 }),
		listening("192.0.2.1:5", nil),
	}
	for _, l := range all {
		l.Judge()
	}
	Sort(all)
	var ports []uint16
	for _, l := range all {
		ports = append(ports, l.Local.Port())
	}
	if want := []uint16{1, 2, 3, 4, 5}; !slices.Equal(ports, want) {
		t.Errorf("order %v; want %v", ports, want)
	}
}

func TestCensusKeepsEveryOwner(t *testing.T) {
	var c Census
	held := func(pid int) *sockets.Socket {
		s := listening("192.0.2.1:80", nil).Socket
		s.Owner = event.Owner{PID: pid}
		return &s
	}
	for _, pid := range []int{3, 5, 3, 0, 8} {
		c.Add(held(pid))
	}
	all := c.Listeners()
	if len(all) != 1 {
		t.Fatalf("%d listeners; want 1", len(all))
	}
	var pids []int
	for _, o := range all[0].Owners() {
		pids = append(pids, o.PID)
	}
	if want := []int{3, 5, 8}; !slices.Equal(pids, want) {
		t.Errorf("owners %v; want %v", pids, want)
	}
}

// sock_diag tells no SYN queue, and not whose connections are.
func TestCensusWorksOutWhatSockDiagDoesNotTell(t *testing.T) {
	partly := func(id sockets.ID, local string, accept int) *sockets.Socket {
		s := listening(local, nil).Socket
		s.ID = id
		s.Listening = &sockets.Listening{Accept: event.Queue{Len: accept, Max: 128}}
		return &s
	}
	at := func(state event.State, local string, sent time.Duration) *sockets.Socket {
		return &sockets.Socket{NetNS: 9, State: state, Local: netip.MustParseAddrPort(local), LastSent: sent}
	}
	var c Census
	for _, s := range []*sockets.Socket{
		partly(1, "0.0.0.0:80", 2), partly(2, "192.0.2.1:80", 1), partly(3, "127.0.0.1:81", 1), partly(4, "127.0.0.1:81", 0), partly(5, "[::]:82", 0),
		at(event.StateNewSYNRecv, "192.0.2.1:80", 0), at(event.StateNewSYNRecv, "192.0.2.2:80", 0), at(event.StateNewSYNRecv, "192.0.2.2:80", 0),
		at(event.StateNewSYNRecv, "127.0.0.1:81", 0),
		at(event.StateEstablished, "192.0.2.1:80", 3*time.Second), at(event.StateCloseWait, "192.0.2.2:80", 4*time.Second),
		at(event.StateEstablished, "192.0.2.3:80", 5*time.Second), at(event.StateEstablished, "127.0.0.1:81", time.Second),
		{NetNS: 9, State: event.StateEstablished, Held: true, Local: netip.MustParseAddrPort("192.0.2.1:80"), LastSent: time.Hour},
	} {
		c.Add(s)
	}
	type found struct {
		SYNs    int
		HasSYNs bool
		Waiting time.Duration
		Group   int
	}
	want := map[sockets.ID]found{
		1: {2, true, 5 * time.Second, 0}, 2: {1, true, 3 * time.Second, 0},
		3: {1, false, time.Second, 2}, 4: {1, false, 0, 2}, 5: {0, true, 0, 0},
	}
	got := make(map[sockets.ID]found)
	for _, l := range c.Listeners() {
		got[l.ID] = found{l.Listening.SYNs, l.HasSYNs, l.Waiting, l.Listening.Group}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("listeners (-want +got):\n%s", diff)
	}
}

func TestSinceComparesTheSameListener(t *testing.T) {
	at := func(drops int) []*Listener {
		return []*Listener{listening("192.0.2.1:80", func(l *Listener) { l.Drops = drops })}
	}
	now := append(at(12), listening("192.0.2.1:81", func(l *Listener) { l.Drops = 5 }))
	Since(at(10), now, time.Second)
	if now[0].Recent.Drops != 2 || now[1].Recent.Drops != 5 {
		t.Errorf("dropped %d and %d; want 2, and 5 of one that is new", now[0].Recent.Drops, now[1].Recent.Drops)
	}
	now = at(-1 << 31) // the counter of the kernel has 32 bits
	Since(at(1<<31-1), now, time.Second)
	if now[0].Recent.Drops != 1 {
		t.Errorf("dropped %d when the counter began anew; want 1", now[0].Recent.Drops)
	}
}

func TestLineHasWhatIsKnownAlone(t *testing.T) {
	l := listening("[::]:80", func(l *Listener) {
		l.HasSYNs, l.Listening.Whole, l.Limits = false, false, sockets.Limits{}
		l.Owner = event.Owner{}
	})
	l.Judge()
	var line map[string]any
	if err := json.Unmarshal(l.AppendLine(nil, "listener"), &line); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{
		"syn_queue", "syn_young", "owner", "owners", "somaxconn", "tcp_syncookies", "accept_rate", "drops_change", "oldest_waiting_ms",
	} {
		if value, there := line[key]; there {
			t.Errorf("%s is %v; want nothing, as it is unknown", key, value)
		}
	}
	for _, key := range []string{"type", "local", "netns", "accept_queue", "backlog", "drops", "warnings"} {
		if _, there := line[key]; !there {
			t.Errorf("there is no %s", key)
		}
	}
}

func TestWaitsAreBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		waits := rapid.SliceOfN(rapid.Int64Range(0, int64(2*time.Minute)), 1, 100).Draw(t, "waits")
		var w Waits
		for _, ns := range waits {
			w.Add(time.Duration(ns))
		}
		slices.Sort(waits)
		var counted uint64
		for _, b := range w.Buckets() {
			counted += b.Count
		}
		if counted != uint64(len(waits)) || w.Longest != time.Duration(waits[len(waits)-1]) {
			t.Fatalf("%d in buckets, the longest %s", counted, w.Longest)
		}
		for _, part := range []float64{0.5, 0.99, 1} {
			bound := w.Within(part)
			within := 0
			for _, ns := range waits {
				if time.Duration(ns) <= bound {
					within++
				}
			}
			if float64(within) < part*float64(len(waits)) {
				t.Fatalf("%d of %d within %s; want %v", within, len(waits), bound, part)
			}
		}
	})
}

func TestClientsDoNotGrowWithoutEnd(t *testing.T) {
	var c Clients
	first := netip.MustParseAddr("198.51.100.1")
	for range 3 {
		c.Add(first)
	}
	addr := netip.MustParseAddr("2001:db8::")
	for range 2 * maxClients {
		addr = addr.Next()
		c.Add(addr)
	}
	if c.Different() != maxClients || c.Others != maxClients+1 {
		t.Errorf("%d different, %d others; want %d and %d", c.Different(), c.Others, maxClients, maxClients+1)
	}
	if top := c.Top(2); len(top) != 2 || top[0] != (Client{first, 3}) {
		t.Errorf("top %v; want %s first", top, first)
	}
}
