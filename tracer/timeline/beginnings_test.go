package timeline

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"tcptrace/tracer/event"
)

// What is remembered of other connections' timers changes nothing: each has the forecast that it has alone.
func TestForecastsAreThoseOfAConnectionAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		together := New(Config{HZ: 250})
		for i := range rapid.IntRange(1, 12).Draw(t, "connections") {
			id := event.ConnID(i + 1)
			settings := rapid.IntRange(0, 2).Draw(t, "settings")
			options := &event.Options{KeepAlive: true, KeepaliveIdle: time.Duration(settings) * time.Minute, SYNRetries: settings}
			sysctls := &event.Sysctls{SYNRetries: 6, SYNACKRetries: 5, RTOMax: 2 * time.Minute}
			rto := time.Duration(rapid.IntRange(0, 2).Draw(t, "rto")) * time.Second
			alone := New(Config{HZ: 250})
			for n, ev := range []event.Event{
				{Kind: event.Connect, Role: event.RoleClient, RTO: rto, Options: options, Sysctls: sysctls},
				{Kind: event.SYNReceived, Role: event.RoleServer, Options: options, Sysctls: sysctls},
				{Kind: event.Established, Role: event.RoleClient},
			} {
				ev.Conn, ev.Mono = id<<4+event.ConnID(n%2), time.Hour+time.Duration(i)*time.Second+time.Duration(n)*time.Millisecond
				beside := ev
				together.Add(&ev)
				alone.Add(&beside)
				beside.N = ev.N
				if diff := cmp.Diff(beside, ev, cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})); diff != "" {
					t.Fatalf("event %d of connection %d (-alone +together):\n%s", n, i, diff)
				}
			}
		}
	})
}
