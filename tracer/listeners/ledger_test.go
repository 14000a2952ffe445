package listeners

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tcptrace/tracer/event"
	"tcptrace/tracer/sockets"
)

// refusal is one at an address, told of a listener of that process.
func refusal(to string, pid, count int) *event.Event {
	return &event.Event{
		Kind: event.AcceptQueueFull, Role: event.RoleListener, NetNS: 9, Local: netip.MustParseAddrPort(to),
		Remote: netip.MustParseAddrPort("198.51.100.1:40000"), Owner: event.Owner{PID: pid}, Count: count,
	}
}

func TestEventsGoToTheListenerThatTookThem(t *testing.T) {
	var g Ledger
	owned := func(pid int, others ...int) func(*Listener) {
		return func(l *Listener) {
			l.Owner.PID = pid
			for _, o := range others {
				l.Others = append(l.Others, event.Owner{PID: o})
			}
		}
	}
	id := sockets.ID(0)
	open := func(all ...*Listener) {
		for _, l := range all {
			id++
			l.ID = id
		}
		g.Open(all)
		g.Open(all) // once more, as when one of them is new
	}
	open(
		listening("0.0.0.0:80", owned(1)), listening("192.0.2.1:80", owned(2)),
		listening("127.0.0.1:81", owned(3)), listening("127.0.0.1:81", owned(4, 5)), listening("127.0.0.1:81", owned(4, 5)),
		listening("[::]:82", owned(6)),
	)
	for _, test := range []struct {
		to    string
		pid   int
		owner int // of the account
		local string
	}{
		{"192.0.2.1:80", 2, 2, "192.0.2.1:80"},
		{"192.0.2.1:80", 1, 2, "192.0.2.1:80"}, // the address says more than whoever accepted it
		{"192.0.2.2:80", 0, 1, "0.0.0.0:80"},
		{"127.0.0.1:81", 3, 3, "127.0.0.1:81"},
		{"127.0.0.1:81", 5, 4, "127.0.0.1:81"},
		{"192.0.2.1:82", 6, 6, "[::]:82"},
		{"192.0.2.1:83", 7, 7, "192.0.2.1:83"}, // nobody knew it
	} {
		if misses := g.Misses(refusal(test.to, test.pid, 0)); misses != (test.owner == 7) {
			t.Errorf("a refusal at %s misses its account: %t", test.to, misses)
		}
		a := g.Add(refusal(test.to, test.pid, 0))
		if a == nil || a.Owner.PID != test.owner || a.Local.String() != test.local {
			t.Errorf("a refusal at %s of process %d is told of %+v; want %s of %d", test.to, test.pid, a, test.local, test.owner)
		}
	}
	if a := g.Add(refusal("127.0.0.1:81", 4, 0)); a.Sockets != 2 {
		t.Errorf("%d listeners of process 4 share the port; want 2", a.Sockets)
	}
	client := refusal("192.0.2.1:80", 1, 0)
	client.Role = event.RoleClient
	if a := g.Add(client); a != nil {
		t.Errorf("a client's event is told of %+v", a)
	}
}

// Whatever the events and totals, none gets lost between accounts.
func TestAccountsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var g Ledger
		ports := rapid.SampledFrom([]string{"192.0.2.1:80", "192.0.2.2:80", "192.0.2.1:81", "[2001:db8::1]:80"})
		for _, local := range rapid.SliceOfN(rapid.SampledFrom([]string{"0.0.0.0:80", "[::]:80", "192.0.2.1:80"}), 0, 5).Draw(t, "listeners") {
			g.Open([]*Listener{listening(local, nil)})
		}
		var told, refused uint64
		for range rapid.IntRange(0, 20).Draw(t, "events") {
			ev := refusal(ports.Draw(t, "to"), rapid.IntRange(0, 8).Draw(t, "pid"), rapid.IntRange(0, 300).Draw(t, "count"))
			told += uint64(max(1, ev.Count))
			g.Add(ev)
		}
		for range rapid.IntRange(0, 5).Draw(t, "totals") {
			n := rapid.Uint64Range(0, 1000).Draw(t, "refused")
			refused += n
			g.Settle(9, netip.MustParseAddrPort(ports.Draw(t, "of")), event.Owner{PID: 7}, 8, Refused{SYNs: n})
		}
		for _, a := range g.Accounts() {
			told -= a.Told
			refused -= a.Refused.Overflows()
		}
		if told != 0 || refused != 0 {
			t.Fatalf("%d told and %d refused are in no account", int64(told), int64(refused))
		}
	})
}

func TestDiagnosisTellsASlowApplicationFromASmallBacklog(t *testing.T) {
	for _, test := range []struct {
		name    string
		waits   []time.Duration
		refused Refused
		want    string
	}{
		{"nothing refused", nil, Refused{Cookies: 5}, ""},
		{"hanging", nil, Refused{SYNs: 5}, "api accepted nothing"},
		{"bursts", []time.Duration{time.Millisecond, 40 * time.Millisecond}, Refused{SYNs: 5}, "bursts are longer than the backlog (128)"},
		{"slow", []time.Duration{3 * time.Second, 5 * time.Second}, Refused{FinalACKs: 5}, "api accepts too slowly"},
		{"slow at times", []time.Duration{time.Millisecond, time.Millisecond, 3 * time.Second}, Refused{SYNs: 5}, "is slow at times"},
	} {
		var g Ledger
		g.Open([]*Listener{listening("192.0.2.1:80", nil)})
		for _, wait := range test.waits {
			ev := refusal("192.0.2.1:80", 7, 0)
			ev.Kind, ev.Waited = event.Accept, wait
			g.Add(ev)
		}
		g.Settle(9, netip.MustParseAddrPort("192.0.2.1:80"), event.Owner{PID: 7}, 128, test.refused)
		got := g.Accounts()[0].Diagnosis()
		if !strings.Contains(got, test.want) || (got == "") != (test.want == "") {
			t.Errorf("%s: %q; want %q", test.name, got, test.want)
		}
	}
}
